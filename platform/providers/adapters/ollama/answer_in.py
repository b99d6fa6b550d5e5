"""Ollama's answers, whole or line by line, into values."""

from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw, UnsetType

from providers.adapters.ollama.errors import classify_line
from providers.adapters.reading import Implausible, count, decoded, float32, openai_logprobs, reported
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

FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
MISSING_MODEL = frozenset({"load", "unload"})
"""How an answer ends that only loaded or unloaded a model: nothing was asked of it."""


class _Function(msgspec.Struct):
    name: str = ""
    arguments: Raw | UnsetType = UNSET


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: object = None
    eval_count: object = None
    logprobs: list[dict[str, object]] | None = None
    error: Raw | UnsetType = UNSET


class _Vectors(msgspec.Struct):
    embeddings: list[list[float]]
    model: str | None = None
    prompt_eval_count: object = None


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model] | None = None


_answer = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(_Vectors)
_models = msgspec.json.Decoder(_Models)


def _decode(data: bytes) -> _Answer:
    """Raises the error that the JSON holds, or Transient(garbage) if it is none."""
    answer = decoded(_answer, data)
    if answer.error is not UNSET:
        raise classify_line(data)
    return answer


def _usage(read: object, written: object) -> Usage:
    """Older servers leave out the count of a prompt that they still had in memory: then nothing is known of it."""
    if read is None or written is None:
        return NO_USAGE
    try:
        return reported(prompt=count(read), output=count(written))
    except Implausible:
        return NO_USAGE


def _finish_reason(answer: _Answer, *, called: bool) -> FinishReason:
    if answer.done_reason in MISSING_MODEL:
        raise Transient(f"done_reason is {answer.done_reason}", cause="cut")
    reason = FINISH_REASONS.get(answer.done_reason or "stop", "stop")
    return "tool_calls" if called and reason == "stop" else reason


def _arguments(function: _Function) -> str:
    """Arguments come whole, as an object."""
    return "{}" if isinstance(function.arguments, UnsetType) else bytes(function.arguments).decode()


def _call_id(call: _Call) -> str:
    """Older servers give calls no ids; callers need them to send results."""
    return call.id or f"call_{uuid4().hex}"


def parse_answer(body: bytes) -> ChatAnswer:
    """Read a whole answer. Raises the error in it, or Transient(garbage)."""
    answer = _decode(body)
    message = answer.message
    if message is None or not answer.done:
        raise Transient("an answer without a message", cause="garbage")
    calls = tuple(
        ToolCall(_call_id(call), call.function.name, _arguments(call.function)) for call in message.tool_calls or ()
    )
    choice = AnswerChoice(
        text=message.content or "",
        reasoning=message.thinking or "",
        tool_calls=calls,
        finish_reason=_finish_reason(answer, called=bool(calls)),
        logprobs=openai_logprobs(answer.logprobs) if answer.logprobs else None,
    )
    return ChatAnswer(answer.model or "", (choice,), _usage(answer.prompt_eval_count, answer.eval_count))


class LineReader:
    """The lines of one stream, in order, into events. `end` makes the last one, or says that it was cut short."""

    def __init__(self) -> None:
        self._started = False
        self._calls = 0
        self._finish_reason: FinishReason | None = None
        self._usage = NO_USAGE

    @property
    def finished(self) -> bool:
        """Whether the answer is whole, its usage included: both come with the last line."""
        return self._finish_reason is not None

    def read(self, line: bytes) -> list[StreamEvent]:
        """The events of a line. Raises the error in it, or Transient(garbage)."""
        try:
            answer = _decode(line)
        except ProviderError:
            if self.finished:
                return []  # The answer is whole: what follows can't take it back.
            raise
        if self.finished:
            return []
        events: list[StreamEvent] = []
        if not self._started:
            self._started = True
            events.append(Started(answer.model or ""))
        if answer.message is not None:
            self._message(answer.message, answer.logprobs, events)
        if answer.done:
            self._finish_reason = _finish_reason(answer, called=self._calls > 0)
            self._usage = _usage(answer.prompt_eval_count, answer.eval_count)
            events.append(ChoiceFinished(self._finish_reason))
        return events

    def _message(self, said: _Message, logprobs: list[dict[str, object]] | None, events: list[StreamEvent]) -> None:
        if said.thinking:
            events.append(ReasoningDelta(said.thinking))
        if said.content or logprobs:
            events.append(TextDelta(said.content or "", logprobs=openai_logprobs(logprobs) if logprobs else None))
        for call in said.tool_calls or ():
            function = call.function
            events.append(ToolCallDelta(self._calls, _arguments(function), _call_id(call), function.name))
            self._calls += 1

    def end(self) -> Finished:
        """The last event. Raises Transient(cut) if the stream stopped before its answer did."""
        if self._finish_reason is None:
            raise Transient("the stream ended in the middle of the answer", cause="cut")
        return Finished(self._finish_reason, self._usage)


def parse_vectors(body: bytes, *, expected: int) -> ChatAnswer:
    """Read the answer of `POST /api/embed`. Raises Transient(garbage)."""
    said = decoded(_vectors, body)
    usage = _usage(said.prompt_eval_count, 0)
    return ChatAnswer(said.model or "", (), usage, vectors=float32(said.embeddings, expected=expected))


def parse_models(body: bytes) -> tuple[ModelInfo, ...]:
    """Read the answer of `GET /api/tags`. Raises Transient(garbage)."""
    return tuple(ModelInfo(model.name, "ollama") for model in decoded(_models, body).models or ())
