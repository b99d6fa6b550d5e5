"""What rooms look like from outside: one set of shapes for REST and for the socket.

Fields that are not set are left out. Times are RFC 3339 in UTC.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class RoomShape(msgspec.Struct, frozen=True):
    """A room. `role` and `seen_seq` are the reader's own; an event, which goes to all, has neither."""

    id: uuid.UUID
    title: str
    kind: str
    model: str | None
    instructions: str
    epoch: str
    head_seq: int
    created_at: datetime
    updated_at: datetime
    last_message_at: datetime | None
    role: str | UnsetType = UNSET
    seen_seq: int | UnsetType = UNSET


class NamedMember(msgspec.Struct, frozen=True):
    """A membership and the person's name."""

    id: uuid.UUID
    name: str


class RoomMemberShape(msgspec.Struct, frozen=True):
    """A member in a room; `id` is of the place in the room, `member.id` of the membership."""

    id: uuid.UUID
    member: NamedMember
    role: str
    joined_at: datetime


class Author(msgspec.Struct, frozen=True):
    """Who wrote: a member (`id` of the membership), or a model (no id; `name` is its alias)."""

    kind: Literal["member", "model"]
    id: uuid.UUID | None
    name: str


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Text, in Markdown."""

    text: str


class Usage(msgspec.Struct, frozen=True):
    """Tokens by disjoint meters."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


class Failure(msgspec.Struct, frozen=True):
    """Why an answer failed: `code` is stable, `message` for people."""

    code: str
    message: str


class Answered(msgspec.Struct, frozen=True):
    """How an answer came to be: what of its generation is shown beside its text."""

    status: str
    error: Failure | None
    usage: Usage | None
    cost_nano: int | None


class MessageShape(msgspec.Struct, frozen=True):
    """What was said. A deleted message keeps its place and has no text. `answered` is set where a model wrote it."""

    id: uuid.UUID
    room: uuid.UUID
    author: Author
    parent: uuid.UUID | None
    parts: tuple[TextPart, ...]
    text: str
    generation: uuid.UUID | None
    answered: Answered | None
    created_at: datetime
    edited_at: datetime | None
    deleted: bool


class GenerationShape(msgspec.Struct, frozen=True):
    """An answer of a model. `text` is what there is so far, where it was asked for."""

    id: uuid.UUID
    room: uuid.UUID
    prompt: uuid.UUID
    answer: uuid.UUID | None
    model: str
    status: str
    text: str | None
    error: Failure | None
    usage: Usage | None
    cost_nano: int | None
    requested_by: uuid.UUID
    started_at: datetime
    finished_at: datetime | None


class SnapshotShape(msgspec.Struct, frozen=True):
    """All that a client needs to show a room: its state at `seq`, newest messages last.

    `generations` are the answers being written, and those that ended without a message, to prompts among `messages`.
    """

    room: RoomShape
    members: tuple[RoomMemberShape, ...]
    messages: tuple[MessageShape, ...]
    has_more: bool
    generations: tuple[GenerationShape, ...]
    epoch: str
    seq: int


def room_shape(row: Mapping[str, Any]) -> RoomShape:
    """From a row of `selectors.ROOMS`."""
    return RoomShape(
        id=row["id"],
        title=row["title"],
        kind=row["kind"],
        model=row["settings"].get("model"),
        instructions=row["settings"].get("instructions", ""),
        epoch=str(row["epoch"]),
        head_seq=row["head_seq"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_message_at=row["last_message_at"],
        role=row.get("role", UNSET),
        seen_seq=row.get("seen_seq", UNSET),
    )


def room_member_shape(row: Mapping[str, Any]) -> RoomMemberShape:
    """From a row of `selectors.ROOM_MEMBERS`."""
    return RoomMemberShape(
        id=row["id"],
        member=NamedMember(id=row["membership_id"], name=row["name"]),
        role=row["role"],
        joined_at=row["joined_at"],
    )


def message_shape(row: Mapping[str, Any]) -> MessageShape:
    """From a row of `selectors.MESSAGES`."""
    by_model = row["author_kind"] == "model"
    deleted = row["deleted_at"] is not None
    return MessageShape(
        id=row["id"],
        room=row["room_id"],
        author=Author(
            kind=row["author_kind"],
            id=row["author_membership_id"],
            name=row["model"] if by_model else row["author_name"] or "",
        ),
        parent=row["parent_id"],
        parts=() if deleted else msgspec.convert(row["parts"], tuple[TextPart, ...]),
        text="" if deleted else row["text"],
        generation=row["generation_id"],
        answered=answered(row) if row["generation_id"] else None,
        created_at=row["created_at"],
        edited_at=row["edited_at"],
        deleted=deleted,
    )


def answered(row: Mapping[str, Any]) -> Answered:
    """From a row with the columns of a generation."""
    return Answered(
        status=row["status"],
        error=Failure(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None,
        usage=msgspec.convert(row["usage"], Usage) if row["usage"] is not None else None,
        cost_nano=row["cost_nano"],
    )


def generation_shape(row: Mapping[str, Any], *, text: str | None = None) -> GenerationShape:
    """From a row of `selectors.GENERATIONS`, and the text so far."""
    state = answered(row)
    return GenerationShape(
        id=row["id"],
        room=row["room_id"],
        prompt=row["prompt_id"],
        answer=row["answer_id"],
        model=row["model"],
        status=state.status,
        text=text,
        error=state.error,
        usage=state.usage,
        cost_nano=state.cost_nano,
        requested_by=row["requested_by_id"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def body(shape: msgspec.Struct) -> Any:
    """A shape as plain JSON values, for REST."""
    return msgspec.to_builtins(shape)
