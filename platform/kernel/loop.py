"""From threads to the event loop: REST views and workers run the services there, on the loop that also serves the sockets.

Under an ASGI server that is the server's loop. A process without one (a worker, a command, a test's plain client) gets a
loop of its own in a thread, at first use, so that there is one way to do things everywhere.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync

from kernel import adb, redis
from kernel.errors import Unavailable

T = TypeVar("T")

CALL_S = 60.0
CLOSE_S = 2.0
_lock = threading.Lock()
_own: dict[int, asyncio.AbstractEventLoop] = {}


def on_loop(work: Coroutine[Any, Any, T], *, timeout_s: float = CALL_S) -> T:
    """Run `work` on the loop and wait for its result, from a thread that has no loop. Raises what it raises, and
    `Unavailable` when it takes longer than `timeout_s`."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result(timeout_s)
    except TimeoutError as error:
        future.cancel()
        raise Unavailable("This took too long.") from error


def begin_on_loop(work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Have `work` run on the loop, and don't wait: for what bounds itself, in time and in number."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


def _loop() -> asyncio.AbstractEventLoop:
    local = SyncToAsync.threadlocal
    serving = getattr(local, "main_event_loop", None)
    if serving is not None and getattr(local, "main_event_loop_pid", None) == os.getpid() and serving.is_running():
        return serving  # type: ignore[no-any-return]
    with _lock:
        # A forked child inherits the table, not the thread.
        loop = _own.get(os.getpid())
        if loop is None:
            loop = _own[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="parley-loop", daemon=True).start()
            atexit.register(_close_own)
        return loop


def _close_own() -> None:
    """Give back what the own loop holds, at the end of the process that made it."""
    loop = _own.pop(os.getpid(), None)
    if loop is None or not loop.is_running():
        return
    for close in (adb.close, redis.close):
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(close(), loop).result(CLOSE_S)
    loop.call_soon_threadsafe(loop.stop)
