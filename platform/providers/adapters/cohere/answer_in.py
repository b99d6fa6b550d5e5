"""Cohere's answers, whole or event by event, into values. They don't name their model."""

from typing import Annotated, TypeVar
from uuid import uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.adapters.cohere.errors import classify_frame, failed
from providers.adapters.reading import CANT_READ, Number, count, decoded, float32, openai_logprobs, reported, usage_in
from providers.errors import ProviderError, Transient
from providers.types import (
    NO_USAGE,
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
    Finished,
    FinishReason,
    ModelInfo,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
FAILED_REASONS = frozenset({"ERROR", "TIMEOUT", "USER_CANCEL"})
MAX_CALLS = 1_024

Item = TypeVar("Item")
Index = Annotated[int, Meta(ge=0, lt=MAX_CALLS)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    content: list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None


class _Tokens(msgspec.Struct):
    input_tokens: Number = None
    output_tokens: Number = None


class _Usage(msgspec.Struct):
    billed_units: _Tokens | None = None
    tokens: _Tokens | None = None


class _Logprob(msgspec.Struct):
    text: str | None = None
    logprobs: list[float] = []


class _Answer(msgspec.Struct):
    finish_reason: str
    message: _Message
    usage: Raw | UnsetType = UNSET
    logprobs: list[_Logprob] | None = None


class _MessageDelta(msgspec.Struct):
    content: _Content | list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None


class _Delta(msgspec.Struct):
    message: _MessageDelta | None = None
    finish_reason: str | None = None
    usage: Raw | UnsetType = UNSET
    error: str | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    index: Index | None = None
    delta: _Delta | None = None
    logprobs: _Logprob | None = None


class _Vectors(msgspec.Struct):
    float: list[list[float]]


class _Meta(msgspec.Struct):
    billed_units: Raw | UnsetType = UNSET


class _Embeddings(msgspec.Struct):
    embeddings: _Vectors
    meta: _Meta | None = None


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model]
    next_page_token: str | None = None


_answer = msgspec.json.Decoder(_Answer)
_event = msgspec.json.Decoder(_Event)
_embeddings = msgspec.json.Decoder(_Embeddings)
_models = msgspec.json.Decoder(_Models)
_object = msgspec.json.Decoder(dict[str, Raw])
_usage_decoder = msgspec.json.Decoder(_Usage)
_tokens_decoder = msgspec.json.Decoder(_Tokens)


def _usage(said: _Usage) -> Usage:
    """What is billed, or else what was counted."""
    for tokens in (said.billed_units, said.tokens):
        if tokens is not None and tokens.input_tokens is not None and tokens.output_tokens is not None:
            return reported(prompt=count(tokens.input_tokens), output=count(tokens.output_tokens))
    return NO_USAGE


def _embedded(said: _Tokens) -> Usage:
    return reported(prompt=count(said.input_tokens), output=0)


def _finish_reason(said: str, error: str | None = None) -> FinishReason:
    if error:
        raise failed(error)
    if said in FAILED_REASONS:
        raise Transient(f"finish_reason is {said}", cause="server")
    return FINISH_REASONS.get(said, "stop")


def _logprobs(said: list[_Logprob]) -> Raw:
    """A piece may hold several tokens: its probability is the product of theirs."""
    return openai_logprobs(
        [
            {"token": piece.text or "", "logprob": sum(piece.logprobs), "bytes": None, "top_logprobs": []}
            for piece in said
        ]
    )


def parse_answer(body: bytes, *, model: str) -> ChatAnswer:
    """Read a whole answer. Raises the error in it, or Transient(garbage)."""
    try:
        answer = _answer.decode(body)
    except CANT_READ as error:
        raise _instead(body, error) from error
    message = answer.message
    content = message.content or []
    calls = tuple(
        ToolCall(call.id or f"call_{uuid4().hex}", function.name or "", function.arguments or "")
        for call in message.tool_calls or ()
        if (function := call.function) is not None
    )
    choice = AnswerChoice(
        text="".join(piece.text or "" for piece in content),
        reasoning="".join(piece.thinking or "" for piece in content) + (message.tool_plan or ""),
        tool_calls=calls,
        finish_reason=_finish_reason(answer.finish_reason),
        logprobs=_logprobs(answer.logprobs) if answer.logprobs else None,
    )
    return ChatAnswer(model, (choice,), usage_in(answer.usage, _usage_decoder, _usage))


def _instead(body: bytes, error: Exception) -> ProviderError:
    """What a 200 means that holds no answer: an error, if it says something."""
    try:
        says = "message" in _object.decode(body)
    except CANT_READ:
        says = False
    return classify_frame(body) if says else Transient(str(error), cause="garbage")


class EventReader:
    """The events of one stream, in order. `end` makes the last one, or says that it was cut short."""

    def __init__(self, *, model: str) -> None:
        self._model = model
        self._started = False
        self._calls: dict[int, int] = {}
        self._finish_reason: FinishReason | None = None
        self._usage = NO_USAGE

    @property
    def finished(self) -> bool:
        """Whether the answer is whole, its usage included: both come with the message's end."""
        return self._finish_reason is not None

    def read(self, data: bytes) -> list[StreamEvent]:
        """What an event says. Raises the error in it, or Transient(garbage)."""
        if self.finished or data == b"[DONE]":
            return []  # The answer is whole: what follows can't take it back.
        said = decoded(_event, data)
        if said.type is None:
            raise classify_frame(data)
        events: list[StreamEvent] = []
        if not self._started:
            self._started = True
            events.append(Started(self._model))
        delta = said.delta
        if delta is None:
            return events
        if delta.message is not None and said.type != "message-start":
            self._message(delta.message, said, events)
        if said.type == "message-end":
            self._finish_reason = _finish_reason(delta.finish_reason or "COMPLETE", delta.error)
            self._usage = usage_in(delta.usage, _usage_decoder, _usage)
            events.append(ChoiceFinished(self._finish_reason))
        return events

    def _message(self, message: _MessageDelta, said: _Event, events: list[StreamEvent]) -> None:
        if message.tool_plan:
            events.append(ReasoningDelta(message.tool_plan))
        for content in _listed(message.content):
            if content.thinking:
                events.append(ReasoningDelta(content.thinking))
            if content.text:
                logprobs = _logprobs([said.logprobs]) if said.logprobs is not None else None
                events.append(TextDelta(content.text, logprobs=logprobs))
        events.extend(self._call(call, said) for call in _listed(message.tool_calls))

    def _call(self, call: _Call, said: _Event) -> ToolCallDelta:
        """Calls are told apart by their index, and opened by an event of their own."""
        function = call.function or _Function()
        opens = said.type == "tool-call-start"
        key = said.index if said.index is not None else max(self._calls, default=-1) + opens
        number = self._calls.setdefault(key, len(self._calls))
        if not opens:
            return ToolCallDelta(number, function.arguments or "")
        return ToolCallDelta(number, function.arguments or "", call.id or f"call_{uuid4().hex}", function.name)

    def end(self) -> Finished:
        """The last event. Raises Transient(cut) if the stream stopped before its answer did."""
        if self._finish_reason is None:
            raise Transient("the stream ended in the middle of the answer", cause="cut")
        return Finished(self._finish_reason, self._usage)


def _listed(said: Item | list[Item] | None) -> list[Item]:
    if said is None:
        return []
    return said if isinstance(said, list) else [said]


def parse_vectors(body: bytes, *, expected: int) -> tuple[tuple[bytes, ...], Usage]:
    """Read the answer of `POST /v2/embed`. Raises Transient(garbage)."""
    said = decoded(_embeddings, body)
    billed = said.meta.billed_units if said.meta is not None else UNSET
    return float32(said.embeddings.float, expected=expected), usage_in(billed, _tokens_decoder, _embedded)


def parse_models(body: bytes) -> tuple[tuple[ModelInfo, ...], str | None]:
    """Read a page of `GET /v1/models`, and the token of the next one. Raises Transient(garbage)."""
    said = decoded(_models, body)
    return tuple(ModelInfo(model.name, "cohere") for model in said.models), said.next_page_token or None
