"""Uploads over REST: a form with one file, which goes to disk and never whole into memory.

How large the body may be is decided before it is read, by `config.bodies`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, cast

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from kernel.errors import InvalidRequest

PARSERS = (MultiPartParser,)
FIELD = "file"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent: its name and type are what the sender says."""

    name: str
    media_type: str
    size: int
    content: IO[bytes] = field(repr=False)


@contextmanager
def uploaded_file(request: Request) -> Iterator[Upload]:
    """The file in the field `file` of the form, on disk until the block ends. Raises `InvalidRequest` for none or several.

    Takes as long as reading it does: for handlers that run in a thread.
    """
    request._request.upload_handlers = [TemporaryFileUploadHandler(request._request)]
    _ = request.data
    files: list[UploadedFile[Any]] = [file for name in request.FILES for file in request.FILES.getlist(name)]
    try:
        if list(request.FILES) != [FIELD] or len(files) != 1:
            raise InvalidRequest(f"The form needs one file, in the field `{FIELD}`.", details={"param": FIELD})
        file = files[0]
        content = cast("IO[bytes]", file.file)
        yield Upload(name=file.name or "", media_type=file.content_type or "", size=file.size or 0, content=content)
    finally:
        for each in files:
            each.close()
