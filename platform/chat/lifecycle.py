"""The end of rooms in a process: told early, sockets leave and answers finish; at last, connections close."""

import asyncio

from chat.generations import runs, titles
from chat.realtime import hub, subscriptions, unread


async def start() -> None:
    """Hear of answers that other processes left."""
    await runs.listen()


async def drain(timeout_s: float) -> None:
    """Close the sockets, spread over the time, while the answers that this process writes finish or end interrupted."""
    await asyncio.gather(hub.drain(timeout_s), runs.drain(timeout_s))


async def close() -> None:
    """Let go of everything that this event loop holds for rooms."""
    await hub.close()
    await runs.close()
    await titles.close()
    await unread.close()
    await subscriptions.close()
