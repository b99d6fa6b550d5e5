"""The lease on a generation: the right of one process to write it, kept alive each second, seen by everybody.

All times are the database's: `now()` decides who is late. What the owner writes is fenced by its name, so an owner that
was slow and lost the lease can't write any more.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from chat.bounds import LEASE_S
from chat.store import first, transaction

_REMEMBER = "UPDATE chat_generation SET attempt = %s WHERE id = %s AND status = 'streaming' AND lease_owner = %s"

_RENEW = """
    UPDATE chat_generation
    SET lease_until = now() + make_interval(secs => %s),
        checkpoint = coalesce(%s, checkpoint), checkpoint_length = coalesce(%s, checkpoint_length)
    WHERE id = %s AND status = 'streaming' AND lease_owner = %s
    RETURNING stop_requested_at IS NOT NULL AS stop_requested
"""


class Claimed(msgspec.Struct, frozen=True):
    """A generation that this process has begun to write."""

    room_id: uuid.UUID
    prompt_id: uuid.UUID
    model: str
    request_id: uuid.UUID
    stop_requested: bool


async def claim(tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID) -> Claimed | None:
    """Begin a queued generation; None when somebody else has, or it has ended."""
    async with transaction(tenant_id) as connection:
        row = await first(
            connection,
            "UPDATE chat_generation SET status = 'streaming', lease_owner = %s, "
            "lease_until = now() + make_interval(secs => %s) WHERE id = %s AND status = 'queued' "
            "RETURNING room_id, prompt_id, model, request_id, stop_requested_at IS NOT NULL AS stop_requested",
            (owner, LEASE_S, generation_id),
        )
    return Claimed(**row) if row else None


async def remember_attempt(
    tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID, attempt: Mapping[str, Any]
) -> None:
    """Keep what is needed to bill the answer should this process die."""
    async with transaction(tenant_id) as connection:
        await connection.execute(_REMEMBER.encode(), (Jsonb(dict(attempt)), generation_id, owner))


class Renewed(msgspec.Struct, frozen=True):
    """The lease holds for another while."""

    stop_requested: bool


async def renew(
    tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID, checkpoint: str | None
) -> Renewed | None:
    """Prolong the lease, and keep the text so far unless it is None; None when the lease is lost."""
    length = None if checkpoint is None else len(checkpoint)
    async with transaction(tenant_id) as connection:
        row = await first(connection, _RENEW, (LEASE_S, checkpoint, length, generation_id, owner))
    return Renewed(**row) if row else None
