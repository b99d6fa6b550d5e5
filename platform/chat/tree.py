"""History as a tree: which messages lead to one, where a branch ends, and what stands beside a message.

A message's `parent` is what it follows. Two messages of one parent are *siblings*: each begins a branch. The *path* to a
message is its ancestors, and in between the answers that were still being written when somebody wrote on: an answer of a
parent is such to the message that follows it if its generation began before, and it ended after. The ids say which:
`chat.events.take_numbers` has them rise within a room.

A branch is read on to its *leaf*: from the newest message of a person in it down to the newest answer. So an answer that
ends late, or is asked for anew by somebody else, moves nobody away from what is being talked about.
"""

import uuid
from collections.abc import Collection
from typing import Any

import msgspec
from psycopg.rows import DictRow

from chat.bounds import BRANCH_DEPTH_MAX
from chat.shapes import Siblings
from chat.store import Connection, every, first

_LEAF_BELOW = """
    WITH RECURSIVE below AS (
        SELECT id, author_kind, 1 AS depth FROM chat_message WHERE room_id = %(room)s AND parent_id = %(from)s
        UNION ALL
        SELECT c.id, c.author_kind, below.depth + 1 FROM below CROSS JOIN LATERAL (
            SELECT id, author_kind FROM chat_message WHERE room_id = %(room)s AND parent_id = below.id OFFSET 0
        ) c WHERE below.depth < %(deep)s
    ), start AS (
        SELECT coalesce(
            (SELECT id FROM below WHERE author_kind <> 'model' ORDER BY id DESC LIMIT 1), %(from)s::uuid
        ) AS id
    ), line AS (
        SELECT start.id, 0 AS depth FROM start
        UNION ALL
        SELECT (SELECT c.id FROM chat_message c WHERE c.room_id = %(room)s AND c.parent_id = line.id
                ORDER BY c.id DESC LIMIT 1), line.depth + 1
        FROM line WHERE line.id IS NOT NULL AND line.depth < %(deep)s
    )
    SELECT id FROM line WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1
"""

_PATH = """
    WITH RECURSIVE line AS (
        SELECT id, parent_id, author_kind, octet_length(text) AS size, NULL::uuid AS next_id, NULL::text AS next_kind, 1 AS depth
        FROM chat_message WHERE room_id = %(room)s AND id = %(leaf)s
        UNION ALL
        SELECT p.id, p.parent_id, p.author_kind, p.size, line.id, line.author_kind::text, line.depth + 1
        FROM line CROSS JOIN LATERAL (
            SELECT id, room_id, parent_id, author_kind, octet_length(text) AS size FROM chat_message
            WHERE id = line.parent_id OFFSET 0
        ) p WHERE p.room_id = %(room)s AND line.depth < %(limit)s
    ), steps AS (
        SELECT line.id, line.parent_id, line.depth, FALSE AS late, line.size FROM line
        UNION ALL
        SELECT late.id, late.parent_id, line.depth, TRUE, late.size FROM line CROSS JOIN LATERAL (
            SELECT id, parent_id, octet_length(text) AS size FROM chat_message
            WHERE room_id = %(room)s AND parent_id = line.id AND author_kind = 'model'
              AND generation_id < line.next_id AND line.next_id < id OFFSET 0
        ) late WHERE line.next_kind <> 'model'
    )
    SELECT json_agg(json_build_array(id, parent_id, late, size) ORDER BY depth DESC, late, id)::text AS steps FROM steps
"""
"""`OFFSET 0` has each step look its message up by its key: the planner, which takes a line for a few rows, would else read the
room's messages anew at every step. They come as one JSON text: a path may have thousands, and rows cost ten times as much."""

_BESIDE = """
    s.room_id = %(room)s
    AND NOT (m.author_kind <> 'model' AND s.author_kind = 'model' AND s.generation_id < m.id AND m.id < s.id)
    AND NOT (s.author_kind <> 'model' AND m.author_kind = 'model' AND m.generation_id < s.id AND s.id < m.id)
"""
"""Neither is an answer that is on the path to the other by itself."""

_SIBLINGS = f"""
    SELECT m.id, count(*) AS count, count(*) FILTER (WHERE s.id <= m.id) AS place,
           (array_agg(s.id ORDER BY s.id DESC) FILTER (WHERE s.id < m.id))[1] AS previous,
           (array_agg(s.id ORDER BY s.id) FILTER (WHERE s.id > m.id))[1] AS next
    FROM chat_message m JOIN chat_message s ON s.parent_id = m.parent_id AND {_BESIDE}
    WHERE m.room_id = %(room)s AND m.id = ANY(%(ids)s) GROUP BY m.id HAVING count(*) > 1
    UNION ALL
    SELECT m.id, count(*), count(*) FILTER (WHERE s.id <= m.id),
           (array_agg(s.id ORDER BY s.id DESC) FILTER (WHERE s.id < m.id))[1],
           (array_agg(s.id ORDER BY s.id) FILTER (WHERE s.id > m.id))[1]
    FROM chat_message m JOIN chat_message s ON s.parent_id IS NULL AND {_BESIDE}
    WHERE m.room_id = %(room)s AND m.id = ANY(%(ids)s) AND m.parent_id IS NULL GROUP BY m.id HAVING count(*) > 1
"""  # noqa: S608 - constants

_SIBLING_IDS = f"""
    SELECT s.id FROM chat_message m
    JOIN chat_message s ON (s.parent_id = m.parent_id OR m.parent_id IS NULL AND s.parent_id IS NULL) AND {_BESIDE}
    WHERE m.room_id = %(room)s AND m.id = %(id)s AND (%(after)s::uuid IS NULL OR s.id > %(after)s::uuid)
    ORDER BY s.id LIMIT %(limit)s
"""  # noqa: S608 - constants


class Step(msgspec.Struct, frozen=True, array_like=True):
    """A message of a path. A `late` one is an answer that ended after somebody had written on. Its text has `size` bytes."""

    id: uuid.UUID
    parent: uuid.UUID | None
    late: bool
    size: int


_STEPS = msgspec.json.Decoder(tuple[Step, ...])


class Path(msgspec.Struct, frozen=True):
    """The end of a path, oldest first: answers follow their question. `above` is what the first step follows."""

    steps: tuple[Step, ...]
    above: uuid.UUID | None

    @property
    def ids(self) -> list[uuid.UUID]:
        """The messages, oldest question first."""
        return [step.id for step in self.steps]


class Branch(msgspec.Struct, frozen=True):
    """What a member reads: the message that they `chose` (None: the newest branch), and the `leaf` where that ends now (None
    in an empty room). While an answer that they asked for is written to the very message that they chose, it ends there."""

    chosen: uuid.UUID | None
    leaf: uuid.UUID | None


_BRANCH = """
    SELECT rm.branch_id AS chosen, CASE WHEN rm.branch_id IS NULL THEN public.chat_newest_leaf(rm.room_id) END AS leaf,
           rm.branch_id IS NOT NULL AND EXISTS (
               SELECT FROM chat_generation g WHERE g.room_id = rm.room_id AND g.status IN ('queued', 'streaming')
               AND g.prompt_id = rm.branch_id AND g.requested_by_id = rm.membership_id
           ) AS live
    FROM chat_roommember rm WHERE rm.id = %s
"""


async def branch_of(connection: Connection, *, room_id: uuid.UUID, room_member_id: uuid.UUID) -> Branch:
    """The branch that a member reads."""
    return await branch_in(connection, room_id, await first(connection, _BRANCH, (room_member_id,)))


async def branch_in(connection: Connection, room_id: uuid.UUID, row: DictRow | None) -> Branch:
    """The branch that a row says: what is `chosen`, and whether an answer is written to that now (`live`), else the `leaf`."""
    if row is None:
        return Branch(chosen=None, leaf=await newest_leaf(connection, room_id=room_id, below=None))
    chosen, leaf = row["chosen"], row["leaf"]
    if chosen is not None:
        leaf = chosen if row["live"] else await newest_leaf(connection, room_id=room_id, below=chosen)
    return Branch(chosen=chosen, leaf=leaf)


async def newest_leaf(connection: Connection, *, room_id: uuid.UUID, below: uuid.UUID | None) -> uuid.UUID | None:
    """Where the room, or what is below a message of it, ends now."""
    if below is None:
        row = await first(connection, "SELECT public.chat_newest_leaf(%s) AS id", (room_id,))
    else:
        row = await first(connection, _LEAF_BELOW, {"room": room_id, "from": below, "deep": BRANCH_DEPTH_MAX})
    return row["id"] if row else None


async def path_to(
    connection: Connection, *, room_id: uuid.UUID, leaf: uuid.UUID | None, limit: int = BRANCH_DEPTH_MAX
) -> Path:
    """The last `limit` messages that lead to `leaf`, and the late answers to them."""
    if leaf is None:
        return Path(steps=(), above=None)
    row = await first(connection, _PATH, {"room": room_id, "leaf": leaf, "limit": limit})
    steps = _STEPS.decode(row["steps"]) if row and row["steps"] else ()
    return Path(steps=steps, above=steps[0].parent if steps else None)


async def siblings(
    connection: Connection, *, room_id: uuid.UUID, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, Siblings]:
    """Of the messages that have siblings, where each stands among them."""
    if not ids:
        return {}
    rows = await every(connection, _SIBLINGS, {"room": room_id, "ids": list(ids)})
    return {row["id"]: _siblings(row) for row in rows}


async def sibling_ids(
    connection: Connection, *, room_id: uuid.UUID, message_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[uuid.UUID]:
    """A message and its siblings, oldest first, from the one after `after` on."""
    rows = await every(connection, _SIBLING_IDS, {"room": room_id, "id": message_id, "after": after, "limit": limit})
    return [row["id"] for row in rows]


def _siblings(row: dict[str, Any]) -> Siblings:
    return Siblings(count=row["count"], place=row["place"], previous=row["previous"], next=row["next"])
