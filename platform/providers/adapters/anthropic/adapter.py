"""The HTTP client for everything that speaks Anthropic's format."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

from providers.adapters.anthropic import VERSION, WIRE_FORMAT
from providers.adapters.anthropic.answer_in import EventReader, parse_answer, parse_count, parse_models
from providers.adapters.anthropic.errors import classify
from providers.adapters.anthropic.facts import SAMPLING, facts
from providers.adapters.anthropic.request_out import betas, encode_count_request, encode_messages_request
from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.http import MAX_ANSWER_BYTES, Upstreams, bounded, read_to_end, sse_events, until_told
from providers.types import ChatAnswer, ChatRequest, ModelInfo, Request, StreamEvent

MAX_PAGES = 20
PAGE = 1_000
_DEFAULTS = {"temperature": 1.0, "top_p": 1.0}
"""What models that take no sampling parameters take of them."""


class Anthropic(Adapter):
    """Messages and models of Anthropic, or of any upstream that speaks its format."""

    wire_format: ClassVar[str] = WIRE_FORMAT
    unsaid: ClassVar[frozenset[str]] = frozenset(
        {"frequency_penalty", "presence_penalty", "seed", "n", "logprobs", "top_logprobs", "as_text", "suffix"}
    )

    def __init__(self) -> None:
        self._http = Upstreams(self)

    def terms(self, request: Request, model: str) -> tuple[str, frozenset[str]]:
        if not isinstance(request, ChatRequest) or facts(model).sampling:
            return WIRE_FORMAT, self.unsaid
        refused = {name for name in SAMPLING if getattr(request, name) != _DEFAULTS.get(name)}
        return WIRE_FORMAT, self.unsaid | refused

    def headers(self, target: Target) -> Mapping[str, str]:
        headers = {"anthropic-version": VERSION}
        if target.secret is not None:
            headers["x-api-key"] = target.secret
        return headers

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(status=status, headers=headers, body=body)

    async def close(self) -> None:
        await self._http.close()

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target, timeouts), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        body = encode_messages_request(request, model=target.model, stream=False)
        return parse_answer(
            await self._http.whole("POST", "/v1/messages", _with_betas(target, request), timeouts, body)
        )

    async def count_tokens(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> int | None:
        body = encode_count_request(request, model=target.model)
        path = "/v1/messages/count_tokens"
        return parse_count(await self._http.whole("POST", path, _with_betas(target, request), timeouts, body))

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        models: list[ModelInfo] = []
        path = f"/v1/models?limit={PAGE}"
        for _ in range(MAX_PAGES):
            page, last = parse_models(await self._http.whole("GET", path, target, timeouts))
            models += page
            if last is None:
                break
            path = f"/v1/models?limit={PAGE}&after_id={quote(last, safe='')}"
        return tuple(models)

    async def _events(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        body = encode_messages_request(request, model=target.model, stream=True)
        target = _with_betas(target, request)
        async with self._http.response("POST", "/v1/messages", target, timeouts, body) as response:
            if "json" in response.headers.get("Content-Type", ""):
                # An error under a 200, or an upstream that doesn't stream.
                for event in events_of(parse_answer(await bounded(response, MAX_ANSWER_BYTES))):
                    yield event
                return
            reader = EventReader()
            async for frame in sse_events(response, until_told(reader, timeouts), hide=target.secret):
                for event in reader.read(frame.data):
                    yield event
                if reader.ended:
                    await read_to_end(response)
                    break
            yield reader.end()


def _with_betas(target: Target, request: ChatRequest) -> Target:
    """The target with the caller's `anthropic-beta` beside the operator's."""
    wanted = betas(request)
    if wanted is None:
        return target
    there = next((value for name, value in target.headers.items() if name.lower() == "anthropic-beta"), None)
    others = {name: value for name, value in target.headers.items() if name.lower() != "anthropic-beta"}
    return replace(target, headers={**others, "anthropic-beta": f"{there},{wanted}" if there else wanted})
