"""Which usage, fees and credit are on an invoice. The database adds the records up and writes the lines; none of them comes
here, however many there are.

A record is an invoice's when it was used before the invoice's end, by a transaction before its mark (`until_tx`), and no earlier
invoice has it. The mark only goes as far as no earlier transaction is open, so what commits late is never passed by: it is on the
next invoice, as an adjustment of the period it is of. What is charged nothing is on none.
"""

import uuid
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.db.models import Max, Sum

from billing.invoice_models import Invoice, InvoiceLine
from billing.invoices.closing import last_final, uncharged
from billing.models import CreditGrant, Funds, PlanCharge
from billing.periods import zone_of
from billing.rollups import BUCKET_S, sold_since
from billing.services import funds

CENT = 10_000_000
"""Nano-USD."""
DESCRIPTION_CHARS_MAX = 200
GATHERING_MAX_S = 900
"""A statement over a month's usage may take longer than those that people wait for."""

GROUP = (
    *("kind", "period_since", "period_until", "day", "alias", "model", "provider", "connection"),
    *("membership_id", "api_key_id", "prices"),
)
SUMS = ("attempts", "input", "cache_read", "cache_write", "output", "reasoning", "amount_nano")
COVERING = """
    SELECT e.since AS period_since, e.until AS period_until FROM billing_invoice e
    WHERE e.kind = 'invoice' AND NOT e.replaced AND e.state <> 'draft' AND e.since <= u.at AND u.at < e.until
"""
"""The period, closed before, that a late record `u` is of."""
PRICES = (
    "ARRAY(SELECT DISTINCT (p.value ->> 'price')::uuid FROM jsonb_array_elements(u.charge_lines) p "
    "WHERE p.value ->> 'price' IS NOT NULL ORDER BY 1)"
)
_RECORD = f"""
    (u.at AT TIME ZONE %(time_zone)s)::date AS day, u.alias, u.model, u.provider, u.connection, u.membership_id, u.api_key_id,
    {PRICES} AS prices, u.input, u.cache_read, u.cache_write, u.output, u.reasoning, u.sell_nano
"""
_ADDED = ", ".join(
    f"count(*) AS {name}"
    if name == "attempts"
    else f"sum({'sell_nano' if name == 'amount_nano' else name})::bigint AS {name}"
    for name in SUMS
)
SUMMED = f"""
    SELECT {", ".join(GROUP)}, {_ADDED}
    FROM (
        SELECT 'usage' AS kind, NULL::timestamptz AS period_since, NULL::timestamptz AS period_until, {_RECORD}
        FROM billing_usagerecord u
        WHERE (u.at >= %(since)s OR %(since_tx)s = 0) AND u.at < %(until)s AND u.tx < %(until_tx)s::text::xid8
            AND u.sell_nano > 0
        UNION ALL
        SELECT 'adjustment', c.period_since, c.period_until, {_RECORD}
        FROM billing_usagerecord u LEFT JOIN LATERAL ({COVERING}) c ON true
        WHERE u.at < %(since)s AND %(since_tx)s > 0 AND u.tx >= %(since_tx)s::text::xid8 AND u.tx < %(until_tx)s::text::xid8
            AND u.sell_nano > 0
    ) records
    GROUP BY {", ".join(GROUP)}
"""  # noqa: S608 - constants
"""An invoice's usage, by its range: the lines as they must be. The first invoice has all that was before it, too."""

_INSERT = f"""
    INSERT INTO billing_invoiceline (
        id, tenant_id, invoice_id, position, description, {", ".join(GROUP)}, {", ".join(SUMS)}
    )
    SELECT gen_random_uuid(), %(tenant_id)s, %(id)s, %(before)s + row_number() OVER (
        ORDER BY kind DESC, day, alias, model, provider, connection, membership_id, api_key_id, prices, period_since
    ), '', {", ".join(GROUP)}, {", ".join(SUMS)}
    FROM ({SUMMED}) summed
"""  # noqa: S608 - constants


_LATER = """
    SELECT coalesce(sum(sell_nano), 0) FROM billing_usagerecord
    WHERE at < %(bucket)s AND (at >= %(until)s OR tx >= %(until_tx)s::text::xid8)
"""
"""But for what the rollups have from the next bucket on."""


def gather(invoice: Invoice) -> bool:
    """Write a draft's lines anew, up to now, and its amounts without tax. Whether there is anything on it. The oldest draft
    alone can be: what is on the others follows from it."""
    previous = last_final()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{GATHERING_MAX_S}s"])
        # A statement of its own: what the next ones see is at least what it saw.
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        invoice.until_tx = cursor.fetchone()[0]
    if previous is not None:
        invoice.since, invoice.since_tx = previous.until, previous.until_tx or 0
    InvoiceLine.objects.filter(invoice=invoice).delete()
    position = _add_fees(invoice)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, {**range_of(invoice), "before": position})
    lines = InvoiceLine.objects.filter(invoice=invoice)
    used = lines.filter(kind__in=("usage", "adjustment")).aggregate(nano=Sum("amount_nano"))["nano"] or 0
    position = lines.aggregate(last=Max("position"))["last"] or 0
    credit = min(_drawn(invoice) - (previous.credited_nano if previous else 0), used)
    invoice.credited_nano = (previous.credited_nano if previous else 0) + credit
    if not position and not credit:
        return False
    carried = previous.carry_nano if previous else 0
    fees = lines.filter(kind="plan").aggregate(nano=Sum("amount_nano"))["nano"] or 0
    exact = fees + used - credit + carried
    invoice.net_nano = invoice.total_nano = max(0, exact // CENT * CENT)
    invoice.tax_nano = 0
    invoice.carry_nano = exact - invoice.net_nano
    named = previous.label if previous else ""
    rest = (
        ("credit", "Credit used" if credit > 0 else "Credit that was taken back", -credit),
        ("carried_in", f"Carried over from {named}", carried),
        ("carried_out", "Carried over to the next invoice", -invoice.carry_nano),
    )
    made = [(kind, text, nano) for kind, text, nano in rest if nano]
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            tenant_id=invoice.tenant_id, invoice=invoice, position=place, kind=kind, description=text, amount_nano=nano
        )
        for place, (kind, text, nano) in enumerate(made, start=position + 1)
    )
    invoice.lines = position + len(made)
    return True


def _drawn(invoice: Invoice) -> int:
    """The credit that was drawn, since the beginning, for what is on this invoice and those before. That is what was drawn by
    its end, or more where usage of it was settled since: of all that is drawn by now, as much as isn't for what was used
    later. Locks the books."""
    if not Funds.objects.exists():
        return invoice.credit_mark_nano
    funds.bring_up_to_date()
    drawn = CreditGrant.objects.aggregate(nano=Sum("allocated_nano"))["nano"] or 0
    return max(invoice.credit_mark_nano, drawn - _used_later(invoice))


def _used_later(invoice: Invoice) -> int:
    """What was sold that is neither on this invoice nor on those before."""
    bucket = invoice.until + (datetime.min.replace(tzinfo=UTC) - invoice.until) % timedelta(seconds=BUCKET_S)
    with connection.cursor() as cursor:
        cursor.execute(_LATER, {**range_of(invoice), "bucket": bucket})
        (nano,) = cursor.fetchone()
    return int(nano) + sold_since(bucket)


def range_of(invoice: Invoice) -> dict[str, uuid.UUID | datetime | int | str | None]:
    """What `SUMMED` asks of an invoice."""
    return {
        "id": invoice.id,
        "tenant_id": invoice.tenant_id,
        "since": invoice.since,
        "until": invoice.until,
        "since_tx": invoice.since_tx,
        "until_tx": invoice.until_tx,
        "time_zone": invoice.time_zone,
    }


def _add_fees(invoice: Invoice) -> int:
    """The fees of plans that are due; how many."""
    charges = list(uncharged(invoice.until).select_related("plan").order_by("since", "id"))
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            tenant_id=invoice.tenant_id,
            invoice=invoice,
            position=place,
            kind="plan",
            description=_of(charge, invoice.time_zone),
            amount_nano=-charge.amount_nano if charge.kind == "proration_credit" else charge.amount_nano,
            charge=charge,
            day=charge.since.astimezone(zone_of(invoice.time_zone)).date(),
        )
        for place, charge in enumerate(charges, start=1)
    )
    return len(charges)


def _of(charge: PlanCharge, time_zone: str) -> str:
    zone = zone_of(time_zone)
    since, until = (one.astimezone(zone) for one in (charge.since, charge.until - timedelta(microseconds=1)))
    seats = f", {charge.seats} seats" if charge.seats > 1 else ""
    meant = {"period": "", "proration": ", part of a period", "proration_credit": ", given back"}[charge.kind]
    days = f"{_day(since)} to {_day(until)}"
    return f"{charge.plan.name}{seats}{meant}, {days}"[:DESCRIPTION_CHARS_MAX]


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"
