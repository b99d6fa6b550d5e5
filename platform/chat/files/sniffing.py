"""What a file is, by what is in it. Its name and the type that came with it are claims: one that isn't true is refused.

Signatures as in the WHATWG's MIME Sniffing Standard and the formats' own documents.
"""

import re
from pathlib import PurePosixPath
from typing import IO

from chat.files.bounds import HEAD_BYTES
from kernel.errors import UnsupportedMediaType

IMAGES = ("png", "jpeg", "webp", "gif", "heic")
TAKEN = (*IMAGES, "pdf", "text")
ALLOWED = "PNG, JPEG, WebP, GIF and HEIC images, PDF, and text or code in UTF-8"

LABELS = {
    "png": "a PNG image",
    "jpeg": "a JPEG image",
    "webp": "a WebP image",
    "gif": "a GIF image",
    "heic": "a HEIC image",
    "pdf": "a PDF document",
    "text": "text",
    "svg": "an SVG image",
    "html": "an HTML page",
    "zip": "a ZIP archive",
    "archive": "an archive",
    "office": "an Office document",
    "office_macros": "an Office document with macros",
    "executable": "a program",
    "media": "sound or video",
    "image": "an image of another format",
    "document": "a document of another format",
    "empty": "empty",
    "binary": "neither text nor a known format",
}
"""What a file may turn out to be → how people are told."""


class TypeRefused(UnsupportedMediaType):
    """Files of this type aren't taken."""

    code = "attachment_type_refused"


class TypeMismatch(UnsupportedMediaType):
    """The file isn't what its name or its type says."""

    code = "attachment_type_mismatch"


_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
    (b"{\\rtf", "document"),
    (b"%!PS", "document"),
    (b"SQLite format 3\x00", "document"),
    (b"MZ", "executable"),
    (b"\x7fELF", "executable"),
    (b"\xfe\xed\xfa\xce", "executable"),
    (b"\xfe\xed\xfa\xcf", "executable"),
    (b"\xce\xfa\xed\xfe", "executable"),
    (b"\xcf\xfa\xed\xfe", "executable"),
    (b"\xca\xfe\xba\xbe", "executable"),
    (b"\x00asm", "executable"),
    (b"\x1f\x8b", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!\x1a\x07", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x04\x22\x4d\x18", "archive"),
    (b"MSCF", "archive"),
    (b"!<arch>\n", "archive"),
    (b"\xed\xab\xee\xdb", "archive"),
    (b"BM", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"\x00\x00\x01\x00", "image"),
    (b"8BPS", "image"),
    (b"\xff\x0a", "image"),
    (b"\x00\x00\x00\x0cJXL ", "image"),
    (b"ID3", "media"),
    (b"OggS", "media"),
    (b"fLaC", "media"),
    (b"\x1aE\xdf\xa3", "media"),
    (b"FLV\x01", "media"),
)
_TEXT_ALIKE = frozenset({"MZ", "BM", "BZh", "ID3", "MSCF"})
"""Signatures that are words too: they count where the rest isn't text."""
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_EXTENSIONS: dict[str, str] = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "jpeg"),
    **dict.fromkeys(("heic", "heif"), "heic"),
    **{name: name for name in ("png", "webp", "gif", "pdf", "svg")},
    "svgz": "svg",
    **dict.fromkeys(("html", "htm", "xhtml", "shtml", "mhtml", "mht", "hta"), "html"),
    "zip": "zip",
    **dict.fromkeys(("gz", "tgz", "bz2", "xz", "7z", "rar", "tar", "zst", "jar", "apk", "iso", "cab"), "archive"),
    **dict.fromkeys(("doc", "xls", "ppt", "docx", "xlsx", "pptx", "odt", "ods", "odp"), "office"),
    **dict.fromkeys(("docm", "dotm", "xlsm", "xltm", "xlam", "pptm", "potm", "ppsm"), "office_macros"),
    **dict.fromkeys(("exe", "dll", "msi", "com", "scr", "so", "dylib", "class", "wasm"), "executable"),
    **dict.fromkeys(("txt", "md", "csv", "tsv", "json", "yaml", "yml", "toml", "xml", "log", "py", "js", "c"), "text"),
}
_MEDIA_TYPES: dict[str, str] = {
    "image/png": "png",
    **dict.fromkeys(("image/jpeg", "image/jpg", "image/pjpeg"), "jpeg"),
    "image/webp": "webp",
    "image/gif": "gif",
    **dict.fromkeys(("image/heic", "image/heif"), "heic"),
    "application/pdf": "pdf",
    "image/svg+xml": "svg",
    **dict.fromkeys(("text/html", "application/xhtml+xml"), "html"),
    **dict.fromkeys(("application/zip", "application/x-zip-compressed"), "zip"),
    **dict.fromkeys(("text/plain", "text/markdown", "text/csv", "application/json"), "text"),
}

_PROLOG = re.compile(
    r"""(?: \s | \ufeff | <!--.*?--> | <\?.*?\?> | <!DOCTYPE\s+(?P<doctype>[\w:.-]+)(?: \[.*?\] | [^\[>] )*> )*""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<(?:[\w.-]+:)?([\w.-]+)[\s/>]", re.ASCII)
_HTML_TAGS = frozenset(
    {"a", "base", "body", "div", "embed", "form", "frameset", "head", "html", "iframe", "img", "link", "meta"}
    | {"object", "script", "style", "table", "title"}
)


def sniff(content: IO[bytes]) -> str:
    """What the file is: one of `LABELS`. Leaves it at its beginning."""
    content.seek(0)
    head = content.read(HEAD_BYTES)
    found = _by_signature(head)
    if found == "zip":
        found = _zip_of_what(content)
    content.seek(0)
    return found


def check_type(content: IO[bytes], *, name: str, media_type: str) -> str:
    """What the file is: one of `TAKEN`. Raises `TypeRefused` and `TypeMismatch`, which say what was found."""
    found = sniff(content)
    details = {"found": found, "allowed": list(TAKEN)}
    if found not in TAKEN:
        raise TypeRefused(f"This file is {LABELS[found]}, which isn't taken. Send {ALLOWED}.", details=details)
    for source, claimed in _claims(name, media_type):
        if claimed == found:
            continue
        details["claimed"] = claimed
        raise TypeMismatch(f"The {source} says {LABELS[claimed]}, but this file is {LABELS[found]}.", details=details)
    return found


def _claims(name: str, media_type: str) -> list[tuple[str, str]]:
    extension = PurePosixPath(name).suffix.lower().lstrip(".")
    stated = media_type.partition(";")[0].strip().lower()
    claims = [("name", _EXTENSIONS.get(extension)), ("content type", _MEDIA_TYPES.get(stated))]
    return [(source, claimed) for source, claimed in claims if claimed is not None]


def _by_signature(head: bytes) -> str:
    if not head:
        return "empty"
    text = _text_of(head)
    for signature, kind in _STARTS:
        if head.startswith(signature) and (text is None or signature.decode("latin-1") not in _TEXT_ALIKE):
            return kind
    within = _by_what_is_within(head)
    if within is not None:
        return within
    return "binary" if text is None else _markup_of(text) or "text"


def _by_what_is_within(head: bytes) -> str | None:
    """Formats whose name doesn't come first."""
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" else "media"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(64, int.from_bytes(head[:4], "big")), 4))}
        avif = head[8:12] in (b"avif", b"avis")
        return "image" if avif else "heic" if brands & _HEIC_BRANDS else "media"
    return "archive" if head[257:262] == b"ustar" else None


def _text_of(head: bytes) -> str | None:
    """The head as text, where it is: UTF-8 without what no text has. Its last character may be cut."""
    for cut in range(4 if len(head) == HEAD_BYTES else 1):
        try:
            text = head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return None if "\x00" in text else text
    return None


def _markup_of(text: str) -> str | None:
    """`svg` or `html` where the text is a page that a browser would show, else None."""
    prolog = _PROLOG.match(text)
    doctype = (prolog["doctype"] or "").lower() if prolog else ""
    rest = text[prolog.end() if prolog else 0 :]
    if doctype in ("svg", "html"):
        return doctype
    if rest.startswith(("<!--", "<?", "<!")) and prolog is not None and len(text) >= HEAD_BYTES - 4:
        # It goes on beyond what is looked at: nobody writes that long a prolog but to hide what comes.
        return "html"
    tag = _TAG.match(rest)
    if tag is None:
        return None
    name = tag[1].lower()
    return "svg" if name == "svg" else "html" if name in _HTML_TAGS else None


def _zip_of_what(content: IO[bytes]) -> str:
    """A ZIP archive is told by the names in it; nothing is unpacked."""
    content.seek(0)
    kept = b""
    office = False
    while piece := content.read(1024 * 1024):
        seen = kept + piece
        if b"vbaProject.bin" in seen:
            return "office_macros"
        office = office or b"[Content_Types].xml" in seen or b"opendocument" in seen
        kept = seen[-64:]
    return "office" if office else "zip"
