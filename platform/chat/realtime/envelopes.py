"""What travels on a room's channel and lies in its stream: a header for servers, a newline, the frame for clients.

    E <seq> <epoch> <type> <subject>     a durable event; subject is a generation or membership, or -
    D <gid> <part> <off> <length>        a piece of an answer, in code points
    T <membership>                       somebody is typing
    P <membership> <state>               somebody came, went or is away
    X <reason>                           the room is gone

The frame is never decoded on its way to a socket.
"""

import uuid
from typing import Literal

import msgspec

from chat.events import RoomEvent
from chat.parts import Kind
from chat.realtime.frames import Delta, Event, Presence, Typing, encode, reset
from kernel.ids import parse_uuid

EnvelopeKind = Literal["event", "delta", "typing", "presence", "gone"]


class Envelope(msgspec.Struct, frozen=True):
    """A frame, and what a server needs to know of it."""

    kind: EnvelopeKind
    frame: bytes
    seq: int = 0
    epoch: str = ""
    type: str = ""
    subject: uuid.UUID | None = None
    gid: str = ""
    part: int = 0
    offset: int = 0
    length: int = 0

    @property
    def end(self) -> int:
        """The code point after a delta's last."""
        return self.offset + self.length


def event_payload(room_id: uuid.UUID, *, epoch: int, event: RoomEvent) -> bytes:
    """A durable event, ready for the stream and the channel."""
    frame = Event(room=room_id, epoch=str(epoch), seq=event.seq, type=event.type, at=event.at, body=event.body)
    return f"E {event.seq} {epoch} {event.type} {event.subject or '-'}\n".encode() + encode(frame)


def delta_payload(
    room_id: uuid.UUID, *, gid: uuid.UUID, offset: int, text: str, part: int = 0, kind: Kind = "text"
) -> bytes:
    """A piece of a part of an answer."""
    frame = Delta(room=room_id, gid=gid, part=part, kind=kind, off=offset, text=text)
    return f"D {gid} {part} {offset} {len(text)}\n".encode() + encode(frame)


def typing_payload(room_id: uuid.UUID, *, who: uuid.UUID) -> bytes:
    """Somebody is typing."""
    return f"T {who}\n".encode() + encode(Typing(room=room_id, who=who))


def presence_payload(room_id: uuid.UUID, *, who: uuid.UUID, state: Literal["online", "away", "offline"]) -> bytes:
    """Somebody came, went or is away."""
    return f"P {who} {state}\n".encode() + encode(Presence(room=room_id, who=who, state=state))


def gone_payload(room_id: uuid.UUID) -> bytes:
    """The room was deleted: its snapshot tells so."""
    return b"X deleted\n" + encode(reset(room_id, "deleted"))


def open_payload(payload: bytes) -> Envelope:
    """Read what `*_payload` made. Raises ValueError for anything else."""
    header, _, frame = payload.partition(b"\n")
    match header.decode("ascii").split(" "):
        case ["E", seq, epoch, type_, subject]:
            return Envelope(
                kind="event", frame=frame, seq=int(seq), epoch=epoch, type=type_, subject=parse_uuid(subject)
            )
        case ["D", gid, part, offset, length]:
            return Envelope(kind="delta", frame=frame, gid=gid, part=int(part), offset=int(offset), length=int(length))
        case ["T", _]:
            return Envelope(kind="typing", frame=frame)
        case ["P", who, state]:
            return Envelope(kind="presence", frame=frame, type=state, subject=parse_uuid(who))
        case ["X", _]:
            return Envelope(kind="gone", frame=frame)
    raise ValueError("this is no payload of a room")
