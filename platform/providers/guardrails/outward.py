"""inspect_out: mask an answer, whole or as it streams.

In a stream the end of a piece may be the beginning of a secret: it is held back until what follows decides, a word or a
number at most, and at most `MAX_HELD_CHARS`."""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from providers.guardrails.mask import PEM_BEGINS, PEM_ENDS, SECRET_SAYS, Mask, masked_value
from providers.types import (
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
    Extras,
    OpaqueDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

MAX_HELD_CHARS = 8_192
SAID_AGAIN = frozenset({"reasoning_details"})
"""Extras of answers that say again, in pieces, what is masked as a text: they are left out."""
_PEM_TAIL_CHARS = 64


class _Text:
    """One text that comes in pieces."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = ""
        self._in_pem = False

    def feed(self, piece: str) -> str:
        """What can be said by now."""
        self._held += piece
        said = self._past_pem() if self._mask.secrets else ""
        if self._in_pem:
            return said
        cut = self._mask.undecided(self._held)
        if len(self._held) - cut > MAX_HELD_CHARS:
            cut = len(self._held)
        decided, self._held = self._held[:cut], self._held[cut:]
        return said + self._mask.text(decided)

    def _past_pem(self) -> str:
        """Say what comes before a private key, and swallow the key."""
        said = ""
        while True:
            if self._in_pem:
                ends = PEM_ENDS.search(self._held)
                if ends is None:
                    self._held = self._held[-_PEM_TAIL_CHARS:]
                    return said
                self._held, self._in_pem = self._held[ends.end() :], False
            begins = PEM_BEGINS.search(self._held)
            if begins is None:
                return said
            said += self._mask.text(self._held[: begins.start()]) + SECRET_SAYS
            self._held, self._in_pem = self._held[begins.end() :], True

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return "" if self._in_pem else self._mask.text(held)


Key = tuple[Literal["text", "reasoning", "call", "refusal"], int, int]


class Outward:
    """One answer on its way out."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._texts: dict[Key, _Text] = {}
        self._format = ""

    def feed(self, event: StreamEvent) -> Iterator[StreamEvent]:
        """What may be seen of this event, and of what was held back before it."""
        match event:
            case TextDelta(text, index):
                said = self._text(("text", index, 0)).feed(text)
                if said or event.logprobs is not None:
                    # Log probabilities spell the text out, token by token.
                    yield TextDelta(said, index)
            case ReasoningDelta(text, index, extras):
                said = self._text(("reasoning", index, 0)).feed(text)
                if said or extras is not None:
                    yield ReasoningDelta(said, index, extras)
            case ToolCallDelta():
                said = self._text(("call", event.index, event.call)).feed(event.arguments)
                if said or event.id is not None or event.name is not None:
                    yield replace(event, arguments=said)
            case OpaqueDelta(extras, index):
                if (left := self._opaque(extras, self._refusal(extras, index))) is not None:
                    yield replace(event, extras=left)
            case ChoiceFinished(_, index):
                yield from self._rest(index)
                yield event
            case _:
                yield event

    def _refusal(self, extras: Extras, index: int) -> Callable[[str], str]:
        """How a refusal is masked, which comes in pieces like a text."""
        self._format = extras.wire_format
        return self._text(("refusal", index, 0)).feed

    def _opaque(self, extras: Extras, refusal: Callable[[str], str]) -> Extras | None:
        """What only one format knows, masked; None where nothing is left of it."""
        fields = {
            name: self._field(value, refusal if name == "refusal" else self._mask.text)
            for name, value in extras.fields.items()
            if name not in SAID_AGAIN
        }
        left = {name: value for name, value in fields.items() if value is not None}
        if not left:
            return None
        return extras if left == extras.fields else replace(extras, fields=left)

    def _field(self, value: Raw, mask: Callable[[str], str]) -> Raw | None:
        """None for what can't be read, or is held back."""
        try:
            said = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
        masked = masked_value(said, mask)
        if masked == said:
            return value
        return Raw(msgspec.json.encode(masked)) if masked != "" else None

    def _text(self, key: Key) -> _Text:
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = _Text(self._mask)
        return text

    def rest(self) -> Iterator[StreamEvent]:
        """What was held back of an answer that has ended, however it did."""
        return self._rest(None)

    def _rest(self, index: int | None) -> Iterator[StreamEvent]:
        for (kind, choice, call), text in list(self._texts.items()):
            if index is not None and choice != index:
                continue
            said = text.end()
            if not said:
                continue
            match kind:
                case "text":
                    yield TextDelta(said, choice)
                case "reasoning":
                    yield ReasoningDelta(said, choice)
                case "call":
                    yield ToolCallDelta(call, said, index=choice)
                case "refusal":
                    yield OpaqueDelta(Extras(self._format, {"refusal": Raw(msgspec.json.encode(said))}), choice)

    def answer(self, answer: ChatAnswer) -> ChatAnswer:
        """A whole answer, masked."""
        return replace(answer, choices=tuple(self._choice(choice) for choice in answer.choices))

    def _choice(self, choice: AnswerChoice) -> AnswerChoice:
        mask = self._mask.text
        masked = replace(
            choice,
            text=mask(choice.text),
            reasoning=mask(choice.reasoning),
            tool_calls=tuple(replace(call, arguments=mask(call.arguments)) for call in choice.tool_calls),
            extras=None if choice.extras is None else self._opaque(choice.extras, mask),
        )
        # The pieces, and the log probabilities, say the same again as it was before.
        return replace(masked, logprobs=None) if masked == choice else replace(masked, logprobs=None, pieces=())
