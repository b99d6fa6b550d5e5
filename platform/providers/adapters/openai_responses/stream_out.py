"""Values into the typed events of a streamed response, and into a whole one.

Every item is opened, added to and closed by events of its own, numbered in one row; the last event holds the whole
response. Calls may come interleaved, so they stay open until the answer ends."""

import uuid
from collections.abc import Iterator

import msgspec
from msgspec import Raw

from kernel.errors import ParleyError
from providers.adapters.openai.answer_in import refusal_of
from providers.adapters.openai_responses.ids import Kind, item_name
from providers.adapters.openai_responses.items_out import Event, OutCall, OutItem, OutMessage, OutReasoning, logprobs_of
from providers.adapters.openai_responses.request_in import CARRIED, AskedResponse
from providers.adapters.openai_responses.response import (
    JSON,
    FinishedResponse,
    ResponseObject,
    Status,
    ending,
    error_json,
)
from providers.assemble import events_of
from providers.types import (
    ChatAnswer,
    ChoiceFinished,
    Finished,
    OpaqueDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)

_encode = msgspec.json.Encoder().encode


class ResponseWriter:
    """Writes one response. `finished` is there once its last event is written."""

    def __init__(self, asked: AskedResponse, *, response_id: uuid.UUID, created: int) -> None:
        self._id = response_id
        self._object = ResponseObject(asked, response_id=response_id, created=created)
        self._shown = CARRIED in (asked.wire.include or ())
        self._items: list[OutItem] = []
        self._open: OutMessage | OutReasoning | None = None
        self._calls: dict[int, OutCall] = {}
        self._begun = False
        self._number = 0
        self.finished: FinishedResponse | None = None

    def whole(self, answer: ChatAnswer) -> bytes:
        """The response at once. The items are those that a stream would have brought."""
        for event in events_of(answer):
            for _ in self._events(event):
                continue
        if self.finished is None:
            raise AssertionError("an answer ends in Finished")
        return _encode(self.finished.response)

    def write(self, event: StreamEvent) -> bytes:
        """The frames that say this event; none for some."""
        return b"".join(self._frame(*said) for said in self._events(event))

    def error(self, error: ParleyError) -> bytes:
        """The last frames of a stream that failed after its first one."""
        for item in self._items:
            item.cut()
        failed = self._object.json("failed", output=self._output(), error=error_json(error))
        return b"".join(self._frame(*said) for said in self._beginning()) + self._frame(
            "response.failed", {"response": failed}
        )

    def _frame(self, kind: str, said: JSON) -> bytes:
        body = _encode({"type": kind, "sequence_number": self._number, **said})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _events(self, event: StreamEvent) -> Iterator[Event]:
        yield from self._beginning()
        if getattr(event, "index", 0):
            return  # This format has one answer.
        match event:
            case TextDelta(text, _, logprobs):
                if text:
                    yield from self._says("text", text, logprobs)
            case ReasoningDelta():
                yield from self._thinks(event)
            case ToolCallDelta():
                yield from self._calls_on(event)
            case OpaqueDelta(extras):
                if refusal := refusal_of(extras):
                    yield from self._says("refusal", refusal, None)
            case ChoiceFinished(finish_reason):
                yield from self._closing(ending(finish_reason)[0])
            case Finished():
                yield from self._ends(event)

    def _beginning(self) -> Iterator[Event]:
        if self._begun:
            return
        self._begun = True
        for kind in ("response.created", "response.in_progress"):
            yield kind, {"response": self._object.json("in_progress")}

    def _says(self, field: str, said: str, logprobs: Raw | None) -> Iterator[Event]:
        item = self._open
        if not isinstance(item, OutMessage):
            yield from self._close_open()
            item = self._open = OutMessage(*self._next("message"))
            yield from self._opened(item)
        yield from item.add(field, said, logprobs_of(logprobs))

    def _thinks(self, delta: ReasoningDelta) -> Iterator[Event]:
        item = self._open
        if not isinstance(item, OutReasoning):
            yield from self._close_open()
            item = self._open = OutReasoning(*self._next("reasoning"), shown=self._shown)
            yield from self._opened(item)
        yield from item.add(delta)

    def _calls_on(self, delta: ToolCallDelta) -> Iterator[Event]:
        yield from self._close_open()
        item = self._calls.get(delta.call)
        if item is None:
            item = self._calls[delta.call] = OutCall(*self._next("function_call"))
            item.named(delta)
            yield from self._opened(item)
        yield from item.add(delta)

    def _next(self, kind: Kind) -> tuple[str, int]:
        number = len(self._items)
        return item_name(self._id, kind, number), number

    def _opened(self, item: OutItem) -> Iterator[Event]:
        self._items.append(item)
        return item.opened()

    def _close_open(self, status: Status = "completed") -> Iterator[Event]:
        item, self._open = self._open, None
        if item is not None:
            yield from item.closed(status)

    def _closing(self, status: Status) -> Iterator[Event]:
        yield from self._close_open(status)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            yield from call.closed(status)

    def _output(self) -> list[JSON]:
        return [item.json() for item in self._items]

    def _ends(self, event: Finished) -> Iterator[Event]:
        status, incomplete = ending(event.finish_reason)
        yield from self._closing(status)
        response = self._object.json(status, output=self._output(), usage=event.usage, incomplete=incomplete)
        sealed = {item.name: item.sealed for item in self._items if item.sealed is not None}
        self.finished = FinishedResponse(self._id, response, sealed)
        yield f"response.{status}", {"response": response}
