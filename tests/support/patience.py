"""How long tests wait for what comes soon, and would never come if it were broken."""

import asyncio

PATIENCE_S = 30.0
"""More than it takes on a machine that stalls: only a failing test waits so long."""


def soon() -> asyncio.Timeout:
    """Bounds a block that waits: `async with soon(): await it`."""
    return asyncio.timeout(PATIENCE_S)
