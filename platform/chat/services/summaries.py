"""What was made of the oldest turns of a branch: kept as long as these stay as they were."""

import uuid
from collections.abc import Mapping
from datetime import datetime

from chat import selectors
from chat.answering import Said
from chat.shapes import SummaryShape
from chat.store import Connection, every, first, transaction
from kernel.ids import uuid7

_FORGET = """
    WITH RECURSIVE line AS (
        SELECT s.id AS summary, m.id, m.parent_id FROM chat_summary s
        JOIN chat_message m ON m.room_id = %(room)s AND m.id = s.until_id
        WHERE s.room_id = %(room)s AND s.until_id >= %(message)s
        UNION ALL
        SELECT line.summary, p.id, p.parent_id FROM line CROSS JOIN LATERAL (
            SELECT id, room_id, parent_id FROM chat_message WHERE id = line.parent_id OFFSET 0
        ) p WHERE p.room_id = %(room)s AND p.id >= %(message)s
    )
    DELETE FROM chat_summary WHERE id IN (SELECT summary FROM line WHERE id = %(message)s)
"""


async def forget_summaries(connection: Connection, *, room_id: uuid.UUID, message_id: uuid.UUID) -> None:
    """Forget the summaries that a message went into: of all branches that lead through it."""
    await connection.execute(_FORGET.encode(), {"room": room_id, "message": message_id})


async def keep_summary(
    *,
    tenant_id: uuid.UUID,
    room_id: uuid.UUID,
    until: uuid.UUID,
    earlier: SummaryShape | None,
    told: Mapping[uuid.UUID, datetime | None],
    said: Said,
    cost_nano: int | None,
) -> SummaryShape | None:
    """Keep what was said of the messages `told`, each with when it was last edited, and of what the `earlier` summary stands
    for. None when one of them was edited or deleted meanwhile, or the earlier one forgotten: then it is worth nothing.
    """
    async with transaction(tenant_id) as connection:
        # Whoever edits or deletes holds this lock.
        room = await first(
            connection, "SELECT 1 FROM chat_room WHERE id = %s AND deleted_at IS NULL FOR UPDATE", (room_id,)
        )
        now = await every(
            connection,
            "SELECT id, edited_at FROM chat_message WHERE room_id = %s AND id = ANY(%s) AND deleted_at IS NULL",
            (room_id, list(told)),
        )
        if room is None or {row["id"]: row["edited_at"] for row in now} != dict(told):
            return None
        if earlier is not None and not await selectors.summary_ids(connection, [earlier.id]):
            return None
        await connection.execute(
            "INSERT INTO chat_summary (tenant_id, id, room_id, until_id, text, covers, model, request_id, cost_nano) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, room_id, until_id) DO NOTHING",
            (
                tenant_id,
                uuid7(),
                room_id,
                until,
                said.text,
                len(told) + (earlier.covers if earlier else 0),
                said.alias,
                said.request_id,
                cost_nano,
            ),
        )
        kept = await selectors.summary_on_path(connection, room_id=room_id, leaf=until)
    return kept.summary if kept else None
