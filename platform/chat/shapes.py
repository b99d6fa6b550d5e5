"""What rooms look like from outside: one set of shapes for REST and for the socket.

Fields that are not set are left out. Times are RFC 3339 in UTC.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from chat.message_parts import MessagePart


class RoomShape(msgspec.Struct, frozen=True):
    """A room. `answers` says when its model answers: `always`, or only when `mentioned`; `titles` and `summaries` whether it
    gets a title from what is said in it, and whether old turns are summarised; `preset` holds for whoever sees that.

    `role` and all that follows are the reader's own; an event, which goes to all, has none of them.
    """

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
    answers: str = "always"
    titles: bool = True
    summaries: bool = True
    preset: uuid.UUID | None = None
    archived: bool = False
    retention_days: int | None = None
    role: str | UnsetType = UNSET
    seen_seq: int | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    folder: str | UnsetType = UNSET
    unread: int | UnsetType = UNSET


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
    """Who wrote: a member (`id` of the membership), a model (no id; `name` is its alias), or somebody elsewhere, in a
    conversation that was imported (no id; `role` is what they were there)."""

    kind: Literal["member", "model", "imported"]
    id: uuid.UUID | None
    name: str
    role: str | UnsetType = UNSET

    @property
    def answers(self) -> bool:
        """Whether this is a model's side of the conversation."""
        return self.kind == "model" or self.role == "assistant"


def author_shape(row: Mapping[str, Any]) -> Author:
    """From a row with the columns of a message's author."""
    kind = row["author_kind"]
    names = {"model": row["model"], "imported": row["imported_name"]}
    return Author(
        kind=kind,
        id=row["author_membership_id"],
        name=names.get(kind, row["author_name"] or ""),
        role=row["imported_role"] if kind == "imported" else UNSET,
    )


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


class Siblings(msgspec.Struct, frozen=True):
    """Where a message stands among those that follow the same one: `place` counts from 1, oldest first."""

    count: int
    place: int
    previous: uuid.UUID | None
    next: uuid.UUID | None


class ReactionShape(msgspec.Struct, frozen=True):
    """An emoji under a message: how many chose it, and the memberships of the first of them."""

    emoji: str
    count: int
    members: tuple[uuid.UUID, ...]


class MessageShape(msgspec.Struct, frozen=True):
    """What was said. A deleted message keeps its place and has no text. `answered` is set where a model wrote it.

    `siblings` (None: it has none) and `feedback`, the reader's own, are told where a room is read, not in events, which go
    to all and stay as they were.
    """

    id: uuid.UUID
    room: uuid.UUID
    author: Author
    parent: uuid.UUID | None
    parts: tuple[MessagePart, ...]
    text: str
    generation: uuid.UUID | None
    answered: Answered | None
    created_at: datetime
    edited_at: datetime | None
    deleted: bool
    mentions: tuple[uuid.UUID, ...] = ()
    reactions: tuple[ReactionShape, ...] = ()
    siblings: Siblings | UnsetType | None = UNSET
    feedback: str | UnsetType | None = UNSET


class ContextShape(msgspec.Struct, frozen=True):
    """What of its branch a model was not told word for word: `summary` stands for the oldest turns, and `left_out` turns it
    was told nothing of.
    """

    summary: uuid.UUID | None = None
    left_out: int = 0


class GenerationShape(msgspec.Struct, frozen=True):
    """An answer of a model. `text` and `parts` are what there is so far, where they were asked for."""

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
    anew: bool = False
    context: ContextShape | None = None
    parts: tuple[MessagePart, ...] | UnsetType = UNSET


class SummaryShape(msgspec.Struct, frozen=True):
    """What a model made of the first `covers` turns of a branch, up to and including the message `until`; models are told
    it in their place."""

    id: uuid.UUID
    room: uuid.UUID
    until: uuid.UUID
    covers: int
    text: str
    model: str
    cost_nano: int | None
    created_at: datetime


class BranchShape(msgspec.Struct, frozen=True):
    """The branch that a member reads: what they chose (None: the newest), and the message it ends at now."""

    chosen: uuid.UUID | None
    leaf: uuid.UUID | None


class PresentShape(msgspec.Struct, frozen=True):
    """A member who is there; `who` is the membership."""

    who: uuid.UUID
    state: Literal["online", "away"]


class SnapshotShape(msgspec.Struct, frozen=True):
    """All that a client needs to show a room: its state at `seq`, newest messages last. They are those of the reader's
    branch; `summary` is what models are told of its beginning, where that was too long for one.

    `generations` are the answers being written, and those that ended without a message, to prompts among `messages`.
    """

    room: RoomShape
    members: tuple[RoomMemberShape, ...]
    messages: tuple[MessageShape, ...]
    has_more: bool
    generations: tuple[GenerationShape, ...]
    epoch: str
    seq: int
    branch: BranchShape
    summary: SummaryShape | None
    present: tuple[PresentShape, ...] = ()


def preset_id(settings: Mapping[str, Any]) -> uuid.UUID | None:
    """The preset that a room's settings name."""
    named = settings.get("preset")
    return uuid.UUID(named) if named else None


def room_shape(row: Mapping[str, Any]) -> RoomShape:
    """From a row of `selectors.ROOMS`."""
    return RoomShape(
        id=row["id"],
        title=row["title"],
        kind=row["kind"],
        model=row["settings"].get("model"),
        instructions=row["settings"].get("instructions", ""),
        answers=row["settings"].get("answers", "always"),
        titles=row["settings"].get("titles", True),
        summaries=row["settings"].get("summaries", True),
        preset=preset_id(row["settings"]),
        epoch=str(row["epoch"]),
        head_seq=row["head_seq"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        last_message_at=row["last_message_at"],
        archived=row["archived"],
        retention_days=row["retention_days"],
        role=row.get("role", UNSET),
        pinned=row.get("pinned", UNSET),
        muted=row.get("muted", UNSET),
        folder=row.get("folder", UNSET),
        seen_seq=row.get("seen_seq", UNSET),
        unread=row.get("unread", UNSET),
    )


def room_member_shape(row: Mapping[str, Any]) -> RoomMemberShape:
    """From a row of `selectors.ROOM_MEMBERS`."""
    return RoomMemberShape(
        id=row["id"],
        member=NamedMember(id=row["membership_id"], name=row["name"]),
        role=row["role"],
        joined_at=row["joined_at"],
    )


def message_shape(row: Mapping[str, Any], *, reactions: tuple[ReactionShape, ...] = ()) -> MessageShape:
    """From a row of `selectors.MESSAGES`."""
    deleted = row["deleted_at"] is not None
    return MessageShape(
        id=row["id"],
        room=row["room_id"],
        author=author_shape(row),
        parent=row["parent_id"],
        parts=() if deleted else msgspec.convert(row["parts"], tuple[MessagePart, ...]),
        text="" if deleted else row["text"],
        generation=row["generation_id"],
        answered=answered(row) if row["generation_id"] else None,
        created_at=row["created_at"],
        edited_at=row["edited_at"],
        deleted=deleted,
        mentions=() if deleted else msgspec.convert(row["mentions"], tuple[uuid.UUID, ...]),
        reactions=reactions,
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
        anew=row["anew"],
        context=msgspec.convert(row["context"], ContextShape) if row["context"] is not None else None,
    )


def summary_shape(row: Mapping[str, Any]) -> SummaryShape:
    """From a row of `selectors.SUMMARIES`."""
    return SummaryShape(
        id=row["id"],
        room=row["room_id"],
        until=row["until_id"],
        covers=row["covers"],
        text=row["text"],
        model=row["model"],
        cost_nano=row["cost_nano"],
        created_at=row["created_at"],
    )


def body(shape: msgspec.Struct) -> Any:
    """A shape as plain JSON values, for REST."""
    return msgspec.to_builtins(shape)
