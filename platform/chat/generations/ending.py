"""The end of a generation: one transaction that writes the answer's message, the generation's last state and its event."""

import uuid
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from chat.bounds import QUEUED_MAX_S
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.message_parts import part_shapes
from chat.parts import Parts, length, said
from chat.realtime import streams
from chat.shapes import Author, MessageShape, Usage, answered, generation_shape
from chat.store import Connection, first, transaction
from kernel.errors import NotFound

_ROOM = "SELECT room_id FROM chat_generation WHERE id = %s"
_END = """
    UPDATE chat_generation
    SET status = %(status)s, answer_id = %(answer_id)s, usage = %(usage)s, cost_nano = %(cost_nano)s,
        error_code = %(error_code)s, error_message = %(error_message)s, finished_at = %(now)s,
        checkpoint = '', checkpoint_parts = NULL, checkpoint_length = %(length)s, lease_owner = NULL, lease_until = NULL
    WHERE id = %(id)s AND CASE
        WHEN %(owner)s::uuid IS NOT NULL THEN status = 'streaming' AND lease_owner = %(owner)s::uuid
        ELSE status = 'streaming' AND lease_until < now()
          OR status = 'queued' AND started_at < now() - make_interval(secs => %(queued_max_s)s) END
    RETURNING id, room_id, prompt_id, answer_id, model, status, error_code, error_message, usage, cost_nano,
              requested_by_id, started_at, finished_at, anew, context
"""


class Outcome(msgspec.Struct, frozen=True):
    """How a generation ends. `parts` are all that was written, also when it didn't come to its own end."""

    status: Literal["complete", "stopped", "failed", "interrupted"]
    parts: Parts
    usage: Usage | None = None
    cost_nano: int | None = None
    error_code: str = ""
    error_message: str = ""


async def end_generation(
    tenant_id: uuid.UUID, generation_id: uuid.UUID, outcome: Outcome, *, owner: uuid.UUID | None
) -> bool:
    """End a generation: with `owner`, one that it writes; with None, one that nobody writes any more.

    False when that is not so: the owner has lost the lease, or somebody does write it after all, or it has ended.
    """
    try:
        async with transaction(tenant_id) as connection:
            told = await _end(connection, tenant_id, generation_id, outcome, owner=owner)
    except (_NotOurs, NotFound):
        # Or the room is gone, and all that was in it.
        return False
    await streams.publish(tenant_id, told.room_id, epoch=told.epoch, events=[told.event])
    return True


class _NotOurs(Exception):
    """Somebody else writes it, or it has ended; the numbers that were taken go back."""


class _Told(msgspec.Struct, frozen=True):
    room_id: uuid.UUID
    epoch: int
    event: RoomEvent


async def _end(
    connection: Connection, tenant_id: uuid.UUID, generation_id: uuid.UUID, outcome: Outcome, *, owner: uuid.UUID | None
) -> _Told:
    there = await first(connection, _ROOM, (generation_id,))
    if there is None:
        raise _NotOurs
    room_id, now, answers = there["room_id"], datetime.now(UTC), bool(outcome.parts)
    # First of all: ids tell what came before what in the room (`chat.tree`).
    numbers = await take_numbers(connection, room_id=room_id, count=1, now=now, message=answers, ids=int(answers))
    answer_id = numbers.ids[0] if answers else None
    row = await first(
        connection,
        _END,
        {
            "status": outcome.status,
            "answer_id": answer_id,
            "usage": Jsonb(msgspec.to_builtins(outcome.usage)) if outcome.usage else None,
            "cost_nano": outcome.cost_nano,
            "error_code": outcome.error_code[:64],
            "error_message": outcome.error_message[:1000],
            "now": now,
            "length": length(outcome.parts),
            "id": generation_id,
            "owner": owner,
            "queued_max_s": QUEUED_MAX_S,
        },
    )
    if row is None:
        raise _NotOurs
    message = await _insert_answer(connection, tenant_id, row, outcome.parts) if answers else None
    if message is not None:
        # Who asked while reading the branch of the question reads on at its answer.
        await connection.execute(
            "UPDATE chat_roommember SET branch_id = %s WHERE room_id = %s AND membership_id = %s AND branch_id = %s",
            (message.id, room_id, row["requested_by_id"], row["prompt_id"]),
        )
    event = await _insert_finished(connection, tenant_id, row, message, seq=numbers.first_seq)
    return _Told(room_id=room_id, epoch=numbers.epoch, event=event)


async def _insert_answer(
    connection: Connection, tenant_id: uuid.UUID, row: dict[str, Any], parts: Parts
) -> MessageShape:
    text = said(parts)
    message = MessageShape(
        id=row["answer_id"],
        room=row["room_id"],
        author=Author(kind="model", id=None, name=row["model"]),
        parent=row["prompt_id"],
        parts=part_shapes(parts),
        text=text,
        generation=row["id"],
        answered=answered(row),
        created_at=row["finished_at"],
        edited_at=None,
        deleted=False,
    )
    await connection.execute(
        "INSERT INTO chat_message (tenant_id, id, room_id, parent_id, author_kind, model, generation_id, parts, text, "
        "created_at) VALUES (%s, %s, %s, %s, 'model', %s, %s, %s, %s, %s)",
        (
            tenant_id,
            message.id,
            message.room,
            message.parent,
            row["model"],
            message.generation,
            Jsonb(msgspec.to_builtins(message.parts)),
            text,
            row["finished_at"],
        ),
    )
    return message


async def _insert_finished(
    connection: Connection,
    tenant_id: uuid.UUID,
    row: dict[str, Any],
    message: MessageShape | None,
    *,
    seq: int,
) -> RoomEvent:
    event = room_event(
        seq=seq,
        type_="generation.finished",
        at=row["finished_at"],
        content={"generation": generation_shape(row), "message": message},
        subject=row["id"],
    )
    ids = EventIds(generation=row["id"], message=message.id if message else None)
    await insert_event(connection, tenant_id=tenant_id, room_id=row["room_id"], event=event, ids=ids)
    return event
