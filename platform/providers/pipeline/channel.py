"""The bounded way from a pump to its one consumer."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

from kernel.errors import ParleyError
from providers.assemble import told
from providers.pipeline.answering import Take
from providers.types import ChatAnswer, Finished, StreamEvent


class Outlet(Protocol):
    """Where a pump puts the events of an answer."""

    @property
    def full(self) -> bool:
        """Whether the pump has to wait."""

    async def writable(self) -> None:
        """Until `put` may add an event."""

    def put(self, events: Sequence[StreamEvent]) -> None:
        """Add events that came together, also beyond the limit: it is the pump that waits."""

    def close(
        self, *, whole: ChatAnswer | None = None, last: Finished | None = None, error: ParleyError | None = None
    ) -> None:
        """No more events but the last, or the error that ends it. An answer that came whole was not put: it comes here, so
        that its events are only made for who reads them."""

    def abandon(self) -> None:
        """The consumer is gone."""


class Channel:
    """A queue of at most `limit` events, and what may `take` them past it. What it closes with needs no room in it."""

    def __init__(self, limit: int) -> None:
        self.take: Take | None = None
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._events: deque[StreamEvent] = deque()
        self._rest: Iterator[StreamEvent] = iter(())
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._closed = False
        self._abandoned = False
        self._error: ParleyError | None = None

    @property
    def full(self) -> bool:
        """Whether the producer has to wait."""
        return len(self._events) >= self._limit and not self._abandoned

    async def writable(self) -> None:
        """Until `put` may add an event."""
        while self.full:
            self._writer = self._loop.create_future()
            await self._writer

    def put(self, events: Sequence[StreamEvent]) -> None:
        """Add events, also beyond the limit: it is the producer who waits. Without a consumer they are
        dropped."""
        if self._abandoned or (self.take is not None and not self._events and self.take(events)):
            return
        self._events.extend(events)
        _wake(self._reader)

    def close(
        self, *, whole: ChatAnswer | None = None, last: Finished | None = None, error: ParleyError | None = None
    ) -> None:
        """No more events but these; then the consumer's iteration ends, by `error` if there is one."""
        if last is not None and not self._abandoned:
            self._rest = iter((last,)) if whole is None else chain(told(whole), (last,))
        self._error = error
        self._closed = True
        _wake(self._reader)

    def abandon(self) -> None:
        """The consumer is gone: drop what is queued, and never wait for it again."""
        self._abandoned = True
        self._events.clear()
        self._rest = iter(())
        _wake(self._writer)

    async def get(self) -> StreamEvent | None:
        """The next event, or None at the end. Raises the error it was closed with."""
        while not self._events:
            if self._closed:
                return self._get_rest()
            self._reader = self._loop.create_future()
            await self._reader
        event = self._events.popleft()
        _wake(self._writer)
        return event

    def ready(self) -> Sequence[StreamEvent]:
        """What is queued, which is taken out."""
        events = tuple(self._events)
        if events:
            self._events.clear()
            _wake(self._writer)
        return events

    def _get_rest(self) -> StreamEvent | None:
        event = next(self._rest, None)
        if event is None and self._error is not None:
            raise self._error
        return event

    async def closed(self) -> None:
        """Until it is closed, whatever was put into it. Raises the error it was closed with."""
        while not self._closed:
            self._events.clear()
            _wake(self._writer)
            self._reader = self._loop.create_future()
            await self._reader
        if self._error is not None:
            raise self._error


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
