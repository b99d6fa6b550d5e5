"""One of something per event loop: pools, clients and hubs are bound to the loop they were made on.

A process may have several loops (a server's, a worker's, a test's). What a loop had goes with it: nothing here keeps it alive.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes its thing at first use on each loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._last: tuple[weakref.ref[asyncio.AbstractEventLoop], T] | None = None

    def __call__(self) -> T:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0]() is loop:
            return last[1]
        found = self._made.get(loop)
        if found is None:
            found = self._made[loop] = self._make()
        self._last = (weakref.ref(loop, self._forget), found)
        return found

    def _forget(self, gone: "weakref.ref[asyncio.AbstractEventLoop]") -> None:
        if self._last is not None and self._last[0] is gone:
            self._last = None

    def pop(self) -> T | None:
        """Take the running loop's out, to close it; None if it never had one."""
        self._last = None
        return self._made.pop(asyncio.get_running_loop(), None)
