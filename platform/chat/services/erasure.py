"""Delete what was said, so that it is nowhere: the one service that all deletions go through.

What is in tables goes in the transaction of the deletion: texts and parts, what generations kept of them, shares, files,
answers that were kept to be given again. What is elsewhere (Redis, captured requests, kept answers) follows by the outbox,
which tries until it is done. A message's row stays, without content: others hang on it, and events name it.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec

from chat import selectors
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.services.attachments import forget_attachments
from chat.store import Connection, every
from chat.titled import untitle
from chat.transfers.store import forget_exports
from kernel import outbox

TOPIC = "chat.erased"
BATCH = 200
"""Messages that one transaction deletes."""

_MESSAGES = """
    UPDATE chat_message SET text = '', parts = '[]', mentions = '[]', deleted_at = coalesce(deleted_at, %s)
    WHERE id = ANY(%s) AND room_id = %s RETURNING id
"""
_GENERATIONS = """
    UPDATE chat_generation g SET checkpoint = '', checkpoint_parts = NULL, error_message = '', attempt = '{}'
    WHERE g.id IN (
        SELECT m.generation_id FROM chat_message m WHERE m.id = ANY(%(ids)s)
        UNION SELECT p.id FROM chat_generation p WHERE p.prompt_id = ANY(%(ids)s)
    ) AND g.finished_at IS NOT NULL
"""
# Of a summary nobody can tell which of the turns is in it.
_MADE_OF_THEM = (
    "DELETE FROM chat_reaction WHERE message_id = ANY(%(ids)s)",
    "DELETE FROM chat_feedback WHERE message_id = ANY(%(ids)s)",
    "DELETE FROM chat_summary WHERE room_id = %(room)s",
    """
    UPDATE chat_share SET messages = coalesce((
        SELECT jsonb_agg(said ORDER BY place) FROM jsonb_array_elements(messages) WITH ORDINALITY shown (said, place)
        WHERE NOT (said->>'id')::uuid = ANY(%(ids)s)
    ), '[]') WHERE room_id = %(room)s
    """,
)
# Whatever shows a message, or a room, names the room.
_ANSWERS_KEPT = """
    DELETE FROM kernel_idempotencykey WHERE (path LIKE '/api/v1/rooms%%' OR path LIKE '/api/v1/messages/%%'
        OR path LIKE '/api/v1/generations/%%') AND (position(%(room)s IN path) > 0 OR position(%(room)s IN body) > 0)
"""


class Erased(msgspec.Struct, frozen=True):
    """What the outbox tells: ids alone; no messages are a whole room."""

    room: uuid.UUID
    messages: list[uuid.UUID]
    untitled: bool = False
    """A title that was made of them is gone, too."""


class Gone(msgspec.Struct, frozen=True):
    """Which messages were there and are deleted; and the room's event, in its epoch, of having lost its title with them."""

    messages: Sequence[uuid.UUID] = ()
    untitled: RoomEvent | None = None
    epoch: int = 0


async def erase_messages(
    connection: Connection, *, tenant_id: uuid.UUID, room_id: uuid.UUID, ids: Sequence[uuid.UUID], now: datetime
) -> Gone:
    """Delete the content of at most `BATCH` messages of a room, in the transaction given.

    Whoever calls decides who may, and tells the room."""
    if len(ids) > BATCH:
        raise ValueError(f"at most {BATCH} messages at once")
    gone = [row["id"] for row in await every(connection, _MESSAGES, (now, list(ids), room_id))]
    if not gone:
        return Gone()
    untitled, epoch = await untitle(connection, tenant_id=tenant_id, room_id=room_id, ids=gone, now=now) or (None, 0)
    await connection.execute(_GENERATIONS.encode(), {"ids": gone})
    for statement in _MADE_OF_THEM:
        await connection.execute(statement.encode(), {"ids": gone, "room": room_id})
    await forget_attachments(connection, message_ids=gone)
    await forget_exports(connection, message_ids=gone, room_id=None)
    await forget_kept_answers(connection, room_id=room_id)
    await outbox.send_on(
        connection,
        tenant_id=tenant_id,
        topic=TOPIC,
        payload=msgspec.to_builtins(Erased(room=room_id, messages=gone, untitled=untitled is not None)),
    )
    return Gone(messages=gone, untitled=untitled, epoch=epoch)


async def forget_kept_answers(connection: Connection, *, room_id: uuid.UUID) -> None:
    """Delete the answers of a room's that are kept to be given again: a command that comes again is known by its cid."""
    await connection.execute(_ANSWERS_KEPT.encode(), {"room": str(room_id)})


async def erase_and_tell(
    connection: Connection, *, tenant_id: uuid.UUID, room_id: uuid.UUID, ids: Sequence[uuid.UUID], now: datetime
) -> tuple[list[RoomEvent], int]:
    """The same for messages that nobody deletes by hand, with the room's events of it, to be published in that epoch."""
    erased = await erase_messages(connection, tenant_id=tenant_id, room_id=room_id, ids=ids, now=now)
    gone = sorted(erased.messages)
    if not gone:
        return [], 0
    numbers = await take_numbers(connection, room_id=room_id, count=len(gone), now=now)
    shown = await selectors.messages(connection, gone)
    events = [erased.untitled] if erased.untitled else []
    for seq, id_ in enumerate(gone, start=numbers.first_seq):
        event = room_event(seq=seq, type_="message.deleted", at=now, content={"message": shown[id_]})
        await insert_event(connection, tenant_id=tenant_id, room_id=room_id, event=event, ids=EventIds(message=id_))
        events.append(event)
    return events, numbers.epoch
