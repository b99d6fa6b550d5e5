"""The HTTP client for Gemini. The key goes in a header: an address is logged."""

from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar
from urllib.parse import quote

from providers.adapters.batches import Inputs, Piece, in_batches
from providers.adapters.gemini import WIRE_FORMAT
from providers.adapters.gemini.answer_in import FrameReader, parse_answer, parse_models, parse_vectors
from providers.adapters.gemini.errors import classify
from providers.adapters.gemini.request_out import encode_chat_request, encode_embedding_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import MAX_ANSWER_BYTES, Upstreams, bounded, sse_events, until_told
from providers.types import ChatAnswer, ChatRequest, EmbeddingRequest, ModelInfo, StreamEvent

MAX_BATCH = 100
"""Texts in one call."""
PAGE = 1_000
MAX_PAGES = 10
"""Of the list of models."""


class Gemini(Adapter):
    """Chats, embeddings and models of Gemini."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    unsaid: ClassVar[frozenset[str]] = frozenset({"parallel_tool_calls", "as_text", "suffix"})
    inlines_images: ClassVar[bool] = True
    max_stops = 5

    def __init__(self) -> None:
        self._http = Upstreams(self)

    def headers(self, target: Target) -> Mapping[str, str]:
        return {} if target.secret is None else {"x-goog-api-key": target.secret}

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(status=status, headers=headers, body=body)

    async def close(self) -> None:
        await self._http.close()

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target, timeouts), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_chat_request(request, model=target.model)
        return parse_answer(await self._http.whole("POST", _path(target, "generateContent"), target, timeouts, body))

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        async def embed(inputs: Inputs) -> Piece:
            body = encode_embedding_request(request, inputs, _resource(target.model))
            answer = await self._http.whole("POST", _path(target, "batchEmbedContents"), target, timeouts, body)
            return parse_vectors(answer, expected=len(inputs))

        return await in_batches(request, MAX_BATCH, embed, model=target.model, total_s=timeouts.total_s)

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        models: list[ModelInfo] = []
        page: str | None = ""
        for _ in range(MAX_PAGES):
            path = f"/models?pageSize={PAGE}" + (f"&pageToken={quote(page, safe='')}" if page else "")
            found, page = parse_models(await self._http.whole("GET", path, target, timeouts))
            models.extend(found)
            if not page:
                break
        return tuple(models)

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_chat_request(request, model=target.model)
        path = _path(target, "streamGenerateContent") + "?alt=sse"
        async with self._http.response("POST", path, target, timeouts, body) as response:
            if "json" in response.headers.get("Content-Type", ""):
                # An error under a 200, or something in between that doesn't stream.
                for event in events_of(parse_answer(await bounded(response, MAX_ANSWER_BYTES))):
                    yield event
                return
            reader = FrameReader(candidates=request.n)
            async for frame in sse_events(response, until_told(reader, timeouts), hide=target.secret):
                for event in reader.read(frame.data):
                    yield event
            yield reader.end()


def _resource(model: str) -> str:
    """A model's name as a resource; tuned ones are given as such."""
    return model if "/" in model else f"models/{model}"


def _path(target: Target, verb: str) -> str:
    return f"/{quote(_resource(target.model), safe='/')}:{verb}"
