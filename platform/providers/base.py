"""What an adapter is: it makes one attempt at one target, and speaks values on this side, a vendor's format
on that.

An adapter raises only `providers.errors.ProviderError`, keeps the time-outs it is given, lets go of its
connection however its stream ends, and is bound to the event loop it is first used on."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from providers.errors import Transient, Unsupported
from providers.types import ChatAnswer, ChatRequest, EmbeddingRequest, ModelInfo, Request, StreamEvent, is_content


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long an upstream may take, in seconds.

    `connect_s` for a connection, `first_token_s` from the start to the first content of a stream,
    `between_tokens_s` from one event to the next, `total_s` for the whole answer, streamed or not."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    between_tokens_s: float = 30.0
    total_s: float = 600.0


DEFAULT_TIMEOUTS = Timeouts()
ANY_FORMAT = "*"
"""The wire format of an adapter that says everything of every format."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attempt goes: `model` is the upstream's name for it; `base_url` ends before the vendor's own
    paths. `guarded` says that a tenant chose the address, so that it must be a public one."""

    provider: str
    base_url: str
    model: str
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    guarded: bool = False


class Adapter(ABC):
    """One vendor's wire format. An instance pools its connections; `close` lets go of them.

    `wire_format` is the tag of the extras it can say; `unsaid` names the fields of `ChatRequest` that it can't.
    `inlines_images` says that images must be sent along as data, because the upstream fetches none; `says_names` that
    messages can carry their author's name."""

    wire_format: ClassVar[str]
    unsaid: ClassVar[frozenset[str]] = frozenset()
    inlines_images: ClassVar[bool] = False
    says_names: ClassVar[bool] = False

    def terms(self, request: Request, model: str) -> tuple[str, frozenset[str]]:
        """The wire format in which this model is asked this, and the fields of `ChatRequest` that can't be said to it:
        `wire_format` and `unsaid`, unless models differ."""
        return self.wire_format, self.unsaid

    @abstractmethod
    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        """The answer as it comes, ending in `Finished`. Close the generator to end the upstream's work
        early."""

    @abstractmethod
    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        """The whole answer at once."""

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        """The vectors of the request's inputs. Raises Unsupported where there is no such thing."""
        raise Unsupported(f"{target.provider} makes no embeddings.", param="model")

    async def count_tokens(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> int | None:
        """How many tokens the upstream would read of this request, by its own count; None where it can't be asked."""
        return None

    @abstractmethod
    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        """What the upstream says it serves."""

    async def close(self) -> None:
        """Close every connection. Nothing to do for an adapter without any."""
        return


async def in_time(events: AsyncGenerator[StreamEvent, None], timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
    """The same events, or Transient(timeout) as soon as they keep someone waiting too long.

    Only the upstream's time counts, not what the consumer takes between events; `total_s` counts both.
    """
    now = asyncio.get_running_loop().time
    started = now()
    end = started + timeouts.total_s
    first = True
    try:
        while True:
            limit = started + timeouts.first_token_s if first else now() + timeouts.between_tokens_s
            try:
                async with asyncio.timeout_at(min(end, limit)):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                waited = "the whole answer" if now() >= end else "the first token" if first else "the next token"
                raise Transient(f"timed out waiting for {waited}", cause="timeout") from error
            first = first and not is_content(event)
            yield event
    finally:
        await events.aclose()
