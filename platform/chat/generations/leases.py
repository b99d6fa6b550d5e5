"""The lease on a generation: the right of one process to write it, kept alive each second, seen by everybody.

All times are the database's: `now()` decides who is late. What the owner writes is fenced by its name, so an owner that
was slow and lost the lease can't write any more.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from chat.bounds import LEASE_S, QUEUED_MAX_S
from chat.parts import Parts, joined, layout, length
from chat.shapes import ContextShape
from chat.store import first, transaction
from kernel.ids import uuid7
from tenants.epochs import Subject

_REMEMBER = """
    UPDATE chat_generation SET attempt = %s, context = %s::jsonb
    WHERE id = %s AND status = 'streaming' AND lease_owner = %s
"""

_RENEW = """
    UPDATE chat_generation
    SET lease_until = now() + make_interval(secs => %s),
        checkpoint = coalesce(%s, checkpoint), checkpoint_length = coalesce(%s, checkpoint_length),
        checkpoint_parts = coalesce(%s, checkpoint_parts)
    WHERE id = %s AND status = 'streaming' AND lease_owner = %s
    RETURNING stop_requested_at IS NOT NULL AS stop_requested
"""


_RESTART = """
    UPDATE chat_generation
    SET status = 'queued', lease_owner = NULL, lease_until = NULL, request_id = %s, attempt = '{}', restarted_at = now(),
        started_at = now()
    WHERE id = %s AND restarted_at IS NULL AND stop_requested_at IS NULL
      AND (status = 'streaming' AND (lease_until < now() OR lease_owner = %s)
           OR status = 'queued' AND started_at < now() - make_interval(secs => %s))
    RETURNING id
"""


class Claimed(msgspec.Struct, frozen=True):
    """A generation that this process has begun to write."""

    room_id: uuid.UUID
    prompt_id: uuid.UUID
    model: str
    request_id: uuid.UUID
    anew: bool
    stop_requested: bool


async def claim(tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID) -> Claimed | None:
    """Begin a queued generation; None when somebody else has, or it has ended."""
    async with transaction(tenant_id) as connection:
        row = await first(
            connection,
            "UPDATE chat_generation SET status = 'streaming', lease_owner = %s, "
            "lease_until = now() + make_interval(secs => %s) WHERE id = %s AND status = 'queued' "
            "RETURNING room_id, prompt_id, model, request_id, anew, stop_requested_at IS NOT NULL AS stop_requested",
            (owner, LEASE_S, generation_id),
        )
    return Claimed(**row) if row else None


async def remember_attempt(
    tenant_id: uuid.UUID,
    generation_id: uuid.UUID,
    *,
    owner: uuid.UUID,
    attempt: Mapping[str, Any],
    context: ContextShape | None,
) -> None:
    """Keep what is needed to bill the answer should this process die, and what of its branch the model isn't told."""
    told = msgspec.json.encode(context).decode() if context is not None else None
    async with transaction(tenant_id) as connection:
        await connection.execute(_REMEMBER.encode(), (Jsonb(dict(attempt)), told, generation_id, owner))


async def restart(tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID | None = None) -> bool:
    """Queue a generation once again, as a new request, that nobody writes any more, or of which the `owner` hasn't said a word
    and can't go on; False when that isn't so, when it was done before, or somebody wants it stopped."""
    async with transaction(tenant_id) as connection:
        return await first(connection, _RESTART, (uuid7(), generation_id, owner, QUEUED_MAX_S)) is not None


async def asked_by(tenant_id: uuid.UUID, generation_id: uuid.UUID) -> Subject | None:
    """Who asked for a queued generation; None when it isn't queued any more."""
    async with transaction(tenant_id) as connection:
        row = await first(
            connection,
            "SELECT requested_by_id, requested_key_id FROM chat_generation WHERE id = %s AND status = 'queued'",
            (generation_id,),
        )
    return Subject(tenant_id, row["requested_by_id"], row["requested_key_id"]) if row else None


class Renewed(msgspec.Struct, frozen=True):
    """The lease holds for another while."""

    stop_requested: bool


async def renew(
    tenant_id: uuid.UUID, generation_id: uuid.UUID, *, owner: uuid.UUID, checkpoint: Parts | None
) -> Renewed | None:
    """Prolong the lease, and keep the answer so far unless it is None; None when the lease is lost."""
    kept = None if checkpoint is None else (joined(checkpoint), length(checkpoint), Jsonb(layout(checkpoint)))
    async with transaction(tenant_id) as connection:
        row = await first(connection, _RENEW, (LEASE_S, *(kept or (None,) * 3), generation_id, owner))
    return Renewed(**row) if row else None
