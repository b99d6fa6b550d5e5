"""Usage summed by quarters of an hour, each record exactly once.

A tenant's mark is a transaction id, `below_tx`: what every transaction before it wrote is in the rollups, and nothing else is.
It only moves to where no earlier transaction is still open (`pg_snapshot_xmin`), so what commits late is never passed by; and
it moves in the transaction that adds the sums, so neither happens without the other.

A quarter of an hour, because every time zone's offset is a whole number of them: days and months of any tenant are sums of
whole buckets. Reports add what the mark has not reached (`FACTS`), so they are right at once, however late the rollup is.
"""

import uuid
from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import DatabaseError, connection, connections, transaction

from billing.report_models import GRAIN, SUMS
from kernel.errors import ParleyError
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope

log = structlog.get_logger(__name__)

BUCKET_S = 900
RECORDS_PER_STEP = 20_000
"""So many are added in one transaction; a transaction of the ledger is never split."""
STEPS_MAX = 50
"""Of one tenant at a time; the rest waits for the next turn."""
TENANTS_MAX = 500
"""At a time."""

_BUCKET = f"date_bin('{BUCKET_S} seconds', u.at, TIMESTAMPTZ '2000-01-01 00:00+00')"
_KEYS = ", ".join(f"{_BUCKET} AS bucket" if name == "bucket" else f"u.{name}" for name in GRAIN)
_COUNTED = {
    "attempts": "count(*)",
    "requests": "count(*) FILTER (WHERE u.attempt = 1)",
    "estimated": "count(*) FILTER (WHERE u.estimated)",
}
_SUMMED = ", ".join(f"{_COUNTED.get(name, f'coalesce(sum(u.{name}), 0)')}::bigint AS {name}" for name in SUMS)
_PLACES = ", ".join(str(place + 1) for place in range(len(GRAIN)))

COUNTED = f"SELECT {_KEYS}, {_SUMMED} FROM billing_usagerecord u WHERE {{where}} GROUP BY {_PLACES}"  # noqa: S608 - constants
"""The rollups of the records that fulfil a condition. These are of the tenant in scope, by row-level security."""

BELOW = "coalesce((SELECT below_tx FROM billing_rollupmark WHERE name = 'usage'), 0)::text::xid8"
"""The mark of the tenant in scope."""

FACTS = (
    f"SELECT {', '.join(GRAIN)}, {', '.join(SUMS)} FROM billing_usagerollup u WHERE {{rolled}} UNION ALL "  # noqa: S608 - constants
    + COUNTED.format(where=f"u.tx >= {BELOW} AND {{fresh}}")
)
"""All usage of the tenant in scope in the shape of rollups: those, and what they don't have yet. Read in one statement, both
parts see the same mark. `{rolled}` and `{fresh}` narrow either part."""

_SOLD = f"""
    SELECT (SELECT coalesce(sum(sell_nano), 0) FROM billing_usagerollup WHERE bucket >= %s)
         + (SELECT coalesce(sum(u.sell_nano), 0) FROM billing_usagerecord u WHERE u.tx >= {BELOW} AND u.at >= %s)
"""  # noqa: S608 - constants
_NEXT = f"""
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
           (SELECT max(tx::text::bigint) FROM (
               SELECT u.tx FROM billing_usagerecord u
               WHERE u.tx >= %s::text::xid8 AND u.tx < pg_snapshot_xmin(pg_current_snapshot())
               ORDER BY u.tx LIMIT {RECORDS_PER_STEP}
           ) batch HAVING count(*) = {RECORDS_PER_STEP})
"""  # noqa: S608 - constants
_ADD = f"""
    INSERT INTO billing_usagerollup (id, tenant_id, {", ".join(GRAIN)}, {", ".join(SUMS)})
    SELECT gen_random_uuid(), %s, f.* FROM ({
    COUNTED.format(where="u.tx >= %s::text::xid8 AND u.tx < %s::text::xid8")
}) f
    ON CONFLICT (tenant_id, {", ".join(GRAIN)}) DO UPDATE
    SET {", ".join(f"{name} = billing_usagerollup.{name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608 - constants
_DUE = """
    SELECT t.id FROM tenants_tenant t LEFT JOIN billing_rollupmark m ON m.tenant_id = t.id AND m.name = 'usage'
    WHERE EXISTS (
        SELECT FROM billing_usagerecord u
        WHERE u.tenant_id = t.id AND u.tx >= coalesce(m.below_tx, 0)::text::xid8
          AND u.tx < pg_snapshot_xmin(pg_current_snapshot())
    )
    ORDER BY m.below_tx NULLS FIRST LIMIT %s
"""


def sold_since(moment: datetime) -> int:
    """What the usage of the tenant in scope was sold at since a moment that begins a bucket, in nano-USD: right at once,
    whatever the rollups have taken in by now. Raises ValueError for a moment within a bucket."""
    if moment.timestamp() % BUCKET_S:
        raise ValueError("rollups know no finer time than their buckets")
    with connection.cursor() as cursor:
        cursor.execute(_SOLD, [moment, moment])
        return int(cursor.fetchone()[0])


def roll_up_all(*, then: Callable[[uuid.UUID], None] | None = None) -> int:
    """Add what is new of every tenant, those first who waited longest, and do `then` for each. One that fails is logged, and
    tried again the next time. How many had something new."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_DUE, [TENANTS_MAX])
        due = [tenant_id for (tenant_id,) in cursor.fetchall()]
    for tenant_id in due:
        try:
            roll_up(tenant_id=tenant_id)
        except (ParleyError, DatabaseError):
            log.exception("usage_not_rolled_up", tenant=str(tenant_id))
            continue
        if then is not None:
            then(tenant_id)
    return len(due)


def roll_up(*, tenant_id: uuid.UUID) -> None:
    """Add a tenant's new usage to its rollups, in transactions of `RECORDS_PER_STEP`."""
    for _ in range(STEPS_MAX):
        with tenant_scope(tenant_id), transaction.atomic():
            if not _step(tenant_id):
                return


def rebuild(*, tenant_id: uuid.UUID) -> None:
    """Forget a tenant's rollups and count them anew. Reports are right meanwhile: they count what isn't there."""
    with tenant_scope(tenant_id), transaction.atomic(), connection.cursor() as cursor:
        _lock_mark(tenant_id, "FOR UPDATE")
        cursor.execute("DELETE FROM billing_usagerollup")
        cursor.execute("UPDATE billing_rollupmark SET below_tx = 0 WHERE name = 'usage'")
    roll_up(tenant_id=tenant_id)


def _lock_mark(tenant_id: uuid.UUID, lock: str) -> int | None:
    """The tenant's mark, locked until the transaction ends; None where `lock` skips and another has it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_rollupmark (id, tenant_id, name, below_tx) VALUES (%s, %s, 'usage', 0) "
            "ON CONFLICT DO NOTHING",
            [uuid7(), tenant_id],
        )
        cursor.execute(f"SELECT below_tx FROM billing_rollupmark WHERE name = 'usage' {lock}")  # noqa: S608 - constants
        row = cursor.fetchone()
    return None if row is None else int(row[0])


def _step(tenant_id: uuid.UUID) -> bool:
    """Add what a transaction may hold. Whether there may be more."""
    since = _lock_mark(tenant_id, "FOR UPDATE SKIP LOCKED")
    if since is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, [since])
        below, last = cursor.fetchone()
        until = below if last is None else last + 1
        if until <= since:
            return False
        cursor.execute(_ADD, [tenant_id, since, until])
        cursor.execute("UPDATE billing_rollupmark SET below_tx = %s WHERE name = 'usage'", [until])
    return last is not None
