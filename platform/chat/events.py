"""Durable events: numbered in the transaction that makes them true, and delivered with the content their ids have now."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from psycopg.types.json import Jsonb

from chat import selectors
from chat.store import Connection, every, first, transaction
from kernel.errors import NotFound


class EventIds(msgspec.Struct, frozen=True):
    """What an event is about. Each id that is set becomes the part of the body of the same name."""

    message: uuid.UUID | UnsetType | None = UNSET
    generation: uuid.UUID | UnsetType = UNSET
    room: uuid.UUID | UnsetType = UNSET
    member: uuid.UUID | UnsetType = UNSET


class RoomEvent(msgspec.Struct, frozen=True):
    """An event as it is delivered. `body` is JSON; `subject` the generation or membership it is about, if any."""

    seq: int
    type: str
    at: datetime
    body: msgspec.Raw
    subject: uuid.UUID | None = None


class Numbers(msgspec.Struct, frozen=True):
    """Numbers taken from a room: the first of them, and the epoch in force."""

    first_seq: int
    epoch: int


class Head(msgspec.Struct, frozen=True):
    """Where a room stands in PostgreSQL."""

    epoch: int
    seq: int


async def take_numbers(
    connection: Connection, *, room_id: uuid.UUID, count: int, now: datetime, message: bool = False
) -> Numbers:
    """The room's next `count` numbers. Locks the room until the transaction ends, so events commit in their order.

    Raises `NotFound` when there is no such room. A deleted room still counts, for answers that end after it.
    """
    row = await first(
        connection,
        "UPDATE chat_room SET head_seq = head_seq + %s, last_message_at = CASE WHEN %s THEN %s ELSE last_message_at END "
        "WHERE id = %s RETURNING head_seq, epoch",
        (count, message, now, room_id),
    )
    if row is None:
        raise NotFound
    return Numbers(first_seq=row["head_seq"] - count + 1, epoch=row["epoch"])


async def insert_event(
    connection: Connection, *, tenant_id: uuid.UUID, room_id: uuid.UUID, event: RoomEvent, ids: EventIds
) -> None:
    """Write one event down."""
    await connection.execute(
        "INSERT INTO chat_roomevent (tenant_id, room_id, seq, type, ids, at) VALUES (%s, %s, %s, %s, %s, %s)",
        (tenant_id, room_id, event.seq, event.type, Jsonb(msgspec.to_builtins(ids)), event.at),
    )


def room_event(
    *,
    seq: int,
    type_: str,
    at: datetime,
    content: dict[str, msgspec.Struct | None],
    subject: uuid.UUID | None = None,
) -> RoomEvent:
    """An event whose content is at hand."""
    return RoomEvent(seq=seq, type=type_, at=at, body=msgspec.Raw(msgspec.json.encode(content)), subject=subject)


async def events_after(
    tenant_id: uuid.UUID, room_id: uuid.UUID, *, seq: int, limit: int
) -> tuple[Head, list[RoomEvent]]:
    """The room's events after `seq` with their content, and where the room stands. Raises `NotFound`."""
    async with transaction(tenant_id) as connection:
        head = await head_of(connection, room_id)
        if head is None:
            raise NotFound
        rows = await every(
            connection,
            "SELECT seq, type, ids, at FROM chat_roomevent WHERE room_id = %s AND seq > %s ORDER BY seq LIMIT %s",
            (room_id, seq, limit),
        )
        return head, await _with_content(connection, room_id, rows)


async def head_of(connection: Connection, room_id: uuid.UUID) -> Head | None:
    """Where a room stands; None when it is gone."""
    row = await first(
        connection, "SELECT epoch, head_seq FROM chat_room WHERE id = %s AND deleted_at IS NULL", (room_id,)
    )
    return Head(epoch=row["epoch"], seq=row["head_seq"]) if row else None


async def _with_content(connection: Connection, room_id: uuid.UUID, rows: Sequence[dict[str, Any]]) -> list[RoomEvent]:
    about = [msgspec.convert(row["ids"], EventIds) for row in rows]
    content: dict[str, dict[Any, Any]] = {
        "message": await selectors.messages(connection, {ids.message for ids in about if ids.message}),
        "generation": await selectors.generations(connection, {ids.generation for ids in about if ids.generation}),
        "member": {},
        "room": {},
    }
    if members := {ids.member for ids in about if ids.member}:
        content["member"] = await selectors.room_members(connection, ids=members)
    if any(ids.room for ids in about):
        content["room"] = {room_id: await selectors.room(connection, room_id)}
    return [_event(row, ids, content) for row, ids in zip(rows, about, strict=True)]


def _event(row: dict[str, Any], ids: EventIds, content: dict[str, dict[Any, Any]]) -> RoomEvent:
    named = {name: getattr(ids, name) for name in EventIds.__struct_fields__ if getattr(ids, name) is not UNSET}
    body = {name: content[name].get(id_) for name, id_ in named.items()}
    member = body.get("member")
    return room_event(
        seq=row["seq"],
        type_=row["type"],
        at=row["at"],
        content=body,
        subject=member.member.id if member else named.get("generation"),
    )
