"""The file of an import: JSON, or the ZIP archive that ChatGPT sends, of which `conversations.json` (in newer ones several,
numbered) is read. Nothing is unpacked to disk, and no more is read than one import may hold."""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from chat.imports.bounds import (
    DIRECTORY_BYTES_MAX,
    ENTRIES_MAX,
    PIECE_BYTES,
    UNPACKED_BYTES_MAX,
    UNPACKED_RATIO_MAX,
)
from chat.imports.scanning import Damaged, Element, Scanner
from chat.transfers.leases import CantTransfer

_MEMBER = re.compile(r"(?:[^/]+/)?conversations(?:-\d{1,6})?\.json")
_END = struct.Struct("<4s4H2LH")
_END_BYTES_MAX = 65_536 + _END.size
_ZIP = b"PK\x03\x04"
_ENCRYPTED = 1


def begins_like_one(head: bytes) -> bool:
    """Whether a file that begins so may be an export: JSON, or a ZIP archive."""
    return head.startswith(_ZIP) or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{")


def elements(content: IO[bytes], *, size: int) -> Iterator[Element]:
    """The conversations in a file, one by one. Raises `CantTransfer`."""
    content.seek(0)
    is_zip = content.read(len(_ZIP)) == _ZIP
    content.seek(0)
    try:
        if is_zip:
            yield from _zipped(content, size)
        else:
            yield from Scanner().elements(_pieces(content))
    except (Damaged, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CantTransfer("import_damaged", "The file is damaged, or no list of conversations.") from error


def decoded(element: Element) -> Any:
    """An element's value. Raises ValueError."""
    try:
        return msgspec.json.decode(element.data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Half characters are in files of people whose browser cut one; this reader takes them.
        return json.loads(element.data)


def _zipped(content: IO[bytes], size: int) -> Iterator[Element]:
    _check_directory(content, size)
    unpacked = 0
    with zipfile.ZipFile(content) as archive:
        names = sorted(info.filename for info in archive.infolist() if _MEMBER.fullmatch(info.filename))
        if not names:
            raise CantTransfer("import_without_conversations", "The archive holds no conversations.json.")
        for name in names:
            if archive.getinfo(name).flag_bits & _ENCRYPTED:
                raise CantTransfer("import_encrypted", "The archive is encrypted.")
            with archive.open(name) as member:
                yield from Scanner().elements(_bounded(member, size, unpacked))
            unpacked += archive.getinfo(name).file_size


def _check_directory(content: IO[bytes], size: int) -> None:
    """The table of contents is read whole, so it must be small. Raises `CantTransfer`."""
    content.seek(max(0, size - _END_BYTES_MAX))
    tail = content.read(_END_BYTES_MAX)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise Damaged
    _, _, _, _, entries, directory_bytes, _, _ = _END.unpack_from(tail, at)
    if entries > ENTRIES_MAX or directory_bytes > DIRECTORY_BYTES_MAX:
        raise CantTransfer("import_too_large", f"The archive has more than {ENTRIES_MAX} files.")
    content.seek(0)


def _bounded(member: IO[bytes], size: int, unpacked: int) -> Iterator[bytes]:
    for piece in _pieces(member):
        unpacked += len(piece)
        if unpacked > UNPACKED_BYTES_MAX or unpacked > max(size, PIECE_BYTES) * UNPACKED_RATIO_MAX:
            raise CantTransfer("import_too_large", "The archive holds more than an import may.")
        yield piece


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE_BYTES):
        yield piece
