"""A provider as `docs/providers.md` tells to add one: this module, and one line that registers `SPEC`.

Acme's API: `POST /answer` with `{"model", "question", "limit"?}` and the header `x-acme-key`. It answers with
`{"answer", "words": [read, written]}`, or with `{"wrong": why}` and a status."""

from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar

import msgspec

from providers.assemble import events_of
from providers.base import Adapter, Target, Timeouts
from providers.errors import Misconfigured, ProviderError, RateLimitedUpstream, Rejected, Transient
from providers.http import Upstreams
from providers.profiles import TEXT
from providers.registry import ProviderSpec
from providers.types import AnswerChoice, ChatAnswer, ChatRequest, ModelInfo, StreamEvent, Usage


class _Answer(msgspec.Struct):
    answer: str
    words: tuple[int, int]


class Acme(Adapter):
    """Answers all at once; what is streamed comes in one piece."""

    wire_format: ClassVar[str] = "acme"
    unsaid: ClassVar[frozenset[str]] = frozenset({"temperature", "top_p", "stop", "seed", "tools"})

    def __init__(self) -> None:
        self._http = Upstreams(self)

    def headers(self, target: Target) -> Mapping[str, str]:
        return {"x-acme-key": target.secret or ""}

    def refusal(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        if status in (401, 403, 404):
            return Misconfigured(status=status)
        if status == 429:
            return RateLimitedUpstream(status=status)
        return Rejected(status=status) if status < 500 else Transient(cause="server", status=status)

    async def stream(
        self, request: ChatRequest, target: Target, timeouts: Timeouts
    ) -> AsyncGenerator[StreamEvent, None]:
        for event in events_of(await self.complete(request, target, timeouts)):
            yield event

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        asked = {"model": target.model, "question": request.messages[-1].text}
        body = await self._http.whole("POST", "/answer", target, timeouts, msgspec.json.encode(asked))
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError as error:
            raise Transient("not an answer", cause="garbage") from error
        read, written = answer.words
        choice = AnswerChoice(text=answer.answer, finish_reason="stop")
        return ChatAnswer(target.model, (choice,), Usage(input=read, output=written))

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return (ModelInfo("oracle", "acme"),)

    async def close(self) -> None:
        await self._http.close()


SPEC = ProviderSpec(
    "acme", "Acme", Acme, "https://api.acme.example", ("oracle",), TEXT, "ACME_API_KEY", "ACME_BASE_URL"
)
