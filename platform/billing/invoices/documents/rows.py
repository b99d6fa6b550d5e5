"""The lines of an invoice, read in pages. The names in them are those of today: an invoice keeps ids, so that whoever leaves can
be forgotten."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from billing.models import Invoice
from kernel.snapshots import snapshot_of

ROWS_AT_ONCE = 5_000

PAGE: LiteralString = """
    SELECT l.id, l.position, l.kind, l.description, l.day, l.period_since, l.period_until, l.alias, l.model, l.provider,
        l.connection, l.membership_id, l.api_key_id, l.prices, l.attempts, l.input, l.cache_read, l.cache_write, l.output,
        l.reasoning, l.amount_nano, coalesce(nullif(p.name, ''), p.email) AS member, k.name AS api_key
    FROM billing_invoiceline l
    LEFT JOIN tenants_membership m ON m.id = l.membership_id
    LEFT JOIN tenants_person p ON p.id = m.person_id
    LEFT JOIN tenants_apikey k ON k.id = l.api_key_id
    WHERE l.invoice_id = %(id)s AND l.position > %(after)s ORDER BY l.position LIMIT %(limit)s
"""
_SECTIONS: LiteralString = """
    SELECT kind, period_since, period_until, count(*) AS lines, sum(amount_nano)::bigint AS amount_nano
    FROM billing_invoiceline WHERE invoice_id = %(id)s
    GROUP BY kind, period_since, period_until ORDER BY min(position)
"""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """Lines of one kind, and of adjustments those of one period: how many there are, and their sum."""

    kind: str
    period_since: datetime | None
    period_until: datetime | None
    lines: int
    amount_nano: int


def page_of(invoice_id: uuid.UUID, after: int) -> dict[str, Any]:
    """What `PAGE` asks for, after a line's position."""
    return {"id": invoice_id, "after": after, "limit": ROWS_AT_ONCE}


def rows_of(invoice: Invoice) -> Iterator[Row]:
    """All lines, in their order. Each page is read in a transaction of its own: drawing takes longer than one may be idle,
    and what is final doesn't change in between."""
    after = 0
    while True:
        with snapshot_of(invoice.tenant_id) as snapshot:
            page = snapshot.execute(PAGE, page_of(invoice.id, after)).fetchall()
        yield from page
        if len(page) < ROWS_AT_ONCE:
            return
        after = page[-1]["position"]


def sections_of(invoice: Invoice) -> list[Section]:
    """What the lines are of, in the order in which they are listed."""
    with snapshot_of(invoice.tenant_id) as snapshot:
        return [Section(**row) for row in snapshot.execute(_SECTIONS, {"id": invoice.id})]


def usd(nano: int, *, places: int = 9) -> str:
    """Dollars, with all places of a nano-dollar unless told; fewer only where the rest is nothing."""
    sign, whole = ("-", -nano) if nano < 0 else ("", nano)
    dollars, rest = divmod(whole, 10**9)
    if rest % 10 ** (9 - places):
        raise ValueError(f"{nano} nano-dollars don't fit {places} places")
    return f"{sign}{dollars}.{rest // 10 ** (9 - places):0{places}d}"
