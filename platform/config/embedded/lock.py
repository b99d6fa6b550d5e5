"""One `up` per home folder, by a lock that the kernel lets go of however the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from config.embedded.home import Home, HomeProblem

LOCK_NAME = "up.lock"


@contextmanager
def hold(home: Home) -> Iterator[None]:
    """Hold the home folder for this process. Raises `HomeProblem` naming the process that has it."""
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(home.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HomeProblem(f"The home folder {home.path} can't be used: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise HomeProblem(
                f"Parley already runs in {home.path} (process {holder}). "
                "Stop that one first, or give this one a folder of its own with --home."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
