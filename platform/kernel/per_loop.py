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

    def __call__(self) -> T:
        """The running loop's."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            found = self._made[loop] = self._make()
        return found

    def pop(self) -> T | None:
        """Take the running loop's out, to close it; None if it never had one."""
        return self._made.pop(asyncio.get_running_loop(), None)
