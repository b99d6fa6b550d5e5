"""From a line to its requests, in one query; from those to the versions of their prices, in a second. What the provider
reported is in the records themselves."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from billing.invoices.gathering import COVERING, PRICES
from billing.models import InvoiceLine

_NAMES = ("id", "request_id", "attempt", "kind", "at", "status", "estimated", "finish_reason")
_JSON = ("charge_lines", "provider_usage")
_RECORDS = f"""
    SELECT {", ".join(f"u.{name}" for name in _NAMES)},
        u.input, u.cache_read, u.cache_write, u.output, u.reasoning, u.sell_nano, u.loss_nano, u.charge_lines,
        u.provider_usage
    FROM billing_invoiceline l
    JOIN billing_invoice i ON i.id = l.invoice_id
    JOIN billing_usagerecord u ON u.tenant_id = l.tenant_id
        -- A day of any time zone lies between these; the index is by time.
        AND u.at >= (l.day - 1)::timestamp AT TIME ZONE 'UTC' AND u.at < (l.day + 2)::timestamp AT TIME ZONE 'UTC'
        AND (u.at AT TIME ZONE i.time_zone)::date = l.day
        AND u.alias = l.alias AND u.model = l.model AND u.provider = l.provider AND u.connection = l.connection
        AND u.membership_id = l.membership_id AND u.api_key_id IS NOT DISTINCT FROM l.api_key_id
        AND u.sell_nano > 0 AND u.tx < i.until_tx::text::xid8
    WHERE l.id = %(line_id)s AND (%(after)s::uuid IS NULL OR u.id > %(after)s) AND {PRICES} = l.prices
        AND CASE l.kind
            WHEN 'usage' THEN (u.at >= i.since OR i.since_tx = 0) AND u.at < i.until
            WHEN 'adjustment' THEN u.at < i.since AND u.tx >= i.since_tx::text::xid8 AND CASE
                WHEN l.period_since IS NULL THEN NOT EXISTS ({COVERING})
                ELSE u.at >= l.period_since AND u.at < l.period_until
            END
            ELSE false
        END
    ORDER BY u.id LIMIT %(limit)s
"""  # noqa: S608 - constants
_PRICES = """
    SELECT id, effective_from, sell_nano_per_mtok, true AS platform FROM billing_price WHERE id = ANY (%(ids)s)
    UNION ALL
    SELECT id, effective_from, sell_nano_per_mtok, false FROM billing_tenantprice WHERE id = ANY (%(ids)s)
"""


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A price that was charged by: since when it is in force, and what a million tokens are sold at by it (before a plan's
    markup)."""

    id: uuid.UUID
    effective_from: datetime
    sell_nano_per_mtok: int


def records_of(line: InvoiceLine, *, after: uuid.UUID | None = None, limit: int) -> list[dict[str, Any]]:
    """The usage records that a line sums, in the order of their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_RECORDS, {"line_id": line.id, "after": after, "limit": limit})
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        # Django's own cursors leave JSON as text, for its fields to read.
        row.update({name: json.loads(row[name]) for name in _JSON if row[name] is not None})
    return rows


def prices_of(records: Iterable[Mapping[str, Any]]) -> dict[str, PriceVersion]:
    """The prices that these records' lines name, by id."""
    ids = {str(line["price"]) for record in records for line in record["charge_lines"] if line.get("price")}
    return _prices(sorted(ids))


def _prices(ids: Sequence[str]) -> dict[str, PriceVersion]:
    with connection.cursor() as cursor:
        cursor.execute(_PRICES, {"ids": [uuid.UUID(one) for one in ids]})
        return {str(row[0]): PriceVersion(row[0], row[1], row[2]) for row in cursor.fetchall()}
