"""Events into whole answers, and back."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from providers.types import (
    NO_USAGE,
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
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


class _Choice:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.reasoning_extras: list[Extras] = []
        self.calls: dict[int, _Call] = {}
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[Raw] = []
        self.extras: list[Extras] = []


class Assembler:
    """Collects the events of one answer. `answer()` is what there is so far, at any time."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
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
                choice = self._choice(index)
                choice.text.append(text)
                self.output_bytes += len(text.encode())
                if logprobs is not None:
                    choice.logprobs.append(logprobs)
            case ReasoningDelta(text, index, extras):
                choice = self._choice(index)
                choice.reasoning.append(text)
                if extras is not None:
                    choice.reasoning_extras.append(extras)
                self.reasoning_bytes += len(text.encode())
            case ToolCallDelta():
                self._add_call(event)
            case OpaqueDelta(extras, index):
                self._choice(index).extras.append(extras)
                self.output_bytes += sum(map(len, extras.fields.values()))
            case ChoiceFinished(finish_reason, index):
                self._choice(index).finish_reason = finish_reason
            case Vectors(vectors):
                self._vectors = vectors
            case Started(model, extras):
                self._model, self._extras = model, extras
            case Finished(_, usage):
                self.usage = usage

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._choice(delta.index).calls.setdefault(delta.call, _Call())
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
        choices = tuple(
            AnswerChoice(
                index=index,
                text="".join(choice.text),
                reasoning="".join(choice.reasoning),
                tool_calls=tuple(
                    ToolCall(call.id, call.name, "".join(call.arguments), _joined(call.extras))
                    for _, call in sorted(choice.calls.items())
                ),
                finish_reason=choice.finish_reason,
                logprobs=_joined_json(choice.logprobs) if choice.logprobs else None,
                extras=_joined(choice.extras),
                reasoning_extras=_joined(choice.reasoning_extras),
            )
            for index, choice in sorted(self._choices.items())
        )
        return ChatAnswer(self._model, choices, self.usage or NO_USAGE, self._extras, self._vectors)


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
    yield Started(answer.model, answer.extras)
    if answer.vectors:
        yield Vectors(answer.vectors)
    for choice in answer.choices:
        index = choice.index
        if choice.reasoning or choice.reasoning_extras is not None:
            yield ReasoningDelta(choice.reasoning, index, choice.reasoning_extras)
        if choice.text or choice.logprobs is not None:
            yield TextDelta(choice.text, index, choice.logprobs)
        for number, call in enumerate(choice.tool_calls):
            yield ToolCallDelta(number, call.arguments, call.id, call.name, index, call.extras)
        if choice.extras is not None:
            yield OpaqueDelta(choice.extras, index)
        yield ChoiceFinished(choice.finish_reason or "stop", index)
    reason = answer.choices[0].finish_reason if answer.choices else None
    yield Finished(reason or "stop", answer.usage)
