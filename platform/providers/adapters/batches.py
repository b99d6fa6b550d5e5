"""More texts than an upstream embeds at once, call by call."""

import asyncio
from collections.abc import Awaitable, Callable

from providers.errors import ProviderError, Transient
from providers.types import NO_USAGE, ChatAnswer, EmbeddingRequest, Usage

Inputs = tuple[str | tuple[int, ...], ...]
Piece = tuple[tuple[bytes, ...], Usage]
"""The vectors of one call, and its usage."""


async def in_batches(
    request: EmbeddingRequest, size: int, embed: Callable[[Inputs], Awaitable[Piece]], *, model: str, total_s: float
) -> ChatAnswer:
    """The vectors of all inputs, at most `size` of them by one `embed`, within `total_s`. Usage is that of all calls,
    and unknown if that of one is. Raises what `embed` does, marked as worked once a call before it had succeeded."""
    vectors: list[bytes] = []
    usages: list[Usage] = []
    try:
        async with asyncio.timeout(total_s):
            for start in range(0, len(request.inputs), size):
                found, usage = await embed(request.inputs[start : start + size])
                vectors.extend(found)
                usages.append(usage)
    except TimeoutError as error:
        raise Transient("timed out waiting for the whole answer", cause="timeout") from error
    except ProviderError as error:
        error.worked = error.worked or bool(usages)
        raise
    known = all(usage.reported for usage in usages)
    total = Usage(input=sum(usage.prompt for usage in usages), output=sum(usage.completion for usage in usages))
    return ChatAnswer(model, (), total if known and usages else NO_USAGE, vectors=tuple(vectors))
