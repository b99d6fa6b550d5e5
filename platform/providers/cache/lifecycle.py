"""The end of the cache in a process: what waits is written."""

import asyncio

from providers.cache.known import known_keys
from providers.cache.semantic import lookups, support
from providers.cache.semantic.uses import uses
from providers.cache.semantic.writes import writes as semantic_writes
from providers.cache.stats import stats
from providers.cache.writes import writes


async def drain(timeout_s: float) -> None:
    """Write what waits, within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            await writes().flush()
            await semantic_writes().flush()
            await uses().flush()
            await stats().flush()
    except TimeoutError:
        return


async def close() -> None:
    """Let go of everything that this event loop holds for the cache."""
    await drain(CLOSE_S)
    await known_keys().close()
    await lookups.close()
    await semantic_writes().close()
    await uses().close()
    await stats().close()
    for each in (writes, semantic_writes, uses, stats, known_keys, support.known):
        each.pop()


CLOSE_S = 5.0
