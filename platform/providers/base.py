"""What an adapter is: it makes one attempt at one target, and speaks values on this side, a vendor's format
on that.

An adapter raises only `providers.errors.ProviderError`, keeps the time-outs it is given, lets go of its
connection however its stream ends, and is bound to the event loop it is first used on."""

import asyncio
import math
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
    messages can carry their author's name; `max_stops` is how many stop sequences a request may have, None for any."""

    wire_format: ClassVar[str]
    unsaid: ClassVar[frozenset[str]] = frozenset()
    inlines_images: ClassVar[bool] = False
    says_names: ClassVar[bool] = False
    max_stops: int | None = None

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


class _Watch:
    """Ends a task's waiting at a deadline, like `asyncio.timeout`, but for many waits in a row: one timer, which finds
    out when it fires how far the deadline has moved, instead of one per wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        self._fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    def begin(self, deadline: float) -> None:
        """The task that calls this waits, until `deadline` (of the loop's clock) at most."""
        self._task = asyncio.current_task(self._loop)
        self._deadline = deadline
        if deadline < self._fires_at:
            self._fire_at(deadline)

    def end(self) -> None:
        """It waits no longer."""
        self._deadline = math.inf

    def caused(self) -> bool:
        """Whether it was the deadline that cancelled the task, and nobody else wants it cancelled."""
        if not self._expired or self._task is None:
            return False
        self._expired = False
        return self._task.uncancel() <= self._cancelling

    def close(self) -> None:
        """No more waits."""
        self._deadline = math.inf
        if self._timer is not None:
            self._timer.cancel()

    def _fire_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, math.inf
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._fire_at(self._deadline)
        elif self._task is not None:
            self._expired = True
            self._cancelling = self._task.cancelling()
            self._task.cancel()


async def in_time(events: AsyncGenerator[StreamEvent, None], timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
    """The same events, or Transient(timeout) as soon as they keep someone waiting too long.

    Only the upstream's time counts, not what the consumer takes between events; `total_s` counts both.
    """
    now = asyncio.get_running_loop().time
    started = now()
    end = started + timeouts.total_s
    first = True
    watch = _Watch()
    try:
        while True:
            limit = started + timeouts.first_token_s if first else now() + timeouts.between_tokens_s
            watch.begin(min(end, limit))
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError as error:
                if not watch.caused():
                    raise
                waited = "the whole answer" if now() >= end else "the first token" if first else "the next token"
                raise Transient(f"timed out waiting for {waited}", cause="timeout") from error
            watch.end()
            first = first and not is_content(event)
            yield event
    finally:
        watch.close()
        await events.aclose()
