"""An upstream's answer, whole or streamed, into values. Lenient: providers leave out, null and rename what
they like."""

from operator import attrgetter
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.errors import classify_frame
from providers.adapters.openai.usage import read_usage
from providers.adapters.reading import one_line
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
)

MAX_CHOICE_INDEX = 1_023

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral: the model's context is full
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
FAILED_REASONS = frozenset({"error", "insufficient_system_resource"})

Index = Annotated[int, Meta(ge=0, le=MAX_CHOICE_INDEX)]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class _CallDelta(msgspec.Struct):
    index: Index | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None
    extra_content: Raw | UnsetType = UNSET

    def called(self) -> _Function:
        """What is called; of a custom tool, its input stands for arguments."""
        if self.custom is not None:
            return _Function(self.custom.name, self.custom.input)
        return self.function or _Function()

    def extras(self) -> Extras | None:
        """What this format alone says of the call: that it is of a custom tool, with its first piece."""
        if self.custom is None:
            return _extras(extra_content=self.extra_content)
        kind = Raw(b'"custom"') if self.custom.name else UNSET
        said = Raw(msgspec.json.encode({"name": self.custom.name} if self.custom.name else {}))
        return _extras(type=kind, custom=said, extra_content=self.extra_content)


class _Piece(msgspec.Struct):
    """A part of content that is no plain string: Mistral's reasoning models think in such."""

    type: str = "text"
    text: str | None = None
    thinking: "list[_Piece] | str | None" = None


class _Delta(msgspec.Struct):
    content: str | list[_Piece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None
    refusal: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET
    audio: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET
    reasoning_details: Raw | UnsetType = UNSET


_OPAQUE = ("refusal", "annotations", "audio", "function_call", "reasoning_details")
_opaque_of = attrgetter(*_OPAQUE)
_NOTHING_OPAQUE = (UNSET,) * len(_OPAQUE)


class _Choice(msgspec.Struct):
    index: Index = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None  # legacy completions
    finish_reason: str | None = None
    logprobs: Raw | UnsetType = UNSET


class _Answer(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    system_fingerprint: Raw | UnsetType = UNSET
    service_tier: Raw | UnsetType = UNSET
    prompt_filter_results: Raw | UnsetType = UNSET  # Azure


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


_answer = msgspec.json.Decoder(_Answer)
_models = msgspec.json.Decoder(_Models)

_FALSY = (b"null", b"false", b'""', b"{}", b"[]", b"0")
CANT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _decode(data: bytes) -> _Answer:
    """Raises the error that the JSON holds, or Transient(garbage) if it is none."""
    try:
        answer = _answer.decode(one_line(data))
    except CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
    failure = error_in(answer.error, data)
    if failure is not None:
        raise failure
    return answer


def error_in(said: Raw | UnsetType, body: bytes) -> ProviderError | None:
    """The error that came with a 200, if what `body` has under `error` is one."""
    return None if isinstance(said, UnsetType) or bytes(said) in _FALSY else classify_frame(body)


def _extras(**fields: Raw | UnsetType) -> Extras | None:
    said = {key: value for key, value in fields.items() if not isinstance(value, UnsetType) and bytes(value) != b"null"}
    return Extras(WIRE_FORMAT, said) if said else None


def refusal_of(extras: Extras) -> str:
    """The refusal, or the piece of one, that an answer of this format holds in place of a text."""
    said = extras.fields.get("refusal") if extras.wire_format == WIRE_FORMAT else None
    value = None if said is None else msgspec.json.decode(said)
    return value if isinstance(value, str) else ""


def _opaque(delta: _Delta) -> Extras | None:
    if _opaque_of(delta) == _NOTHING_OPAQUE:
        return None
    return _extras(**{name: getattr(delta, name) for name in _OPAQUE})


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
        usage=read_usage(answer.usage, answer.service_tier),
        extras=_answer_extras(answer),
    )


def _answer_extras(answer: _Answer) -> Extras | None:
    return _extras(
        system_fingerprint=answer.system_fingerprint,
        service_tier=answer.service_tier,
        prompt_filter_results=answer.prompt_filter_results,
    )


def new_call_id() -> str:
    """For a call to which the upstream gave none: what came of it is told by its id."""
    return f"call_{uuid4().hex}"


def _said(delta: _Delta) -> tuple[str, str]:
    """What is said, and what is thought."""
    content = delta.content
    reasoning = delta.reasoning_content or delta.reasoning or ""
    if not isinstance(content, list):
        return content or "", reasoning
    thoughts = (piece.thinking for piece in content)
    return (
        "".join(piece.text or "" for piece in content),
        reasoning + "".join(_thought(thought) for thought in thoughts if thought),
    )


def _thought(said: list[_Piece] | str) -> str:
    return said if isinstance(said, str) else "".join(piece.text or "" for piece in said)


def _answer_choice(choice: _Choice) -> AnswerChoice:
    message = choice.message
    if message is None:
        if choice.text is None:
            raise Transient("a choice without a message", cause="garbage")
        message = _Delta(choice.text)
    text, reasoning = _said(message)
    calls = tuple(
        ToolCall(
            id=call.id or new_call_id(),
            name=call.called().name or "",
            arguments=call.called().arguments or "",
            extras=call.extras(),
        )
        for call in message.tool_calls or ()
    )
    return AnswerChoice(
        index=choice.index,
        text=text,
        reasoning=reasoning,
        tool_calls=calls,
        finish_reason=_finish_reason(choice.finish_reason or "stop"),
        logprobs=_logprobs(choice),
        extras=_opaque(message),
    )


class _Begun:
    """A call of which something was told. `arguments` are kept of those that the upstream gives no id."""

    __slots__ = ("arguments", "has_id", "has_name")

    def __init__(self, *, has_id: bool) -> None:
        self.has_id = has_id
        self.has_name = False
        self.arguments: list[str] = []

    def is_whole(self) -> bool:
        """Whether nothing can follow of its arguments."""
        try:
            msgspec.json.decode("".join(self.arguments))
        except CANT_READ:
            return False
        return True


class ChunkReader:
    """The frames of one stream, in order, into events. `end` makes the last one, or says that it was cut
    short."""

    def __init__(self, *, choices: int) -> None:
        self._expected = choices
        self._started = False
        self._finished: dict[int, FinishReason] = {}
        self._calls: dict[int, dict[str, int]] = {}
        self._places: dict[int, dict[int, tuple[str, int]]] = {}
        self._begun: dict[tuple[int, int], _Begun] = {}
        self._usage = NO_USAGE
        self._usage_is_last = False
        self._done = False
        self._prompt_filter_results: Raw | UnsetType = UNSET
        self._service_tier: Raw | UnsetType = UNSET

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
            if chunk.prompt_filter_results is UNSET:
                chunk.prompt_filter_results = self._prompt_filter_results
            events.append(Started(chunk.model or "", _answer_extras(chunk)))
        elif not self._started:
            # Azure says in a chunk of its own, before the answer, what its filters found in the question.
            self._prompt_filter_results = chunk.prompt_filter_results
        for choice in chunk.choices or ():
            self._choice(choice, events)
        if chunk.service_tier is not UNSET:
            self._service_tier = chunk.service_tier
        if not isinstance(chunk.usage, UnsetType) and bytes(chunk.usage) != b"null":
            self._usage = read_usage(chunk.usage, self._service_tier)
            self._usage_is_last = self.finished
        return events

    def _choice(self, choice: _Choice, events: list[StreamEvent]) -> None:
        index = choice.index
        delta = choice.delta or choice.message
        if delta is None and choice.text is not None:
            delta = _Delta(choice.text)
        if delta is not None:
            text, reasoning = _said(delta)
            if reasoning:
                events.append(ReasoningDelta(reasoning, index))
            logprobs = _logprobs(choice)
            if text or logprobs is not None:
                events.append(TextDelta(text, index, logprobs))
            events.extend(self._call(call, index) for call in delta.tool_calls or ())
            opaque = _opaque(delta)
            if opaque is not None:
                events.append(OpaqueDelta(opaque, index))
        if choice.finish_reason and index not in self._finished:
            reason = self._finished[index] = _finish_reason(choice.finish_reason)
            events.append(ChoiceFinished(reason, index))

    def _call(self, call: _CallDelta, index: int) -> ToolCallDelta:
        """Id and name come with the first piece, however often the upstream says them; without an id it gets one."""
        function = call.called()
        number = self._place(call, function, index)
        arguments = function.arguments or ""
        begun, call_id = self._begun.get((index, number)), None
        if begun is None:
            begun = self._begun[index, number] = _Begun(has_id=bool(call.id))
            call_id = call.id or new_call_id()
        name = None if begun.has_name else function.name
        begun.has_name = begun.has_name or bool(name)
        if not begun.has_id:
            begun.arguments.append(arguments)
        return ToolCallDelta(number, arguments, call_id, name, index, call.extras())

    def _place(self, call: _CallDelta, function: _Function, index: int) -> int:
        """The number of the call that a piece belongs to. Calls without an index are told apart by their id; a piece
        without either belongs to the last call. So do calls that have one index: Gemini, in this format, gives 0 to
        each. Without ids either, a name and arguments after arguments that are whole begin another."""
        known = self._calls.setdefault(index, {})
        if call.index is None:
            last = max(len(known) - 1, 0)
            if call.id or not known or self._is_another(index, last, function):
                return known.setdefault(call.id or new_call_id(), len(known))
            return last
        place = self._places.get(index, {}).get(call.index)
        begins = call.id if function.name else None
        if function.name and not call.id:
            begins = new_call_id() if place is None or self._is_another(index, place[1], function) else None
        return self._number(index, call.index, begins)

    def _is_another(self, index: int, number: int, function: _Function) -> bool:
        begun = self._begun.get((index, number))
        if begun is None or begun.has_id or not (function.name and function.arguments):
            return False
        return begun.is_whole()

    def _number(self, index: int, said: int, begins: str | None) -> int:
        """The number of the call that has this one at the upstream; `begins` is the id of one that begins with this
        piece."""
        places = self._places.setdefault(index, {})
        known = places.get(said)
        if begins and (known is None or known[0] != begins):
            taken = [number for _, number in places.values()]
            known = places[said] = (begins, max(taken) + 1 if said in taken else said)
        return said if known is None else known[1]

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
    except CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
