"""An upstream's answer, whole or streamed, into values. Lenient: providers leave out, null and rename what
they like."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.errors import classify_frame
from providers.errors import ProviderError, Transient
from providers.types import (
    NO_USAGE,
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
    Extras,
    Finished,
    FinishReason,
    ModelInfo,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

MAX_REPORTED_TOKENS = 100_000_000
"""A report beyond this is a mistake, and counts as none."""
MAX_CHOICE_INDEX = 1_023

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
FAILED_REASONS = frozenset({"error", "insufficient_system_resource"})

Number = int | float | None
Index = Annotated[int, Meta(ge=0, le=MAX_CHOICE_INDEX)]


class _PromptDetails(msgspec.Struct):
    cached_tokens: Number = None
    cache_write_tokens: Number = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Number = None


class _Usage(msgspec.Struct):
    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Number = None  # DeepSeek


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: Index | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Raw | UnsetType = UNSET


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None
    refusal: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET
    audio: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET
    reasoning_details: Raw | UnsetType = UNSET


_OPAQUE = ("refusal", "annotations", "audio", "function_call", "reasoning_details")


class _Choice(msgspec.Struct):
    index: Index = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Raw | UnsetType = UNSET


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Raw | UnsetType = UNSET
    system_fingerprint: Raw | UnsetType = UNSET
    service_tier: Raw | UnsetType = UNSET


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


_answer = msgspec.json.Decoder(_Answer)
_models = msgspec.json.Decoder(_Models)

_FALSY = (b"null", b"false", b'""', b"{}", b"[]", b"0")
_CANT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _decode(data: bytes) -> _Answer:
    """Raises the error that the JSON holds, or Transient(garbage) if it is none."""
    try:
        answer = _answer.decode(data)
    except _CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
    if answer.error is not UNSET and bytes(answer.error) not in _FALSY:
        raise classify_frame(data)
    return answer


def _extras(**fields: Raw | UnsetType) -> Extras | None:
    said = {key: value for key, value in fields.items() if not isinstance(value, UnsetType) and bytes(value) != b"null"}
    return Extras(WIRE_FORMAT, said) if said else None


def _opaque(delta: _Delta) -> Extras | None:
    if all(getattr(delta, name) is UNSET for name in _OPAQUE):
        return None
    return _extras(**{name: getattr(delta, name) for name in _OPAQUE})


def _usage(said: _Usage) -> Usage:
    prompt, completion = _count(said.prompt_tokens), _count(said.completion_tokens)
    details, spent = said.prompt_tokens_details, said.completion_tokens_details
    cached = _count(details.cached_tokens if details else said.prompt_cache_hit_tokens)
    written = _count(details.cache_write_tokens if details else None)
    reasoning = _count(spent.reasoning_tokens if spent else None)
    counts = (prompt, completion, cached, written, reasoning)
    if any(count < 0 or count > MAX_REPORTED_TOKENS for count in counts) or not prompt + completion:
        return NO_USAGE
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    reasoning = min(reasoning, completion)
    return Usage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output=completion - reasoning,
        reasoning=reasoning,
    )


def _count(said: Number) -> int:
    return int(said) if said is not None else 0


def _finish_reason(said: str) -> FinishReason:
    if said in FAILED_REASONS:
        raise Transient(f"finish_reason is {said}", cause="cut")
    return FINISH_REASONS.get(said, "stop")


def _logprobs(choice: _Choice) -> Raw | None:
    said = choice.logprobs
    return None if isinstance(said, UnsetType) or bytes(said) == b"null" else said


def parse_answer(body: bytes) -> ChatAnswer:
    """Read a whole `chat.completion`. Raises the error in it, or Transient(garbage)."""
    answer = _decode(body)
    if not answer.choices:
        raise Transient("an answer without choices", cause="garbage")
    return ChatAnswer(
        model=answer.model or "",
        choices=tuple(_answer_choice(choice) for choice in answer.choices),
        usage=_usage(answer.usage) if answer.usage else NO_USAGE,
        extras=_extras(system_fingerprint=answer.system_fingerprint, service_tier=answer.service_tier),
    )


def _answer_choice(choice: _Choice) -> AnswerChoice:
    message = choice.message
    if message is None:
        raise Transient("a choice without a message", cause="garbage")
    calls = tuple(
        ToolCall(
            id=call.id or "",
            name=(call.function.name if call.function else None) or "",
            arguments=(call.function.arguments if call.function else None) or "",
            extras=_extras(extra_content=call.extra_content),
        )
        for call in message.tool_calls or ()
    )
    return AnswerChoice(
        index=choice.index,
        text=message.content or "",
        reasoning=message.reasoning_content or message.reasoning or "",
        tool_calls=calls,
        finish_reason=_finish_reason(choice.finish_reason or "stop"),
        logprobs=_logprobs(choice),
        extras=_opaque(message),
    )


class ChunkReader:
    """The frames of one stream, in order, into events. `end` makes the last one, or says that it was cut
    short."""

    def __init__(self, *, choices: int) -> None:
        self._expected = choices
        self._started = False
        self._finished: dict[int, FinishReason] = {}
        self._calls: dict[int, dict[str, int]] = {}
        self._usage = NO_USAGE
        self._usage_is_last = False
        self._done = False

    @property
    def has_usage(self) -> bool:
        """Whether the usage of the whole answer is known: what comes before its end may still change."""
        return self._usage_is_last

    @property
    def finished(self) -> bool:
        """Whether every choice has ended; usage may follow."""
        return self._done or len(self._finished) >= self._expected

    def read(self, data: bytes) -> list[StreamEvent]:
        """The events in the data of one frame. Raises the error in it, or Transient(garbage)."""
        if data == b"[DONE]":
            self._done = True
            return []
        try:
            chunk = _decode(data)
        except ProviderError:
            if self.finished:
                return []  # The answer is whole: what follows can't take it back.
            raise
        events: list[StreamEvent] = []
        if not self._started and chunk.choices:
            self._started = True
            extras = _extras(system_fingerprint=chunk.system_fingerprint, service_tier=chunk.service_tier)
            events.append(Started(chunk.model or "", extras))
        for choice in chunk.choices or ():
            self._choice(choice, events)
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
            self._usage_is_last = self.finished
        return events

    def _choice(self, choice: _Choice, events: list[StreamEvent]) -> None:
        index = choice.index
        delta = choice.delta or choice.message
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning:
                events.append(ReasoningDelta(reasoning, index))
            logprobs = _logprobs(choice)
            if delta.content or logprobs is not None:
                events.append(TextDelta(delta.content or "", index, logprobs))
            events.extend(self._call(call, index) for call in delta.tool_calls or ())
            opaque = _opaque(delta)
            if opaque is not None:
                events.append(OpaqueDelta(opaque, index))
        if choice.finish_reason and index not in self._finished:
            reason = self._finished[index] = _finish_reason(choice.finish_reason)
            events.append(ChoiceFinished(reason, index))

    def _call(self, call: _CallDelta, index: int) -> ToolCallDelta:
        """Calls without an index are told apart by their id; a piece without either belongs to the last
        call."""
        known = self._calls.setdefault(index, {})
        number = call.index
        if number is None:
            number = known.setdefault(call.id, len(known)) if call.id else max(len(known) - 1, 0)
        function = call.function or _Function()
        extras = _extras(extra_content=call.extra_content)
        return ToolCallDelta(number, function.arguments or "", call.id, function.name, index, extras)

    def end(self) -> Finished:
        """The last event. Raises Transient(cut) if the stream stopped before its answer did."""
        if not self._started:
            raise Transient("the stream ended without an answer", cause="cut")
        if not self.finished:
            raise Transient("the stream ended in the middle of the answer", cause="cut")
        return Finished(self._finished.get(0, "stop"), self._usage)


def parse_models(body: bytes) -> tuple[ModelInfo, ...]:
    """Read the answer of `GET /models`. Raises Transient(garbage)."""
    try:
        return tuple(ModelInfo(model.id, model.owned_by) for model in _models.decode(body).data)
    except _CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
