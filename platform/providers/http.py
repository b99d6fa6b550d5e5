"""HTTP to upstreams: bounded pools, and an exchange whose every failure is a ProviderError.

One `Upstreams` per adapter, which is to say per provider, process and event loop. It knows no vendor's format:
`Vendor` says how a request is signed and what a refusal means."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    ServerTimeoutError,
    TCPConnector,
)
from yarl import URL

from kernel import egress
from providers.base import Target, Timeouts
from providers.errors import HIDDEN, MIN_HIDDEN_CHARS, Misconfigured, ProviderError, Transient
from providers.ndjson import LineParser, LineTooLarge
from providers.sse import EventTooLarge, SSEEvent, SSEParser

MAX_CONNECTIONS = 1_024
IDLE_S = 4.0
"""An unused connection is closed after this long: before servers do, most of which wait 5 s. A POST that goes
out on a connection just as its server closes it fails, and can't be told from one that was worked on."""
DNS_TTL_S = 30
MAX_HEADER_BYTES = 16 * 1024
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


class HTTPPool:
    """Opens its sessions with the first request of their kind, on the loop that makes it.

    Addresses that tenants chose are called through sessions of `kernel.egress`, the operator's through one of its own."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None
        self._guarded: dict[bool, ClientSession] = {}

    def route(self, url: str, *, guarded: bool) -> tuple[ClientSession, str | URL]:
        """The session to ask for a URL, and how to name it there. Sessions are never redirected by cookies, proxies of
        the environment, or (see the caller) redirects. Raises `URLRefused` where a guarded one may not be called."""
        if not guarded:
            return self._own(), url
        client = egress.client()
        destination = client.check(url)
        session = self._guarded.get(destination.inside)
        if session is None:
            session = self._guarded[destination.inside] = client.session(inside=destination.inside)
        return session, destination.url

    def _own(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_S, ttl_dns_cache=DNS_TTL_S),
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection, also those in use. The next request opens a new session."""
        sessions = [*self._guarded.values(), *([self._session] if self._session else [])]
        self._session = None
        self._guarded.clear()
        for session in sessions:
            await session.close()


class Upstreams:
    """One adapter's exchanges."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._pool = HTTPPool()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def whole(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None = None
    ) -> bytes:
        """The body of a 2xx answer, at most `MAX_ANSWER_BYTES`, within `timeouts.total_s`."""
        try:
            async with (
                asyncio.timeout(timeouts.total_s),
                self.response(method, path, target, timeouts, body) as response,
            ):
                return _without(target.secret, await bounded(response, MAX_ANSWER_BYTES))
        except TimeoutError as error:
            raise Transient("timed out waiting for the whole answer", cause="timeout") from error

    @asynccontextmanager
    async def response(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None
    ) -> AsyncIterator[ClientResponse]:
        """A 2xx answer, its body unread. `path` begins with a slash and may hold a query. Every way the connection
        can fail inside becomes a ProviderError."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "parley", **target.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(self._vendor.headers(target))
        connected = False
        try:
            session, url = self._pool.route(target.base_url.rstrip("/") + path, guarded=target.guarded)
            async with session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=None, sock_connect=timeouts.connect_s),
            ) as response:
                connected = True
                if not 200 <= response.status < 300:
                    said = _without(target.secret, await bounded(response, MAX_ERROR_BYTES, cut=True))
                    raise self._vendor.refusal(status=response.status, headers=response.headers, body=said)
                yield response
        except ProviderError as error:
            error.hide(target.secret)
            raise
        except egress.URLRefused as error:
            raise Misconfigured("the address may not be called") from error
        except (ClientError, OSError) as error:
            raise _connection_error(error, connected=connected) from error
        except ValueError as error:
            if connected:
                raise
            raise Misconfigured("a header or the address can't be sent") from error


def _without(secret: str | None, said: bytes) -> bytes:
    """An answer that doesn't hold the secret: some say back what they were sent, above all where they refuse it."""
    return said.replace(secret.encode(), HIDDEN.encode()) if secret and len(secret) >= MIN_HIDDEN_CHARS else said


def _connection_error(error: ClientError | OSError, *, connected: bool) -> ProviderError:
    """What a failed connection means, in words without addresses, which may be private."""
    words = type(error).__name__
    match error:
        case _ if connected:
            return Transient(words, cause="cut")
        case ClientConnectorCertificateError() | InvalidURL():
            return Misconfigured(words)
        case ServerTimeoutError() | ClientConnectorError():
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


async def chunks(response: ClientResponse, patience: Patience = _no_end) -> AsyncIterator[bytes]:
    """The body as it comes, at most `MAX_STREAM_BYTES`."""
    received = 0
    while True:
        wait_s = patience()
        if wait_s is None:
            chunk = await response.content.readany()
        else:
            try:
                async with asyncio.timeout(wait_s):
                    chunk = await response.content.readany()
            except (TimeoutError, ClientError):
                return
        if not chunk:
            return
        received += len(chunk)
        if received > MAX_STREAM_BYTES:
            raise Transient(f"a stream of more than {MAX_STREAM_BYTES} bytes", cause="garbage")
        yield chunk


async def sse_events(response: ClientResponse, patience: Patience = _no_end) -> AsyncIterator[SSEEvent]:
    """The server-sent events of a stream, until it ends."""
    parser = SSEParser()
    async for chunk in chunks(response, patience):
        try:
            events = parser.feed(chunk)
        except EventTooLarge as error:
            raise Transient(str(error), cause="garbage") from error
        for event in events:
            yield event


async def json_lines(response: ClientResponse, patience: Patience = _no_end) -> AsyncIterator[bytes]:
    """The lines of a stream of JSON, until it ends."""
    parser = LineParser()
    async for chunk in chunks(response, patience):
        try:
            lines = parser.feed(chunk)
        except LineTooLarge as error:
            raise Transient(str(error), cause="garbage") from error
        for line in lines:
            yield line
    if rest := parser.rest():
        yield rest


async def read_to_end(response: ClientResponse) -> None:
    """Read off what follows a whole answer, so that its connection can be used again; give up after `END_WAIT_S`."""
    try:
        async with asyncio.timeout(END_WAIT_S):
            while await response.content.readany():
                continue
    except (TimeoutError, ClientError):
        response.close()


async def bounded(response: ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body, up to `limit` bytes; what is beyond them is cut off, or else makes it garbage."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                response.close()
                break
    except ClientError:
        if not cut:
            raise
    if size > limit and not cut:
        raise Transient(f"an answer of more than {limit} bytes", cause="garbage")
    return b"".join(pieces)[:limit]
