"""A client that costs little: requests on a fixed number of connections, at a given rate or as fast as they are answered.

Open loop: a request is due at its time, whatever became of those before; one that finds no connection free waits, and its
time counts from when it was due (Gil Tene's "coordinated omission"). HTTP/1.1 with keep-alive on `asyncio.Protocol`, so that
the client isn't what is measured."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

TICK_S = 0.001
DRAIN_S = 20.0


@dataclass
class Outcome:
    """What came of a run: seconds from due to the first byte of content and to the end, and the statuses."""

    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.whole_s) / self.seconds if self.seconds else 0.0


class _Connection(asyncio.Protocol):
    """One connection, one request at a time. Reads answers with a length, and chunked ones to their last chunk."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._due_s = 0.0
        self._first_s = 0.0
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, due_s: float) -> None:
        assert self.transport is not None
        self._due_s, self._first_s, self._buffer = due_s, 0.0, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        if not self._first_s and self._has_content(head):
            self._first_s = self._run.now()
        at = self._buffer.find(b"content-length: ", 0, head)
        if at >= 0:
            length = int(self._buffer[at + 16 : self._buffer.find(b"\r\n", at)])
            whole = len(self._buffer) >= head + 4 + length
        else:
            whole = self._buffer.endswith(b"0\r\n\r\n")
        if whole:
            self._run.answered(self, int(self._buffer[9:12]), self._due_s, self._first_s)

    def _has_content(self, head: int) -> bool:
        """Whether a word of the answer is there, not only its frame."""
        return (self._buffer.find(b'"content":"', head) >= 0 and self._buffer.find(b'"content":"1', head) >= 0) or (
            self._buffer.find(b"content-length: ", 0, head) >= 0
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._run.lost(self)


class Run:
    """One run against one server."""

    def __init__(self, host: str, port: int, *, connections: int, make: Callable[[], bytes]) -> None:
        self._host, self._port, self._make = host, port, make
        self._wanted = connections
        self._idle: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        self._waiting: deque[float] = deque()
        self._closing = False
        self._outcome = Outcome()
        self._open = 0
        self.now = time.perf_counter

    def answered(self, connection: _Connection, status: int, due_s: float, first_s: float) -> None:
        """An answer is whole."""
        at_s = self.now()
        self._open -= 1
        self._outcome.statuses[status] += 1
        self._outcome.whole_s.append(at_s - due_s)
        self._outcome.first_s.append((first_s or at_s) - due_s)
        if self._waiting:
            self._open += 1
            connection.send(self._make(), self._waiting.popleft())
        else:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._all.discard(connection)
        if not self._closing:
            self._outcome.statuses[0] += 1

    async def at_rate(self, *, per_s: float, seconds: float) -> Outcome:
        """Ask `per_s` times a second, evenly, for so long."""
        await self._connect()
        began = self.now()
        asked = 0
        while (elapsed := self.now() - began) < seconds:
            while asked < elapsed * per_s:
                self._due(began + asked / per_s)
                asked += 1
            await asyncio.sleep(TICK_S)
        self._outcome.seconds = seconds
        return await self._drained()

    async def flat_out(self, *, seconds: float) -> Outcome:
        """Ask on every connection as soon as it is free, for so long. A closed loop, to find how much there is."""
        await self._connect()
        began = self.now()
        while self._idle:
            self._due(self.now())
        while (elapsed := self.now() - began) < seconds:
            while self._idle:
                self._due(self.now())
            await asyncio.sleep(0)
        self._outcome.seconds = elapsed
        done = len(self._outcome.whole_s)
        outcome = await self._drained()
        outcome.seconds = elapsed * len(outcome.whole_s) / max(done, 1)
        return outcome

    def _due(self, due_s: float) -> None:
        if self._idle:
            self._open += 1
            self._idle.popleft().send(self._make(), due_s)
        else:
            self._waiting.append(due_s)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._all) < self._wanted:
            _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self._all.add(connection)
            self._idle.append(connection)

    async def _drained(self) -> Outcome:
        deadline = self.now() + DRAIN_S
        while (self._open or self._waiting) and self._all and self.now() < deadline:  # noqa: ASYNC110 - polled for speed
            await asyncio.sleep(0.01)
        self._closing = True
        self._outcome.unanswered = self._open + len(self._waiting)
        for connection in tuple(self._all):
            if connection.transport is not None:
                connection.transport.close()
        return self._outcome
