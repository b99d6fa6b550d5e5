"""The HTTP client for Ollama."""

from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar

from providers.adapters.ollama import WIRE_FORMAT
from providers.adapters.ollama.answer_in import LineReader, parse_answer, parse_models, parse_vectors
from providers.adapters.ollama.errors import classify
from providers.adapters.ollama.request_out import encode_chat_request, encode_embedding_request
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import END_WAIT_S, Upstreams, json_lines
from providers.types import (
    ChatAnswer,
    ChatRequest,
    EmbeddingRequest,
    ModelInfo,
    Request,
    StreamEvent,
    ToolChoice,
)

_SAYABLE_CHOICES = (ToolChoice("auto"), ToolChoice("none"), None)
_NEVER_SAID = frozenset({"n", "parallel_tool_calls", "reasoning_budget", "as_text", "suffix"})


class Ollama(Adapter):
    """Chats, embeddings and models of an Ollama server."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    unsaid: ClassVar[frozenset[str]] = _NEVER_SAID
    inlines_images: ClassVar[bool] = True

    def __init__(self) -> None:
        self._http = Upstreams(self)

    def terms(self, request: Request, model: str) -> tuple[str, frozenset[str]]:
        """No call can be demanded."""
        sayable = isinstance(request, EmbeddingRequest) or request.tool_choice in _SAYABLE_CHOICES
        return self.wire_format, self.unsaid if sayable else self.unsaid | {"tool_choice"}

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
        return parse_answer(await self._http.whole("POST", "/api/chat", target, timeouts, body))

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_embedding_request(request, model=target.model)
        answer = await self._http.whole("POST", "/api/embed", target, timeouts, body)
        return parse_vectors(answer, expected=len(request.inputs))

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return parse_models(await self._http.whole("GET", "/api/tags", target, timeouts))

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_chat_request(request, model=target.model, stream=True)
        async with self._http.response("POST", "/api/chat", target, timeouts, body) as response:
            reader = LineReader()

            def patience() -> float | None:
                return END_WAIT_S if reader.finished else None

            async for line in json_lines(response, patience, hide=target.secret):
                for event in reader.read(line):
                    yield event
            yield reader.end()
