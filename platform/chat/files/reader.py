"""The program that looks into a file: an image is decoded and written anew, the text of a PDF is taken out, text is checked.

It is run by `chat.files.sandbox` in a process of its own, with nothing of Parley's in it: no settings, no secrets, no
environment. Before it reads a byte it bounds its memory, its time and what it writes.

    python -I reader.py KIND FOLDER < file

writes into FOLDER `result.json` and, by kind: `content` (an image without metadata, upright, in sRGB), `model` (the same, no
larger than models look at), `preview` (small), `text` (what a PDF says).
"""

import contextlib
import io
import json
import logging
import resource
import sys
from pathlib import Path
from typing import IO, Any

MEMORY_BYTES = 1536 * 1024 * 1024
CPU_S = 30
WRITES_BYTES = 64 * 1024 * 1024
OPEN_FILES = 64

PIXELS_MAX = 50_000_000
SIDE_MAX = 20_000
MODEL_SIDE = 2048
"""Models see no more than about this many pixels a side; what is larger costs and is scaled down by them."""
MODEL_BYTES_MAX = 3 * 1024 * 1024
PREVIEW_SIDE = 512
JPEG_QUALITY = 90

PDF_PAGES_MAX = 500
TEXT_CHARS_MAX = 2_000_000

_FORMATS = {"png": ["PNG"], "jpeg": ["JPEG", "MPO"], "webp": ["WEBP"], "gif": ["GIF"], "heic": ["HEIF"]}
_LOSSLESS = ("png", "gif")
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b\b")


class Refused(Exception):
    """The file is refused: a stable code, and why, for people."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def bound() -> None:
    """Take away from this process what a file could make it misuse."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, WRITES_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (most, most))


def read(kind: str, source: IO[bytes], folder: Path) -> dict[str, Any]:
    """What was found, and in the folder what is kept. Raises `Refused`."""
    if kind == "pdf":
        return _pdf(source, folder)
    if kind == "text":
        return _text(source)
    return _image(kind, source, folder)


def _image(kind: str, source: IO[bytes], folder: Path) -> dict[str, Any]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    if kind == "heic":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    # The bound of pixels below is stricter, and an error rather than a warning.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image: Any = Image.open(source, formats=_FORMATS[kind])
        width, height = image.size
        if width * height > PIXELS_MAX or max(width, height) > SIDE_MAX:
            raise Refused(
                "attachment_image_too_large",
                f"The image has {width} × {height} pixels; at most {PIXELS_MAX:,} are taken, {SIDE_MAX:,} a side.",
            )
        frames = getattr(image, "n_frames", 1) if kind in ("gif", "webp", "png") else 1
        image.load()
        image = _upright_srgb(image, ImageOps)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise Refused("attachment_damaged", "The image can't be read: it is damaged or incomplete.") from error
    lossless = kind in _LOSSLESS or image.mode == "RGBA"
    (folder / "content").write_bytes(_encoded(image, lossless=lossless))
    found: dict[str, Any] = {
        "media_type": "image/png" if lossless else "image/jpeg",
        "width": image.width,
        "height": image.height,
        "animated": frames > 1,
    }
    _smaller(image, folder / "model", side=MODEL_SIDE, lossless=lossless, bytes_max=MODEL_BYTES_MAX)
    _smaller(image, folder / "preview", side=PREVIEW_SIDE, lossless=lossless)
    return found


def _upright_srgb(image: Any, ops: Any) -> Any:
    """The picture as it is meant to be seen, with nothing beside its pixels."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    image = ops.exif_transpose(image)
    if image.mode.startswith("I"):
        # Sixteen bits of grey.
        image = image.point(lambda value: value / 256).convert("L")
    clear = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    image = image.convert("RGBA" if clear else "RGB")
    if profile:
        # A profile that can't be read changes nothing.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode=image.mode)
    image.info = {}
    return image


def _smaller(image: Any, path: Path, *, side: int, lossless: bool, bytes_max: int | None = None) -> None:
    """The image, no larger than `side`; nothing where it is small enough already."""
    content = path.with_name("content")
    fits = bytes_max is None or content.stat().st_size <= bytes_max
    if max(image.size) <= side and fits:
        return
    small = image.copy()
    small.thumbnail((side, side))
    encoded = _encoded(small, lossless=lossless)
    if bytes_max is not None and len(encoded) > bytes_max:
        # A photograph in PNG. What shines through becomes white.
        ground = small.convert("RGB")
        if small.mode == "RGBA":
            ground.paste("white", (0, 0, *small.size))
            ground.paste(small, mask=small.getchannel("A"))
        encoded = _encoded(ground, lossless=False)
    path.write_bytes(encoded)


def _encoded(image: Any, *, lossless: bool) -> bytes:
    written = io.BytesIO()
    if lossless:
        image.save(written, "PNG", compress_level=5)
    else:
        image.save(written, "JPEG", quality=JPEG_QUALITY, progressive=True)
    return written.getvalue()


def _pdf(source: IO[bytes], folder: Path) -> dict[str, Any]:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.disable()
    try:
        document = PdfReader(source)
        if document.is_encrypted:
            raise Refused("attachment_encrypted", "The PDF is encrypted. Send it without a password.")
        pages = len(document.pages)
        if pages > PDF_PAGES_MAX:
            raise Refused("attachment_too_many_pages", f"The PDF has {pages} pages; at most {PDF_PAGES_MAX} are taken.")
        if pages == 0:
            raise Refused("attachment_damaged", "The PDF has no pages.")
    except (PyPdfError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, IndexError) as error:
        raise Refused("attachment_damaged", "The PDF can't be read: it is damaged or incomplete.") from error
    texts: list[str] = []
    left, unread = TEXT_CHARS_MAX, 0
    for number in range(pages):
        try:
            text = document.pages[number].extract_text().replace("\x00", "").strip()
        except Exception:  # noqa: BLE001 - the reader of one page may fail in any way; the others are read
            unread += 1
            continue
        texts.append(text[:left])
        left -= len(texts[-1])
        if left <= 0:
            break
    said = "\n\n".join(texts).encode("utf-8", "replace")
    (folder / "text").write_bytes(said)
    return {"media_type": "application/pdf", "pages": pages, "text_chars": len(said.decode()), "pages_unread": unread}


def _text(source: IO[bytes]) -> dict[str, Any]:
    content = source.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "attachment_not_utf8", f"The text isn't UTF-8: byte {error.start} can't be read. Save it as UTF-8."
        ) from error
    if any(ord(char) in _CONTROLS for char in set(text)):
        raise Refused("attachment_type_refused", "This file is neither text nor of a format that is taken.")
    return {"media_type": "text/plain", "text_chars": len(text)}


def main(kind: str, folder: Path) -> int:
    """Read standard input. 0 when `result.json` says what came of it."""
    bound()
    try:
        found = read(kind, sys.stdin.buffer, folder)
    except Refused as refused:
        found = {"refused": refused.code, "message": refused.message}
    except MemoryError:
        return 3
    (folder / "result.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
