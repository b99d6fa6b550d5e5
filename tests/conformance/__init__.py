"""Whether a server keeps docs/websocket.md, line by line, told from outside. `python -m tests.conformance --help` says how.

What takes longer than a look isn't checked: the server's own ping, after half a minute of silence, and how tokens end.
"""

import aiohttp

from tests.conformance import answers, events, members, messages, opening
from tests.conformance.server import CHECKS, Server, Target

__all__ = ["CHECKS", "Target", "answers", "events", "members", "messages", "opening", "run"]


async def run(target: Target) -> dict[str, str]:
    """Run all checks; the failures by their names."""
    failures: dict[str, str] = {}
    async with aiohttp.ClientSession() as session:
        server = Server(target, session)
        for one in CHECKS:
            try:
                await one(server)
            except (AssertionError, TimeoutError, LookupError, TypeError, ValueError, aiohttp.ClientError) as error:
                failures[one.__name__] = repr(error)[:500]
    return failures
