"""The end of a process, announced: whoever holds connections or work open is told, and given time.

A server calls `drain` when it is told to stop. From then on `is_draining()` is true (`/readyz` answers 503), and every
callback registered with `on_drain` runs, side by side, within the time given.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

DrainCallback = Callable[[float], Awaitable[None]]
"""Told how many seconds it has, it lets go of what it holds: closes sockets, lets streams finish or save their state."""

logger = logging.getLogger(__name__)
_callbacks: list[DrainCallback] = []
_state = {"draining": False}


def is_draining() -> bool:
    """Whether this process is about to end and should get no new work."""
    return _state["draining"]


def on_drain(callback: DrainCallback) -> None:
    """Have `callback` run when this process drains. Register at import or start, once."""
    if callback not in _callbacks:
        _callbacks.append(callback)


async def drain(*, timeout_s: float) -> None:
    """Announce the end and run the callbacks for at most `timeout_s`. A callback's failure is logged, never raised."""
    if is_draining():
        return
    _state["draining"] = True
    tasks = [asyncio.ensure_future(callback(timeout_s)) for callback in _callbacks]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=timeout_s)
    for task in late:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            logger.error("a drain callback failed", exc_info=result)
