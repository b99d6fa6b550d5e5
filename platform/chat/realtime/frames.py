"""The frames of the protocol `parley.v1`, each a JSON object named by its `op`.

What clients send is decoded into structs, strictly by type; what they may send beyond is ignored, so that newer clients
can talk to older servers. What the server sends is encoded once, whoever gets it.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chat.bounds import CID_CHARS_MAX, ROOMS_PER_SOCKET_MAX

SUBPROTOCOL = "parley.v1"
VERSION = 1

Seq = Annotated[int, Meta(ge=0, le=2**53)]
Offset = Annotated[int, Meta(ge=0, le=2**31)]
Epoch = Annotated[str, Meta(max_length=32)] | Annotated[int, Meta(ge=0, le=2**53)]
Credential = Annotated[str, Meta(min_length=1, max_length=4096)]
Offsets = Annotated[Mapping[Annotated[int, Meta(ge=0, le=1000)], Offset], Meta(max_length=64)]


class CloseCode:
    """Why a socket was closed. Clients come back after those marked so."""

    BAD_FRAME = 4400
    UNAUTHENTICATED = 4401  # with a fresh token
    FORBIDDEN = 4403
    NO_ROOM = 4404
    TIMED_OUT = 4408  # comes back
    REPLACED = 4409
    TOO_LARGE = 4413
    TOO_SLOW = 4420  # comes back
    RATE_LIMITED = 4429  # comes back, later
    DRAINING = 4503  # comes back


# --- what clients send ------------------------------------------------------------------------------------------------


class Position(msgspec.Struct, frozen=True):
    """What a client holds of a room: all events up to `seq`, and so many code points of each part of each answer."""

    room: uuid.UUID
    epoch: Epoch | None = None
    seq: Seq | None = None
    gens: Annotated[Mapping[uuid.UUID, Offsets], Meta(max_length=100)] = {}


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="op"):
    """The first frame, with an access token (or API key), or a ticket that stands for one."""

    v: int
    token: Credential | None = None
    ticket: Credential | None = None
    resume: Annotated[tuple[Position, ...], Meta(max_length=ROOMS_PER_SOCKET_MAX)] = ()
    notes: Seq = 0


class Auth(msgspec.Struct, frozen=True, tag="auth", tag_field="op"):
    """A fresh token of the same membership."""

    token: Credential


class Command(msgspec.Struct, frozen=True, tag="cmd", tag_field="op"):
    """Something to be done once, under the client's own id for it."""

    cid: Annotated[str, Meta(min_length=1, max_length=CID_CHARS_MAX)]
    type: Annotated[str, Meta(max_length=64)]
    room: uuid.UUID | None = None
    body: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class Seen(msgspec.Struct, frozen=True, tag="seen", tag_field="op"):
    """The person has read up to `seq`."""

    room: uuid.UUID
    seq: Seq


class Ping(msgspec.Struct, frozen=True, tag="ping", tag_field="op"):
    """Is anybody there?"""

    t: int | float | str | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong", tag_field="op"):
    """Yes."""

    t: int | float | str | None = None


ClientFrame = Hello | Auth | Command | Seen | Ping | Pong


_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)


class BadFrame(ValueError):
    """This is no frame of the protocol."""


def read_frame(text: str) -> ClientFrame:
    """The frame that `text` holds. Raises `BadFrame`."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadFrame(str(error)[:200]) from error


# --- what the server sends --------------------------------------------------------------------------------------------


class Limits(msgspec.Struct, frozen=True):
    """What a client may do at most."""

    frame_bytes: int
    inflight: int
    rooms: int


class Welcome(msgspec.Struct, frozen=True, tag="welcome", tag_field="op"):
    """The socket is open. `hb` is the heartbeat, in seconds."""

    sid: str
    hb: int
    limits: Limits


class Expiring(msgspec.Struct, frozen=True, tag="expiring", tag_field="op"):
    """The token ends in so many seconds."""

    in_s: int


class Ack(msgspec.Struct, frozen=True, tag="ack", tag_field="op"):
    """The command was carried out."""

    cid: str
    id: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET


class Err(msgspec.Struct, frozen=True, tag="err", tag_field="op"):
    """The command was not carried out. With `retry_ms`, trying again may help."""

    cid: str
    code: str
    message: str
    retry_ms: int | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True, tag="ev", tag_field="op"):
    """A durable event."""

    room: uuid.UUID
    epoch: str
    seq: int
    type: str
    at: datetime
    body: msgspec.Raw


class Delta(msgspec.Struct, frozen=True, tag="delta", tag_field="op"):
    """Text to append at the code point `off` of a part of an answer."""

    room: uuid.UUID
    gid: uuid.UUID
    part: int
    kind: Literal["text", "reasoning", "tool_args"]
    off: int
    text: str


class Typing(msgspec.Struct, frozen=True, tag="typing", tag_field="op"):
    """A member writes. `who` is the membership."""

    room: uuid.UUID
    who: uuid.UUID


class Presence(msgspec.Struct, frozen=True, tag="presence", tag_field="op"):
    """A member came, went or is away. `who` is the membership."""

    room: uuid.UUID
    who: uuid.UUID
    state: Literal["online", "away", "offline"]


class Note(msgspec.Struct, frozen=True, tag="note", tag_field="op"):
    """Something that concerns the member, not a room. `seq` grows from note to note, but a `balance` has the number of the
    note before it, and replaces the balance before."""

    seq: int
    type: str
    at: datetime
    body: Any


class Reset(msgspec.Struct, frozen=True, tag="reset", tag_field="op"):
    """Drop what you hold of the room, and load the snapshot."""

    room: uuid.UUID
    reason: str
    snapshot: str


ServerFrame = Welcome | Expiring | Ack | Err | Event | Delta | Typing | Presence | Note | Reset | Ping | Pong


def reset(room_id: uuid.UUID, reason: str) -> Reset:
    """The reset of a room."""
    return Reset(room=room_id, reason=reason, snapshot=f"/api/v1/rooms/{room_id}/snapshot")


_encoder = msgspec.json.Encoder()


def encode(frame: Any) -> bytes:
    """A frame as JSON."""
    return _encoder.encode(frame)
