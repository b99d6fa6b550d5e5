"""Invoices: what is on them, what they come to, and that they stay as they are."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from billing.invoices import profiles
from billing.invoices.closing import close_months, close_period
from billing.invoices.issuing import issue, refresh_draft, tax_of
from billing.ledger import admit, settle
from billing.models import BillingProfile, CreditGrant, Invoice, InvoiceLine, InvoiceSchedule
from billing.payments.manual import entries
from billing.services import funds, plan_upkeep, subscriptions
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope
from tests.billing.invoice_support import (
    APR,
    CENT,
    FEB,
    JAN,
    MAR,
    USD,
    again,
    an_invoice,
    billed,
    entries_of,
    invoices,
    issued,
    lines,
    opened,
    spend,
)
from tests.billing.ledger_support import asking, used
from tests.billing.marks import others_ended
from tests.billing.plan_support import books, give, inside, plan, use
from tests.support.cast import Company


def test_an_invoice_has_its_periods_usage_to_the_nano_dollar(company: Company) -> None:
    opened(company)
    spend(company.alice, 1_234_567_891, JAN + timedelta(days=3))
    spend(company.alice, 1, JAN + timedelta(days=3))
    spend(company.bob, 55, JAN + timedelta(days=4))
    spend(company.bob, 7_000, FEB)
    made = billed(company, FEB)
    assert made is not None
    assert lines(company, made) == [("usage", 1_234_567_892), ("usage", 55), ("carried_out", -4_567_947)]
    assert (made.net_nano, made.tax_nano, made.total_nano) == (123 * CENT, 0, 123 * CENT)
    assert (made.number, made.label, made.lines) == (1, f"{company.tenant.slug.upper()}-000001", 3)
    following = billed(company, MAR)
    assert following is not None
    assert lines(company, following) == [("usage", 7_000), ("carried_in", 4_567_947), ("carried_out", -4_574_947)]
    # Nothing to pay is paid.
    assert (following.total_nano, following.state, following.number) == (0, "paid", 2)


def test_usage_that_comes_late_is_an_adjustment_of_its_period(company: Company) -> None:
    first = an_invoice(company)
    spend(company.alice, 5 * CENT, JAN + timedelta(hours=30))
    spend(company.alice, 7 * CENT, FEB + timedelta(hours=30))
    second = billed(company, MAR)
    assert second is not None
    assert lines(company, second) == [("usage", 7 * CENT), ("adjustment", 5 * CENT)]
    assert lines(company, first) == [("usage", 100 * CENT)]
    with inside(company):
        late = InvoiceLine.objects.get(invoice=second, kind="adjustment")
    assert (late.period_since, late.period_until, late.day) == (JAN, FEB, datetime(2026, 1, 2, tzinfo=UTC).date())


def test_what_is_charged_nothing_is_on_no_invoice(company: Company) -> None:
    opened(company)
    spend(company.alice, 0, JAN)
    assert billed(company, FEB) is None
    assert invoices(company) == []
    spend(company.alice, CENT, FEB)
    made = billed(company, MAR)
    # The period without an invoice is part of the next.
    assert made is not None
    assert (made.number, made.since, made.until) == (1, JAN, MAR)


def test_fees_are_on_the_invoice_of_the_period_before_and_credit_is_taken_off(company: Company) -> None:
    opened(company)
    team = plan("seat", price_nano=20 * USD, included_nano=3 * USD)
    now = datetime.now(tz=UTC)
    with inside(company):
        subscriptions.subscribe(plan=team, seats=2, now=now)
    first = issued(company)
    assert first is not None
    assert lines(company, first) == [("plan", 40 * USD)]
    use(company, 5 * USD, most=5 * USD)
    with inside(company):
        end = subscriptions.current_subscription().period_end
    plan_upkeep.look_after_subscriptions(now=end)
    second = issued(company)
    assert second is not None
    assert lines(company, second) == [("plan", 40 * USD), ("usage", 5 * USD), ("credit", -3 * USD)]
    assert (second.since, second.until, second.total_nano) == (now, end, 42 * USD)
    with inside(company):
        described = InvoiceLine.objects.get(invoice=second, kind="plan").description
    assert described.startswith("A plan, 2 seats, ")


def test_credit_that_paid_for_usage_that_came_late_is_taken_off_its_invoice(company: Company) -> None:
    opened(company)
    with inside(company):
        subscriptions.subscribe(plan=plan("prepaid"), now=JAN)
    give(company, 20 * USD)
    _use_at(company, 5 * USD, JAN + timedelta(days=9))
    with inside(company):
        close_period(until=FEB)
    _use_at(company, 3 * USD, FEB - timedelta(seconds=1))
    _use_at(company, 4 * USD, FEB + timedelta(seconds=1))
    first, second = issued(company), billed(company, MAR)
    assert first is not None
    assert second is not None
    assert lines(company, first) == [("usage", 5 * USD), ("usage", 3 * USD), ("credit", -8 * USD)]
    assert lines(company, second) == [("usage", 4 * USD), ("credit", -4 * USD)]


def test_credit_of_a_new_period_pays_nothing_of_the_one_before(company: Company) -> None:
    opened(company)
    with inside(company):
        subscriptions.subscribe(plan=plan("payg"), now=JAN)
    give(company, 2 * USD)
    _use_at(company, 5 * USD, JAN)
    with inside(company):
        close_period(until=FEB)
    give(company, 9 * USD)
    _use_at(company, 4 * USD, FEB)
    made = issued(company)
    assert made is not None
    assert lines(company, made) == [("usage", 5 * USD), ("credit", -2 * USD)]


def _use_at(company: Company, nano: int, at: datetime) -> None:
    asked = asking(company.alice, cap=nano)
    on_loop(settle(on_loop(admit(asked)), [used(company.alice, asked, nano, at=at)]))


def test_credit_that_covers_all_leaves_nothing_to_pay_and_what_is_taken_back_is_charged(company: Company) -> None:
    opened(company)
    grant = give(company, 9 * USD)
    use(company, 2 * USD)
    far = datetime(2027, 1, 1, tzinfo=UTC)
    covered = billed(company, far)
    assert covered is not None
    assert lines(company, covered) == [("usage", 2 * USD), ("credit", -2 * USD)]
    with inside(company):
        funds.take_back(CreditGrant.objects.get(id=grant.id), amount_nano=9 * USD)
    use(company, CENT)
    after = billed(company, far + timedelta(days=31))
    assert after is not None
    assert lines(company, after) == [("adjustment", CENT), ("credit", 2 * USD)]
    assert after.total_nano == 2 * USD + CENT


def test_tax_is_the_rate_on_whole_cents_and_in_the_books(company: Company) -> None:
    with inside(company):
        profiles.set_terms(tax_bps=1_950, tax_note="", due_days=30)
        profiles.describe(profiles.Party("Ünïted Örg", "A street 1\nA town", "DE", "DE123", "pay@org.example", "PO 7"))
    made = an_invoice(company, 1_01 * CENT)
    # 19.5 % of 1.01 are 0.19695.
    assert (made.tax_nano, made.total_nano) == (20 * CENT, 121 * CENT)
    assert entries_of(company, made) == [("tax", "customer", "tax", 20 * CENT)]
    assert made.buyer["name"] == "Ünïted Örg"
    assert made.due_at is not None
    assert made.final_at is not None
    assert made.due_at - made.final_at == timedelta(days=30)
    with inside(company):
        profiles.describe(profiles.Party("Another"))
    assert again(company, made).buyer["name"] == "Ünïted Örg"
    assert books(company)["customer"] == 121 * CENT


@pytest.mark.parametrize(("cents", "bps", "tax"), [(100, 0, 0), (1, 5_000, 1), (3, 1_600, 0), (10_000, 775, 775)])
def test_tax_is_rounded_half_up_to_cents(cents: int, bps: int, tax: int) -> None:
    assert tax_of(cents * CENT, bps) == tax * CENT


def test_a_draft_can_be_looked_at_and_changes_until_it_is_final(company: Company) -> None:
    opened(company)
    spend(company.alice, 3 * CENT, JAN)
    with inside(company):
        close_period(until=FEB)
    others_ended()
    with inside(company):
        draft = refresh_draft()
    assert draft is not None
    assert (draft.state, draft.number, draft.net_nano) == ("draft", None, 3 * CENT)
    spend(company.alice, 4 * CENT, JAN)
    others_ended()
    with inside(company):
        # Its time hasn't come.
        assert issue(now=FEB) is None
    made = issued(company)
    assert made is not None
    assert (made.id, made.net_nano) == (draft.id, 7 * CENT)


FALSIFIED: dict[str, Callable[[Invoice], Any]] = {
    "an amount": lambda one: Invoice.objects.filter(id=one.id).update(net_nano=0, total_nano=0),
    "a number": lambda one: Invoice.objects.filter(id=one.id).update(number=7),
    "a buyer": lambda one: Invoice.objects.filter(id=one.id).update(buyer={}),
    "back to a draft": lambda one: Invoice.objects.filter(id=one.id).update(state="draft", number=None),
    "deleted": lambda one: Invoice.objects.filter(id=one.id).delete(),
    "a line changed": lambda one: InvoiceLine.objects.filter(invoice=one).update(amount_nano=1),
    "a line deleted": lambda one: InvoiceLine.objects.filter(invoice=one).delete(),
    "a line added": lambda one: InvoiceLine.objects.create(
        tenant_id=one.tenant_id, invoice=one, position=99, kind="usage", amount_nano=1
    ),
    "born final": lambda one: Invoice.objects.create(
        tenant_id=one.tenant_id, state="final", number=2, since=FEB, until=MAR, until_tx=1, time_zone="UTC"
    ),
}


def test_what_is_final_stays_as_it_is(company: Company) -> None:
    made = an_invoice(company)
    for what, falsify in FALSIFIED.items():
        with pytest.raises(DatabaseError), inside(company):
            falsify(made)
            pytest.fail(f"{what} was possible")
    assert again(company, made).net_nano == 100 * CENT
    assert lines(company, made) == [("usage", 100 * CENT)]


def test_months_are_closed_in_the_tenants_time_zone(company: Company) -> None:
    zone_start = datetime(2026, 1, 1, 5, tzinfo=UTC)
    opened(company, zone_start, timezone="America/New_York")
    spend(company.alice, CENT, datetime(2026, 2, 1, 4, 59, tzinfo=UTC))
    spend(company.alice, 2 * CENT, datetime(2026, 2, 1, 5, tzinfo=UTC))
    with inside(company):
        assert close_months(now=datetime(2026, 2, 1, 4, 59, tzinfo=UTC)) == 0
        assert close_months(now=datetime(2026, 2, 1, 5, tzinfo=UTC)) == 1
        assert close_months(now=datetime(2026, 2, 20, tzinfo=UTC)) == 0
    made = issued(company)
    assert made is not None
    assert (made.until, made.net_nano) == (datetime(2026, 2, 1, 5, tzinfo=UTC), CENT)
    with inside(company):
        assert close_months(now=APR) == 1
        assert InvoiceSchedule.objects.get().next_at == datetime(2026, 4, 1, 4, tzinfo=UTC)


def test_workers_at_once_issue_an_invoice_once(company: Company) -> None:
    opened(company)
    for month in (JAN, FEB, MAR):
        spend(company.alice, CENT, month)
        with inside(company):
            close_period(until=month + timedelta(days=28))
    others_ended()

    def work() -> int:
        done = 0
        try:
            for _ in range(4):
                with tenant_scope(company.id), transaction.atomic():
                    done += issue(at_once=True) is not None
        finally:
            connections.close_all()
        return done

    with ThreadPoolExecutor(4) as pool:
        made = [one.result() for one in [pool.submit(work) for _ in range(4)]]
    others_ended()
    while issued(company) is not None:
        made.append(1)
    assert sum(made) == 3
    assert [(one.number, one.net_nano) for one in invoices(company)] == [(1, CENT), (2, CENT), (3, CENT)]


def test_whoever_says_at_once_who_invoices_are_for_is_heard(company: Company) -> None:
    def say(name: str) -> int:
        try:
            return company.owner.client.put("/api/v1/billing/profile", {"name": name}, format="json").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(say, "abcd")) == [200] * 4
    with inside(company):
        assert BillingProfile.objects.get().name in "abcd"


def test_what_fails_takes_its_number_back(company: Company) -> None:
    opened(company)
    spend(company.alice, CENT, JAN)
    with inside(company):
        close_period(until=FEB)
    others_ended()
    with pytest.raises(RuntimeError), inside(company):
        made = issue(at_once=True)
        assert made is not None
        assert made.number == 1
        raise RuntimeError
    made = issued(company)
    assert made is not None
    assert made.number == 1
    with inside(company):
        assert BillingProfile.objects.count() == 0


def test_a_payment_that_goes_back_opens_again_what_it_paid(company: Company) -> None:
    made = an_invoice(company)
    with inside(company):
        entries.mark_paid(amount_nano=made.total_nano, reference="wire")
    assert again(company, made).state == "paid"
    with inside(company):
        entries.refund(reference="wire", total_nano=30 * CENT)
    opened_again = again(company, made)
    assert (opened_again.state, opened_again.settled_nano) == ("final", made.total_nano - 30 * CENT)
    assert (opened_again.paid_at, opened_again.due_nano) == (None, 30 * CENT)
    with inside(company):
        entries.mark_paid(amount_nano=30 * CENT, reference="wire again")
    assert again(company, made).state == "paid"
