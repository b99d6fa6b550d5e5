"""To end tasks, and know that they have ended.

A cancellation can be lost: Python 3.11's `asyncio.wait_for`, which redis-py connects by, forgets one that comes just as what it
waits for ends (python/cpython#86296), and the task goes on. Who waits for such a task after one cancellation waits for ever."""

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 0.2


async def end(tasks: "Iterable[asyncio.Task[Any]]") -> None:
    """Cancel these until they have ended."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
