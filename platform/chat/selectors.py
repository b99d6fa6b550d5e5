"""Reads of rooms, by id, on the event loop. Who may read was decided before: see `chat.access`."""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from chat.bounds import BRANCH_DEPTH_MAX, REACTORS_SHOWN_MAX, UNREAD_MAX
from chat.message_parts import FilePart, MessagePart
from chat.parameters import PLAIN, Parameters
from chat.parts import Layout, Parts, split
from chat.shapes import (
    Author,
    GenerationShape,
    MessageShape,
    ReactionShape,
    RoomMemberShape,
    RoomShape,
    SummaryShape,
    generation_shape,
    message_shape,
    room_member_shape,
    room_shape,
    summary_shape,
)
from chat.store import Connection, every, first

ROOMS = """
    SELECT r.id, r.title, r.kind, r.settings, r.epoch, r.head_seq, r.created_at, r.updated_at, r.last_message_at,
           r.archived_at IS NOT NULL AS archived, r.retention_days
    FROM chat_room r
"""

UNREAD = f"""(
    SELECT count(*) FROM (
        SELECT 1 FROM chat_roomevent e
        JOIN chat_message said ON said.tenant_id = e.tenant_id AND said.id = (e.ids->>'message')::uuid
        WHERE e.tenant_id = rm.tenant_id AND e.room_id = rm.room_id AND e.seq > rm.seen_seq
          AND e.type IN ('message.created', 'generation.finished') AND said.deleted_at IS NULL
          AND said.author_membership_id IS DISTINCT FROM rm.membership_id
        LIMIT {UNREAD_MAX}
    ) unread
)"""  # noqa: S608 - of constants
"""How many messages of others the member of the place `rm` hasn't seen; counted up to `UNREAD_MAX`."""

MY_ROOMS = f"""
    SELECT r.id, r.title, r.kind, r.settings, r.epoch, r.head_seq, r.created_at, r.updated_at, r.last_message_at,
           r.archived_at IS NOT NULL AS archived, r.retention_days, rm.role, rm.seen_seq,
           rm.pinned_at IS NOT NULL AS pinned, rm.muted, rm.folder, {UNREAD} AS unread
    FROM chat_room r JOIN chat_roommember rm ON rm.tenant_id = r.tenant_id AND rm.room_id = r.id
    WHERE rm.membership_id = %s AND rm.left_at IS NULL AND r.deleted_at IS NULL AND r.id = ANY(%s)
"""  # noqa: S608 - of constants

ROOM_MEMBERS = """
    SELECT rm.id, rm.membership_id, p.name, rm.role, rm.joined_at
    FROM chat_roommember rm
    JOIN tenants_membership m ON m.tenant_id = rm.tenant_id AND m.id = rm.membership_id
    JOIN tenants_person p ON p.id = m.person_id
"""

MESSAGES = """
    SELECT m.id, m.room_id, m.parent_id, m.author_kind, m.author_membership_id, p.name AS author_name, m.model,
           m.imported_role, m.imported_name,
           m.generation_id, m.parts, m.text, m.mentions, m.created_at, m.edited_at, m.deleted_at, g.status, g.error_code,
           g.error_message, g.usage, g.cost_nano
    FROM chat_message m
    LEFT JOIN chat_generation g ON g.tenant_id = m.tenant_id AND g.id = m.generation_id
    LEFT JOIN tenants_membership a ON a.tenant_id = m.tenant_id AND a.id = m.author_membership_id
    LEFT JOIN tenants_person p ON p.id = a.person_id
"""

GENERATIONS = """
    SELECT g.id, g.room_id, g.prompt_id, g.answer_id, g.model, g.status, g.error_code, g.error_message, g.usage,
           g.cost_nano, g.requested_by_id, g.started_at, g.finished_at, g.anew, g.context
    FROM chat_generation g
"""


REACTIONS = """
    SELECT message_id, emoji, count(*) AS count, (array_agg(membership_id ORDER BY id))[1:%s] AS members
    FROM chat_reaction WHERE message_id = ANY(%s) GROUP BY message_id, emoji
    ORDER BY message_id, (array_agg(id ORDER BY id))[1]
"""

SUMMARIES = """
    SELECT s.id, s.room_id, s.until_id, s.covers, s.text, s.model, s.cost_nano, s.created_at FROM chat_summary s
"""

SUMMARY_ON_PATH = f"""
    WITH RECURSIVE line AS (
        SELECT m.id, m.parent_id, 1 AS length,
               (SELECT s.id FROM chat_summary s WHERE s.room_id = %(room)s AND s.until_id = m.id) AS summary
        FROM chat_message m WHERE m.room_id = %(room)s AND m.id = %(leaf)s
          AND EXISTS (SELECT FROM chat_summary WHERE room_id = %(room)s)
        UNION ALL
        SELECT p.id, p.parent_id, line.length + 1, p.summary FROM line CROSS JOIN LATERAL (
            SELECT m.id, m.room_id, m.parent_id,
                   (SELECT s.id FROM chat_summary s WHERE s.room_id = %(room)s AND s.until_id = m.id) AS summary
            FROM chat_message m WHERE m.id = line.parent_id OFFSET 0
        ) p WHERE p.room_id = %(room)s AND line.summary IS NULL AND line.length < {BRANCH_DEPTH_MAX}
    )
    SELECT told.*, line.length FROM line JOIN ({SUMMARIES}) told ON told.id = line.summary
"""  # noqa: S608 - of constants
"""From the leaf up to the first message that a summary ends at; see `chat.tree` for `OFFSET 0`."""

SPOKEN = """
    SELECT json_agg(json_build_array(
        m.id, m.author_kind, m.author_membership_id,
        CASE m.author_kind WHEN 'model' THEN m.model WHEN 'imported' THEN m.imported_name ELSE coalesce(p.name, '') END,
        m.imported_role, m.text, m.edited_at, CASE WHEN m.parts @> '[{"type": "file"}]' THEN m.parts END
    ))::text AS spoken
    FROM chat_message m
    LEFT JOIN tenants_membership a ON a.tenant_id = m.tenant_id AND a.id = m.author_membership_id
    LEFT JOIN tenants_person p ON p.id = a.person_id
    WHERE m.id = ANY(%s) AND m.deleted_at IS NULL
"""
"""As one JSON text: a context may be of thousands, and rows cost ten times as much."""


class Spoken(msgspec.Struct, frozen=True):
    """A message as a model is told of it: who said what, and with which files."""

    id: uuid.UUID
    author: Author
    text: str
    edited_at: datetime | None
    files: tuple[FilePart, ...] = ()


class OnPath(msgspec.Struct, frozen=True):
    """A summary on the way to a message, and how many messages there are from the one it ends at to that one, both counted."""

    summary: SummaryShape
    length: int


class Terms(msgspec.Struct, frozen=True):
    """What holds for the answers in a room. With `summaries` old turns are summarised where they don't fit, else left out."""

    title: str
    kind: str
    model: str | None
    instructions: str
    summaries: bool
    parameters: Parameters = PLAIN


class PresetTerms(msgspec.Struct, frozen=True):
    """What a preset says of answers."""

    model: str | None
    instructions: str
    parameters: Parameters


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
    reactions = await _reactions(connection, ids)
    return {row["id"]: message_shape(row, reactions=reactions.get(row["id"], ())) for row in rows}


class _Said(msgspec.Struct, frozen=True, array_like=True):
    """A message of `SPOKEN`."""

    id: uuid.UUID
    kind: Literal["member", "model", "imported"]
    membership: uuid.UUID | None
    name: str
    role: str
    text: str
    edited_at: datetime | None
    parts: tuple[MessagePart, ...] | None


_SAID = msgspec.json.Decoder(list[_Said])


async def spoken(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Spoken]:
    """Messages by their ids, as models are told of them. Those that were deleted are not."""
    row = await first(connection, SPOKEN, (list(ids),))
    said = _SAID.decode(row["spoken"]) if row and row["spoken"] else []
    # Few say much: one object is enough for each of them.
    authors: dict[Author, Author] = {}
    return {one.id: _spoken(one, authors) for one in said}


def _spoken(said: _Said, authors: dict[Author, Author]) -> Spoken:
    role = said.role if said.kind == "imported" else UNSET
    author = Author(kind=said.kind, id=said.membership, name=said.name, role=role)
    return Spoken(
        id=said.id,
        author=authors.setdefault(author, author),
        text=said.text,
        edited_at=said.edited_at,
        files=tuple(part for part in said.parts or () if isinstance(part, FilePart)),
    )


async def _reactions(connection: Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, tuple[ReactionShape, ...]]:
    """The emoji under messages, in the order in which each was first chosen."""
    rows = await every(connection, REACTIONS, (REACTORS_SHOWN_MAX, list(ids)))
    found: dict[uuid.UUID, tuple[ReactionShape, ...]] = {}
    for row in rows:
        shape = ReactionShape(emoji=row["emoji"], count=row["count"], members=tuple(row["members"]))
        found[row["message_id"]] = (*found.get(row["message_id"], ()), shape)
    return found


async def is_in_room(connection: Connection, *, room_id: uuid.UUID, message_id: uuid.UUID) -> bool:
    """Whether a message is one of the room's."""
    row = await first(connection, "SELECT 1 FROM chat_message WHERE room_id = %s AND id = %s", (room_id, message_id))
    return row is not None


async def own_feedback(
    connection: Connection, ids: Collection[uuid.UUID], *, membership_id: uuid.UUID
) -> dict[uuid.UUID, str]:
    """What a member thinks of answers, where they said so."""
    rows = await every(
        connection,
        "SELECT message_id, rating FROM chat_feedback WHERE message_id = ANY(%s) AND membership_id = %s",
        (list(ids), membership_id),
    )
    return {row["message_id"]: row["rating"] for row in rows}


async def summary_ids(connection: Connection, ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Those of the summaries that are still there."""
    rows = await every(connection, "SELECT id FROM chat_summary WHERE id = ANY(%s)", (list(ids),))
    return [row["id"] for row in rows]


async def summaries(
    connection: Connection, *, room_id: uuid.UUID, before: uuid.UUID | None, limit: int
) -> list[SummaryShape]:
    """A room's summaries, newest first, those older than `before`."""
    rows = await every(
        connection,
        f"{SUMMARIES} WHERE s.room_id = %(room)s AND (%(before)s::uuid IS NULL OR s.id < %(before)s::uuid) "
        "ORDER BY s.id DESC LIMIT %(limit)s",
        {"room": room_id, "before": before, "limit": limit},
    )
    return [summary_shape(row) for row in rows]


async def terms_of_room(connection: Connection, room: RoomShape, *, membership_id: uuid.UUID) -> Terms:
    """What models in a room are told and asked with when this member asks: as the room says, and first as its preset does,
    if the member sees that."""
    preset = await preset_terms(connection, room.preset, membership_id=membership_id)
    if preset is None:
        preset = PresetTerms(model=None, instructions="", parameters=PLAIN)
    return Terms(
        title=room.title,
        kind=room.kind,
        model=room.model or preset.model,
        instructions="\n\n".join(told for told in (preset.instructions, room.instructions) if told),
        summaries=room.summaries,
        parameters=preset.parameters,
    )


async def preset_terms(
    connection: Connection, preset_id: uuid.UUID | None, *, membership_id: uuid.UUID
) -> PresetTerms | None:
    """A preset, if it is there and the member sees it."""
    if preset_id is None:
        return None
    row = await first(
        connection,
        "SELECT model, instructions, parameters FROM chat_preset "
        "WHERE id = %s AND (owner_id = %s OR visibility = 'shared')",
        (preset_id, membership_id),
    )
    return msgspec.convert(row, PresetTerms) if row else None


async def summary_on_path(connection: Connection, *, room_id: uuid.UUID, leaf: uuid.UUID | None) -> OnPath | None:
    """What covers most of the way to `leaf`, of what was made of a room's turns."""
    row = await first(connection, SUMMARY_ON_PATH, {"room": room_id, "leaf": leaf})
    return OnPath(summary=summary_shape(row), length=row["length"]) if row else None


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
) -> Mapping[uuid.UUID, Parts]:
    """The parts of a room's live generations as PostgreSQL last heard of them."""
    if not ids:
        return {}
    rows = await every(
        connection,
        "SELECT id, checkpoint, checkpoint_parts FROM chat_generation WHERE room_id = %s AND id = ANY(%s) "
        "AND status IN ('queued', 'streaming')",
        (room_id, list(ids)),
    )
    return {row["id"]: checkpoint(row) for row in rows}


def checkpoint(row: Mapping[str, Any]) -> Parts:
    """The parts that a generation's row keeps."""
    sizes = row["checkpoint_parts"]
    return split(row["checkpoint"], None if sizes is None else msgspec.convert(sizes, Layout))
