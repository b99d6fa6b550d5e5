"""The HTTP client for everything that speaks OpenAI's format."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import ClassVar

from providers.adapters.openai import TEXT_FORMAT, WIRE_FORMAT
from providers.adapters.openai.answer_in import ChunkReader, parse_answer, parse_models
from providers.adapters.openai.dialect import COMPATIBLE, Dialect
from providers.adapters.openai.embeddings import encode_embedding_request, parse_embedding_answer
from providers.adapters.openai.errors import classify
from providers.adapters.openai.request_out import encode_chat_request
from providers.adapters.openai.text_out import choices_of, encode_text_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import MAX_ANSWER_BYTES, Upstreams, bounded, read_to_end, sse_events, until_told
from providers.types import ChatAnswer, ChatRequest, EmbeddingRequest, ModelInfo, Request, StreamEvent


class OpenAICompatible(Adapter):
    """Chat and text completions, embeddings and models of any upstream that speaks the format; `dialect` says how it
    differs."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    says_names: ClassVar[bool] = True

    def __init__(self, *, dialect: Dialect = COMPATIBLE) -> None:
        self._dialect = dialect
        self.max_stops = dialect.max_stops
        self._http = Upstreams(self)

    def terms(self, request: Request, model: str) -> tuple[str, frozenset[str]]:
        if isinstance(request, EmbeddingRequest):
            return WIRE_FORMAT, frozenset()
        text = self._dialect.continues_text(request, model)
        unsaid = set() if self._dialect.top_k else {"top_k"}
        if not (text and self._dialect.suffix):
            unsaid.add("suffix")
        if text:
            unsaid |= {"reasoning_effort", "reasoning_budget"}
        return TEXT_FORMAT if text else WIRE_FORMAT, frozenset(unsaid)

    def headers(self, target: Target) -> Mapping[str, str]:
        if target.secret is None:
            return {}
        if self._dialect.key_header is not None:
            return {self._dialect.key_header: target.secret}
        return {"Authorization": f"Bearer {target.secret}"}

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(status=status, headers=headers, body=body)

    async def close(self) -> None:
        await self._http.close()

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target, timeouts), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        path, body = self._asked(request, target, stream=False)
        return parse_answer(await self._whole("POST", path, target, timeouts, body))

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_embedding_request(request, model=target.model, as_base64=self._dialect.base64)
        said = await self._whole("POST", "/embeddings", target, timeouts, body)
        return parse_embedding_answer(said, inputs=len(request.inputs))

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return parse_models(await self._whole("GET", "/models", target, timeouts))

    def _asked(self, request: ChatRequest, target: Target, *, stream: bool) -> tuple[str, bytes]:
        """Path and body of a request for a completion."""
        dialect = self._dialect
        if dialect.continues_text(request, target.model):
            body = encode_text_request(request, model=target.model, dialect=dialect, stream=stream)
            return dialect.text_path, body
        body = encode_chat_request(request, model=target.model, dialect=dialect, stream=stream)
        return "/chat/completions", body

    def _at(self, path: str, target: Target) -> tuple[str, Target]:
        base_url, path = self._dialect.address(target.base_url, path, target.model)
        return path, target if base_url == target.base_url else replace(target, base_url=base_url)

    async def _whole(
        self, method: str, path: str, target: Target, timeouts: Timeouts, body: bytes | None = None
    ) -> bytes:
        path, target = self._at(path, target)
        return await self._http.whole(method, path, target, timeouts, body)

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        path, body = self._asked(request, target, stream=True)
        path, target = self._at(path, target)
        async with self._http.response("POST", path, target, timeouts, body) as response:
            if "json" in response.headers.get("Content-Type", ""):
                # An error under a 200, or an upstream that doesn't stream.
                for event in events_of(parse_answer(await bounded(response, MAX_ANSWER_BYTES))):
                    yield event
                return
            reader = ChunkReader(choices=choices_of(request))
            async for frame in sse_events(response, until_told(reader, timeouts), hide=target.secret):
                if frame.data == b"[DONE]":
                    reader.read(frame.data)
                    await read_to_end(response)
                    break
                for event in reader.read(frame.data):
                    yield event
            yield reader.end()
