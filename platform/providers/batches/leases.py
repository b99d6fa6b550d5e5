"""The lease on a batch: the right of one worker to work on it. All times are the database's; what the owner writes is fenced
by its name."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kernel import adb
from providers.batches.bounds import LEASE_S

_CLAIM = """
    UPDATE providers_batch
    SET lease_owner = %s, lease_until = now() + make_interval(secs => %s), turn_at = now()
    WHERE id = %s AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
        AND (lease_until IS NULL OR lease_until < now())
    RETURNING id, tenant_id, principal_id, membership_id, api_key_id, input_file_id, endpoint, status, total, next_number,
        next_offset, expires_at <= now() AS expired, expires_at, results_kept
"""
_COUNTS = """
    completed = (SELECT count(*) FROM providers_batchline l WHERE l.batch_id = b.id AND NOT failed),
    failed = (SELECT count(*) FROM providers_batchline l WHERE l.batch_id = b.id AND l.failed)
"""
_RENEW = f"""
    UPDATE providers_batch b SET lease_until = now() + make_interval(secs => %s), {_COUNTS}
    WHERE id = %s AND lease_owner = %s AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
    RETURNING status, expires_at <= now() AS expired
"""  # noqa: S608 - constants
_RELEASE = f"""
    UPDATE providers_batch b SET lease_owner = NULL, lease_until = NULL, next_number = %s, next_offset = %s, {_COUNTS}
    WHERE id = %s AND lease_owner = %s
"""  # noqa: S608 - constants
_BEGIN = """
    UPDATE providers_batch SET status = 'in_progress', in_progress_at = now(), total = %s
    WHERE id = %s AND lease_owner = %s AND status = 'validating'
"""


@dataclass(slots=True)
class Claimed:
    """A batch that this worker may work on, as it was when it was claimed."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    principal_id: uuid.UUID
    membership_id: uuid.UUID
    api_key_id: uuid.UUID | None
    input_file_id: uuid.UUID
    endpoint: str
    status: str
    total: int
    next_number: int
    next_offset: int
    expired: bool
    expires_at: Any
    results_kept: timedelta | None
    owner: uuid.UUID


class LeaseLost(Exception):
    """Another worker may have the batch now, or it was ended."""


async def claim(tenant_id: uuid.UUID, batch_id: uuid.UUID, *, owner: uuid.UUID) -> Claimed | None:
    """Take a batch up; None when somebody else has, or there is nothing to do."""
    async with adb.transaction(tenant_id) as connection:
        row = await (await connection.execute(_CLAIM, (owner, LEASE_S, batch_id))).fetchone()
    return Claimed(**row, owner=owner) if row else None


async def renew(batch: Claimed) -> None:
    """Prolong the lease; `batch` says then how it stands. Raises `LeaseLost`."""
    async with adb.transaction(batch.tenant_id) as connection:
        row = await (await connection.execute(_RENEW.encode(), (LEASE_S, batch.id, batch.owner))).fetchone()
    if row is None:
        raise LeaseLost
    batch.status, batch.expired = row["status"], row["expired"]


async def begin(batch: Claimed, *, total: int) -> None:
    """The input was looked at: so many lines. Raises `LeaseLost`."""
    async with adb.transaction(batch.tenant_id) as connection:
        await connection.execute(_BEGIN, (total, batch.id, batch.owner))
    await renew(batch)
    batch.total = total


async def release(batch: Claimed) -> None:
    """Let others go on, where `batch` says."""
    asked = (batch.next_number, batch.next_offset, batch.id, batch.owner)
    async with adb.transaction(batch.tenant_id) as connection:
        await connection.execute(_RELEASE.encode(), asked)
