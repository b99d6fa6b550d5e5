"""The HTTP client for everything that speaks OpenAI's format."""

from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar

from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.answer_in import ChunkReader, parse_answer, parse_models
from providers.adapters.openai.dialect import COMPATIBLE, Dialect
from providers.adapters.openai.errors import classify
from providers.adapters.openai.request_out import encode_chat_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import END_WAIT_S, MAX_ANSWER_BYTES, Upstreams, bounded, read_to_end, sse_events
from providers.types import ChatAnswer, ChatRequest, ModelInfo, StreamEvent

USAGE_WAIT_S = 5.0
"""How long a finished answer waits for the usage that should follow it."""


class OpenAICompatible(Adapter):
    """Chat completions and models of any upstream that speaks the format; `dialect` says how it differs."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    says_names: ClassVar[bool] = True

    def __init__(self, *, dialect: Dialect = COMPATIBLE) -> None:
        self._dialect = dialect
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
        body = encode_chat_request(request, model=target.model, dialect=self._dialect, stream=False)
        return parse_answer(await self._http.whole("POST", "/chat/completions", target, timeouts, body))

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return parse_models(await self._http.whole("GET", "/models", target, timeouts))

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_chat_request(request, model=target.model, dialect=self._dialect, stream=True)
        async with self._http.response("POST", "/chat/completions", target, timeouts, body) as response:
            if "json" in response.headers.get("Content-Type", ""):
                # An error under a 200, or an upstream that doesn't stream.
                for event in events_of(parse_answer(await bounded(response, MAX_ANSWER_BYTES))):
                    yield event
                return
            reader = ChunkReader(choices=request.n)

            def patience() -> float | None:
                return None if not reader.finished else END_WAIT_S if reader.has_usage else USAGE_WAIT_S

            async for frame in sse_events(response, patience):
                if frame.data == b"[DONE]":
                    reader.read(frame.data)
                    await read_to_end(response)
                    break
                for event in reader.read(frame.data):
                    yield event
            yield reader.end()
