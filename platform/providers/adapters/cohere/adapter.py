"""The HTTP client for Cohere."""

from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar
from urllib.parse import quote

from providers.adapters.batches import Inputs, Piece, in_batches
from providers.adapters.cohere import WIRE_FORMAT
from providers.adapters.cohere.answer_in import EventReader, parse_answer, parse_models, parse_vectors
from providers.adapters.cohere.errors import classify
from providers.adapters.cohere.request_out import encode_chat_request, encode_embedding_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import END_WAIT_S, MAX_ANSWER_BYTES, Upstreams, bounded, sse_events
from providers.types import ChatAnswer, ChatRequest, EmbeddingRequest, ModelInfo, StreamEvent

MAX_BATCH = 96
"""Texts in one call."""
PAGE = 1_000
MAX_PAGES = 10
"""Of the list of models."""


class Cohere(Adapter):
    """Chats, embeddings and models of Cohere."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    unsaid: ClassVar[frozenset[str]] = frozenset({"n", "top_logprobs", "parallel_tool_calls", "as_text", "suffix"})
    max_stops = 5

    def __init__(self) -> None:
        self._http = Upstreams(self)

    def headers(self, target: Target) -> Mapping[str, str]:
        return {} if target.secret is None else {"Authorization": f"Bearer {target.secret}"}

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(status=status, headers=headers, body=body)

    async def close(self) -> None:
        await self._http.close()

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target, timeouts), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_chat_request(request, model=target.model, stream=False)
        return parse_answer(await self._http.whole("POST", "/v2/chat", target, timeouts, body), model=target.model)

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        async def embed(inputs: Inputs) -> Piece:
            body = encode_embedding_request(request, inputs, target.model)
            answer = await self._http.whole("POST", "/v2/embed", target, timeouts, body)
            return parse_vectors(answer, expected=len(inputs))

        return await in_batches(request, MAX_BATCH, embed, model=target.model, total_s=timeouts.total_s)

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        models: list[ModelInfo] = []
        page: str | None = ""
        for _ in range(MAX_PAGES):
            path = f"/v1/models?page_size={PAGE}" + (f"&page_token={quote(page, safe='')}" if page else "")
            found, page = parse_models(await self._http.whole("GET", path, target, timeouts))
            models.extend(found)
            if not page:
                break
        return tuple(models)

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_chat_request(request, model=target.model, stream=True)
        async with self._http.response("POST", "/v2/chat", target, timeouts, body) as response:
            if response.headers.get("Content-Type", "").startswith("application/json"):
                # An error under a 200, or something in between that doesn't stream.
                answer = parse_answer(await bounded(response, MAX_ANSWER_BYTES), model=target.model)
                for event in events_of(answer):
                    yield event
                return
            reader = EventReader(model=target.model)

            def patience() -> float | None:
                return END_WAIT_S if reader.finished else None

            async for frame in sse_events(response, patience, hide=target.secret):
                for event in reader.read(frame.data):
                    yield event
            yield reader.end()
