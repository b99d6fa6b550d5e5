"""The end of the cache in a process: what waits is written."""

import asyncio

from providers.cache.known import known_keys
from providers.cache.stats import stats
from providers.cache.writes import writes


async def drain(timeout_s: float) -> None:
    """Write what waits, within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await writes().flush()
            await stats().flush()
    except TimeoutError:
        return


async def close() -> None:
    """Let go of everything that this event loop holds for the cache."""
    await drain(CLOSE_S)
    await known_keys().close()
    await stats().close()
    for each in (writes, stats, known_keys):
        each.pop()


CLOSE_S = 5.0
