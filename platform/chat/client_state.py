"""What a client holds of a room, and how it takes what comes: each event and each character once, in order.

Pure: no connection, no clock. Offsets count Unicode code points, as Python's strings do.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chat.realtime.frames import Delta, Event, Presence, Typing

HELD_FRAMES_MAX = 2000
ENDED_ANSWERS_MAX = 200
Json = dict[str, Any]


class Gap(Exception):
    """Something is missing: the room has to be resumed."""


@dataclass
class Answer:
    """An answer of a model. `parts` grow by deltas; `message` is what it became."""

    id: str
    parts: dict[int, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    status: str = "queued"
    message: Json | None = None

    @property
    def text(self) -> str:
        """What it says, without its reasoning: as it streamed."""
        return "".join(self.parts[number] for number in sorted(self.parts) if self.kinds[number] == "text")

    @property
    def ended(self) -> bool:
        """Whether no more comes."""
        return self.status not in ("queued", "streaming")

    @property
    def final_text(self) -> str:
        """What it says by the event that ended it."""
        return str(self.message["text"]) if self.message else ""


@dataclass
class Room:
    """The state of one room. `seq` is None until a snapshot was loaded."""

    id: str
    messages_max: int
    epoch: str | None = None
    seq: int | None = None
    gone: bool = False
    info: Json = field(default_factory=dict)
    messages: "OrderedDict[str, Json]" = field(default_factory=OrderedDict)
    answers: "OrderedDict[str, Answer]" = field(default_factory=OrderedDict)
    present: dict[str, str] = field(default_factory=dict)
    resets: int = 0
    overlaps: int = 0
    """Code points that came again, and were dropped."""
    on_event: Callable[[Event], None] | None = None
    on_typing: Callable[[Typing], None] | None = None
    _held: list[Event | Delta] = field(default_factory=list)

    def position(self) -> Json:
        """What is held, for `hello`."""
        if self.seq is None:
            return {"room": self.id}
        live = {
            answer.id: {str(number): len(text) for number, text in answer.parts.items()}
            for answer in self.answers.values()
            if not answer.ended
        }
        return {"room": self.id, "epoch": self.epoch, "seq": self.seq, "gens": live}

    def lift(self) -> None:
        """Hold back what comes until a snapshot is loaded."""
        self.seq = self.epoch = None
        self._held.clear()

    def place(self, snapshot: Mapping[str, Any]) -> None:
        """Begin from a snapshot, then take what came meanwhile. Raises `Gap`."""
        self.info = dict(snapshot["room"])
        self.epoch, self.seq = str(snapshot["epoch"]), int(snapshot["seq"])
        self.messages = OrderedDict((message["id"], message) for message in snapshot["messages"])
        self.answers = OrderedDict((one["id"], _answer(one)) for one in snapshot["generations"])
        for message in snapshot["messages"]:
            if message["generation"]:
                ended = _ended(message)
                self.answers[ended.id] = ended
        held, self._held = self._held, []
        for frame in held:
            self.take(frame)

    def take(self, frame: Event | Delta) -> None:
        """Take an event or a delta. Raises `Gap` when something before it is missing."""
        if self.seq is None:
            if len(self._held) < HELD_FRAMES_MAX:
                # What is dropped here shows as a gap.
                self._held.append(frame)
        elif isinstance(frame, Delta):
            self._take_delta(frame)
        elif frame.seq == self.seq + 1:
            self.seq, self.epoch = frame.seq, frame.epoch
            self._take_event(frame)
            if self.on_event is not None:
                self.on_event(frame)
        elif frame.seq > self.seq:
            raise Gap(f"event {frame.seq} after {self.seq}")

    def take_presence(self, frame: Presence) -> None:
        """Somebody came, went, or is away."""
        if frame.state == "offline":
            self.present.pop(str(frame.who), None)
        else:
            self.present[str(frame.who)] = frame.state

    def _take_delta(self, delta: Delta) -> None:
        answer = self.answers.get(str(delta.gid))
        if answer is None or answer.ended:
            # It has ended here, or its start is still to come: the durable text follows either way.
            return
        held = answer.parts.get(delta.part, "")
        if delta.off > len(held):
            raise Gap(f"answer {delta.gid}: part {delta.part} at {delta.off} after {len(held)}")
        self.overlaps += min(len(held) - delta.off, len(delta.text))
        answer.parts[delta.part] = held + delta.text[len(held) - delta.off :]
        answer.kinds.setdefault(delta.part, delta.kind)

    def _take_event(self, event: Event) -> None:
        body: Json = msgspec.json.decode(event.body)
        message, generation = body.get("message"), body.get("generation")
        if event.type == "generation.started" and generation:
            self.answers.setdefault(generation["id"], Answer(generation["id"], status=generation["status"]))
        elif event.type == "generation.finished" and generation:
            answer = self.answers.setdefault(generation["id"], Answer(generation["id"]))
            answer.status, answer.message = generation["status"], message
        elif event.type == "room.updated" and body.get("room"):
            self.info |= body["room"]
        new = event.type in ("message.created", "generation.finished")
        if message and (new or message["id"] in self.messages):
            # One that changes and isn't held is older than all that are.
            self.messages[message["id"]] = message
        while len(self.messages) > self.messages_max:
            self.messages.popitem(last=False)
        self._forget_answers()

    def _forget_answers(self) -> None:
        if len(self.answers) <= ENDED_ANSWERS_MAX:
            return
        ended = [answer.id for answer in self.answers.values() if answer.ended]
        for id_ in ended[: max(0, len(ended) - ENDED_ANSWERS_MAX)]:
            del self.answers[id_]


def _answer(shown: Mapping[str, Any]) -> Answer:
    parts = shown.get("parts") or []
    return Answer(
        shown["id"],
        parts={number: part["text"] for number, part in enumerate(parts)},
        kinds={number: part["type"] for number, part in enumerate(parts)},
        status=shown["status"],
    )


def _ended(message: Json) -> Answer:
    said = [part for part in message["parts"] if part["type"] in ("text", "reasoning", "tool_args")]
    return Answer(
        message["generation"],
        parts={number: part["text"] for number, part in enumerate(said)},
        kinds={number: part["type"] for number, part in enumerate(said)},
        status=(message["answered"] or {}).get("status", "complete"),
        message=message,
    )
