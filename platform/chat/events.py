"""Durable events: numbered in the transaction that makes them true, and delivered with the content their ids have now."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from chat import selectors
from chat.message_parts import answer_parts
from chat.parts import Parts
from chat.store import Connection, every, first, transaction
from chat.tree import Branch, branch_in
from kernel.errors import NotFound
from kernel.ids import NIL, uuid7s


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
    """Numbers taken from a room: the first of them, and the epoch in force. `ids` are for its next messages and generations:
    rising, and greater than those of all before."""

    first_seq: int
    epoch: int
    ids: tuple[uuid.UUID, ...] = ()


class Head(msgspec.Struct, frozen=True):
    """Where a room stands in PostgreSQL."""

    epoch: int
    seq: int


_TAKE = """
    UPDATE chat_room
    SET head_seq = head_seq + %(count)s,
        last_message_at = CASE WHEN %(message)s THEN %(now)s ELSE last_message_at END,
        last_id = CASE WHEN last_id < %(first)s THEN %(last)s ELSE last_id END
    WHERE id = %(room)s RETURNING head_seq, epoch, last_id
"""

_SPEAK = "SELECT * FROM public.chat_speak(%s, %s, %s, %s, %s, %s)"


async def take_numbers(
    connection: Connection, *, room_id: uuid.UUID, count: int, now: datetime, message: bool = False, ids: int = 0
) -> Numbers:
    """The room's next `count` numbers, and so many `ids`. Locks the room until the transaction ends, so events commit in their
    order.

    Raises `NotFound` when there is no such room. A deleted room still counts, for answers that end after it.
    """
    made = uuid7s(ids)
    bounds = {"first": made[0], "last": made[-1]} if made else {"first": NIL, "last": NIL}
    taken = {"room": room_id, "count": count, "message": message, "now": now, **bounds}
    row = await first(connection, _TAKE, taken)
    return await _taken(connection, room_id, row, count=count, made=made)


async def take_numbers_to_speak(
    connection: Connection, *, room_id: uuid.UUID, room_member_id: uuid.UUID, count: int, now: datetime
) -> tuple[Numbers, Branch]:
    """What `take_numbers` gives for a message and its answers, `count` in all, with as many ids; and the branch that the member
    reads. Raises as it does, and also where the room was deleted or the member taken out of it."""
    made = uuid7s(count)
    row = await first(connection, _SPEAK, (room_id, room_member_id, count, now, made[0], made[-1]))
    numbers = await _taken(connection, room_id, row, count=count, made=made)
    return numbers, await branch_in(connection, room_id, row)


async def _taken(
    connection: Connection, room_id: uuid.UUID, row: DictRow | None, *, count: int, made: tuple[uuid.UUID, ...]
) -> Numbers:
    if row is None:
        raise NotFound
    if made and row["last_id"] != made[-1]:
        # Another host's clock is ahead of ours, or it made an id in this very millisecond.
        made = uuid7s(len(made), after=row["last_id"])
        await connection.execute("UPDATE chat_room SET last_id = %s WHERE id = %s", (made[-1], room_id))
    return Numbers(first_seq=row["head_seq"] - count + 1, epoch=row["epoch"], ids=made)


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


async def finished_event(
    tenant_id: uuid.UUID, room_id: uuid.UUID, generation_id: uuid.UUID
) -> tuple[Head, RoomEvent, Parts] | None:
    """The event that ended a generation, the parts of its answer, and where the room stands; None before its end."""
    async with transaction(tenant_id) as connection:
        head = await head_of(connection, room_id)
        rows = await every(
            connection,
            "SELECT seq, type, ids, at FROM chat_roomevent WHERE room_id = %s AND type = 'generation.finished' "
            "AND ids->>'generation' = %s ORDER BY seq DESC LIMIT 1",
            (room_id, str(generation_id)),
        )
        if head is None or not rows:
            return None
        message_id = msgspec.convert(rows[0]["ids"], EventIds).message
        messages = await selectors.messages(connection, [message_id] if message_id else [])
        parts = answer_parts(messages[message_id].parts) if message_id and message_id in messages else ()
        [event] = await _with_content(connection, room_id, rows)
        return head, event, parts


async def head_of(connection: Connection, room_id: uuid.UUID) -> Head | None:
    """Where a room stands; None when it is gone."""
    row = await first(
        connection, "SELECT epoch, head_seq FROM chat_room WHERE id = %s AND deleted_at IS NULL", (room_id,)
    )
    return Head(epoch=row["epoch"], seq=row["head_seq"]) if row else None


async def heads_of(connection: Connection, room_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The last numbers of those of the rooms that aren't gone."""
    rows = await every(
        connection, "SELECT id, head_seq FROM chat_room WHERE id = ANY(%s) AND deleted_at IS NULL", (list(room_ids),)
    )
    return {row["id"]: row["head_seq"] for row in rows}


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
