"""A tenant's monthly spending limit, as the operator set it (`manage.py tenant limit`).

What was spent is read from the usage records, at most every `READ_EVERY_S` seconds per tenant and process, before a
request is let on. It looks at what has been recorded, and reserves nothing for what is under way.
"""

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass

from billing.errors import LimitReached
from kernel import adb

READ_EVERY_S = 1.0
_MAX_TENANTS = 10_000

# The month is the tenant's own: it begins at midnight in its time zone.
_QUERY = """
    SELECT t.monthly_limit_nano AS limit_nano,
           CASE WHEN t.monthly_limit_nano IS NULL THEN 0 ELSE (
               SELECT coalesce(sum(u.sell_nano), 0) FROM billing_usagerecord u
               WHERE u.tenant_id = t.id
                 AND u.at >= date_trunc('month', now() AT TIME ZONE t.timezone) AT TIME ZONE t.timezone
           ) END::bigint AS spent_nano
    FROM tenants_tenant t WHERE t.id = %s
"""


@dataclass(frozen=True, slots=True)
class _Reading:
    limit_nano: int | None
    spent_nano: int
    read_at: float


_readings: "OrderedDict[uuid.UUID, _Reading]" = OrderedDict()


async def check_limit(tenant_id: uuid.UUID) -> None:
    """Raises `LimitReached` when the tenant has spent its monthly limit."""
    reading = _readings.get(tenant_id)
    if reading is None or time.monotonic() - reading.read_at > READ_EVERY_S:
        reading = await _read(tenant_id)
    if reading.limit_nano is not None and reading.spent_nano >= reading.limit_nano:
        raise LimitReached(
            details={"limit_nano": reading.limit_nano, "spent_nano": reading.spent_nano, "period": "month"}
        )


async def _read(tenant_id: uuid.UUID) -> _Reading:
    async with adb.transaction(tenant_id) as connection:
        cursor = await connection.execute(_QUERY, (tenant_id,))
        row = await cursor.fetchone()
    reading = _Reading(
        limit_nano=row["limit_nano"] if row else None,
        spent_nano=row["spent_nano"] if row else 0,
        read_at=time.monotonic(),
    )
    _readings[tenant_id] = reading
    _readings.move_to_end(tenant_id)
    while len(_readings) > _MAX_TENANTS:
        _readings.popitem(last=False)
    return reading
