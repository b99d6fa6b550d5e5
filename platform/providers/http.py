"""HTTP to upstreams: bounded pools, and an exchange whose every failure is a ProviderError.

One `Upstreams` per adapter, which is to say per provider, process and event loop. It knows no vendor's format:
`Vendor` says how a request is signed and what a refusal means."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Protocol, Self, TypeVar

from kernel import egress
from providers.base import Target, Timeouts
from providers.errors import HIDDEN, MIN_HIDDEN_CHARS, Misconfigured, ProviderError, Transient
from providers.http1.connection import Connection, Late, Reply
from providers.http1.dial import CertificateRefused, ConnectFailed, Dialler, Plain
from providers.http1.pool import Pool
from providers.http1.request import Place, head_of, place_of
from providers.ndjson import LineParser, LineTooLarge
from providers.sse import EventTooLarge, SSEEvent, SSEParser

Part = TypeVar("Part")

MAX_CONNECTIONS = 1_024
IDLE_S = 4.0
"""An unused connection is closed after this long: before servers do, most of which wait 5 s. A POST that goes
out on a connection just as its server closes it fails, and can't be told from one that was worked on."""
DNS_TTL_S = 30
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_STREAM_BYTES = 128 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
END_WAIT_S = 0.1
"""How long a stream whose answer is whole may take to end, for its connection to be used again."""

USAGE_WAIT_S = 5.0
"""How long a whole answer waits for the usage that should come with its end."""


class Vendor(Protocol):
    """What an exchange has to know of the vendor."""

    def headers(self, target: Target) -> Mapping[str, str]:
        """What signs a request to this target, and what else its API wants."""

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no 2xx means."""


class Upstreams:
    """One adapter's exchanges. Opens its pool with the first of them, on the loop that makes it.

    Addresses that tenants chose are judged by `kernel.egress`. Nothing is redirected, by answers, cookies or proxies of the
    environment."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._pool: Pool | None = None

    async def close(self) -> None:
        """Close every connection, also those in use. The next request opens a new pool."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    async def whole(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None = None
    ) -> bytes:
        """The body of a 2xx answer, at most `MAX_ANSWER_BYTES`, within `timeouts.total_s`."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + timeouts.total_s
        sent = await self._send(method, path, target, timeouts, body, collect=MAX_ANSWER_BYTES)
        reply = sent.reply
        timer = loop.call_at(ends_s, reply.expire)
        try:
            said = await reply.collected(error_limit=MAX_ERROR_BYTES)
        except OSError as error:
            raise _meaning(error) from error
        finally:
            timer.cancel()
            sent.over()
        if not reply.ok:
            raise self._refused(reply, said[:MAX_ERROR_BYTES], target)
        if len(said) > MAX_ANSWER_BYTES:
            raise Transient(f"an answer of more than {MAX_ANSWER_BYTES} bytes", cause="garbage")
        return _without(target.secret, said)

    @asynccontextmanager
    async def response(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None
    ) -> AsyncIterator[Reply]:
        """A 2xx answer, its body unread. `path` begins with a slash and may hold a query. Every way the connection
        can fail inside becomes a ProviderError."""
        sent = await self._send(method, path, target, timeouts, body)
        reply = sent.reply
        try:
            await reply.begun()
            if not reply.ok:
                raise self._refused(reply, await bounded(reply, MAX_ERROR_BYTES, cut=True), target)
            yield reply
        except ProviderError as error:
            error.hide(target.secret)
            raise
        except OSError as error:
            raise _meaning(error) from error
        finally:
            sent.over()

    async def _send(
        self,
        method: str,
        path: str,
        target: Target,
        timeouts: Timeouts,
        body: bytes | None,
        *,
        collect: int | None = None,
    ) -> "_Sent":
        """A request on its way, on a connection of its own for as long as that takes."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "parley", "Accept": "*/*", **target.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(self._vendor.headers(target))
        if self._pool is None:
            self._pool = Pool(limit=MAX_CONNECTIONS, idle_s=IDLE_S, dns_ttl_s=DNS_TTL_S)
        try:
            place, dialler = _route(target.base_url.rstrip("/") + path, guarded=target.guarded)
            head = head_of(method, place, headers, body)
            connection = self._pool.take_idle(place.origin)
            if connection is None:
                async with asyncio.timeout(timeouts.total_s):
                    connection = await self._pool.open(place.origin, dialler, timeout_s=timeouts.connect_s)
            return _Sent(self._pool, place, connection, connection.ask(head, body, collect=collect))
        except egress.URLRefused as error:
            raise Misconfigured("the address may not be called") from error
        except OSError as error:
            raise _meaning(error) from error
        except ValueError as error:
            raise Misconfigured("a header or the address can't be sent") from error

    def _refused(self, reply: Reply, body: bytes, target: Target) -> ProviderError:
        body = _without(target.secret, body)
        error = self._vendor.refusal(status=reply.status, headers=reply.headers, body=body)
        error.hide(target.secret)
        return error


class _Sent:
    """A request that was sent, and the reply to it. Say when it is `over`."""

    __slots__ = ("_connection", "_place", "_pool", "reply")

    def __init__(self, pool: Pool, place: Place, connection: Connection, reply: Reply) -> None:
        self._pool = pool
        self._place = place
        self._connection = connection
        self.reply = reply

    def over(self) -> None:
        """The reply was read, as far as anybody wants it."""
        self.reply.close()
        self._pool.give_back(self._connection, self._place.origin)


_PLAIN = Plain()


def _route(url: str, *, guarded: bool) -> tuple[Place, Dialler]:
    """Where a URL leads, and who may connect to it. Raises `URLRefused` where a guarded one may not be called."""
    if not guarded:
        return place_of(url, "plain"), _PLAIN
    client = egress.client()
    destination = client.check(url)
    kind = "inside" if destination.inside else "outside"
    return place_of(destination.url, kind), client.guard(inside=destination.inside)


def _without(secret: str | None, said: bytes) -> bytes:
    """An answer that doesn't hold the secret: some say back what they were sent, above all where they refuse it."""
    return said.replace(secret.encode(), HIDDEN.encode()) if secret and len(secret) >= MIN_HIDDEN_CHARS else said


def _meaning(error: OSError) -> ProviderError:
    """What a failed exchange means, in words without addresses, which may be private."""
    words = type(error).__name__
    match error:
        case Late() | TimeoutError():
            return Transient("timed out waiting for the whole answer", cause="timeout")
        case CertificateRefused():
            return Misconfigured(words)
        case ConnectFailed():
            return Transient(words, cause="connect")
    return Transient(words, cause="cut")


class _Answering(Protocol):
    """What reads a stream, as far as it has come."""

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""

    @property
    def has_usage(self) -> bool:
        """Whether it said what was used."""


Patience = Callable[[], float | None]
"""How long the next read may take, in seconds; None for as long as others allow. Once it is not None the answer is
whole, and what doesn't come in time, or not at all, isn't missed."""


def _no_end() -> float | None:
    return None


def until_told(reader: _Answering, timeouts: Timeouts) -> Patience:
    """The patience for what may follow a whole answer: its usage, if that is still missing, and the end of the stream. An
    answer never becomes late by it, however much comes that says nothing."""
    now = asyncio.get_running_loop().time
    late_s = now() + timeouts.total_s
    until_s: dict[bool, float] = {}

    def patience() -> float | None:
        if not reader.finished:
            return None
        has_usage = reader.has_usage
        if has_usage not in until_s:
            left_s = min(timeouts.between_tokens_s, late_s - now()) / 2
            until_s[has_usage] = now() + min(END_WAIT_S if has_usage else USAGE_WAIT_S, left_s)
        return max(0.0, until_s[has_usage] - now())

    return patience


class _Hiding:
    """Takes a secret out of bytes that come in pieces. A piece's end that may be its beginning is held back."""

    __slots__ = ("_held", "_secret")

    def __init__(self, secret: str | None) -> None:
        self._secret = secret.encode() if secret and len(secret) >= MIN_HIDDEN_CHARS else b""
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be said by now."""
        secret = self._secret
        if not secret:
            return piece
        if self._held:
            piece, self._held = self._held + piece, b""
        if secret in piece:
            piece = piece.replace(secret, HIDDEN.encode())
        if piece[-1:] in secret:
            for length in range(min(len(secret) - 1, len(piece)), 0, -1):
                if piece.endswith(secret[:length]):
                    self._held = secret[:length]
                    return piece[:-length]
        return piece

    def end(self) -> bytes:
        """What was held back."""
        return self._held


class Body:
    """A reply's body as it comes, at most `MAX_STREAM_BYTES`, without the secret `hide`.

    This and what reads it are no generators: one that is left before its end is a task more for the event loop."""

    __slots__ = ("_ended", "_hiding", "_patience", "_received", "_reply")

    def __init__(self, reply: Reply, patience: Patience = _no_end, *, hide: str | None) -> None:
        self._reply = reply
        self._patience = patience
        self._hiding = _Hiding(hide)
        self._received = 0
        self._ended = False

    async def read(self) -> bytes:
        """The next piece; none at the end, or once nobody waits for more."""
        while not self._ended:
            wait_s = self._patience()
            if wait_s is None:
                chunk = await self._reply.read()
            else:
                try:
                    async with asyncio.timeout(wait_s):
                        chunk = await self._reply.read()
                except OSError:
                    break
            if not chunk:
                self._ended = True
                return self._hiding.end()
            self._received += len(chunk)
            if self._received > MAX_STREAM_BYTES:
                raise Transient(f"a stream of more than {MAX_STREAM_BYTES} bytes", cause="garbage")
            if said := self._hiding.feed(chunk):
                return said
        self._ended = True
        return b""


class _Parts(Generic[Part]):
    """What a body's pieces are made of, one by one."""

    __slots__ = ("_body", "_feed", "_over", "_parts", "_rest")

    def __init__(self, body: Body, feed: Callable[[bytes], list[Part]], rest: Callable[[], list[Part]]) -> None:
        self._body = body
        self._feed = feed
        self._rest = rest
        self._parts: deque[Part] = deque()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Part:
        while not self._parts:
            if self._over:
                raise StopAsyncIteration
            if piece := await self._body.read():
                try:
                    self._parts.extend(self._feed(piece))
                except (EventTooLarge, LineTooLarge) as error:
                    raise Transient(str(error), cause="garbage") from error
            else:
                self._over = True
                self._parts.extend(self._rest())
        return self._parts.popleft()


def sse_events(reply: Reply, patience: Patience = _no_end, *, hide: str | None) -> AsyncIterator[SSEEvent]:
    """The server-sent events of a stream, until it ends, without the secret `hide`."""
    return _Parts(Body(reply, patience, hide=hide), SSEParser().feed, list)


def json_lines(reply: Reply, patience: Patience = _no_end, *, hide: str | None) -> AsyncIterator[bytes]:
    """The lines of a stream of JSON, until it ends, without the secret `hide`."""
    parser = LineParser()

    def rest() -> list[bytes]:
        line = parser.rest()
        return [line] if line else []

    return _Parts(Body(reply, patience, hide=hide), parser.feed, rest)


async def read_to_end(reply: Reply) -> None:
    """Read off what follows a whole answer, so that its connection can be used again; give up after `END_WAIT_S`."""
    try:
        async with asyncio.timeout(END_WAIT_S):
            while await reply.read():
                continue
    except OSError:
        reply.close()


async def bounded(reply: Reply, limit: int, *, cut: bool = False) -> bytes:
    """The body, up to `limit` bytes; what is beyond them is cut off, or else makes it garbage."""
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await reply.read():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                reply.close()
                break
    except OSError:
        if not cut:
            raise
    if size > limit and not cut:
        raise Transient(f"an answer of more than {limit} bytes", cause="garbage")
    return b"".join(pieces)[:limit]
