"""One connection, and the reply that is coming on it.

What a server may make us hold is bounded: heads and trailers by `MAX_HEAD_BYTES`, bodies by who reads them (beyond
`HIGH_BYTES` unread the connection is read no further). A server that says something unasked is not asked again."""

import asyncio
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from multidict import CIMultiDict

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 200
HIGH_BYTES: Final = 512 * 1024
_BODILESS = (204, 304)


class Cut(ConnectionError):
    """The connection ended before the reply did."""


class Garbled(Cut):
    """What came is not HTTP."""


class Late(Cut):
    """The time for the reply is over."""


class Reply:
    """The reply to one request, while it comes. `status` is 0 until its head is there.

    `collect` says how much of a body is waited for at once; nothing of it is handed over before its end, then."""

    __slots__ = (
        "_closed_by_end",
        "_connection",
        "_error",
        "_limit",
        "_pieces",
        "_size",
        "_waiter",
        "complete",
        "raw",
        "status",
    )

    def __init__(self, connection: "Connection", *, collect: int | None) -> None:
        self._connection = connection
        self._limit = collect
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._closed_by_end = False
        self.complete = False
        self.raw: list[tuple[bytes, bytes]] = []
        self.status = 0

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return 200 <= self.status < 300

    @property
    def headers(self) -> CIMultiDict[str]:
        """The head's fields, by names in any case."""
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw)

    async def begun(self) -> None:
        """Until the head is there. Raises `Cut`."""
        while not self.status:
            await self._wait()

    async def read(self) -> bytes:
        """What came of the body since, b"" at its end. Raises `Cut`."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._wait()
        pieces, self._pieces = self._pieces, []
        self._size = 0
        self._connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def collected(self, *, error_limit: int) -> bytes:
        """The body, once it is whole, of which nothing was read before. Of one longer than `collect`, one byte more. Of a
        refusal, what comes of it, up to `error_limit`. Raises `Cut`."""
        try:
            while not (self.complete or self._over(error_limit)):
                await self._wait()
        except Cut:
            if not self.status or self.ok or isinstance(self._error, Late):
                raise
        return b"".join(self._pieces)

    def close(self) -> None:
        """Nobody reads on: what still comes of it must not be taken for the next one."""
        if not self.complete:
            self._connection.abort()

    def expire(self) -> None:
        """Time is up."""
        self.fail(Late())
        self._connection.abort()

    def _over(self, error_limit: int) -> bool:
        return bool(self.status) and self._size > ((self._limit or 0) if self.ok else error_limit)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    # --- what the connection says

    def begin(self, status: int, *, closed_by_end: bool) -> None:
        self.status = status
        self._closed_by_end = closed_by_end
        if self._limit is None:
            self._wake()

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._limit is None:
            if self._size > HIGH_BYTES:
                self._connection.pause()
            self._wake()
        elif self._size > self._limit or not self.ok:
            self._wake()

    def end(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def lost(self, error: Exception | None) -> None:
        """The connection is closed: the end of a body that says no length, and an early one for any other."""
        if self._closed_by_end and error is None and self._error is None:
            self.end()
        else:
            self.fail(Cut())

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. `ask` it, read the reply, and ask again once that is `complete` and it is still `usable`."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        # Servers that end lines, or pad the sizes of chunks, in ways of their own are read all the same.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._head: list[tuple[bytes, bytes]] = []
        self._since_body_bytes = 0
        self._interim = False
        self._paused = False
        self._usable = True
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether it may be asked: nothing is under way, and the server would hear it, as far as is known."""
        transport = self._transport
        return (
            self._usable
            and (self._reply is None or self._reply.complete)
            and transport is not None
            and not transport.is_closing()
            # Of a request that was answered before it was sent, the rest would be taken for the next.
            and transport.get_write_buffer_size() == 0
        )

    def ask(self, request: bytes, body: bytes | None, *, collect: int | None = None) -> Reply:
        """Send a request, whose reply is then to be read."""
        if self._transport is None:
            raise Cut
        reply = self._reply = Reply(self, collect=collect)
        self._since_body_bytes = 0
        if body is None:
            self._transport.write(request)
        elif len(body) < HIGH_BYTES:
            self._transport.write(request + body)
        else:
            self._transport.write(request)
            self._transport.write(body)
        return reply

    def abort(self) -> None:
        """Close it at once."""
        self._usable = False
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no further for now."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # --- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or reply.complete:
            self.abort()
            return
        self._since_body_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            garbled = True
        else:
            garbled = self._since_body_bytes > MAX_HEAD_BYTES
        if garbled:
            reply.fail(Garbled())
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._usable = False
        if self._reply is not None and not self._reply.complete:
            self._reply.lost(exc)

    # --- what the parser says

    def on_message_begin(self) -> None:
        if self._reply is None or self._reply.complete:
            # A second reply to one request.
            self._usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head.append((name, value))
        if len(self._head) > MAX_HEADERS or len(name) + len(value) > MAX_HEAD_BYTES:
            raise Garbled

    def on_headers_complete(self) -> None:
        head, self._head = self._head, []
        reply = self._reply
        if reply is None or reply.complete:
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            return
        framed = status in _BODILESS
        for name, value in head:
            match name.lower():
                case b"content-length" | b"transfer-encoding":
                    framed = True
                case b"content-encoding" if value.strip().lower() not in (b"identity", b""):
                    raise Garbled
        reply.raw = head
        if not framed:
            self._usable = False
        reply.begin(status, closed_by_end=not framed)

    def on_body(self, body: bytes) -> None:
        self._since_body_bytes = 0
        if self._reply is not None and not self._reply.complete:
            self._reply.feed(body)

    def on_message_complete(self) -> None:
        if self._interim:
            return
        self._head = []  # trailers mean nothing here
        if not self._parser.should_keep_alive():
            self._usable = False
        if self._reply is not None and not self._reply.complete:
            self._reply.end()
