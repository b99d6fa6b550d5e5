"""One connection to Redis for all requests of an event loop.

Commands of the same turn of the loop go out in one write, and replies come back in their order; nobody waits for another's.
A command costs about 6 µs of this process against some 60 µs by a pooled client (`bench/limits.py` measures both).

It never keeps a request: a server that answers nothing for `REDIS_PATIENCE_S` counts as gone. After a failure everybody is
told at once that Redis is away (`Away`); once each `RETRY_AFTER_S` one connection is tried in the background, and no one
waits for it.
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import hiredis
import structlog
from django.conf import settings
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from kernel.ending import end

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 1.0
MAX_WAITING = 20_000
"""Commands under way at once."""

Command = tuple[str | bytes | int | float, ...]


class Away(RedisConnectionError):
    """Redis can't be asked at the moment."""


class Refused(ResponseError):
    """Redis answered with an error."""


class _Wire(asyncio.Protocol):
    """One open connection. Ends itself when the server is silent for two halves of `patience_s`."""

    def __init__(self, line: "Line", patience_s: float) -> None:
        self._line = line
        self._check_s = patience_s / 2
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any] | None] = deque()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered = 0
        self._silent_since = 0
        self._silences = 0

    def send(self, command: Command, future: "asyncio.Future[Any] | None") -> None:
        """Send a command with this turn's others. Its reply goes to `future`; nobody asks for it when that is None."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]
        self._waiting.append(future)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    def _flush(self) -> None:
        if self._transport is None:
            return
        self._transport.write(b"".join(self._out))
        self._out.clear()
        if self._timer is None:
            self._silent_since, self._silences = self._answered, 0
            self._timer = asyncio.get_running_loop().call_later(self._check_s, self._check)

    def _check(self) -> None:
        """Twice in a row nothing came: between the two, the loop has read what there was, however late it is itself."""
        self._timer = None
        if not self._waiting or self._transport is None:
            return
        self._silences = self._silences + 1 if self._answered == self._silent_since else 0
        self._silent_since = self._answered
        if self._silences >= 2:
            self.end(Away("Redis doesn't answer."))
        else:
            self._timer = asyncio.get_running_loop().call_later(self._check_s, self._check)

    def end(self, error: Exception) -> None:
        """Let go of the connection; whoever waits gets `error`."""
        transport, self._transport = self._transport, None
        waiting, self._waiting = self._waiting, deque()
        if self._timer is not None:
            self._timer.cancel()
        for future in waiting:
            if future is not None and not future.done():
                future.set_exception(error)
        if transport is not None:
            self._line.lost(self, while_waiting=bool(waiting))
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(Away("The connection to Redis was lost."))

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        while (reply := reader.gets()) is not False:
            self._answered += 1
            future = self._waiting.popleft()
            if future is not None and not future.done():
                future.set_result(reply)


class Line:
    """An event loop's connection, opened at first use and again when it was lost."""

    def __init__(self) -> None:
        self._wire: _Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._failed = False
        self._retry_at = 0.0

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._wire is not None

    async def call(self, *command: str | bytes | int | float) -> Any:
        """Redis' reply. Raises `Away` or `Refused`, both `RedisError`."""
        wire = self._wire or await self._opened()
        if wire.is_full:
            raise Away("Too many commands wait for Redis.")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        wire.send(command, future)
        reply = await future
        if isinstance(reply, hiredis.ReplyError):
            raise Refused(str(reply))
        return reply

    def tell(self, *command: str | bytes | int | float) -> None:
        """Send a command whose reply nobody asks for. Without a connection it is lost."""
        if self._wire is not None and not self._wire.is_full:
            self._wire.send(command, None)

    async def calls(self, *commands: Command) -> list[Any]:
        """The replies to several commands that go out together."""
        wire = self._wire or await self._opened()
        if wire.is_full:
            raise Away("Too many commands wait for Redis.")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        for command, future in zip(commands, futures, strict=True):
            wire.send(command, future)
        try:
            # Replies come in their order: with the last one all are there.
            await futures[-1]
        except Away:
            for future in futures:
                future.exception()
            raise
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        replies = [future.result() for future in futures]
        if refused := next((reply for reply in replies if isinstance(reply, hiredis.ReplyError)), None):
            raise Refused(str(refused))
        return replies

    async def script(self, script: "Script", *keys_and_arguments: str | bytes | int | float, keys: int) -> Any:
        """Run a script by its digest; a server that has forgotten it is told it again."""
        try:
            return await self.call("EVALSHA", script.digest, keys, *keys_and_arguments)
        except Refused as refused:
            if not str(refused).startswith("NOSCRIPT"):
                raise
        for known in Script.known:
            self.tell("SCRIPT", "LOAD", known.text)
        return await self.call("EVALSHA", script.digest, keys, *keys_and_arguments)

    async def close(self) -> None:
        """Let go of the connection, and of one that is being opened; the next call opens another."""
        if self._opening is not None:
            await end([self._opening])
        if self._wire is not None:
            self._wire.end(Away("The connection was closed."))
        self._failed = False
        # The transport says good-bye in the loop's next turn.
        await asyncio.sleep(0)

    def lost(self, wire: _Wire, *, while_waiting: bool) -> None:
        """The wire says that it has ended. Only one that kept somebody waiting is a failure of the server."""
        if wire is self._wire:
            self._wire = None
            if while_waiting:
                self._fail("lost")

    def _fail(self, why: str) -> None:
        if not self._failed:
            log.warning("redis_away", why=why)
        self._failed = True
        self._retry_at = asyncio.get_running_loop().time() + RETRY_AFTER_S

    async def _opened(self) -> _Wire:
        loop = asyncio.get_running_loop()
        if self._opening is None and (not self._failed or loop.time() >= self._retry_at):
            self._opening = loop.create_task(self._open())
        if self._opening is not None and not self._failed:
            await asyncio.wait({self._opening}, timeout=settings.REDIS_PATIENCE_S)
            if self._wire is None and not self._failed:
                self._fail("no connection in time")
        if self._wire is None:
            raise Away("Redis can't be reached.")
        return self._wire

    async def _open(self) -> None:
        wire = _Wire(self, settings.REDIS_PATIENCE_S)
        try:
            async with asyncio.timeout(settings.REDIS_TIMEOUT_S):
                await _connect(wire)
        except (OSError, TimeoutError, RedisConnectionError, ResponseError) as error:
            wire.end(Away("No connection."))
            self._fail(type(error).__name__)
        except BaseException:
            wire.end(Away("The connection was closed."))
            raise
        else:
            if self._failed:
                log.warning("redis_back")
            self._failed = False
            self._wire = wire
        finally:
            self._opening = None


class Script:
    """A script, and the digest by which the server knows it. Every connection begins by telling the server all of them."""

    known: ClassVar[list["Script"]] = []

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.known.append(self)


async def _connect(wire: _Wire) -> None:
    """Connect, sign in and choose the database that `REDIS_URL` names."""
    loop = asyncio.get_running_loop()
    target = parse_url(settings.REDIS_URL)
    if path := target.get("path"):
        await loop.create_unix_connection(lambda: wire, path)
    else:
        await loop.create_connection(
            lambda: wire, target.get("host", "localhost"), target.get("port", 6379), ssl=_tls(target)
        )
    greeting: list[Command] = []
    if password := target.get("password"):
        greeting.append(("AUTH", *([target["username"]] if target.get("username") else []), password))
    greeting.append(("SELECT", target.get("db", 0)))
    greeting += (("SCRIPT", "LOAD", script.text) for script in Script.known)
    for command in greeting:
        said: asyncio.Future[Any] = loop.create_future()
        wire.send(command, said)
        reply = await said
        if isinstance(reply, hiredis.ReplyError):
            raise Refused(str(reply))


def _tls(target: Mapping[str, Any]) -> ssl.SSLContext | None:
    """How the server proves itself, and we to it: as the address says (`ssl_ca_certs`, `ssl_cert_reqs`, …), read by redis-py
    as it is for all other clients."""
    if target.get("connection_class") is not SSLConnection:
        return None
    options = {name: value for name, value in target.items() if name != "connection_class"}
    return SSLConnection(**options).ssl_context.get()
