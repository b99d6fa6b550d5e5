"""What goes when its time is over: messages beyond a retention, and everything in rooms that were deleted."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from django.db import connections

from chat.realtime import streams
from chat.services.attachments import forget_attachments
from chat.services.erasure import BATCH, TOPIC, Erased, erase_and_tell, erase_messages, forget_kept_answers
from chat.store import every, first, transaction
from chat.transfers.store import forget_exports
from kernel import outbox

BATCHES_MAX = 100
"""Transactions of one run for one tenant; the next run goes on."""

_TENANTS = """
    SELECT tenant_id FROM chat_roompolicy WHERE retention_days IS NOT NULL
    UNION SELECT tenant_id FROM chat_room
    WHERE retention_days IS NOT NULL OR (deleted_at IS NOT NULL AND erased_at IS NULL)
    UNION SELECT tenant_id FROM chat_share WHERE expires_at < now()
    ORDER BY tenant_id
"""
_OLD = """
    SELECT m.room_id, m.id FROM chat_message m, chat_roompolicy p
    WHERE m.deleted_at IS NULL AND m.created_at < now() - make_interval(days => p.retention_days)
    ORDER BY m.created_at LIMIT %s
"""
_OLD_IN_ROOMS = """
    SELECT m.room_id, m.id FROM chat_room r CROSS JOIN LATERAL (
        SELECT m.room_id, m.id FROM chat_message m
        WHERE m.tenant_id = r.tenant_id AND m.room_id = r.id AND m.deleted_at IS NULL
          AND m.created_at < now() - make_interval(days => r.retention_days)
        ORDER BY m.id LIMIT %s
    ) m WHERE r.retention_days IS NOT NULL AND r.deleted_at IS NULL LIMIT %s
"""
_OF_ROOM = "SELECT id FROM chat_message WHERE room_id = %s AND deleted_at IS NULL ORDER BY id LIMIT %s"
_LIVE = "SELECT 1 FROM chat_generation WHERE room_id = %s AND status IN ('queued', 'streaming') LIMIT 1"
_BLANK = "UPDATE chat_room SET title = '', settings = '{}', erased_at = %s WHERE id = %s AND deleted_at IS NOT NULL"
_NAMELESS = "UPDATE chat_transfer SET name = '' WHERE room_id = %s"
_UNANSWERED = "UPDATE chat_generation SET checkpoint = '', error_message = '', attempt = '{}' WHERE room_id = %s"


def tenants_with_something_to_expire() -> list[uuid.UUID]:
    """Those that the job has to look at."""
    with connections["platform"].cursor() as cursor:
        cursor.execute(_TENANTS)
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


async def expire_messages(tenant_id: uuid.UUID) -> int:
    """Delete what is older than the tenant, or its room, keeps, and what is left in deleted rooms. How many messages."""
    gone = 0
    for _ in range(BATCHES_MAX):
        async with transaction(tenant_id) as connection:
            old = await every(connection, _OLD, (BATCH,)) or await every(connection, _OLD_IN_ROOMS, (BATCH, BATCH))
        if not old:
            break
        for room_id, ids in _by_room((row["room_id"], row["id"]) for row in old):
            gone += await _expire(tenant_id, room_id, ids)
    async with transaction(tenant_id) as connection:
        await connection.execute(b"DELETE FROM chat_share WHERE expires_at < now()")
        rooms = await every(
            connection, "SELECT id FROM chat_room WHERE deleted_at IS NOT NULL AND erased_at IS NULL LIMIT %s", (BATCH,)
        )
    for row in rooms:
        gone += await erase_room(tenant_id, row["id"])
    return gone


async def erase_room(tenant_id: uuid.UUID, room_id: uuid.UUID) -> int:
    """Delete what a deleted room holds. How many messages. What is still being written there goes with a later run."""
    gone = 0
    for _ in range(BATCHES_MAX):
        async with transaction(tenant_id) as connection:
            # Asked first: an answer that has ended by now is among the messages.
            live = await first(connection, _LIVE, (room_id,))
            ids = [row["id"] for row in await every(connection, _OF_ROOM, (room_id, BATCH))]
            erased = await erase_messages(
                connection, tenant_id=tenant_id, room_id=room_id, ids=ids, now=datetime.now(UTC)
            )
            gone += len(erased.messages)
            if len(ids) == BATCH:
                continue
            if live is not None:
                return gone
            await connection.execute(_UNANSWERED.encode(), (room_id,))
            await forget_attachments(connection, room_id=room_id)
            await forget_exports(connection, message_ids=[], room_id=room_id)
            await connection.execute(_NAMELESS.encode(), (room_id,))
            await forget_kept_answers(connection, room_id=room_id)
            await connection.execute(b"DELETE FROM chat_share WHERE room_id = %s", (room_id,))
            await connection.execute(_BLANK.encode(), (datetime.now(UTC), room_id))
            await outbox.send_on(
                connection,
                tenant_id=tenant_id,
                topic=TOPIC,
                payload=msgspec.to_builtins(Erased(room=room_id, messages=[])),
            )
            return gone
    return gone


async def _expire(tenant_id: uuid.UUID, room_id: uuid.UUID, ids: list[uuid.UUID]) -> int:
    async with transaction(tenant_id) as connection:
        events, epoch = await erase_and_tell(
            connection, tenant_id=tenant_id, room_id=room_id, ids=ids, now=datetime.now(UTC)
        )
    if events:
        await streams.publish(tenant_id, room_id, epoch=epoch, events=events)
    return sum(event.type == "message.deleted" for event in events)


def _by_room(pairs: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> list[tuple[uuid.UUID, list[uuid.UUID]]]:
    rooms: dict[uuid.UUID, list[uuid.UUID]] = {}
    for room_id, id_ in pairs:
        rooms.setdefault(room_id, []).append(id_)
    return list(rooms.items())
