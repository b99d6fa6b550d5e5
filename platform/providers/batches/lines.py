"""A batch's input, line by line."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import IO

import msgspec
from django.conf import settings

from kernel.errors import InvalidRequest
from kernel.objects import PIECE_BYTES
from providers.batches.bounds import CUSTOM_ID_MAX_CHARS


class Asked(msgspec.Struct):
    """A line that says what to do."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Named(msgspec.Struct):
    custom_id: str | None = None


_asked = msgspec.json.Decoder(Asked)
_named = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was read: its number (from 1; empty lines don't count) and where the next one begins. `text` is None
    for one that is too long."""

    number: int
    text: bytes | None
    next_offset: int


def read_lines(content: IO[bytes], *, number: int = 1, offset: int = 0) -> Iterator[Line]:
    """The lines from an offset on, which is where the line of that number begins."""
    longest = settings.V1_BODY_MAX_BYTES
    content.seek(offset)
    while text := content.readline(longest + 1):
        offset += len(text)
        too_long = len(text) > longest
        if too_long:
            offset += _skip_line(content, text)
        elif not (text := text.strip(b" \t\r\n\xef\xbb\xbf")):
            continue
        yield Line(number, None if too_long else text, offset)
        number += 1


def _skip_line(content: IO[bytes], text: bytes) -> int:
    """Leave out the rest of a line. Its length."""
    skipped = 0
    while text and not text.endswith(b"\n"):
        text = content.readline(PIECE_BYTES)
        skipped += len(text)
    return skipped


def read_line(line: Line, *, endpoint: str) -> Asked:
    """What a line asks. Raises InvalidRequest with what is wrong with it."""
    if line.text is None:
        raise InvalidRequest(f"A line may have at most {settings.V1_BODY_MAX_BYTES} bytes.")
    try:
        asked = _asked.decode(line.text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The line can't be read: {error}") from error
    if not 1 <= len(asked.custom_id) <= CUSTOM_ID_MAX_CHARS:
        raise _wrong("custom_id", f"has from 1 to {CUSTOM_ID_MAX_CHARS} characters")
    if asked.method != "POST":
        raise _wrong("method", "is `POST`")
    if asked.url != endpoint:
        raise _wrong("url", f"is the batch's endpoint, `{endpoint}`")
    if not bytes(asked.body).lstrip().startswith(b"{"):
        raise _wrong("body", "is an object")
    return asked


def is_object(line: Line) -> bool:
    """Whether a line is a JSON object at all."""
    try:
        return line.text is not None and isinstance(msgspec.json.decode(line.text), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def custom_id_of(line: Line) -> str | None:
    """How the caller calls a line that may be wrong otherwise."""
    try:
        return (_named.decode(line.text or b"").custom_id or "")[:CUSTOM_ID_MAX_CHARS] or None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def derived_id(batch_id: uuid.UUID, what: object) -> uuid.UUID:
    """An id that something of a batch always has, whoever works on it: a UUIDv7 of the batch's millisecond."""
    rest = int.from_bytes(sha256(batch_id.bytes + str(what).encode()).digest()[:10])
    value = (batch_id.int >> 80 << 80) | rest
    # Version 7 and variant 10 (RFC 9562).
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    return uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62))


def _wrong(field: str, rule: str) -> InvalidRequest:
    return InvalidRequest(f"`{field}` {rule}.", details={"param": field})
