"""Epochs: how a revoked key, token, member or role stops working within a second, without a query per request.

A tenant, a membership and a key each have an epoch in PostgreSQL that rises when their credentials must be looked at
again. Redis holds the present ones in one hash per tenant. A credential remembers the epochs it was checked under; when
they differ, it is looked up anew. A missing epoch means changed. With Redis away the epochs are read from PostgreSQL,
at most once a second per principal.

A reader only fills in what is missing (HSETNX); the writer, after its commit, overwrites what is lower: epochs only rise. So
neither a reader nor a writer that was slow can put an old epoch over a new one. Nothing prolongs the hash's life: an epoch
that a writer could not announce is believed for `EPOCH_TTL_S` at most.
"""

import asyncio
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
from django.conf import settings
from django.db import transaction

from kernel import adb
from kernel.kept import Kept
from kernel.redis import RedisError, line, sync_redis, tenant_key
from kernel.tenancy import tenant_scope

log = structlog.get_logger(__name__)

LIMITS_FIELD = "l"
"""The field of a tenant's epochs that changes with its rate limits and budgets. A tenant that never had any has none."""
_LOCAL_TTL_S = 1.0
_LOCAL_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose epochs: a tenant, one of its memberships, and the key if it is one. The hash's fields follow from it."""

    tenant_id: uuid.UUID
    membership_id: uuid.UUID
    api_key_id: uuid.UUID | None = None

    @property
    def fields(self) -> list[str]:
        """The fields of the tenant's hash."""
        fields = ["t", f"m:{self.membership_id}"]
        return [*fields, f"k:{self.api_key_id}"] if self.api_key_id else fields

    @property
    def redis_key(self) -> str:
        """The tenant's hash of epochs."""
        return tenant_key(self.tenant_id, "epochs")


Epochs = tuple[int, ...]
"""Tenant's, membership's and, for a key, the key's epoch. Empty when the subject no longer exists."""

_QUERY = """
    SELECT t.epoch AS t, m.epoch AS m, k.epoch AS k
    FROM tenants_tenant t
    JOIN tenants_membership m ON m.tenant_id = t.id AND m.id = %s
    LEFT JOIN tenants_apikey k ON k.tenant_id = t.id AND k.id = %s
    WHERE t.id = %s
"""

# KEYS: a tenant's hash. ARGV: seconds to live, the limits' field, then fields and epochs in turn. That of the limits is a time,
# and clocks differ: it changes whatever it was.
_RAISE = """
for at = 3, #ARGV, 2 do
    local field, epoch = ARGV[at], ARGV[at + 1]
    local known = tonumber(redis.call('HGET', KEYS[1], field) or '-1')
    if known < tonumber(epoch) then
        redis.call('HSET', KEYS[1], field, epoch)
    elseif field == ARGV[2] then
        redis.call('HINCRBY', KEYS[1], field, 1)
    end
end
redis.call('EXPIRE', KEYS[1], ARGV[1], 'NX')
"""

_local: Kept[Subject, Epochs] = Kept(ttl_s=lambda: _LOCAL_TTL_S, max_keys=_LOCAL_MAX)


async def current_epochs(subject: Subject) -> Epochs:
    """The epochs in force."""
    try:
        found = await line().call("HMGET", subject.redis_key, *subject.fields)
    except RedisError:
        return await epochs_without_redis(subject)
    return _whole(found) or await read_epochs(subject)


async def epochs_without_redis(subject: Subject) -> Epochs:
    """The epochs as PostgreSQL has them, asked at most once a second per subject."""
    return await _local.get(subject, partial(_read, subject))


async def read_epochs(subject: Subject) -> Epochs:
    """The epochs as PostgreSQL has them, which Redis is told as well: for a subject of which it lacked one."""
    epochs = await _read(subject)
    for name, value in zip(subject.fields, epochs, strict=bool(epochs)):
        line().tell("HSETNX", subject.redis_key, name, value)
    if epochs:
        line().tell("EXPIRE", subject.redis_key, settings.EPOCH_TTL_S, "NX")
    return epochs


def whole_epochs(found: Sequence[bytes | None]) -> Epochs:
    """What Redis held of a subject, or nothing when one was missing."""
    return _whole(found)


async def epochs_of(subjects: Collection[Subject]) -> dict[Subject, Epochs]:
    """The epochs in force of many, in one round trip."""
    asked = list(subjects)
    if not asked:
        return {}
    calls = (line().call("HMGET", subject.redis_key, *subject.fields) for subject in asked)
    found = await asyncio.gather(*calls, return_exceptions=True)
    return {
        subject: (_whole(values) if isinstance(values, list) else ()) or await current_epochs(subject)
        for subject, values in zip(asked, found, strict=True)
    }


def current_epochs_sync(subject: Subject) -> Epochs:
    """The same, for threads."""
    try:
        found = sync_redis().hmget(subject.redis_key, subject.fields)
    except RedisError:
        if (remembered := _local.peek(subject)) is not None:
            return remembered
        began_s = time.monotonic()
        epochs = _read_sync(subject)
        _local.keep(subject, epochs, began_s=began_s)
        return epochs
    if known := _whole(cast("list[bytes | None]", found)):
        return known
    epochs = _read_sync(subject)
    if epochs:
        try:
            with sync_redis().pipeline(transaction=False) as pipe:
                for name, value in zip(subject.fields, epochs, strict=True):
                    pipe.hsetnx(subject.redis_key, name, str(value))
                pipe.expire(subject.redis_key, settings.EPOCH_TTL_S, nx=True)
                pipe.execute()
        except RedisError:
            log.warning("epochs_not_kept")
    return epochs


def announce(tenant_id: uuid.UUID, changed: Mapping[str, int]) -> None:
    """Tell every process, once the present transaction has committed, that these epochs (by field) are in force."""

    def tell() -> None:
        key = tenant_key(tenant_id, "epochs")
        try:
            told = (part for item in changed.items() for part in item)
            sync_redis().eval(_RAISE, 1, key, settings.EPOCH_TTL_S, LIMITS_FIELD, *told)
        except RedisError:
            # Readers fall back to PostgreSQL while Redis is away; what Redis still held runs out after EPOCH_TTL_S.
            log.warning("epochs_not_announced", tenant_id=str(tenant_id))

    transaction.on_commit(tell, using=_alias_in_transaction())


def announce_limits(tenant_id: uuid.UUID) -> None:
    """Tell every process, once the present transaction has committed, that a tenant's rate limits or budgets have changed."""
    announce(tenant_id, {LIMITS_FIELD: time.time_ns() // 1000})


def _alias_in_transaction() -> str:
    return "platform" if transaction.get_connection("platform").in_atomic_block else "default"


async def _read(subject: Subject) -> Epochs:
    async with adb.transaction(subject.tenant_id) as connection:
        cursor = await connection.execute(_QUERY, (subject.membership_id, subject.api_key_id, subject.tenant_id))
        row = await cursor.fetchone()
    return _epochs(subject, (row["t"], row["m"], row["k"]) if row else None)


def _read_sync(subject: Subject) -> Epochs:
    with tenant_scope(subject.tenant_id), transaction.atomic(), transaction.get_connection().cursor() as cursor:
        cursor.execute(_QUERY, [subject.membership_id, subject.api_key_id, subject.tenant_id])
        row = cursor.fetchone()
    return _epochs(subject, row)


def _whole(found: Sequence[bytes | str | None]) -> Epochs:
    """The epochs that Redis held, or nothing when one was missing."""
    present = [int(value) for value in found if value is not None]
    return tuple(present) if len(present) == len(found) else ()


def _epochs(subject: Subject, row: tuple[int, int, int | None] | None) -> Epochs:
    if row is None:
        return ()
    tenant, membership, key = row
    if subject.api_key_id is None:
        return (tenant, membership)
    return (tenant, membership, key) if key is not None else ()
