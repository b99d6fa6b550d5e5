"""The batches of a caller: they belong to the tenant and the key or member who made them, and to nobody else."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from django.conf import settings
from psycopg.types.json import Jsonb

from kernel import adb
from kernel.errors import Conflict, InternalError, NotFound, RateLimited
from kernel.ids import uuid7
from providers.batches.bounds import WINDOW
from providers.batches.files import access_file
from tenants.principals import Principal


class BatchNotThere(NotFound):
    """There is no such batch, or it isn't yours."""

    code = "batch_not_found"


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as its owner sees it."""

    id: uuid.UUID
    input_file_id: uuid.UUID
    output_file_id: uuid.UUID | None
    error_file_id: uuid.UUID | None
    endpoint: str
    metadata: Mapping[str, str] | None
    status: str
    errors: Sequence[Mapping[str, Any]] | None
    total: int
    completed: int
    failed: int
    created_at: datetime
    expires_at: datetime
    in_progress_at: datetime | None
    finalizing_at: datetime | None
    cancelling_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    expired_at: datetime | None
    cancelled_at: datetime | None


_COLUMNS: LiteralString = (
    "id, input_file_id, output_file_id, error_file_id, endpoint, metadata, status, errors, total, completed, failed, "
    "created_at, expires_at, in_progress_at, finalizing_at, cancelling_at, completed_at, failed_at, expired_at, cancelled_at"
)
_RUNNING = (
    "SELECT count(*) AS running FROM providers_batch "
    "WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"
)
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('parley batches ' || %s::text, 0))"
_INSERT = f"""
    INSERT INTO providers_batch (id, tenant_id, principal_id, principal_kind, membership_id, api_key_id, input_file_id,
        endpoint, metadata, results_kept, status, total, completed, failed, next_number, next_offset, created_at, turn_at,
        expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'validating', 0, 0, 0, 1, 0, now(), now(), now() + %s)
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_READ = f"SELECT {_COLUMNS} FROM providers_batch WHERE id = %s AND principal_id = %s"  # noqa: S608 - constants
_LIST = f"""
    SELECT {_COLUMNS} FROM providers_batch
    WHERE principal_id = %(principal)s AND (%(after)s::uuid IS NULL OR id < %(after)s)
    ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants
_CANCEL = f"""
    UPDATE providers_batch SET status = 'cancelling', cancelling_at = now()
    WHERE id = %s AND principal_id = %s AND status IN ('validating', 'in_progress') RETURNING {_COLUMNS}
"""  # noqa: S608 - constants


async def create_batch(
    *,
    principal: Principal,
    input_file_id: uuid.UUID | None,
    endpoint: str,
    metadata: Mapping[str, str] | None,
    results_kept: timedelta | None = None,
) -> StoredBatch:
    """A batch that a worker will take up; what it makes is kept for `results_kept`, or as usual. Raises `FileNotThere`, and
    `RateLimited` when too many are running already."""
    file = await access_file(principal=principal, file_id=input_file_id)
    row = (
        *(
            uuid7(),
            principal.tenant_id,
            principal.owner_id,
            principal.kind,
            principal.membership_id,
            principal.api_key_id,
        ),
        *(file.id, endpoint, None if metadata is None else Jsonb(dict(metadata)), results_kept, WINDOW),
    )
    async with adb.transaction(principal.tenant_id) as connection:
        await connection.execute(_LOCK, (principal.tenant_id,))
        found = await (await connection.execute(_RUNNING)).fetchone()
        if found is not None and found["running"] >= settings.BATCHES_RUNNING_MAX:
            raise RateLimited(
                f"One organisation may have {settings.BATCHES_RUNNING_MAX} batches that are not done.", retry_after_s=60
            )
        made = await (await connection.execute(_INSERT, row)).fetchone()
        if made is None:
            raise InternalError
    return StoredBatch(**made)


async def access_batch(*, principal: Principal, batch_id: uuid.UUID | None) -> StoredBatch:
    """One batch. Raises `BatchNotThere`, as it does for None: a name that can't be one."""
    async with adb.transaction(principal.tenant_id) as connection:
        row = await (await connection.execute(_READ, (batch_id, principal.owner_id))).fetchone()
    if row is None:
        raise BatchNotThere
    return StoredBatch(**row)


async def list_batches(*, principal: Principal, after: uuid.UUID | None, limit: int) -> list[StoredBatch]:
    """The caller's batches, newest first, those after `after`, at most `limit`."""
    asked = {"principal": principal.owner_id, "after": after, "limit": limit}
    async with adb.transaction(principal.tenant_id) as connection:
        rows = await (await connection.execute(_LIST, asked)).fetchall()
    return [StoredBatch(**row) for row in rows]


async def cancel_batch(*, principal: Principal, batch_id: uuid.UUID | None) -> StoredBatch:
    """Begin no more lines of a batch; what is done will be in its files. Raises `BatchNotThere`, and `Conflict` when it is
    done already."""
    async with adb.transaction(principal.tenant_id) as connection:
        row = await (await connection.execute(_CANCEL, (batch_id, principal.owner_id))).fetchone()
    if row is not None:
        return StoredBatch(**row)
    batch = await access_batch(principal=principal, batch_id=batch_id)
    if batch.status == "cancelling":
        return batch
    raise Conflict(f"A batch that is {batch.status} can't be cancelled.")
