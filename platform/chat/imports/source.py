"""The file of an import: JSON, or the ZIP archive that ChatGPT sends, of which `conversations.json` (in newer ones several,
numbered) is read. Nothing is unpacked to disk, and no more is read than one import may hold."""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

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
_ZIP = b"PK\x03\x04"
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others are unpacked by `zipfile` without a bound: a few hundred bytes become gigabytes at once."""
_DAMAGED = (
    Damaged,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises of archives that aren't as they say."""


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
    except _DAMAGED as error:
        raise CantTransfer("import_damaged", "The file is damaged, or no list of conversations.") from error


def decoded(element: Element) -> Any:
    """An element's value. Raises ValueError."""
    try:
        return msgspec.json.decode(element.data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Half characters are in files of people whose browser cut one; this reader takes them.
        return json.loads(element.data)


def _zipped(content: IO[bytes], size: int) -> Iterator[Element]:
    unpacked = 0
    with zipfile.ZipFile(cast("IO[bytes]", _Source(content))) as archive:
        if len(archive.infolist()) > ENTRIES_MAX:
            raise _too_many_files()
        names = sorted(info.filename for info in archive.infolist() if _MEMBER.fullmatch(info.filename))
        if not names:
            raise CantTransfer("import_without_conversations", "The archive holds no conversations.json.")
        for name in names:
            if archive.getinfo(name).flag_bits & _ENCRYPTED:
                raise CantTransfer("import_encrypted", "The archive is encrypted.")
            if archive.getinfo(name).compress_type not in _METHODS:
                raise CantTransfer("import_compression", "The archive is compressed by another method than deflate.")
            with archive.open(name) as member:
                yield from Scanner().elements(_bounded(member, size, unpacked))
            unpacked += archive.getinfo(name).file_size


class _Source:
    """A file of which no more is read at once than a table of contents may have: `zipfile` reads that whole, as long as the
    archive says it is, or the ZIP64 record before its end."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.seek, self.tell, self.seekable = content.seek, content.tell, content.seekable

    def read(self, size: int = -1) -> bytes:
        """Raises `CantTransfer` where there is more than may be."""
        if size < 0:
            read = self._content.read(DIRECTORY_BYTES_MAX + 1)
            size = len(read)
        else:
            read = self._content.read(min(size, DIRECTORY_BYTES_MAX))
        if size > DIRECTORY_BYTES_MAX:
            raise _too_many_files()
        return read


def _too_many_files() -> CantTransfer:
    return CantTransfer("import_too_large", f"The archive has more than {ENTRIES_MAX} files.")


def _bounded(member: IO[bytes], size: int, unpacked: int) -> Iterator[bytes]:
    for piece in _pieces(member):
        unpacked += len(piece)
        if unpacked > UNPACKED_BYTES_MAX or unpacked > max(size, PIECE_BYTES) * UNPACKED_RATIO_MAX:
            raise CantTransfer("import_too_large", "The archive holds more than an import may.")
        yield piece


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    while piece := content.read(PIECE_BYTES):
        yield piece
