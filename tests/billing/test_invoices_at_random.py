"""Every charged record is on exactly one invoice, for ever: whatever the tenant's time zone and anchor day, however late usage is
told of, whatever becomes of invoices. And all of it adds up to what the books say.

`INVOICE_EXAMPLES` makes it longer than it is in the suite."""

import os
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.invoices import correcting
from billing.invoices.closing import close_period
from billing.invoices.tracing import records_of
from billing.models import Account, Entry, Invoice, InvoiceLine, UsageRecord
from billing.periods import next_boundary, zone_of
from billing.rollups import roll_up
from billing.verification import run
from billing.verification.values import Books
from tests.billing.invoice_support import CENT, JAN, issued, opened, spend
from tests.billing.marks import others_ended
from tests.billing.plan_support import inside
from tests.support.cast import Company, found_company

EXAMPLES = int(os.environ.get("INVOICE_EXAMPLES", "2"))
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Pacific/Kiritimati",
)
PERIODS = 4

told = st.lists(
    st.tuples(st.integers(0, 130 * 24 * 60), st.integers(0, 3 * CENT), st.sampled_from(["a", "b"]), st.booleans()),
    max_size=4,
)
"""Requests: in which minute of the year they were, what they cost, which model and who."""
steps = st.lists(
    st.tuples(told, st.sampled_from(["", "", "void", "again", "credit"])), min_size=PERIODS, max_size=PERIODS
)


@pytest.fixture(scope="module")
def companies(database: str, django_db_blocker: Any) -> Any:
    def found() -> Company:
        return found_company(f"inv-{uuid.uuid4().hex[:10]}")

    with django_db_blocker.unblock():
        yield found


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(zone=st.sampled_from(ZONES), anchor_day=st.integers(1, 31), what=steps)
def test_every_record_is_on_exactly_one_invoice(companies: Any, zone: str, anchor_day: int, what: Any) -> None:
    company: Company = opened(companies(), JAN, timezone=zone)
    boundary = JAN
    for usage, fate in what:
        boundary = next_boundary(boundary, anchor_day=anchor_day, zone=zone_of(zone))
        for minute, nano, model, is_alice in usage:
            at = JAN + timedelta(minutes=minute)
            spend(company.alice if is_alice else company.bob, nano, at, alias=model, price=uuid.UUID(int=7))
        with inside(company):
            close_period(until=boundary)
        made = issued(company)
        if made is not None:
            _befall(company, made, fate)
        check_lines(company, zone_of(zone))
    with inside(company):
        close_period(until=datetime(2027, 1, 1, tzinfo=UTC))
    issued(company)
    check_lines(company, zone_of(zone), all_of_it=True)
    check_books(company)


def _befall(company: Company, made: Invoice, fate: str) -> None:
    with inside(company):
        if fate in ("void", "again") and made.state == "final":
            correcting.void(made, reason="As it happens", again=fate == "again")
        elif fate == "credit" and made.net_nano:
            correcting.credit(made, net_nano=CENT, reason="As it happens")


def check_lines(company: Company, zone: ZoneInfo, *, all_of_it: bool = False) -> None:
    """Each record is found by exactly one line, if it is on an invoice at all, and the entries say the same."""
    with inside(company):
        on: Counter[uuid.UUID] = Counter()
        entered = dict(Entry.objects.filter(kind="usage").values_list("source_id", "amount_nano"))
        for line in InvoiceLine.objects.filter(invoice__replaced=False).exclude(invoice__state="draft"):
            records = records_of(line, limit=1000)
            on.update(record.id for record in records)
            if line.kind in ("usage", "adjustment"):
                assert sum(entered[record.request_id] for record in records) == line.amount_nano
                assert {record.at.astimezone(zone).date() for record in records} == {line.day}
        charged = set(UsageRecord.objects.filter(sell_nano__gt=0).values_list("id", flat=True))
        assert set(on.values()) <= {1}
        assert set(on) == charged if all_of_it else set(on) <= charged
        numbers = Invoice.objects.filter(kind="invoice", number__isnull=False).order_by("number")
        assert list(numbers.values_list("number", flat=True)) == list(range(1, len(numbers) + 1))


def check_books(company: Company) -> None:
    """What the customer owes is what is open of its invoices, and what the last one carries on; and the whole verification
    finds nothing."""
    with inside(company):
        last = Invoice.objects.filter(kind="invoice", replaced=False).order_by("-until").first()
        due_nano = sum(one.due_nano for one in Invoice.objects.all())
        free_nano = sum(one.total_nano - one.settled_nano for one in Invoice.objects.filter(kind="credit_note"))
        customer = Account.objects.filter(kind="customer").first()
        owed = customer.debits_nano - customer.credits_nano if customer else 0
        assert owed == due_nano - free_nano + (last.carry_nano if last else 0)
    others_ended()
    roll_up(tenant_id=company.id)
    differences = run.verify(Books(company.id, company.tenant.slug, zone_of("UTC"), JAN)).findings.differences
    # The prices that tests charge by are in no book.
    assert [one for one in differences if one.check != "prices"] == []
