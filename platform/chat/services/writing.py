"""What every command that writes to a room's history does: messages, answers to be written, and the events that tell."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec
from psycopg.types.json import Jsonb

from chat.access import RoomAccess
from chat.bounds import LIVE_GENERATIONS_PER_ROOM_MAX
from chat.events import EventIds, Numbers, RoomEvent, insert_event, room_event
from chat.message_parts import FilePart, TextPart
from chat.services.attachments import claim_attachments
from chat.shapes import Author, GenerationShape, MessageShape
from chat.store import Connection, first
from kernel.errors import RateLimited
from kernel.ids import uuid7


class Draft(msgspec.Struct, frozen=True):
    """What a member writes, and its id in the room. `aliases` are the models that answer it, `mentions` the memberships that
    it names, `files` those that it shares with another message, `attachments` those that become its own."""

    id: uuid.UUID
    text: str
    now: datetime
    parent: uuid.UUID | None = None
    aliases: tuple[str, ...] = ()
    mentions: tuple[uuid.UUID, ...] = ()
    files: tuple[FilePart, ...] = ()
    attachments: tuple[uuid.UUID, ...] = ()


class News(msgspec.Struct, frozen=True):
    """One event to be: what it is about, by ids and by content."""

    type: str
    ids: EventIds
    content: dict[str, msgspec.Struct | None]
    subject: uuid.UUID | None = None


def said(message: MessageShape, *, type_: str = "message.created") -> News:
    """Something happened to a message."""
    return News(type=type_, ids=EventIds(message=message.id), content={"message": message})


def begun(generation: GenerationShape) -> News:
    """An answer is going to be written."""
    return News(
        type="generation.started",
        ids=EventIds(generation=generation.id),
        content={"generation": generation},
        subject=generation.id,
    )


async def write_events(
    connection: Connection, room: RoomAccess, *, numbers: Numbers, now: datetime, news: Sequence[News]
) -> list[RoomEvent]:
    """Write the events down, under the numbers that were taken for them."""
    events = []
    for offset, one in enumerate(news):
        event = room_event(
            seq=numbers.first_seq + offset, type_=one.type, at=now, content=one.content, subject=one.subject
        )
        await insert_event(connection, tenant_id=room.tenant_id, room_id=room.room_id, event=event, ids=one.ids)
        events.append(event)
    return events


async def insert_message(connection: Connection, room: RoomAccess, draft: Draft) -> MessageShape:
    """Write a member's message. The room must be locked, and the id be of `take_numbers`: messages sort by id as they do by
    number.

    Raises `AttachmentNotThere` for a file that isn't theirs to send.
    """
    claimed = await claim_attachments(connection, room=room, message_id=draft.id, ids=draft.attachments)
    message = MessageShape(
        id=draft.id,
        room=room.room_id,
        author=Author(kind="member", id=room.membership_id, name=room.name),
        parent=draft.parent,
        parts=((TextPart(draft.text),) if draft.text else ()) + draft.files + claimed,
        text=draft.text,
        generation=None,
        answered=None,
        created_at=draft.now,
        edited_at=None,
        deleted=False,
        mentions=draft.mentions,
    )
    await connection.execute(
        "INSERT INTO chat_message (tenant_id, id, room_id, parent_id, author_kind, author_membership_id, parts, text, "
        "mentions, created_at) VALUES (%s, %s, %s, %s, 'member', %s, %s, %s, %s, %s)",
        (
            room.tenant_id,
            message.id,
            room.room_id,
            draft.parent,
            room.membership_id,
            Jsonb(msgspec.to_builtins(message.parts)),
            draft.text,
            Jsonb(msgspec.to_builtins(draft.mentions)),
            draft.now,
        ),
    )
    return message


async def insert_generations(
    connection: Connection,
    room: RoomAccess,
    *,
    ids: Sequence[uuid.UUID],
    prompt_id: uuid.UUID,
    aliases: Sequence[str],
    now: datetime,
    key_id: uuid.UUID | None,
    anew: bool = False,
) -> tuple[GenerationShape, ...]:
    """Queue an answer of each model, under `ids` of `take_numbers`, asked for by a key if one did. The room must be locked.

    Raises `RateLimited` where too many are being written.
    """
    if not aliases:
        return ()
    await _check_live(connection, room.room_id, len(aliases))
    return tuple(
        [
            await _insert_generation(connection, room, _queued(room, id_, prompt_id, alias, now=now, anew=anew), key_id)
            for id_, alias in zip(ids, aliases, strict=True)
        ]
    )


async def choose_branch(connection: Connection, room: RoomAccess, message_id: uuid.UUID | None) -> None:
    """From now on the member reads the branch of this message; None: the newest."""
    await connection.execute(
        "UPDATE chat_roommember SET branch_id = %s WHERE id = %s", (message_id, room.room_member_id)
    )


async def _check_live(connection: Connection, room_id: uuid.UUID, wanted: int) -> None:
    row = await first(
        connection,
        "SELECT count(*) AS live FROM chat_generation WHERE room_id = %s AND status IN ('queued', 'streaming')",
        (room_id,),
    )
    if row is not None and row["live"] + wanted > LIVE_GENERATIONS_PER_ROOM_MAX:
        raise RateLimited("Too many answers are being written in this room. Wait for one to end.", retry_after_s=5)


def _queued(
    room: RoomAccess, id_: uuid.UUID, prompt_id: uuid.UUID, alias: str, *, now: datetime, anew: bool
) -> GenerationShape:
    return GenerationShape(
        id=id_,
        room=room.room_id,
        prompt=prompt_id,
        answer=None,
        model=alias,
        status="queued",
        text=None,
        error=None,
        usage=None,
        cost_nano=None,
        requested_by=room.membership_id,
        started_at=now,
        finished_at=None,
        anew=anew,
    )


async def _insert_generation(
    connection: Connection, room: RoomAccess, generation: GenerationShape, key_id: uuid.UUID | None
) -> GenerationShape:
    await connection.execute(
        "INSERT INTO chat_generation (tenant_id, id, room_id, prompt_id, model, requested_by_id, requested_key_id, "
        "request_id, attempt, anew, started_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, '{}', %s, now())",
        (
            room.tenant_id,
            generation.id,
            room.room_id,
            generation.prompt,
            generation.model,
            room.membership_id,
            key_id,
            uuid7(),
            generation.anew,
        ),
    )
    return generation
