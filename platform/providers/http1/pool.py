"""Connections kept open between requests, by origin."""

import asyncio
from collections import deque
from collections.abc import Sequence

from providers.http1.connection import Connection
from providers.http1.dial import AddrInfo, ConnectFailed, Dialler, connect
from providers.http1.request import Origin

_MAX_KNOWN = 4_096


class Pool:
    """One event loop's connections: at most `limit` at a time, of which those unused are closed after `idle_s`."""

    def __init__(self, *, limit: int, idle_s: float, dns_ttl_s: float) -> None:
        self._limit = limit
        self._idle_s = idle_s
        self._dns_ttl_s = dns_ttl_s
        self._idle: dict[Origin, deque[Connection]] = {}
        self._used: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._known: dict[Origin, tuple[float, Sequence[AddrInfo]]] = {}
        self._asking: dict[Origin, asyncio.Lock] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._now = asyncio.get_running_loop().time

    def take_idle(self, origin: Origin) -> Connection | None:
        """A connection that is open already. Give it back."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and self._now() - connection.idle_since < self._idle_s:
                self._used.add(connection)
                return connection
            connection.abort()
        return None

    async def open(self, origin: Origin, dialler: Dialler, *, timeout_s: float) -> Connection:
        """A new connection, once there may be one more. Give it back. Raises ConnectFailed and CertificateRefused."""
        while len(self._used) + self._opening >= self._limit:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            except BaseException:
                if waiting.done() and not waiting.cancelled():
                    self._let_one_in()
                raise
        self._opening += 1
        try:
            infos = await self._addresses(origin, dialler, timeout_s)
            connection = await connect(dialler, infos, host=origin.host, tls=origin.tls, timeout_s=timeout_s)
        except BaseException:
            self._let_one_in()
            raise
        finally:
            self._opening -= 1
        self._used.add(connection)
        return connection

    def give_back(self, connection: Connection, origin: Origin) -> None:
        """Its reply was read, or nobody wants the rest."""
        if connection not in self._used:
            connection.abort()
            return
        self._used.discard(connection)
        if connection.usable:
            connection.idle_since = self._now()
            self._idle.setdefault(origin, deque()).append(connection)
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(self._idle_s, self._sweep)
        else:
            connection.abort()
        if self._waiting:
            self._let_one_in()

    def close(self) -> None:
        """Close every connection, also those in use."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._used, *(one for idle in self._idle.values() for one in idle)]:
            connection.abort()
        self._used.clear()
        self._idle.clear()

    def _let_one_in(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _sweep(self) -> None:
        """Close what was unused for too long: before servers do, most of which wait a little longer."""
        self._sweeper = None
        late = self._now() - self._idle_s
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since <= late or not idle[0].usable):
                idle.popleft().abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            soonest = min(idle[0].idle_since for idle in self._idle.values())
            wait_s = max(0.05, soonest + self._idle_s - self._now())
            self._sweeper = asyncio.get_running_loop().call_later(wait_s, self._sweep)

    async def _addresses(self, origin: Origin, dialler: Dialler, timeout_s: float) -> Sequence[AddrInfo]:
        if (infos := self._known_of(origin)) is not None:
            return infos
        try:
            # One question for all who wait for the answer.
            async with asyncio.timeout(timeout_s), self._asking.setdefault(origin, asyncio.Lock()):
                if (infos := self._known_of(origin)) is not None:
                    return infos
                infos = await dialler.addresses(origin.host, origin.port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise ConnectFailed from error
        finally:
            self._asking.pop(origin, None)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[origin] = (self._now() + self._dns_ttl_s, infos)
        return infos

    def _known_of(self, origin: Origin) -> Sequence[AddrInfo] | None:
        known = self._known.get(origin)
        return known[1] if known is not None and self._now() < known[0] else None
