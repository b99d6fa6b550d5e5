"""Bodies of forms with a file, which are too large for memory."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from kernel.errors import InvalidRequest, PayloadTooLarge, Unavailable, UnsupportedMediaType
from kernel.per_loop import PerLoop
from providers.gateway.http import MAX_DIGITS, ClientGone, Request

FORM_MAX_BYTES = 64 * 1024
"""What a form may hold beside its file."""
PIECE_BYTES = 1024 * 1024


@dataclass(slots=True)
class Form:
    """What was sent: its fields, and the file with its name and size."""

    fields: Mapping[str, str]
    content: IO[bytes] = field(repr=False)
    name: str
    size: int


_uploads = PerLoop(lambda: asyncio.Semaphore(settings.UPLOADS_AT_ONCE))


@asynccontextmanager
async def received_form(request: Request) -> AsyncIterator[Form]:
    """The form in a request's body, whose field `file` is a file. It is gone when the block ends.

    The body goes to disk as fast as that takes it, and is read from there in a thread. Raises InvalidRequest (for one that
    comes too slowly too), `PayloadTooLarge`, `UnsupportedMediaType`, Unavailable and `ClientGone`.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise UnsupportedMediaType("The body is `multipart/form-data` with the fields `file` and `purpose`.")
    uploads = _uploads()
    if uploads.locked():
        raise Unavailable("Too many files are being uploaded. Try again.")
    async with uploads:
        with tempfile.TemporaryFile() as body, tempfile.TemporaryFile() as content:
            try:
                async with asyncio.timeout(settings.UPLOAD_MAX_S):
                    size = await _receive(request, body)
            except TimeoutError as error:
                raise InvalidRequest(f"The body took longer than {settings.UPLOAD_MAX_S:.0f} s.") from error
            yield await asyncio.to_thread(_parse, kind, body, size, content)


async def _receive(request: Request, body: IO[bytes]) -> int:
    """Write the body to disk. Its size."""
    most = settings.FILE_MAX_BYTES + FORM_MAX_BYTES
    announced = request.headers.get("content-length", "0")
    if not (announced.isascii() and announced.isdigit()):
        raise InvalidRequest("The Content-Length header is not a number.")
    if len(announced) > MAX_DIGITS or int(announced) > most:
        raise _too_large()
    size, more = 0, True
    pieces = bytearray()
    while more:
        try:
            async with asyncio.timeout(settings.UPLOAD_WAIT_S):
                message = await request.receive()
        except TimeoutError as error:
            raise InvalidRequest(f"Nothing more of the body came for {settings.UPLOAD_WAIT_S:.0f} s.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        pieces += message.get("body", b"")
        more = message.get("more_body", False)
        if size + len(pieces) > most:
            raise _too_large()
        if len(pieces) >= PIECE_BYTES or not more:
            await asyncio.to_thread(body.write, bytes(pieces))
            size += len(pieces)
            pieces.clear()
    return size


class _Into(FileUploadHandler):
    """Writes the first file of the field `file`; others are left out."""

    def __init__(self, content: IO[bytes]) -> None:
        super().__init__()
        self._content = content
        self._writing = False
        self.name: str | None = None
        self.size = 0

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        """Called at the beginning of each file."""
        super().new_file(field_name, file_name, *args, **kwargs)
        self._writing = field_name == "file" and self.name is None
        if self._writing:
            self.name = file_name

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Called for each piece of it."""
        if not self._writing:
            return
        self.size += len(raw_data)
        if self.size > settings.FILE_MAX_BYTES:
            raise _too_large()
        self._content.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        """Called at its end."""
        self._writing = False


def _parse(kind: str, body: IO[bytes], size: int, content: IO[bytes]) -> Form:
    body.seek(0)
    into = _Into(content)
    meta = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(size)}
    try:
        fields, _ = MultiPartParser(meta, cast("Any", body), [into], "utf-8").parse()
    except (MultiPartParserError, SuspiciousOperation, ValueError) as error:
        raise InvalidRequest("The body is not a form that can be read.") from error
    if into.name is None:
        raise InvalidRequest("There is no file in the form.", details={"param": "file"})
    return Form({name: str(fields[name]) for name in fields}, content, into.name, into.size)


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"A file may have at most {settings.FILE_MAX_BYTES} bytes.")
