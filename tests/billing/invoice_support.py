"""Periods, usage at any time, and invoices for tests. Amounts are nano-dollars."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from billing.invoices.closing import close_period
from billing.invoices.issuing import issue
from billing.ledger import settle
from billing.models import Entry, Invoice, InvoiceLine
from billing.types import Charge, Tokens
from kernel.ids import uuid7
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope
from tests.billing.events import usage_event
from tests.billing.marks import others_ended
from tests.billing.plan_support import inside
from tests.isolation.roles import administrator
from tests.support.cast import Actor, Company

JAN, FEB, MAR, APR = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4))
CENT = 10**7
USD = 10**9


def opened(company: Company, at: datetime = JAN, **changes: Any) -> Company:
    """The company, as if it had been there since then."""
    with administrator() as admin:
        admin.execute("UPDATE tenants_tenant SET created_at = %s WHERE id = %s", (at, company.id))
        for name, value in changes.items():
            admin.execute(f"UPDATE tenants_tenant SET {name} = %s WHERE id = %s", (value, company.id))  # type: ignore[arg-type]
    return company


def spend(who: Actor, nano: int, at: datetime, **changes: Any) -> None:
    """A request of somebody's, answered then and told of now, that is charged so much."""
    price = changes.pop("price", None)
    line = {"meter": "output", "tokens": nano, "sell_nano": nano, "cost_nano": nano // 2}
    lines = ({**line, "price": str(price)},) if price else (line,)
    charge = Charge(cost_nano=nano // 2, sell_nano=nano, lines=lines)
    event = usage_event(who, charge=charge, tokens=Tokens(output=nano), at=at, request_id=uuid7(), **changes)
    on_loop(settle(None, [event]))


def billed(company: Company, until: datetime, *, now: datetime | None = None) -> Invoice | None:
    """The invoice of the period that ends then, or of one before that wasn't made yet."""
    with inside(company):
        close_period(until=until)
    return issued(company, now=now)


def issued(company: Company, *, now: datetime | None = None) -> Invoice | None:
    """The oldest draft, final."""
    others_ended()
    with tenant_scope(company.id), transaction.atomic():
        return issue(now=now, at_once=True)


def an_invoice(company: Company, nano: int = 100 * CENT, *, until: datetime = FEB) -> Invoice:
    """A final invoice, of so much usage."""
    spend(company.alice, nano, opened(company) and JAN)
    made = billed(company, until)
    assert made is not None
    return made


def lines(company: Company, invoice: Invoice) -> list[tuple[str, int]]:
    """Its lines' kinds and amounts."""
    with inside(company):
        found = InvoiceLine.objects.filter(invoice=invoice).order_by("position")
        return list(found.values_list("kind", "amount_nano"))


def invoices(company: Company, **which: Any) -> list[Invoice]:
    """The company's, by number."""
    with inside(company):
        return list(Invoice.objects.filter(**which).order_by("kind", "number"))


def again(company: Company, invoice: Invoice) -> Invoice:
    """How it stands now."""
    with inside(company):
        return Invoice.objects.get(id=invoice.id)


def entries_of(company: Company, invoice: Invoice) -> list[tuple[str, str, str, int]]:
    """What the books have for a document: kind, debit, credit, amount."""
    with inside(company):
        found = Entry.objects.filter(source_id=invoice.id).order_by("kind", "line")
        return list(found.values_list("kind", "debit", "credit", "amount_nano"))
