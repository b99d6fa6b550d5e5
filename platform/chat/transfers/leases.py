"""The lease on a transfer: the right of one worker to work on it. All times are the database's; what the owner writes is
fenced by its name."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from chat.note_bodies import Ended, ExportDone, ImportDone
from chat.services.notes import Noted, tell_notes, write_notes
from chat.store import Connection, first, transaction
from chat.transfers.bounds import LEASE_S, RECORD_KEPT, TURNS_MAX
from chat.transfers.store import object_of
from kernel.errors import Unavailable
from kernel.ids import uuid7
from kernel.objects import remove_object

_CLAIM = """
    UPDATE chat_transfer SET state = 'running', lease_owner = %(owner)s, turn_at = now(),
        lease_until = now() + make_interval(secs => %(lease)s), turns = turns + 1
    WHERE id = %(id)s AND (state = 'queued' OR state = 'running' AND lease_until < now())
    RETURNING id, tenant_id, kind, membership_id, room_id, format, name, turns, place, done, failed
"""


class Claimed(msgspec.Struct, frozen=True):
    """A transfer that this worker may work on, as it was when it was claimed."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    kind: str
    membership_id: uuid.UUID
    room_id: uuid.UUID | None
    format: str
    name: str
    turns: int
    place: dict[str, Any]
    done: int
    failed: int
    owner: uuid.UUID


class LeaseLost(Exception):
    """Another worker may have the transfer now, or it was given up."""


class CantTransfer(Exception):
    """The transfer ends here: a stable code, and why, for its member."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


async def claim(tenant_id: uuid.UUID, transfer_id: uuid.UUID) -> Claimed | None:
    """The transfer, if it waits, or its worker died."""
    owner = uuid7()
    async with transaction(tenant_id) as connection:
        row = await first(connection, _CLAIM, {"owner": owner, "id": transfer_id, "lease": LEASE_S})
    return Claimed(**row, owner=owner) if row else None


async def renew(
    claimed: Claimed, *, total: int | None = None, done: int | None = None, connection: Connection | None = None
) -> None:
    """Keep the lease, and say how far it is. Raises `LeaseLost`."""
    if connection is None:
        async with transaction(claimed.tenant_id) as opened:
            await renew(claimed, total=total, done=done, connection=opened)
        return
    cursor = await connection.execute(
        "UPDATE chat_transfer SET lease_until = now() + make_interval(secs => %s), total = coalesce(%s, total), "
        "done = coalesce(%s, done) WHERE id = %s AND lease_owner = %s AND state = 'running'",
        (LEASE_S, total, done, claimed.id, claimed.owner),
    )
    if cursor.rowcount == 0:
        raise LeaseLost


async def advance(
    connection: Connection,
    claimed: Claimed,
    *,
    place: Mapping[str, Any],
    done: int,
    failed: int,
    problems: Sequence[Mapping[str, Any]],
) -> None:
    """Say how far an import came, in the transaction that came so far: should its worker die, the next goes on from there.
    Progress makes up for workers that died. Raises `LeaseLost`."""
    cursor = await connection.execute(
        "UPDATE chat_transfer SET place = %s, done = %s, failed = %s, problems = %s, turns = 1, "
        "lease_until = now() + make_interval(secs => %s) WHERE id = %s AND lease_owner = %s AND state = 'running'",
        (Jsonb(dict(place)), done, failed, Jsonb(list(problems)), LEASE_S, claimed.id, claimed.owner),
    )
    if cursor.rowcount == 0:
        raise LeaseLost


async def release(claimed: Claimed) -> None:
    """Leave the rest to the next turn."""
    async with transaction(claimed.tenant_id) as connection:
        await connection.execute(
            "UPDATE chat_transfer SET state = 'queued', lease_owner = NULL, lease_until = NULL, turns = turns - 1 "
            "WHERE id = %s AND lease_owner = %s AND state = 'running'",
            (claimed.id, claimed.owner),
        )


async def complete(claimed: Claimed, *, total: int, done: int, size: int, kept: timedelta) -> None:
    """It is done; its file is kept for so long, and its member is told. Raises `LeaseLost`."""
    async with transaction(claimed.tenant_id) as connection:
        cursor = await connection.execute(
            "UPDATE chat_transfer SET state = 'complete', total = %s, done = %s, size = %s, finished_at = now(), "
            "expires_at = now() + %s, lease_owner = NULL, lease_until = NULL WHERE id = %s AND lease_owner = %s "
            "AND state = 'running'",
            (total, done, size, kept, claimed.id, claimed.owner),
        )
        if cursor.rowcount == 0:
            raise LeaseLost
        noted = await _note(connection, claimed, "complete")
    await tell_notes(noted)


async def fail(claimed: Claimed, *, code: str, message: str) -> None:
    """It ends without having come to its end, and without its file; its member is told."""
    removed = await remove_file(claimed)
    async with transaction(claimed.tenant_id) as connection:
        cursor = await connection.execute(
            "UPDATE chat_transfer SET state = 'failed', error_code = %s, error_message = %s, finished_at = now(), "
            "expires_at = now() + %s, size = CASE WHEN %s THEN 0 ELSE size END, lease_owner = NULL, lease_until = NULL "
            "WHERE id = %s AND lease_owner = %s",
            (code[:64], message[:1000], RECORD_KEPT, removed, claimed.id, claimed.owner),
        )
        if cursor.rowcount == 0:
            return
        noted = await _note(connection, claimed, "failed")
    await tell_notes(noted)


async def _note(connection: Connection, claimed: Claimed, state: Ended) -> Noted:
    exported = claimed.kind == "export"
    body = ExportDone(export=claimed.id, state=state) if exported else ImportDone(import_=claimed.id, state=state)
    return await write_notes(
        connection,
        tenant_id=claimed.tenant_id,
        bodies={claimed.membership_id: body},
        room_id=claimed.room_id,
    )


async def remove_file(claimed: Claimed) -> bool:
    """Delete the file; False when that can't be done now: upkeep does it with the row."""
    try:
        await asyncio.to_thread(remove_object, object_of(claimed.tenant_id, claimed.id))
    except (OSError, Unavailable):
        return False
    return True


def is_given_up(claimed: Claimed) -> bool:
    """Whether so many workers died of it that nobody else should try."""
    return claimed.turns > TURNS_MAX
