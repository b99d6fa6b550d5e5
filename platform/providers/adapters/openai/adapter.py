"""The HTTP client for everything that speaks OpenAI's format."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientTimeout,
    InvalidURL,
    ServerTimeoutError,
)

from providers.adapters.openai.answer_in import ChunkReader, parse_answer, parse_models
from providers.adapters.openai.dialect import COMPATIBLE, Dialect
from providers.adapters.openai.errors import classify
from providers.adapters.openai.request_out import encode_chat_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import Misconfigured, ProviderError, Transient
from providers.http import HTTPPool
from providers.sse import EventTooLarge, SSEParser
from providers.types import ChatAnswer, ChatRequest, ModelInfo, StreamEvent

MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_STREAM_BYTES = 128 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
USAGE_WAIT_S = 5.0
"""How long a finished answer waits for the usage that should follow it."""
END_WAIT_S = 0.1
"""How long a stream that said [DONE] may take to end, for its connection to be used again."""


class OpenAICompatible(Adapter):
    """Chat completions and models of any upstream that speaks the format; `dialect` says how it differs."""

    def __init__(self, *, dialect: Dialect = COMPATIBLE) -> None:
        self._dialect = dialect
        self._http = HTTPPool()

    async def close(self) -> None:
        await self._http.close()

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target, timeouts), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_chat_request(request, model=target.model, dialect=self._dialect, stream=False)
        answer = await self._whole("POST", "/chat/completions", target, timeouts, body)
        return parse_answer(answer)

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return parse_models(await self._whole("GET", "/models", target, timeouts))

    async def _whole(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None = None
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(timeouts.total_s),
                self._response(method, path, target, timeouts, body) as response,
            ):
                return await _bounded(response, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise Transient("timed out waiting for the whole answer", cause="timeout") from error

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_chat_request(request, model=target.model, dialect=self._dialect, stream=True)
        async with self._response("POST", "/chat/completions", target, timeouts, body) as response:
            if "json" in response.headers.get("Content-Type", ""):
                # An error under a 200, or an upstream that doesn't stream.
                for event in events_of(parse_answer(await _bounded(response, MAX_ANSWER_BYTES))):
                    yield event
                return
            reader = ChunkReader(choices=request.n)
            async for frame in _frames(response, reader):
                if frame == b"[DONE]":
                    reader.read(frame)
                    await _read_to_end(response)
                    break
                for event in reader.read(frame):
                    yield event
            yield reader.end()

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None
    ) -> AsyncIterator[ClientResponse]:
        """A 2xx answer, its body unread. Every way the connection can fail inside becomes a ProviderError."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "parley", **target.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if target.secret is not None:
            headers["Authorization"] = f"Bearer {target.secret}"
        connected = False
        try:
            async with self._http.session().request(
                method,
                target.base_url.rstrip("/") + path,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=None, sock_connect=timeouts.connect_s),
            ) as response:
                connected = True
                if not 200 <= response.status < 300:
                    said = await _bounded(response, MAX_ERROR_BYTES, cut=True)
                    raise classify(status=response.status, headers=response.headers, body=said)
                yield response
        except (ClientError, OSError) as error:
            raise _connection_error(error, connected=connected) from error
        except ValueError as error:
            if connected:
                raise
            raise Misconfigured("a header or the address can't be sent") from error


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


async def _frames(response: ClientResponse, reader: ChunkReader) -> AsyncIterator[bytes]:
    """The data of each event, until the stream ends; not for long once the answer is whole."""
    parser = SSEParser()
    received = 0
    while True:
        wait_s = None if not reader.finished else END_WAIT_S if reader.has_usage else USAGE_WAIT_S
        try:
            async with asyncio.timeout(wait_s):
                chunk = await response.content.readany()
        except (TimeoutError, ClientError):
            if reader.finished:
                return  # Nothing is missing but the usage, at most.
            raise
        if not chunk:
            return
        received += len(chunk)
        if received > MAX_STREAM_BYTES:
            raise Transient(f"a stream of more than {MAX_STREAM_BYTES} bytes", cause="garbage")
        try:
            events = parser.feed(chunk)
        except EventTooLarge as error:
            raise Transient(str(error), cause="garbage") from error
        for event in events:
            yield event.data


async def _read_to_end(response: ClientResponse) -> None:
    try:
        async with asyncio.timeout(END_WAIT_S):
            while await response.content.readany():
                continue
    except (TimeoutError, ClientError):
        response.close()


async def _bounded(response: ClientResponse, limit: int, *, cut: bool = False) -> bytes:
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
