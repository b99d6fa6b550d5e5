"""What a process has begun and the ledger knows nothing of, in a file that outlives the process.

A request that no budget binds needs no hold before it is sent (`billing.ledger.admit_free`). Its facts go into a file before
that, without a flush to disk: they survive the process, not the machine. What a process that is gone left behind is billed
by `billing.recovery`.
"""

import errno
import fcntl
import os
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog
from django.conf import settings

from kernel.per_loop import PerLoop

log = structlog.get_logger(__name__)

SUFFIX = ".journal"
FILE_MAX_BYTES = 1_048_576
"""Then another file is begun; one of which everything is written is deleted."""
FILES_MAX = 16
"""Of one process. The ledger is behind by thousands of requests when there are so many: then holds are waited for."""


class Part:
    """A file, which is this process's as long as it is locked, and how many requests in it aren't in the ledger."""

    __slots__ = ("__weakref__", "_close", "_descriptor", "_path", "is_over", "open", "size")

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{uuid.uuid4()}{SUFFIX}"
        # It gets its name once it is locked: what has the name and no lock was left behind.
        unnamed = self._path.with_suffix(".new")
        self._descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # With its loop it is given up.
        self._close = weakref.finalize(self, os.close, self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unnamed.rename(self._path)
        self.open = 0
        self.size = 0
        self.is_over = False

    def write(self, line: bytes) -> None:
        """Add a line. Raises OSError."""
        written = os.write(self._descriptor, b"%b\n" % line)
        self.size += written
        if written <= len(line):
            raise OSError(errno.ENOSPC, "a line was cut")

    def delete(self) -> None:
        """The file has done its work."""
        self._path.unlink(missing_ok=True)
        self.give_up()

    def give_up(self) -> None:
        """Leave the file to `billing.recovery`."""
        self.is_over = True
        self._close()


class Journal:
    """One event loop's."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self.is_usable = True
        """Whether requests can be noted. Once that failed, this process tries no more."""

    def note(self, facts: bytes) -> Part | None:
        """Note a request that is about to be sent: `facts` is a line of JSON. None if that can't be done; else the part to be
        told by `done` when the ledger has it."""
        if not self.is_usable:
            return None
        try:
            part = self._part()
            if part is not None:
                part.write(facts)
                part.open += 1
        except OSError:
            self.is_usable = False
            log.exception("journal_not_usable", folder=str(settings.JOURNAL_FOLDER))
            return None
        return part

    def take_back(self, part: Part, request_id: uuid.UUID) -> None:
        """Nothing is to be billed of a request that was noted. If `part` still waits for it, `done` has to follow."""
        if part.is_over:
            return
        try:
            part.write(b'"%b"' % str(request_id).encode())
        except OSError:
            # Should this process die, that request is billed as if it had been sent.
            self.is_usable = False
            log.exception("journal_not_usable", folder=str(settings.JOURNAL_FOLDER))

    def done(self, part: Part) -> None:
        """The ledger has a request that was noted."""
        part.open -= 1
        if part.open == 0 and part.size >= FILE_MAX_BYTES:
            self._parts.remove(part)
            part.delete()

    def close(self) -> None:
        """Delete what is done with; files of requests that aren't in the ledger stay for `recover`."""
        for part in self._parts:
            if part.open == 0:
                part.delete()
            else:
                part.give_up()
        self._parts.clear()

    def _part(self) -> Part | None:
        if not self._parts or self._parts[-1].size >= FILE_MAX_BYTES:
            if len(self._parts) >= FILES_MAX:
                return None
            settings.JOURNAL_FOLDER.mkdir(parents=True, exist_ok=True)
            self._parts.append(Part(settings.JOURNAL_FOLDER))
        return self._parts[-1]


journal = PerLoop(Journal)


def close() -> None:
    """This loop's journal ends."""
    opened = journal.pop()
    if opened is not None:
        opened.close()


def files() -> Iterator[Path]:
    """The files of this machine's processes, those that run included."""
    yield from sorted(settings.JOURNAL_FOLDER.glob(f"*{SUFFIX}"))


@contextmanager
def taken_over(path: Path) -> Iterator[Sequence[bytes] | None]:
    """The lines of a file whose process is gone, each the facts of a request or the id of one that was taken back; None if
    the process isn't gone, or another is about its file."""
    with ExitStack() as opened:
        try:
            file = opened.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            yield None
        else:
            yield file.readlines()
