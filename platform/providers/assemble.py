"""Events into whole answers, and back."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from providers.types import (
    NO_USAGE,
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
    Content,
    Extras,
    Finished,
    FinishReason,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vectors,
)


class _Call:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.extras: list[Extras] = []


_REASONING, _TEXT, _CALL, _OPAQUE = range(4)
"""Kinds of pieces, in the order in which whole answers are told."""


class _Choice:
    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int, int]] = []
        """Where pieces of one kind begin: the kind, its number among calls or opaque deltas, and how many texts or
        thoughts and extras of thoughts there were before."""
        self.kind = -1
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.reasoning_extras: list[Extras] = []
        self.calls: dict[int, _Call] = {}
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[Raw] = []
        self.extras: list[Extras] = []

    def add_text(self, text: str, logprobs: Raw | None) -> None:
        if self.kind != _TEXT:
            self.begin(_TEXT)
        self.text.append(text)
        if logprobs is not None:
            self.logprobs.append(logprobs)

    def add_reasoning(self, text: str, extras: Extras | None) -> None:
        if self.kind != _REASONING:
            self.begin(_REASONING)
        self.reasoning.append(text)
        if extras is not None:
            self.reasoning_extras.append(extras)

    def add_opaque(self, extras: Extras) -> None:
        self.begin(_OPAQUE, len(self.extras))
        self.extras.append(extras)

    def begin(self, kind: int, number: int = 0) -> None:
        """Note that pieces of this kind follow."""
        self.kind = kind
        said = self.text if kind == _TEXT else self.reasoning
        self.runs.append((kind, number, len(said), len(self.reasoning_extras)))

    def pieces(self, index: int, calls: tuple[ToolCall, ...]) -> tuple[Content, ...]:
        """The pieces in the order they came; none when that is the usual one."""
        kinds = [kind for kind, *_ in self.runs]
        usual = kinds == sorted(kinds) and kinds.count(_REASONING) < 2 and kinds.count(_TEXT) < 2
        if usual or self.logprobs:
            return ()
        numbers = dict(zip(sorted(self.calls), calls, strict=True))
        return tuple(self._piece(i, index, numbers) for i in range(len(self.runs)))

    def _piece(self, run: int, index: int, calls: dict[int, ToolCall]) -> Content:
        kind, number, start, extras_start = self.runs[run]
        if kind == _CALL:
            call = calls[number]
            return ToolCallDelta(number, call.arguments, call.id, call.name, index, call.extras)
        if kind == _OPAQUE:
            return OpaqueDelta(self.extras[number], index)
        after = next((later for later in self.runs[run + 1 :] if later[0] == kind), None)
        if kind == _TEXT:
            return TextDelta("".join(self.text[start : after[2] if after else None]), index)
        extras = _joined(self.reasoning_extras[extras_start : after[3] if after else None])
        return ReasoningDelta("".join(self.reasoning[start : after[2] if after else None]), index, extras)


class Assembler:
    """Collects the events of one answer. `answer()` is what there is so far, at any time."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.read: Usage | None = None
        self.output_bytes = 0
        self.reasoning_bytes = 0
        self._model = ""
        self._extras: Extras | None = None
        self._choices: dict[int, _Choice] = {}
        self._vectors: tuple[bytes, ...] = ()

    def add(self, event: StreamEvent) -> None:
        """Take the next event."""
        match event:
            case TextDelta(text, index, logprobs):
                self._choice(index).add_text(text, logprobs)
                self.output_bytes += len(text.encode())
            case ReasoningDelta(text, index, extras):
                self._choice(index).add_reasoning(text, extras)
                self.reasoning_bytes += len(text.encode())
            case ToolCallDelta():
                self._add_call(event)
            case OpaqueDelta(extras, index):
                self._choice(index).add_opaque(extras)
                self.output_bytes += sum(map(len, extras.fields.values()))
            case ChoiceFinished(finish_reason, index):
                self._choice(index).finish_reason = finish_reason
            case Vectors(vectors):
                self._vectors = vectors
            case Started(model, extras, read):
                self._model, self._extras, self.read = model, extras, read
            case Finished(_, usage):
                self.usage = usage

    def _add_call(self, delta: ToolCallDelta) -> None:
        choice = self._choice(delta.index)
        call = choice.calls.get(delta.call)
        if call is None:
            call = choice.calls[delta.call] = _Call()
            choice.begin(_CALL, delta.call)
        call.id = delta.id or call.id
        call.name = delta.name or call.name
        call.arguments.append(delta.arguments)
        if delta.extras:
            call.extras.append(delta.extras)
        self.output_bytes += len((delta.name or "").encode()) + len(delta.arguments.encode())

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        return choice

    def answer(self) -> ChatAnswer:
        """The answer so far."""
        choices = tuple(_answer_choice(index, choice) for index, choice in sorted(self._choices.items()))
        return ChatAnswer(self._model, choices, self.usage or NO_USAGE, self._extras, self._vectors)


def _answer_choice(index: int, choice: _Choice) -> AnswerChoice:
    calls = tuple(
        ToolCall(call.id, call.name, "".join(call.arguments), _joined(call.extras))
        for _, call in sorted(choice.calls.items())
    )
    return AnswerChoice(
        index=index,
        text="".join(choice.text),
        reasoning="".join(choice.reasoning),
        tool_calls=calls,
        finish_reason=choice.finish_reason,
        logprobs=_joined_json(choice.logprobs) if choice.logprobs else None,
        extras=_joined(choice.extras),
        reasoning_extras=_joined(choice.reasoning_extras),
        pieces=choice.pieces(index, calls),
    )


def _joined(pieces: list[Extras]) -> Extras | None:
    """All overlays in one, as if their pieces had come at once."""
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    values: dict[str, list[Raw]] = {}
    for piece in pieces:
        for key, value in piece.fields.items():
            values.setdefault(key, []).append(value)
    return Extras(pieces[-1].wire_format, {key: _joined_json(found) for key, found in values.items()})


def _joined_json(pieces: list[Raw]) -> Raw:
    """Strings and lists are appended, objects merged by the same rule; of anything else the last piece
    holds."""
    if len(pieces) == 1:
        return pieces[0]
    values = [msgspec.json.decode(piece) for piece in pieces]
    if all(isinstance(value, str) for value in values):
        return Raw(msgspec.json.encode("".join(values)))
    if all(isinstance(value, list) for value in values):
        return Raw(msgspec.json.encode([item for value in values for item in value]))
    if all(isinstance(value, dict) for value in values):
        members: dict[str, list[Raw]] = {}
        for piece in pieces:
            for key, value in msgspec.json.decode(piece, type=dict[str, Raw]).items():
                members.setdefault(key, []).append(value)
        return Raw(msgspec.json.encode({key: _joined_json(found) for key, found in members.items()}))
    return pieces[-1]


def events_of(answer: ChatAnswer) -> Iterator[StreamEvent]:
    """A whole answer as the events of a stream that brings it in one piece per kind."""
    yield from told(answer)
    yield Finished(reason_of(answer), answer.usage)


def told(answer: ChatAnswer) -> Iterator[StreamEvent]:
    """The same without the last event, which says that it is whole."""
    yield Started(answer.model, answer.extras)
    if answer.vectors:
        yield Vectors(answer.vectors)
    for choice in answer.choices:
        yield from in_order(choice)
        yield ChoiceFinished(choice.finish_reason or "stop", choice.index)


def reason_of(answer: ChatAnswer) -> FinishReason:
    """Why a whole answer ended: that of its first choice."""
    reason = answer.choices[0].finish_reason if answer.choices else None
    return reason or "stop"


def holds_content(answer: ChatAnswer) -> bool:
    """Whether there is anything in an answer to be seen."""
    if answer.vectors:
        return True
    return any(choice.text or next(in_order(choice), None) is not None for choice in answer.choices)


def assembled(answer: ChatAnswer) -> Assembler:
    """What an answer's events come to."""
    assembler = Assembler()
    for event in events_of(answer):
        assembler.add(event)
    return assembler


def as_told(answer: ChatAnswer) -> ChatAnswer:
    """A whole answer as its events would tell it: choices in order, one of each number, that ended somehow."""
    last = -1
    for choice in answer.choices:
        if choice.index <= last or choice.finish_reason is None:
            return assembled(answer).answer()
        last = choice.index
    return answer


def in_order(choice: AnswerChoice) -> Iterator[Content]:
    """What a choice holds, piece by piece: in the order in which it came, unless it was changed since."""
    if choice.pieces and _still_holds(choice):
        yield from choice.pieces
        return
    index = choice.index
    if choice.reasoning or choice.reasoning_extras is not None:
        yield ReasoningDelta(choice.reasoning, index, choice.reasoning_extras)
    if choice.text or choice.logprobs is not None:
        yield TextDelta(choice.text, index, choice.logprobs)
    for number, call in enumerate(choice.tool_calls):
        yield ToolCallDelta(number, call.arguments, call.id, call.name, index, call.extras)
    if choice.extras is not None:
        yield OpaqueDelta(choice.extras, index)


def _still_holds(choice: AnswerChoice) -> bool:
    """Whether the pieces say what the choice says: one that was masked, say, has pieces of what it was before."""
    texts = "".join(piece.text for piece in choice.pieces if isinstance(piece, TextDelta))
    thoughts = "".join(piece.text for piece in choice.pieces if isinstance(piece, ReasoningDelta))
    calls = [piece.arguments for piece in choice.pieces if isinstance(piece, ToolCallDelta)]
    return (texts, thoughts, sorted(calls)) == (
        choice.text,
        choice.reasoning,
        sorted(call.arguments for call in choice.tool_calls),
    )
