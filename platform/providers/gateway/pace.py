"""An answer streamed at a steady pace, for keys that have one: no faster than so many tokens a second, as estimated."""

import asyncio
from collections.abc import AsyncIterator

from providers.estimate import BYTES_PER_TOKEN
from providers.types import ReasoningDelta, StreamEvent, TextDelta, ToolCallDelta


async def paced(events: AsyncIterator[StreamEvent], *, tokens_per_s: int) -> AsyncIterator[StreamEvent]:
    """The same events, each only once those before it have had their time. What is late is not made up for."""
    now = asyncio.get_running_loop().time
    due = now()
    async for event in events:
        if (wait_s := due - now()) > 0:
            await asyncio.sleep(wait_s)
        yield event
        due = max(due, now()) + _tokens(event) / tokens_per_s


def _tokens(event: StreamEvent) -> float:
    if isinstance(event, TextDelta | ReasoningDelta):
        return len(event.text) / BYTES_PER_TOKEN
    if isinstance(event, ToolCallDelta):
        return len(event.arguments) / BYTES_PER_TOKEN
    return 0.0
