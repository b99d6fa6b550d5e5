"""The bounded way from a pump to its one consumer."""

import asyncio
from collections import deque

from kernel.errors import ParleyError
from providers.types import StreamEvent


class Channel:
    """A queue of at most `limit` events. It closes with a last event or an error, which need no room in
    it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[StreamEvent] = deque()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
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
            self._writable.clear()
            await self._writable.wait()

    def put(self, event: StreamEvent) -> None:
        """Add an event, also beyond the limit: it is the producer who waits. Without a consumer it is
        dropped."""
        if not self._abandoned:
            self._events.append(event)
            self._readable.set()

    def close(self, *, last: StreamEvent | None = None, error: ParleyError | None = None) -> None:
        """No more events but `last`; then the consumer's iteration ends, by `error` if there is one."""
        if last is not None and not self._abandoned:
            self._events.append(last)
        self._error = error
        self._closed = True
        self._readable.set()

    def abandon(self) -> None:
        """The consumer is gone: drop what is queued, and never wait for it again."""
        self._abandoned = True
        self._events.clear()
        self._writable.set()

    async def get(self) -> StreamEvent | None:
        """The next event, or None at the end. Raises the error it was closed with."""
        while not self._events:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._readable.clear()
            await self._readable.wait()
        event = self._events.popleft()
        self._writable.set()
        return event
