"""The items of an answer while they come: each knows what to say when it begins, goes on and ends."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import msgspec
from msgspec import Raw

from providers.adapters.openai_responses.items_in import seal
from providers.adapters.openai_responses.response import Status
from providers.assemble import Assembler
from providers.types import ReasoningDelta, ToolCallDelta

JSON = dict[str, object]
Event = tuple[str, JSON]
"""The type of an event, and what it says beside its number."""


class OutItem(ABC):
    """One item. `place` is what every event about it names; `sealed` see `FinishedResponse`."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.place: JSON = {"item_id": name, "output_index": number}
        self.sealed: str | None = None
        self.status: Status = "in_progress"

    def opened(self) -> Iterator[Event]:
        """The events that begin the item."""
        yield "response.output_item.added", {"output_index": self.number, "item": self.json()}

    def closed(self, status: Status) -> Iterator[Event]:
        """The events that end it, `completed` or `incomplete`."""
        yield from self._ended()
        self.status = status
        yield "response.output_item.done", {"output_index": self.number, "item": self.json()}

    def cut(self) -> None:
        """Take it that no more will come, if it has not ended."""
        if self.status == "in_progress":
            self.status = "incomplete"

    @abstractmethod
    def json(self) -> JSON:
        """The item as it stands."""

    @abstractmethod
    def _ended(self) -> Iterator[Event]:
        """The events that end what is in the item."""


class _Part:
    """A part of a message: text or a refusal, whose events and fields have the name `field`."""

    def __init__(self, field: str, place: JSON) -> None:
        self.field = field
        self.kind = "output_text" if field == "text" else field
        self.place = place
        self.said: list[str] = []
        self.logprobs: list[Raw] = []

    def json(self) -> JSON:
        part: JSON = {"type": self.kind, self.field: "".join(self.said)}
        return part | {"annotations": [], "logprobs": self.logprobs} if self.field == "text" else part

    def opened(self) -> Event:
        return "response.content_part.added", {**self.place, "part": self.json()}

    def more(self, said: str, logprobs: list[Raw]) -> Event:
        self.said.append(said)
        self.logprobs.extend(logprobs)
        more: JSON = {"logprobs": logprobs} if self.field == "text" else {}
        return f"response.{self.kind}.delta", {**self.place, "delta": said, **more}

    def closed(self) -> Iterator[Event]:
        more: JSON = {"logprobs": self.logprobs} if self.field == "text" else {}
        yield f"response.{self.kind}.done", {**self.place, self.field: "".join(self.said), **more}
        yield "response.content_part.done", {**self.place, "part": self.json()}


class OutMessage(OutItem):
    """What the model says."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self._parts: list[_Part] = []

    def json(self) -> JSON:
        content = [part.json() for part in self._parts]
        return {"id": self.name, "type": "message", "status": self.status, "role": "assistant", "content": content}

    def add(self, field: str, said: str, logprobs: list[Raw]) -> Iterator[Event]:
        """More of its text (`text`), or of its refusal (`refusal`)."""
        if not self._parts or self._parts[-1].field != field:
            yield from self._ended()
            self._parts.append(_Part(field, {**self.place, "content_index": len(self._parts)}))
            yield self._parts[-1].opened()
        yield self._parts[-1].more(said, logprobs)

    def _ended(self) -> Iterator[Event]:
        if self._parts:
            yield from self._parts[-1].closed()


class OutReasoning(OutItem):
    """What the model thinks aloud, as a summary. `shown` says whether what its format wants back is."""

    def __init__(self, name: str, number: int, *, shown: bool) -> None:
        super().__init__(name, number)
        self._assembler = Assembler()
        self._text = ""
        self._said: list[str] = []
        self._shown = shown
        self._place: JSON = {**self.place, "summary_index": 0}

    def json(self) -> JSON:
        text = "".join(self._said)
        item: JSON = {"id": self.name, "type": "reasoning", "summary": [_summary(text)] if text else []}
        return item | ({"encrypted_content": self.sealed} if self._shown and self.sealed else {})

    def add(self, delta: ReasoningDelta) -> Iterator[Event]:
        """More of it."""
        self._assembler.add(delta)
        if not delta.text:
            return
        if not self._said:
            yield "response.reasoning_summary_part.added", {**self._place, "part": _summary("")}
        self._said.append(delta.text)
        yield "response.reasoning_summary_text.delta", {**self._place, "delta": delta.text}

    def _ended(self) -> Iterator[Event]:
        choices = self._assembler.answer().choices
        extras = choices[0].reasoning_extras if choices else None
        self.sealed = seal(extras) if extras is not None else None
        if self._said:
            text = "".join(self._said)
            yield "response.reasoning_summary_text.done", {**self._place, "text": text}
            yield "response.reasoning_summary_part.done", {**self._place, "part": _summary(text)}


def _summary(text: str) -> JSON:
    return {"type": "summary_text", "text": text}


class OutCall(OutItem):
    """A function that the model wishes to call."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self._call_id = ""
        self._function = ""
        self._arguments: list[str] = []

    def json(self) -> JSON:
        return {
            "id": self.name,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._function,
            "arguments": "".join(self._arguments),
        }

    def named(self, delta: ToolCallDelta) -> None:
        """Take what the first piece says of the call."""
        self._call_id = delta.id or self._call_id
        self._function = delta.name or self._function

    def add(self, delta: ToolCallDelta) -> Iterator[Event]:
        """More of its arguments."""
        self.named(delta)
        if delta.arguments:
            self._arguments.append(delta.arguments)
            yield "response.function_call_arguments.delta", {**self.place, "delta": delta.arguments}

    def _ended(self) -> Iterator[Event]:
        arguments = "".join(self._arguments)
        yield (
            "response.function_call_arguments.done",
            {**self.place, "name": self._function, "arguments": arguments},
        )


class _Logprobs(msgspec.Struct):
    content: list[Raw] = []


_logprobs = msgspec.json.Decoder(_Logprobs)


def logprobs_of(said: Raw | None) -> list[Raw]:
    """Log probabilities, token by token, of an upstream that says them as chat completions do."""
    if said is None:
        return []
    try:
        return _logprobs.decode(said).content
    except msgspec.ValidationError:
        return []
