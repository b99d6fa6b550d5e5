"""Plans, credit and payments over REST and on the command line."""

import json
import uuid
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from rest_framework.test import APIClient

from billing.invoices.upkeep import tell_overdue
from billing.models import Plan
from billing.payments import online
from billing.services import plans
from tests.billing.invoice_support import CENT, FEB, MAR, an_invoice, billed, issued, opened, spend
from tests.billing.plan_support import books, left, plan
from tests.fakes.stripe_server import SECRET_KEY, WEBHOOK_SECRET, StripeServer
from tests.support.cast import Company

USD = 1_000_000_000
BASE = "/api/v1/billing"


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    settings = {
        "STRIPE_SECRET_KEY": SECRET_KEY,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "PUBLIC_URL": "https://parley.example",
    }
    with StripeServer() as running, override_settings(STRIPE_API_BASE=running.url, **settings):
        yield running
        online.online_port().close()  # type: ignore[attr-defined]
        online._port.cache_clear()


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def put(company: Company, **body: Any) -> Any:
    return company.owner.client.put(f"{BASE}/subscription", body, format="json")


def tell(stripe: StripeServer, kind: str, about: Any) -> Any:
    body, signature = stripe.event(kind, about)
    return APIClient().generic(
        "POST",
        f"{BASE}/stripe/webhook",
        data=body,
        content_type="application/json",
        headers={"Stripe-Signature": signature},
    )


def test_a_plan_is_chosen_changed_and_ended_over_rest(company: Company) -> None:
    assert company.owner.client.get(f"{BASE}/subscription").json()["code"] == "no_subscription"
    cheap, dear = plan("seat", price_nano=USD), plan("seat", price_nano=2 * USD)
    hidden = plan("payg", is_offered=False)
    assert put(company, plan=hidden.slug).status_code == 404
    begun = put(company, plan=dear.slug, seats=2).json()
    assert (begun["state"], begun["plan"]["slug"], begun["seats"]) == ("active", dear.slug, 2)
    assert put(company, plan=cheap.slug).json()["next_plan"] == cheap.slug
    assert put(company, plan=dear.slug).json()["next_plan"] is None
    ending = company.owner.client.patch(f"{BASE}/subscription", {"cancel_at_period_end": True}, format="json")
    assert ending.json()["cancel_at_period_end"] is True
    assert put(company, plan=dear.slug).json()["cancel_at_period_end"] is False
    assert put(company, plan=dear.slug, seats=0).status_code == 400
    listed = [one["slug"] for one in company.owner.client.get(f"{BASE}/plans?limit=100").json()["data"]]
    assert hidden.slug not in listed


def previewed(company: Company, **wanted: Any) -> Any:
    return company.owner.client.post(f"{BASE}/plan-previews", wanted, format="json").json()


def test_what_a_change_would_come_to_is_what_it_comes_to(company: Company) -> None:
    small = plan("seat", price_nano=10 * USD, included_nano=USD)
    large = plan("seat", price_nano=30 * USD, included_nano=4 * USD)
    first = previewed(company, plan=small.slug, seats=2)
    assert (first["charge_nano"], first["fee_nano"], first["credit_nano"]) == (20 * USD, 20 * USD, USD)
    assert company.owner.client.get(f"{BASE}/subscription").status_code == 404
    put(company, plan=small.slug, seats=2)
    owed = books(company)["customer"]
    more = previewed(company, plan=large.slug, seats=2)
    assert 0 < more["charge_nano"] - more["back_nano"] <= 40 * USD
    put(company, plan=large.slug, seats=2)
    moved = books(company)["customer"] - owed
    # A second or two have passed since it was asked: of a month, at most a few millionths.
    assert moved == pytest.approx(more["charge_nano"] - more["back_nano"] - more["credit_nano"], rel=1e-4)
    less = previewed(company, plan=small.slug, seats=2)
    period_end = company.owner.client.get(f"{BASE}/subscription").json()["period_end"]
    assert (less["starts_at"], less["back_nano"], less["charge_nano"]) == (period_end, 0, 20 * USD)
    same = previewed(company, plan=large.slug, seats=2)
    assert (same["charge_nano"], same["back_nano"], same["credit_nano"]) == (0, 0, 0)


def test_a_preview_tells_of_a_trial_and_of_what_cannot_be(company: Company) -> None:
    trial = plan("seat", price_nano=USD, trial_days=14, included_nano=USD, max_seats=3)
    found = previewed(company, plan=trial.slug, seats=3)
    assert (found["charge_nano"], found["fee_nano"], found["checkout"]) == (0, 3 * USD, False)
    assert found["trial_ends_at"] is not None
    assert previewed(company, plan=trial.slug, seats=4)["details"] == {"param": "seats"}
    assert previewed(company, plan=trial.slug, seats=0)["code"] == "invalid_request"
    assert previewed(company, plan="none-such")["code"] == "not_found"
    assert company.owner.client.get(f"{BASE}/payment-options").json() == {"online": False}


def test_whoever_may_not_manage_changes_nothing(company: Company) -> None:
    assert company.bob.client.put(f"{BASE}/subscription", {"plan": "x"}, format="json").status_code == 403
    assert company.bob.client.get(f"{BASE}/credits").status_code == 403


def test_operators_make_plans_and_enter_payments(company: Company) -> None:
    slug, tenant = f"p-{uuid.uuid4().hex[:12]}", company.tenant.slug
    (made,) = run("plan", "create", slug, "--kind", "prepaid", "--included-usd", "2.50", "--markup-bps", "1500")
    assert (made["included_nano"], made["markup_bps"]) == (2_500_000_000, 1_500)
    assert run("plan", "give", tenant, slug)[0]["state"] == "active"
    assert run("credit", "show", tenant)[0]["left_nano"] == 2_500_000_000
    for is_new in (True, False):
        assert run("credit", "top-up", tenant, "10", "--reference", "wire 7")[0]["new"] is is_new
    run("credit", "give", tenant, "1", "--reference", "sorry", "--days", "30")
    assert run("credit", "refund", tenant, "4", "--reference", "wire 7")[0]["left_nano"] == 9_500_000_000
    assert books(company)["cash"] == 6 * USD
    found = company.owner.client.get(f"{BASE}/payments").json()["data"]
    assert [(one["provider"], one["amount_nano"], one["returned_nano"]) for one in found] == [
        ("manual", 10 * USD, 4 * USD)
    ]
    grants = company.owner.client.get(f"{BASE}/credits").json()["data"]
    assert [(one["kind"], one["amount_nano"]) for one in grants] == [
        ("gift", USD),
        ("topup", 10 * USD),
        ("plan", 2_500_000_000),
    ]
    assert run("plan", "suspend", tenant)[0]["state"] == "suspended"
    run("credit", "paid", tenant, "3", "--reference", "invoice 1")
    assert run("plan", "show", tenant)[0]["state"] == "active"
    assert run("plan", "cancel", tenant)[0]["state"] == "cancelled"
    assert run("plan", "withdraw", slug)[0]["slug"] == slug


def test_another_plan_is_given_with_the_seats_that_there_are(company: Company) -> None:
    cheap, dear = plan("seat", price_nano=USD), plan("seat", price_nano=2 * USD)
    assert run("plan", "give", company.tenant.slug, cheap.slug, "--seats", "5")[0]["seats"] == 5
    (given,) = run("plan", "give", company.tenant.slug, dear.slug)
    assert (given["plan"], given["seats"]) == (dear.slug, 5)
    with pytest.raises(CommandError, match="seats"):
        run("plan", "give", company.tenant.slug, dear.slug, "--seats", "0")
    company.owner.client.patch(f"{BASE}/subscription", {"cancel_at_period_end": True}, format="json")
    run("plan", "give", company.tenant.slug, dear.slug, "--seats", "6")
    assert company.owner.client.get(f"{BASE}/subscription").json()["cancel_at_period_end"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "give", "nobody", "x"),
        ("plan", "create", "Bad Slug"),
        ("plan", "create"),
        ("credit", "top-up", "acme", "1"),
        ("credit", "give", "acme", "one", "--reference", "x"),
    ],
)
def test_commands_say_what_is_wrong(acme: Company, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)


def test_without_stripe_nothing_is_paid_online(company: Company) -> None:
    answer = company.owner.client.post(f"{BASE}/top-ups", {"amount_nano": USD}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_online_payments")


def test_an_invoice_is_paid_online(company: Company, stripe: StripeServer) -> None:
    invoice = an_invoice(company)
    path = f"{BASE}/invoices/{invoice.id}/checkout"
    begun = company.owner.client.post(path, format="json")
    assert begun.status_code == 201
    page = next(reversed([one for one in stripe.objects.values() if one["object"] == "checkout.session"]))
    stripe.pay(page["id"])
    for _ in range(2):
        assert tell(stripe, "checkout.session.completed", page).json() == {"outcome": "done"}
    paid = company.owner.client.get(f"{BASE}/invoices/{invoice.id}").json()
    assert (paid["state"], paid["due_nano"]) == ("paid", 0)
    assert company.owner.client.post(path, format="json").status_code == 409
    assert company.bob.client.post(path, format="json").status_code == 403


def test_what_is_left_of_an_invoice_is_paid_online_in_whole_cents(company: Company, stripe: StripeServer) -> None:
    invoice = an_invoice(company)
    run("invoice", "paid", company.tenant.slug, invoice.label, "--amount", "0.123456789", "--reference", "some")
    assert company.owner.client.post(f"{BASE}/invoices/{invoice.id}/checkout", format="json").status_code == 201
    page = next(reversed([one for one in stripe.objects.values() if one["object"] == "checkout.session"]))
    assert page["amount_total"] == 88


def test_what_is_paid_online_for_an_invoice_pays_that_one_first(company: Company, stripe: StripeServer) -> None:
    older = an_invoice(company)
    spend(company.alice, 60 * CENT, FEB)
    newer = billed(company, MAR)
    assert newer is not None
    assert company.owner.client.post(f"{BASE}/invoices/{newer.id}/checkout", format="json").status_code == 201
    page = next(reversed([one for one in stripe.objects.values() if one["object"] == "checkout.session"]))
    stripe.pay(page["id"])
    tell(stripe, "checkout.session.completed", page)
    found = [company.owner.client.get(f"{BASE}/invoices/{one.id}").json() for one in (older, newer)]
    assert [(one["state"], one["due_nano"]) for one in found] == [("final", older.total_nano), ("paid", 0)]


def test_credit_is_bought_online(company: Company, stripe: StripeServer) -> None:
    client = company.owner.client
    before = len([one for one in stripe.objects.values() if one["object"] == "checkout.session"])
    refused = client.post(f"{BASE}/top-ups", {"amount_nano": USD + 1}, format="json")
    assert refused.status_code == 400
    again = [
        client.post(
            f"{BASE}/top-ups", {"amount_nano": 5 * USD}, format="json", headers={"Idempotency-Key": "top-up 1"}
        ).json()
        for _ in range(2)
    ]
    assert again[0] == again[1]
    assert again[0]["url"].startswith("https://")
    pages = [one for one in stripe.objects.values() if one["object"] == "checkout.session"][before:]
    assert len(pages) == 1
    stripe.pay(pages[0]["id"])
    assert tell(stripe, "checkout.session.completed", pages[0]).json() == {"outcome": "done"}
    assert left(company) == 5 * USD
    # The second page is the same customer's.
    client.post(f"{BASE}/top-ups", {"amount_nano": 7 * USD}, format="json")
    pages = [one for one in stripe.objects.values() if one["object"] == "checkout.session"][before:]
    assert len({one["customer"] for one in pages}) == 1


def test_a_plan_that_costs_something_is_begun_by_a_checkout(company: Company, stripe: StripeServer) -> None:
    paid = plan("seat", price_nano=3 * USD)
    assert put(company, plan=paid.slug).json()["code"] == "checkout_needed"
    assert put(company, plan=plan("free").slug).status_code == 200
    begun = company.owner.client.post(f"{BASE}/checkouts", {"plan": paid.slug, "seats": 2}, format="json")
    assert begun.status_code == 201
    (page,) = [
        one for one in stripe.objects.values() if one["object"] == "checkout.session" and one["amount_total"] == 600
    ]
    reference = stripe.pay(page["id"])
    assert tell(stripe, "checkout.session.completed", page).status_code == 200
    found = company.owner.client.get(f"{BASE}/subscription").json()
    assert (found["plan"]["slug"], found["seats"]) == (paid.slug, 2)
    # What Stripe collects isn't changed behind its back.
    assert put(company, plan=plan("free").slug).status_code == 409
    assert company.owner.client.post(f"{BASE}/checkouts", {"plan": paid.slug}, format="json").status_code == 409
    ending = company.owner.client.patch(f"{BASE}/subscription", {"cancel_at_period_end": True}, format="json")
    assert ending.status_code == 200
    assert stripe.objects[reference]["cancel_at_period_end"] == "true"


def test_nobody_gets_rid_of_what_is_overdue_by_a_checkout(company: Company, stripe: StripeServer) -> None:
    invoice = an_invoice(company)
    assert invoice.due_at is not None
    put(company, plan=plan("free").slug)
    tell_overdue(now=invoice.due_at)
    wanted = {"plan": plan("payg", price_nano=USD).slug}
    refused = company.owner.client.post(f"{BASE}/checkouts", wanted, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    run("invoice", "paid", company.tenant.slug, invoice.label, "--reference", "wire")
    assert company.owner.client.post(f"{BASE}/checkouts", wanted, format="json").status_code == 201


def test_a_plan_that_is_paid_online_is_changed_there_in_place(company: Company, stripe: StripeServer) -> None:
    small, large = plan("seat", price_nano=11 * USD), plan("seat", price_nano=29 * USD)
    company.owner.client.post(f"{BASE}/checkouts", {"plan": small.slug, "seats": 2}, format="json")
    (page,) = [one for one in stripe.objects.values() if one.get("amount_total") == 2_200]
    reference = stripe.pay(page["id"])
    tell(stripe, "checkout.session.completed", page)
    (item,) = stripe.objects[reference]["items"]["data"]

    def collected() -> tuple[int, int, str]:
        there = stripe.objects[reference]
        return item["price"]["unit_amount"], item["quantity"], there["proration_behavior"]

    asked = len(stripe.asked)
    assert put(company, plan=small.slug, seats=2).status_code == 200
    assert len(stripe.asked) == asked
    shown = previewed(company, plan=large.slug, seats=3)
    assert (shown["fee_nano"], shown["checkout"], shown["charge_nano"] > shown["back_nano"]) == (87 * USD, False, True)
    assert len(stripe.asked) == asked
    # More is settled at once, and a card that is declined changes nothing.
    stripe.declines_next = 1
    declined = put(company, plan=large.slug, seats=2)
    assert (declined.status_code, declined.json()["code"]) == (502, "payment_provider_failed")
    found = company.owner.client.get(f"{BASE}/subscription").json()
    assert (found["plan"]["slug"], "price" in item) == (small.slug, False)
    changed = put(company, plan=large.slug, seats=3)
    assert (changed.status_code, changed.json()["plan"]["slug"], changed.json()["seats"]) == (200, large.slug, 3)
    assert collected() == (2_900, 3, "always_invoice")
    assert stripe.objects[item["price"]["product"]]["name"] == large.name
    # Less is for the next period; it can be taken back, and a cancellation with it.
    lower = put(company, plan=small.slug, seats=3).json()
    assert (lower["plan"]["slug"], lower["next_plan"]) == (large.slug, small.slug)
    assert collected() == (1_100, 3, "none")
    company.owner.client.patch(f"{BASE}/subscription", {"cancel_at_period_end": True}, format="json")
    kept = put(company, plan=large.slug, seats=3).json()
    assert (kept["plan"]["slug"], kept["next_plan"], kept["cancel_at_period_end"]) == (large.slug, None, False)
    assert collected() == (2_900, 3, "none")
    assert stripe.objects[reference]["cancel_at_period_end"] == "false"
    free = plan("payg").slug
    assert (put(company, plan=free).status_code, previewed(company, plan=free)["code"]) == (409, "conflict")
    failed = stripe.invoice(page["customer"], 8_700, is_paid=False)
    tell(stripe, "invoice.payment_failed", failed)
    asked = len(stripe.asked)
    assert put(company, plan=small.slug).status_code == 409
    assert len(stripe.asked) == asked


def paying_for(company: Company, stripe: StripeServer, chosen: Plan, *, seats: int = 1) -> tuple[Any, str]:
    """Have a plan paid for online: the page, and Stripe's subscription."""
    known = set(stripe.objects)
    wanted = {"plan": chosen.slug, "seats": seats}
    assert company.owner.client.post(f"{BASE}/checkouts", wanted, format="json").status_code == 201
    (page,) = [one for name, one in stripe.objects.items() if name not in known and one["object"] == "checkout.session"]
    reference = stripe.pay(page["id"])
    tell(stripe, "checkout.session.completed", page)
    return page, reference


def test_what_operators_do_to_a_plan_that_is_paid_online_is_done_there_too(
    company: Company, stripe: StripeServer
) -> None:
    small, large = plan("payg", price_nano=11 * USD), plan("payg", price_nano=29 * USD)
    _, reference = paying_for(company, stripe, small)
    stripe.declines_next = 1
    with pytest.raises(CommandError, match="provider"):
        run("plan", "give", company.tenant.slug, large.slug)
    assert run("plan", "give", company.tenant.slug, large.slug)[0]["plan"] == large.slug
    (item,) = stripe.objects[reference]["items"]["data"]
    assert item["price"]["unit_amount"] == 2_900
    with pytest.raises(CommandError, match="costs nothing"):
        run("plan", "give", company.tenant.slug, plan("free").slug)
    assert run("plan", "cancel", company.tenant.slug)[0]["state"] == "cancelled"
    assert stripe.objects[reference]["status"] == "canceled"
    tell(stripe, "customer.subscription.deleted", stripe.objects[reference])
    assert run("plan", "give", company.tenant.slug, small.slug)[0]["state"] == "active"


def test_a_plan_that_is_paid_for_goes_on_whatever_was_cancelled_before(company: Company, stripe: StripeServer) -> None:
    put(company, plan=plan("free").slug)
    company.owner.client.patch(f"{BASE}/subscription", {"cancel_at_period_end": True}, format="json")
    paying_for(company, stripe, plan("payg", price_nano=17 * USD))
    assert company.owner.client.get(f"{BASE}/subscription").json()["cancel_at_period_end"] is False


def test_an_upgrade_gives_back_what_was_paid_and_not_the_price_that_was_to_come(
    company: Company, stripe: StripeServer
) -> None:
    small, large, larger = (plan("payg", price_nano=price * USD) for price in (13, 31, 47))
    _, reference = paying_for(company, stripe, large)
    assert put(company, plan=small.slug).json()["next_plan"] == small.slug
    # Stripe was told of the small price, and knows no other that it could give back.
    refused = put(company, plan=larger.slug)
    assert (refused.status_code, previewed(company, plan=larger.slug)["code"]) == (409, "conflict")
    (item,) = stripe.objects[reference]["items"]["data"]
    assert item["price"]["unit_amount"] == 1_300
    assert put(company, plan=large.slug).json()["next_plan"] is None
    assert previewed(company, plan=larger.slug)["charge_nano"] > 0
    assert put(company, plan=larger.slug).json()["plan"]["slug"] == larger.slug


def test_what_is_collected_for_a_plan_pays_its_invoice_with_the_tax(company: Company, stripe: StripeServer) -> None:
    opened(company)
    run("invoice", "terms", company.tenant.slug, "--tax-percent", "7.75")
    page, reference = paying_for(company, stripe, plan("seat", price_nano=33 * USD), seats=3)
    # Of each seat 33.00 and 2.5575, rounded up to 2.56.
    assert page["amount_total"] == 3 * 3_556
    tell(stripe, "invoice.paid", stripe.invoice(page["customer"], page["amount_total"], is_paid=True))
    made = issued(company)
    assert made is not None
    assert (made.net_nano, made.tax_nano, made.state) == (99 * USD, 767 * CENT, "paid")
    put(company, plan=plan("seat", price_nano=100 * USD).slug, seats=3)
    (item,) = stripe.objects[reference]["items"]["data"]
    assert item["price"]["unit_amount"] == 10_775
    assert stripe.objects[item["price"]["product"]]["name"] == "A plan, with Tax 7.75 %"


@pytest.mark.parametrize(
    ("nano", "asked_cents", "left_cents"), [(30 * CENT, 50, -20), (1_500_000 * USD, 99_999_999, 50_000_001)]
)
def test_an_invoice_of_an_amount_that_cant_be_paid_at_once_is_paid_online_all_the_same(
    company: Company, stripe: StripeServer, nano: int, asked_cents: int, left_cents: int
) -> None:
    invoice = an_invoice(company, nano)
    assert company.owner.client.post(f"{BASE}/invoices/{invoice.id}/checkout", format="json").status_code == 201
    page = next(reversed([one for one in stripe.objects.values() if one["object"] == "checkout.session"]))
    assert page["amount_total"] == asked_cents
    stripe.pay(page["id"])
    tell(stripe, "checkout.session.completed", page)
    assert books(company)["customer"] == left_cents * CENT
    assert company.owner.client.get(f"{BASE}/invoices/{invoice.id}").json()["due_nano"] == max(0, left_cents) * CENT


def test_the_webhook_is_bounded_and_signed(stripe: StripeServer) -> None:
    about = {"id": "cs_x", "customer": "cus_x"}
    assert tell(stripe, "checkout.session.completed", about).json() == {"outcome": "ignored"}
    client = APIClient()
    unsigned = client.generic("POST", f"{BASE}/stripe/webhook", data=b"{}", content_type="application/json")
    assert (unsigned.status_code, unsigned.json()["code"]) == (400, "bad_signature")
    large = client.generic("POST", f"{BASE}/stripe/webhook", data=b"x" * (256 * 1024 + 1), content_type="text/plain")
    assert large.status_code == 413


def test_all_versions_are_listed_for_operators(database: str) -> None:
    made = plan("free")
    assert made.id in {one.id for one in plans.all_plans()}
