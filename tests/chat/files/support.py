"""Files to send, made by hand, and the calls that send them."""

import io
import struct
import zipfile
import zlib
from typing import Any

import pillow_heif
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from config.asgi import application
from tests.support.asgi import Answer, request
from tests.support.cast import Actor

LONG_S = 60
CAMERA = "Canary Camera 3000"
LEFT_RED = (250, 10, 10)


async def call(actor: Actor, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """A call of /api/v1/ by the front door."""
    given = {"authorization": f"Bearer {actor.access_token()}", "content-type": "application/json"} | (headers or {})
    return await request(application, method, f"/api/v1/{path}", body=body, headers=given, timeout_s=LONG_S)


async def upload(actor: Actor, content: bytes, *, name: str = "notes.md", media_type: str = "") -> Answer:
    """Send a file."""
    kind = f"content-type: {media_type}\r\n" if media_type else ""
    head = f'--form\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n{kind}\r\n'
    body = head.encode() + content + b"\r\n--form--\r\n"
    return await call(actor, "POST", "attachments", body, {"content-type": "multipart/form-data; boundary=form"})


async def uploaded(actor: Actor, content: bytes, **said: str) -> dict[str, Any]:
    """The same, of one that is taken."""
    answer = await upload(actor, content, **said)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def link(actor: Actor, attachment: str, shown: str = "download") -> str:
    """The path of a link to a file."""
    answer = await by_query(actor, attachment, shown)
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["url"]
    return url


async def by_query(actor: Actor, attachment: str, shown: str) -> Answer:
    """Ask for a link."""
    from functools import partial

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "query_string": f"as={shown}".encode()}, receive, send)

    ask = partial(request, app, "GET", f"/api/v1/attachments/{attachment}/link")
    return await ask(headers={"authorization": f"Bearer {actor.access_token()}"}, timeout_s=LONG_S)


async def follow(url: str) -> Answer:
    """What a link leads to, with no other credential."""
    return await request(application, "GET", url, timeout_s=LONG_S)


def picture(kind: str = "PNG", *, size: tuple[int, int] = (64, 32), exif: Image.Exif | None = None) -> bytes:
    """An image whose left half is red, the right one blue."""
    image = Image.new("RGB", size, (10, 10, 250))
    image.paste(LEFT_RED, (0, 0, size[0] // 2, size[1]))
    written = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(image).save(written, quality=90, exif=exif.tobytes() if exif else None)
    else:
        image.save(written, kind, **({"exif": exif} if exif else {}))
    return written.getvalue()


def telling_exif(*, orientation: int = 1) -> Image.Exif:
    """Where, by what and how it was taken."""
    exif = Image.Exif()
    exif[0x0110] = CAMERA
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares this size, and holds nearly nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def pdf(*texts: str, password: str | None = None) -> bytes:
    """A PDF with a page for each text."""
    written = io.BytesIO()
    canvas = Canvas(written, encrypt=StandardEncryption(password) if password else None)
    for text in texts:
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    return written.getvalue()


def zipped(**members: bytes) -> bytes:
    """A ZIP archive."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return written.getvalue()
