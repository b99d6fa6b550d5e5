"""From a line to its requests, in one query; from those to the versions of their prices, in a second. What the provider
reported is in the records themselves."""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from billing.invoices.gathering import COVERING, PRICES
from billing.models import InvoiceLine, UsageRecord
from kernel.ids import parse_uuid

_COLUMNS = tuple(field.attname for field in UsageRecord._meta.concrete_fields)
_JSON = tuple(_COLUMNS.index(name) for name in ("charge_lines", "provider_usage"))
_RECORDS = f"""
    SELECT {", ".join(f"u.{name}" for name in _COLUMNS)}
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
    SELECT id, effective_from, sell_nano_per_mtok FROM billing_price WHERE id = ANY (%(ids)s)
    UNION ALL
    SELECT id, effective_from, sell_nano_per_mtok FROM billing_tenantprice WHERE id = ANY (%(ids)s)
"""


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """A price that was charged by: since when it is in force, and what a million tokens are sold at by it (before a plan's
    markup)."""

    id: uuid.UUID
    effective_from: datetime
    sell_nano_per_mtok: int


def records_of(line: InvoiceLine, *, after: uuid.UUID | None = None, limit: int) -> list[UsageRecord]:
    """The usage records that a line sums, in the order of their ids. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_RECORDS, {"line_id": line.id, "after": after, "limit": limit})
        rows = [list(row) for row in cursor.fetchall()]
    for row in rows:
        for place in _JSON:
            # Django's own cursors leave JSON as text, for its fields to read.
            row[place] = None if row[place] is None else json.loads(row[place])
    return [UsageRecord.from_db("default", _COLUMNS, row) for row in rows]


def prices_of(records: Iterable[UsageRecord]) -> dict[str, PriceVersion]:
    """The prices that these records' lines name, by id. One query."""
    named = {str(line.get("price")) for record in records for line in record.charge_lines}
    with connection.cursor() as cursor:
        cursor.execute(_PRICES, {"ids": [known for one in sorted(named) if (known := parse_uuid(one))]})
        return {str(row[0]): PriceVersion(*row) for row in cursor.fetchall()}
