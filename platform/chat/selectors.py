"""Reads of rooms, by id, on the event loop. Who may read was decided before: see `chat.access`."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from chat.bounds import CONTEXT_MESSAGES_MAX, SNAPSHOT_MESSAGES
from chat.shapes import (
    GenerationShape,
    MessageShape,
    RoomMemberShape,
    RoomShape,
    generation_shape,
    message_shape,
    room_member_shape,
    room_shape,
)
from chat.store import Connection, every, first

ROOMS = """
    SELECT r.id, r.title, r.kind, r.settings, r.epoch, r.head_seq, r.created_at, r.updated_at, r.last_message_at
    FROM chat_room r
"""

MY_ROOMS = """
    SELECT r.id, r.title, r.kind, r.settings, r.epoch, r.head_seq, r.created_at, r.updated_at, r.last_message_at,
           rm.role, rm.seen_seq
    FROM chat_room r JOIN chat_roommember rm ON rm.tenant_id = r.tenant_id AND rm.room_id = r.id
    WHERE rm.membership_id = %s AND rm.left_at IS NULL AND r.deleted_at IS NULL AND r.id = ANY(%s)
"""

ROOM_MEMBERS = """
    SELECT rm.id, rm.membership_id, p.name, rm.role, rm.joined_at
    FROM chat_roommember rm
    JOIN tenants_membership m ON m.tenant_id = rm.tenant_id AND m.id = rm.membership_id
    JOIN tenants_person p ON p.id = m.person_id
"""

MESSAGES = """
    SELECT m.id, m.room_id, m.parent_id, m.author_kind, m.author_membership_id, p.name AS author_name, m.model,
           m.generation_id, m.parts, m.text, m.created_at, m.edited_at, m.deleted_at, g.status, g.error_code,
           g.error_message, g.usage, g.cost_nano
    FROM chat_message m
    LEFT JOIN chat_generation g ON g.tenant_id = m.tenant_id AND g.id = m.generation_id
    LEFT JOIN tenants_membership a ON a.tenant_id = m.tenant_id AND a.id = m.author_membership_id
    LEFT JOIN tenants_person p ON p.id = a.person_id
"""

GENERATIONS = """
    SELECT g.id, g.room_id, g.prompt_id, g.answer_id, g.model, g.status, g.error_code, g.error_message, g.usage,
           g.cost_nano, g.requested_by_id, g.started_at, g.finished_at
    FROM chat_generation g
"""


async def room(connection: Connection, room_id: uuid.UUID) -> RoomShape | None:
    """A room as everybody in it sees it; None when it was deleted."""
    row = await first(connection, f"{ROOMS} WHERE r.id = %s AND r.deleted_at IS NULL", (room_id,))
    return room_shape(row) if row else None


async def my_rooms(
    connection: Connection, *, membership_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, RoomShape]:
    """Those of the rooms that the member is in, with the member's own role and position."""
    rows = await every(connection, MY_ROOMS, (membership_id, list(ids)))
    return {row["id"]: room_shape(row) for row in rows}


async def room_members(
    connection: Connection, *, ids: Collection[uuid.UUID] | None = None, room_id: uuid.UUID | None = None
) -> dict[uuid.UUID, RoomMemberShape]:
    """Members by the ids of their places, or all who are in a room now, in the order they joined."""
    if room_id is not None:
        where: tuple[str, Any] = ("rm.room_id = %s AND rm.left_at IS NULL", room_id)
    else:
        where = ("rm.id = ANY(%s)", list(ids or ()))
    rows = await every(connection, f"{ROOM_MEMBERS} WHERE {where[0]} ORDER BY rm.joined_at, rm.id", (where[1],))
    return {row["id"]: room_member_shape(row) for row in rows}


async def messages(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, MessageShape]:
    """Messages by their ids."""
    if not ids:
        return {}
    rows = await every(connection, f"{MESSAGES} WHERE m.id = ANY(%s)", (list(ids),))
    return {row["id"]: message_shape(row) for row in rows}


async def latest_messages(connection: Connection, room_id: uuid.UUID) -> tuple[list[MessageShape], bool]:
    """The room's newest messages, oldest first, and whether there are older ones."""
    rows = await every(
        connection,
        f"{MESSAGES} WHERE m.room_id = %s ORDER BY m.id DESC LIMIT %s",
        (room_id, SNAPSHOT_MESSAGES + 1),
    )
    kept = rows[:SNAPSHOT_MESSAGES]
    return [message_shape(row) for row in reversed(kept)], len(rows) > len(kept)


async def context_messages(connection: Connection, *, room_id: uuid.UUID, until: uuid.UUID) -> list[MessageShape]:
    """The turns that lead to the message `until`, it included, oldest first."""
    rows = await every(
        connection,
        f"{MESSAGES} WHERE m.room_id = %s AND m.id <= %s AND m.deleted_at IS NULL ORDER BY m.id DESC LIMIT %s",
        (room_id, until, CONTEXT_MESSAGES_MAX),
    )
    return [message_shape(row) for row in reversed(rows)]


async def generations(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, GenerationShape]:
    """Generations by their ids."""
    if not ids:
        return {}
    rows = await every(connection, f"{GENERATIONS} WHERE g.id = ANY(%s)", (list(ids),))
    return {row["id"]: generation_shape(row) for row in rows}


async def live_generation_ids(connection: Connection, room_id: uuid.UUID) -> list[uuid.UUID]:
    """The answers being written in a room, oldest first."""
    rows = await every(
        connection,
        "SELECT id FROM chat_generation WHERE room_id = %s AND status IN ('queued', 'streaming') ORDER BY id",
        (room_id,),
    )
    return [row["id"] for row in rows]


async def unanswered_generation_ids(
    connection: Connection, room_id: uuid.UUID, prompts: Collection[uuid.UUID]
) -> list[uuid.UUID]:
    """The generations that ended without any text, so without a message, to one of these prompts."""
    rows = await every(
        connection,
        "SELECT id FROM chat_generation WHERE room_id = %s AND prompt_id = ANY(%s) AND answer_id IS NULL "
        "AND finished_at IS NOT NULL ORDER BY id",
        (room_id, list(prompts)),
    )
    return [row["id"] for row in rows]


async def checkpoints(
    connection: Connection, room_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> Mapping[uuid.UUID, str]:
    """The texts of a room's live generations as PostgreSQL last heard of them."""
    if not ids:
        return {}
    rows = await every(
        connection,
        "SELECT id, checkpoint FROM chat_generation WHERE room_id = %s AND id = ANY(%s) "
        "AND status IN ('queued', 'streaming')",
        (room_id, list(ids)),
    )
    return {row["id"]: row["checkpoint"] for row in rows}
