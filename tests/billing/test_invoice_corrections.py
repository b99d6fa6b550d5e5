"""What is paid of invoices, and what is set right of them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.invoices import correcting, profiles
from billing.invoices.upkeep import tell_overdue
from billing.models import Invoice, InvoicePayment, Subscription
from billing.payments.manual import entries
from billing.services import dunning, plan_upkeep, subscriptions
from billing.services.payments import went_back
from kernel.errors import Conflict, InvalidRequest
from tenants.notifications.models import Notice
from tests.billing.invoice_support import (
    APR,
    CENT,
    FEB,
    JAN,
    MAR,
    again,
    an_invoice,
    billed,
    entries_of,
    invoices,
    lines,
    opened,
    spend,
)
from tests.billing.plan_support import books, inside, plan
from tests.support.cast import Company


def paid(company: Company, nano: int, reference: str, *, of: Invoice | None = None) -> None:
    with inside(company):
        if of is None:
            entries.mark_paid(amount_nano=nano, reference=reference)
        else:
            entries.pay_invoice(of, amount_nano=nano, reference=reference)


def stand(company: Company) -> list[tuple[int | None, str, int]]:
    return [(one.number, one.state, one.settled_nano // CENT) for one in invoices(company, kind="invoice")]


def three(company: Company) -> list[Invoice]:
    """Invoices of 100, 50 and 30 cents."""
    made = [an_invoice(company)]
    for cents, since, until in ((50, FEB, MAR), (30, MAR, APR)):
        spend(company.alice, cents * CENT, since)
        one = billed(company, until)
        assert one is not None
        made.append(one)
    return made


def test_money_pays_the_oldest_invoice_first_or_the_one_that_is_named(company: Company) -> None:
    first, _, third = three(company)
    paid(company, 30 * CENT, "for the third", of=third)
    assert stand(company) == [(1, "final", 0), (2, "final", 0), (3, "paid", 30)]
    paid(company, 120 * CENT, "whatever is due")
    paid(company, 120 * CENT, "whatever is due")
    assert stand(company) == [(1, "paid", 100), (2, "final", 20), (3, "paid", 30)]
    assert again(company, first).paid_at is not None
    paid(company, 40 * CENT, "too much")
    assert stand(company) == [(1, "paid", 100), (2, "paid", 50), (3, "paid", 30)]
    # What is too much pays the next one, as soon as it is there.
    spend(company.alice, 25 * CENT, APR)
    billed(company, APR + timedelta(days=30))
    assert stand(company)[3] == (4, "final", 10)
    assert books(company)["customer"] == 15 * CENT


def test_money_that_went_back_opens_invoices_again(company: Company) -> None:
    three(company)
    paid(company, 180 * CENT, "all")
    with inside(company):
        entries.refund(reference="all", total_nano=40 * CENT)
    assert stand(company) == [(1, "paid", 100), (2, "final", 40), (3, "final", 0)]
    with inside(company):
        assert sum(InvoicePayment.objects.values_list("amount_nano", flat=True)) == 140 * CENT


def test_an_invoice_that_nobody_pays_begins_the_days_of_grace_and_its_payment_ends_them(company: Company) -> None:
    opened(company)
    with inside(company):
        subscriptions.subscribe(plan=plan("payg", price_nano=CENT), now=timezone.now())
    made = billed(company, timezone.now() + timedelta(seconds=1))
    assert made is not None
    assert made.due_at is not None
    tell_overdue(now=made.due_at - timedelta(seconds=1))
    assert again(company, made).overdue_at is None
    for _ in range(2):
        tell_overdue(now=made.due_at)
    with inside(company):
        assert Subscription.objects.get().state == "past_due"
        assert Notice.objects.filter(topic="invoice.overdue").count() == 1
    paid(company, CENT - 1, "not all of it")
    with inside(company):
        assert Subscription.objects.get().state == "past_due"
    paid(company, 1, "the rest")
    with inside(company):
        assert Subscription.objects.get().state == "active"
    assert again(company, made).state == "paid"


def overdue(company: Company) -> Invoice:
    """An invoice of a plan's fee, that nobody paid in time."""
    opened(company)
    with inside(company):
        subscriptions.subscribe(plan=plan("payg", price_nano=100 * CENT), now=timezone.now())
    made = billed(company, timezone.now() + timedelta(seconds=1))
    assert made is not None
    assert made.due_at is not None
    tell_overdue(now=made.due_at)
    assert standing_of(company) == "past_due"
    return made


def standing_of(company: Company) -> str:
    with inside(company):
        return Subscription.objects.get().state


def test_a_credit_note_for_all_that_is_overdue_ends_the_days_of_grace(company: Company) -> None:
    made = overdue(company)
    with inside(company):
        correcting.credit(made, net_nano=60 * CENT, reason="Some of it")
    assert standing_of(company) == "past_due"
    with inside(company):
        correcting.credit(made, net_nano=40 * CENT, reason="The rest")
    assert (again(company, made).state, standing_of(company)) == ("paid", "active")


def test_an_invoice_that_is_open_and_overdue_again_is_told_of_again(company: Company) -> None:
    made = overdue(company)
    assert made.due_at is not None
    paid(company, 100 * CENT, "all")
    with inside(company):
        entries.refund(reference="all", total_nano=20 * CENT)
    for _ in range(2):
        tell_overdue(now=made.due_at + timedelta(days=1))
    with inside(company):
        assert Notice.objects.filter(topic="invoice.overdue").count() == 2
    assert standing_of(company) == "past_due"


def test_what_became_overdue_within_a_trial_is_due_when_it_ends(company: Company) -> None:
    made = an_invoice(company)
    now = timezone.now()
    with inside(company):
        subscriptions.subscribe(plan=plan("payg", trial_days=30), now=now)
    tell_overdue(now=now + timedelta(days=20))
    assert standing_of(company) == "trialing"
    plan_upkeep.look_after_subscriptions(now=now + timedelta(days=30))
    assert standing_of(company) == "past_due"
    paid(company, made.total_nano, "at last")
    assert standing_of(company) == "active"


def test_nobody_gets_rid_of_an_overdue_invoice_by_a_new_plan(company: Company) -> None:
    made = overdue(company)
    chosen, client = plan("payg"), company.owner.client
    with inside(company):
        dunning.suspend()
    ended = client.patch("/api/v1/billing/subscription", {"cancel_at_period_end": True}, format="json")
    assert (ended.status_code, ended.json()["state"]) == (200, "suspended")
    assert client.put("/api/v1/billing/subscription", {"plan": chosen.slug}, format="json").status_code == 409
    with inside(company):
        subscriptions.cancel(at_once=True)
    for method, path in ((client.put, "subscription"), (client.post, "plan-previews")):
        assert method(f"/api/v1/billing/{path}", {"plan": chosen.slug}, format="json").status_code == 409
    paid(company, 100 * CENT, "at last", of=made)
    assert client.put("/api/v1/billing/subscription", {"plan": chosen.slug}, format="json").status_code == 200


def test_money_that_goes_back_by_a_credit_note_leaves_nothing_due(company: Company) -> None:
    first = an_invoice(company)
    paid(company, 100 * CENT, "all")
    with inside(company):
        correcting.credit(first, net_nano=30 * CENT, reason="Bad answers")
        entries.refund(reference="all", total_nano=30 * CENT)
    assert (stand(company), books(company).get("customer", 0)) == ([(1, "paid", 100)], 0)
    with inside(company):
        entries.refund(reference="all", total_nano=45 * CENT)
    assert (stand(company), books(company)["customer"]) == ([(1, "final", 85)], 15 * CENT)


def test_a_dispute_that_is_won_ends_the_days_of_grace(company: Company) -> None:
    with inside(company):
        subscriptions.subscribe(plan=plan("payg"), now=timezone.now())
        payment, _ = entries.mark_paid(amount_nano=100 * CENT, reference="all")
        went_back(payment, kind="dispute", external_id="d", total_nano=100 * CENT)
    assert standing_of(company) == "past_due"
    with inside(company):
        went_back(payment, kind="dispute", external_id="d", total_nano=40 * CENT)
    assert standing_of(company) == "past_due"
    with inside(company):
        went_back(payment, kind="dispute", external_id="d", total_nano=0)
    assert standing_of(company) == "active"


def test_a_void_invoice_is_issued_again_for_the_buyer_and_tax_of_today(company: Company) -> None:
    with inside(company):
        profiles.set_terms(tax_bps=2_000, tax_note="", due_days=None)
    first = an_invoice(company)
    paid(company, 20 * CENT, "some of it")
    with inside(company):
        profiles.set_terms(tax_bps=0, tax_note="Reverse charge", due_days=None)
        profiles.describe(profiles.Party("The right name"))
        made = correcting.void(first, reason="The wrong name", again=True)
    assert made is not None
    assert (made.number, made.replaces_id, made.buyer["name"]) == (2, first.id, "The right name")
    assert stand(company) == [(1, "void", 0), (2, "final", 20)]
    assert lines(company, made) == lines(company, first) == [("usage", 100 * CENT)]
    assert entries_of(company, first) == [
        ("tax", "customer", "tax", 20 * CENT),
        ("void", "tax", "customer", 20 * CENT),
    ]
    assert books(company)["customer"] == 80 * CENT
    assert (again(company, first).total_nano, made.total_nano) == (120 * CENT, 100 * CENT)
    spend(company.alice, 5 * CENT, JAN)
    following = billed(company, MAR)
    assert following is not None
    assert lines(company, following) == [("adjustment", 5 * CENT)]


def test_a_void_invoice_that_is_given_up_is_owed_no_more(company: Company) -> None:
    with inside(company):
        profiles.set_terms(tax_bps=1_000, tax_note="", due_days=None)
    first = an_invoice(company, 100 * CENT + 7)
    with inside(company):
        assert correcting.void(first, reason="As agreed", again=False) is None
    # A part of a cent is carried on.
    assert books(company)["customer"] == 7
    spend(company.alice, 5 * CENT, FEB)
    following = billed(company, MAR)
    assert following is not None
    assert lines(company, following) == [("usage", 5 * CENT), ("carried_in", 7), ("carried_out", -7)]
    with inside(company), pytest.raises(Conflict):
        correcting.void(first, reason="Again", again=False)


def test_a_credit_note_gives_back_and_pays(company: Company) -> None:
    with inside(company):
        profiles.set_terms(tax_bps=2_000, tax_note="", due_days=None)
    first = an_invoice(company)
    paid(company, 120 * CENT, "all")
    with inside(company):
        note = correcting.credit(first, net_nano=30 * CENT, reason="Bad answers")
        other = correcting.credit(first, net_nano=70 * CENT, reason="The rest")
    assert [one.label.rpartition("-")[2] for one in (note, other)] == ["C000001", "C000002"]
    assert (note.net_nano, note.tax_nano, note.total_nano, other.tax_nano) == (
        30 * CENT,
        6 * CENT,
        36 * CENT,
        14 * CENT,
    )
    assert lines(company, note) == [("correction", -30 * CENT)]
    assert entries_of(company, note) == [
        ("credit_note", "tax", "customer", 6 * CENT),
        ("credit_note", "revenue", "customer", 30 * CENT),
    ]
    assert books(company)["customer"] == -120 * CENT
    # What was given back of a paid invoice pays the next ones.
    spend(company.alice, 50 * CENT, FEB)
    following = billed(company, MAR)
    assert following is not None
    assert (following.state, following.total_nano) == ("paid", 60 * CENT)
    assert [one.settled_nano for one in invoices(company, kind="credit_note")] == [36 * CENT, 24 * CENT]


def test_a_credit_note_for_an_open_invoice_pays_it(company: Company) -> None:
    first = an_invoice(company)
    with inside(company):
        correcting.credit(first, net_nano=40 * CENT, reason="Bad answers")
    assert again(company, first).due_nano == 60 * CENT
    with inside(company), pytest.raises(Conflict):
        correcting.void(first, reason="No", again=True)


@pytest.mark.parametrize("nano", [0, -CENT, CENT + 1, 101 * CENT])
def test_no_more_is_given_back_than_was_asked_and_no_parts_of_cents(company: Company, nano: int) -> None:
    first = an_invoice(company)
    with inside(company), pytest.raises(InvalidRequest):
        correcting.credit(first, net_nano=nano, reason="No")
    with inside(company), pytest.raises(InvalidRequest):
        correcting.credit(first, net_nano=CENT, reason="")
    paid(company, 100 * CENT, "all")
    with inside(company), pytest.raises(Conflict):
        correcting.void(first, reason="Paid", again=True)
