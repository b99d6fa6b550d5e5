"""As much HTTP as the gateway needs, straight on ASGI."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from django.conf import settings

from kernel.ending import end
from kernel.errors import InvalidRequest, PayloadTooLarge
from kernel.ids import uuid7
from kernel.net import client_address
from providers.gateway.stalls import Send, Stalled, sends

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


BODY_MAX_S = 120.0
"""How long the body of a request may be on its way. Files have more time (`multipart`)."""
MAX_DIGITS = 18
"""Of a number that a caller says: Python converts no text of thousands of them."""


def whole_number(said: str, *, least: int, most: int) -> int | None:
    """The number in a header or query, if it is one within bounds."""
    if not (said.isascii() and said.isdigit() and len(said) <= MAX_DIGITS):
        return None
    number = int(said)
    return number if least <= number <= most else None


class ClientGone(Exception):
    """The client closed the connection, or reads nothing; there is nobody to answer."""


class Request(msgspec.Struct):
    """One request. `id` is minted here; `dropped` and the like are added to the answer's headers."""

    method: str
    path: str
    headers: Mapping[str, str]
    address: str
    receive: Receive
    query: str = ""
    id: uuid.UUID = msgspec.field(default_factory=uuid7)

    @classmethod
    def from_scope(cls, scope: Scope, receive: Receive) -> "Request":
        """Header names are lower-case; of a repeated header the last one counts."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        peer = scope.get("client")
        return cls(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            address=client_address(
                peer[0] if peer else None, headers.get("x-forwarded-for", ""), settings.TRUSTED_PROXIES
            ),
            receive=receive,
            query=scope.get("query_string", b"").decode("latin-1"),
        )

    async def body(self) -> bytes:
        """The whole body. Raises `PayloadTooLarge` beyond `V1_BODY_MAX_BYTES`, InvalidRequest for one that takes longer
        than `BODY_MAX_S`, and `ClientGone`."""
        announced = self.headers.get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()):
            raise InvalidRequest("The Content-Length header is not a number.")
        if len(announced) > MAX_DIGITS or int(announced) > settings.V1_BODY_MAX_BYTES:
            raise _too_large()
        try:
            async with asyncio.timeout(BODY_MAX_S):
                return await self._received()
        except TimeoutError as error:
            raise InvalidRequest(f"The body took longer than {BODY_MAX_S:.0f} s.") from error

    async def _received(self) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > settings.V1_BODY_MAX_BYTES:
                raise _too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def wait_for_disconnect(self) -> None:
        """Return when the client closes the connection. Only after the body was read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


MAX_DROPPED_NAMES = 100
MAX_DROPPED_CHARS = 2_000
Fields = Sequence[tuple[bytes, bytes]]
_STREAM: Fields = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_CORS = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*"))


class Responder:
    """Sends one response. Every response carries the request's id, under OpenAI's name for it and Anthropic's, and `headers`.
    `before_sending` is awaited before each piece of it: what must be durable by then. Raises `ClientGone` for a client that
    doesn't read (`stalls`).

    Pages of any origin may read it: what they may do depends on the key they send, never on a cookie."""

    def __init__(self, send: Send, *, request_id: uuid.UUID) -> None:
        self._send_raw = send
        self._sends = sends()
        self.request_id = request_id
        said = str(request_id).encode()
        self._base = [(b"x-request-id", said), (b"request-id", said), *_CORS]
        self.headers: Mapping[str, str] = {}
        self.started = False
        self.finished = False
        self.status = 499
        """Until it answers; what is logged for clients that left before."""
        self.cache_status = ""
        self.last_sent_at = 0.0
        self.before_sending: Callable[[], Awaitable[None]] | None = None
        self.rest: asyncio.Future[None] | None = None
        """What `chunk_now` couldn't send at once, until it is sent; what failed of it stays."""
        self._under_way = 0

    async def whole(self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """A JSON body with its length."""
        if self.before_sending is not None:
            await self.before_sending()
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [(b"content-type", b"application/json"), length], headers)
        self.finished = True
        await self._send({"type": "http.response.body", "body": body})

    async def preflight(self, methods: Iterable[str]) -> None:
        """The answer to a browser that asks what a page of another origin may do."""
        self.finished = True
        allowed = [
            (b"access-control-allow-methods", ", ".join(methods).encode()),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-max-age", b"86400"),
        ]
        await self._start(204, allowed, None)
        await self._send({"type": "http.response.body", "body": b""})

    async def begin_stream(self, *, headers: Mapping[str, str]) -> None:
        """The head of a stream of server-sent events. Proxies are told not to buffer or compress it."""
        await self._start(200, _STREAM, headers)

    async def begin_file(self, *, size: int, name: str) -> None:
        """The head of a file of so many bytes, to be saved under a name. `chunk` and `end_stream` follow."""
        fixed = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(size).encode()),
            (b"content-disposition", f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()),
        ]
        await self._start(200, fixed, None)

    async def chunk(self, data: bytes, *, last: bool = False) -> None:
        """A piece of the stream, sent at once; with the `last` goes the end of the stream."""
        if self.before_sending is not None:
            await self.before_sending()
        self.finished = last
        self.last_sent_at = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    @property
    def is_free(self) -> bool:
        """Whether `chunk_now` may be called: nothing is being sent, and nothing has to be waited for before."""
        return self.rest is None and not self._under_way and self.before_sending is None and not self.finished

    def chunk_now(self, data: bytes, *, headers: Mapping[str, str] | None) -> None:
        """A piece of the stream, sent in this very turn; with `headers`, its first, before which goes the head. Nothing is
        raised: whoever sends next is told what went wrong."""
        try:
            messages: list[dict[str, Any]] = [self._head(200, _STREAM, headers)] if headers is not None else []
            messages.append({"type": "http.response.body", "body": data, "more_body": True})
            self.last_sent_at = time.monotonic()
            self.rest = self._sends.send_now(self._send_raw, messages)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is raised where it can be answered
            self.rest = asyncio.get_running_loop().create_future()
            self.rest.set_exception(ClientGone() if isinstance(error, asyncio.CancelledError) else error)
        if self.rest is not None:
            self.rest.add_done_callback(self._rest_ended)

    def _rest_ended(self, rest: "asyncio.Future[None]") -> None:
        if not rest.cancelled() and rest.exception() is None:
            self.rest = None

    async def let_go(self) -> None:
        """Send no more of what couldn't be sent at once."""
        if isinstance(self.rest, asyncio.Task):
            await end([self.rest])

    async def comment(self, data: bytes) -> None:
        """A piece that says nothing, so that the connection is kept open: there is nothing to be durable for it. After the end,
        which a slow client may be taking still, nothing is said."""
        if self.finished:
            return
        self.last_sent_at = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self) -> None:
        """The end of the stream, unless its last piece said so."""
        if self.finished:
            return
        self.finished = True
        await self._send({"type": "http.response.body", "body": b""})

    async def _send(self, message: dict[str, Any]) -> None:
        self._under_way += 1
        try:
            while self.rest is not None:
                await asyncio.wait((self.rest,))
                if self.rest is not None:
                    if self.rest.cancelled():
                        raise ClientGone
                    self.rest.result()
            await self._sends.send(self._send_raw, message)
        except Stalled as error:
            raise ClientGone from error
        finally:
            self._under_way -= 1

    async def _start(self, status: int, fixed: Fields, headers: Mapping[str, str] | None) -> None:
        await self._send(self._head(status, fixed, headers))

    def _head(self, status: int, fixed: Fields, headers: Mapping[str, str] | None) -> dict[str, Any]:
        said = {**self.headers, **(headers or {})}
        named = [(name.lower().encode(), _field_value(value)) for name, value in said.items()]
        self.started = True
        self.status = status
        self.cache_status = headers.get("x-parley-cache", "") if headers else ""
        self.last_sent_at = time.monotonic()
        return {"type": "http.response.start", "status": status, "headers": [*fixed, *self._base, *named]}


def _field_value(value: str) -> bytes:
    """A header's value as bytes. Servers send them as they are: a line break would end the header, so it can't stay."""
    if not value.isprintable():
        value = "".join(char if char.isprintable() else "?" for char in value)
    return value.encode("latin-1", "replace")


def dropped_header(names: Sequence[str]) -> str:
    """What was left out of a request, as far as a header holds it. The names are the caller's own."""
    said = ", ".join(name[:MAX_DROPPED_CHARS] for name in names[:MAX_DROPPED_NAMES])
    return said if len(said) <= MAX_DROPPED_CHARS else f"{said[:MAX_DROPPED_CHARS]}…"


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {settings.V1_BODY_MAX_BYTES} bytes.")
