"""One of something per event loop: pools, clients and hubs are bound to the loop they were made on.

A process may have several loops (a server's, a worker's, a test's). What a loop had goes with it: nothing here keeps it alive.
"""

import asyncio
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Generic, TypeVar

T = TypeVar("T")


class _Pin:
    """A thread that has one loop for as long as this holds; None while there is no such thread."""

    __slots__ = ("thread",)

    def __init__(self, thread: int | None = None) -> None:
        self.thread = thread


_pins = [_Pin()]
"""The one in force."""


def pin() -> None:
    """From now on this thread has no loop but the running one, until `unpin`. Which loop is running needn't be asked any more:
    asyncio asks the system for the process at each such question, which the way of a request had twenty of."""
    _pins[0] = _Pin(get_ident())


def unpin() -> None:
    """The loop ends."""
    _pins[0] = _Pin()


class PerLoop(Generic[T]):
    """Makes its thing at first use on each loop."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, T] = weakref.WeakKeyDictionary()
        self._last: tuple[weakref.ref[asyncio.AbstractEventLoop], T] | None = None
        self._pinned: tuple[_Pin, T] | None = None

    def __call__(self) -> T:
        """The running loop's."""
        pinned = _pins[0]
        if get_ident() != pinned.thread:
            return self._of_running_loop()
        if self._pinned is None or self._pinned[0] is not pinned:
            self._pinned = (pinned, self._of_running_loop())
        return self._pinned[1]

    def _of_running_loop(self) -> T:
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
        self._last = self._pinned = None
        return self._made.pop(asyncio.get_running_loop(), None)
