"""A room's title that a model made: of which messages, and that it goes with them.

What was said may be read from such a title, so it is nowhere when they aren't, either.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from chat import selectors
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.store import Connection, first

UNTITLED = "New room"
TITLED_BY = "titled_by"
"""In a room's settings: the ids of the messages that a model made the title of. Of a person's title there are none."""

_UNTITLE = """
    WITH named AS (
        SELECT id, title FROM chat_room
        WHERE id = %(room)s AND deleted_at IS NULL AND settings->'titled_by' ?| %(ids)s
    ), shared AS (
        UPDATE chat_share s SET title = %(untitled)s FROM named WHERE s.room_id = named.id AND s.title = named.title
    ), exported AS (
        UPDATE chat_transfer t SET name = replace(t.name, named.title, %(untitled)s) FROM named
        WHERE t.room_id = named.id AND starts_with(t.name, named.title)
    )
    UPDATE chat_room r SET title = %(untitled)s, settings = r.settings - 'titled' - 'titled_by', updated_at = %(now)s
    FROM named WHERE r.id = named.id RETURNING r.id
"""


async def untitle(
    connection: Connection, *, tenant_id: uuid.UUID, room_id: uuid.UUID, ids: Sequence[uuid.UUID], now: datetime
) -> tuple[RoomEvent, int] | None:
    """Take a title away that was made of one of these messages; the next answer may give another. The room's event of it,
    and its epoch; None where there was no such title."""
    known = {"room": room_id, "ids": [str(id_) for id_ in ids], "untitled": UNTITLED, "now": now}
    if await first(connection, _UNTITLE, known) is None:
        return None
    numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
    content = {"room": await selectors.room(connection, room_id)}
    event = room_event(seq=numbers.first_seq, type_="room.updated", at=now, content=dict(content))
    await insert_event(connection, tenant_id=tenant_id, room_id=room_id, event=event, ids=EventIds(room=room_id))
    return event, numbers.epoch
