"""Files are looked into by a process that may do little and dies alone (`chat.files.reader`)."""

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import msgspec
import structlog

from chat.files import reader
from chat.files.bounds import (
    SANDBOX_S,
    SANDBOX_SAYS_BYTES_MAX,
    SANDBOX_WAIT_S,
    SANDBOXES_AT_ONCE,
    SANDBOXES_WAITING_MAX,
)
from kernel.errors import InvalidRequest, ParleyError, Unavailable, UnsupportedMediaType
from kernel.per_loop import PerLoop

log = structlog.get_logger(__name__)

_PROGRAM = str(Path(reader.__file__))


class Unreadable(InvalidRequest):
    """The file can't be read: it takes more time or memory than one file may."""

    code = "attachment_unreadable"


class Damaged(InvalidRequest):
    """The file can't be read: it is damaged or incomplete."""

    code = "attachment_damaged"


class ImageTooLarge(InvalidRequest):
    """The image has too many pixels."""

    code = "attachment_image_too_large"


class Encrypted(InvalidRequest):
    """The PDF is encrypted."""

    code = "attachment_encrypted"


class TooManyPages(InvalidRequest):
    """The PDF has too many pages."""

    code = "attachment_too_many_pages"


class NotUtf8(UnsupportedMediaType):
    """The text isn't UTF-8."""

    code = "attachment_not_utf8"


class NotText(UnsupportedMediaType):
    """Files of this type aren't taken."""

    code = "attachment_type_refused"


_REFUSALS: dict[str, type[ParleyError]] = {
    kind.code: kind for kind in (Damaged, ImageTooLarge, Encrypted, TooManyPages, NotUtf8, NotText)
}


class Found(msgspec.Struct, frozen=True):
    """What the reader says of a file."""

    media_type: str
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    text_chars: int | None = None
    animated: bool = False
    pages_unread: int = 0


class Reading(msgspec.Struct, frozen=True):
    """A file that was read, and the folder of what is kept of it: `content`, `model`, `preview`, `text`, as far as there are
    such. The folder goes when the block ends."""

    found: Found
    folder: Path

    def written(self, name: str) -> Path | None:
        """What of that name the reader wrote, if anything."""
        path = self.folder / name
        return path if path.is_file() else None


class _Readers:
    """One event loop's readers: how many run, and how many wait to."""

    def __init__(self) -> None:
        self.running = asyncio.Semaphore(SANDBOXES_AT_ONCE)
        self.waiting = 0


_readers = PerLoop(_Readers)


@asynccontextmanager
async def looked_into(content: IO[bytes], *, kind: str) -> AsyncIterator[Reading]:
    """What a file of this kind holds.

    Raises `Unreadable` when its reader dies or takes too long, what else it refuses the file for, and `Unavailable` when
    too many files wait.
    """
    async with _turn():
        with tempfile.TemporaryDirectory(prefix="parley-file-") as folder:
            found = await _run(content, kind, Path(folder))
            yield Reading(found=found, folder=Path(folder))


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    readers = _readers()
    if readers.running.locked() and readers.waiting >= SANDBOXES_WAITING_MAX:
        raise Unavailable("Too many files are being read. Try again.")
    readers.waiting += 1
    try:
        async with asyncio.timeout(SANDBOX_WAIT_S):
            await readers.running.acquire()
    except TimeoutError as error:
        raise Unavailable("Too many files are being read. Try again.") from error
    finally:
        readers.waiting -= 1
    try:
        yield
    finally:
        readers.running.release()


async def _run(content: IO[bytes], kind: str, folder: Path) -> Found:
    content.seek(0)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        _PROGRAM,
        kind,
        str(folder),
        stdin=content,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd=folder,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(SANDBOX_S):
            code = await process.wait()
    except TimeoutError as error:
        log.warning("file_reader_took_too_long", kind=kind)
        raise Unreadable from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    result = folder / "result.json"
    if code != 0 or not result.is_file() or result.stat().st_size > SANDBOX_SAYS_BYTES_MAX:
        log.warning("file_reader_died", kind=kind, code=code)
        raise Unreadable
    said = json.loads(result.read_bytes())
    if "refused" in said:
        raise _REFUSALS.get(said["refused"], Damaged)(said["message"])
    return msgspec.convert(said, Found)
