"""Payments through Stripe: what is asked of it, and what it tells."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations

import pytest

from billing.models import Checkout, Payment, PaymentCustomer, PaymentEvent, Plan, Subscription
from billing.payments.base import PaymentsFailed, Ways
from billing.payments.stripe import webhook
from billing.payments.stripe.amounts import NANO_PER_CENT, WrongCurrency, cents, nano
from billing.payments.stripe.client import StripePort
from billing.payments.stripe.webhook import BadSignature
from billing.services import subscriptions
from kernel.errors import InvalidRequest
from tests.billing.plan_support import books, inside, left, plan, use
from tests.fakes.stripe_server import SECRET_KEY, WEBHOOK_SECRET, StripeServer, signed
from tests.support.cast import Company

WAYS = Ways("https://parley.example/paid", "https://parley.example/left")
USD = 1_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[StripeServer]:
    with StripeServer() as running:
        yield running


@pytest.fixture
def port(server: StripeServer) -> Iterator[StripePort]:
    made = StripePort(secret_key=SECRET_KEY, api_base=server.url)
    yield made
    made.close()


@dataclass
class Shop:
    """A company that is known to Stripe."""

    company: Company
    server: StripeServer
    port: StripePort
    customer: str = field(init=False)

    def __post_init__(self) -> None:
        self.customer = self.port.new_customer(
            tenant_id=self.company.id, name="Acme", key=f"customer {self.company.id}"
        )
        with inside(self.company):
            PaymentCustomer.objects.create(tenant_id=self.company.id, provider="stripe", external_id=self.customer)

    def page(self, amount_nano: int = 20 * USD) -> str:
        """A page for a top-up, written down; its id."""
        page = self.port.payment_page(
            customer=self.customer, name="Credit", amount_nano=amount_nano, ways=WAYS, key=str(uuid.uuid4())
        )
        with inside(self.company):
            Checkout.objects.create(
                tenant_id=self.company.id,
                provider="stripe",
                external_id=page.external_id,
                purpose="top_up",
                amount_nano=amount_nano,
            )
        return page.external_id

    def plan_page(self, chosen: Plan, *, seats: int = 1) -> str:
        """A page to begin paying for a plan, written down; its id."""
        page = self.port.subscription_page(
            customer=self.customer,
            name="Team",
            price_nano=chosen.price_nano,
            seats=seats,
            ways=WAYS,
            key=str(uuid.uuid4()),
        )
        with inside(self.company):
            Checkout.objects.create(
                tenant_id=self.company.id,
                provider="stripe",
                external_id=page.external_id,
                purpose="subscription",
                plan=chosen,
                seats=seats,
            )
        return page.external_id

    def topped_up(self, amount_nano: int = 20 * USD) -> str:
        """A top-up that was paid and told; the payment's id."""
        session = self.page(amount_nano)
        intent = self.server.pay(session)
        assert self.tell("checkout.session.completed", self.server.objects[session]) == "done"
        return intent

    def tell(self, kind: str, about: object) -> str:
        """Have Stripe tell of an event."""
        return self.take(*self.server.event(kind, about))  # type: ignore[arg-type]

    def take(self, body: bytes, signature: str) -> str:
        return webhook.take(body=body, signature=signature, secret=WEBHOOK_SECRET, reader=self.port)

    def payments(self) -> list[tuple[str, int]]:
        with inside(self.company):
            return list(Payment.objects.order_by("id").values_list("purpose", "amount_nano"))


@pytest.fixture
def shop(company: Company, server: StripeServer, port: StripePort) -> Shop:
    return Shop(company, server, port)


@pytest.mark.no_database
def test_amounts_cross_over_exactly() -> None:
    for amount in (50, 99, 12_345, 99_999_999):
        assert cents(nano(amount, "usd")) == amount
    assert nano(1, "usd") == NANO_PER_CENT
    for bad in (0, 49 * NANO_PER_CENT, 20 * USD + 1, 10**9 * NANO_PER_CENT, -USD):
        with pytest.raises(InvalidRequest):
            cents(bad)
    with pytest.raises(WrongCurrency):
        nano(100, "eur")


@pytest.mark.no_database
def test_the_same_key_makes_one_customer(port: StripePort, server: StripeServer) -> None:
    tenant_id = uuid.uuid4()
    first = port.new_customer(tenant_id=tenant_id, name="Ä & Co", key=f"customer {tenant_id}")
    assert port.new_customer(tenant_id=tenant_id, name="Ä & Co", key=f"customer {tenant_id}") == first
    assert server.objects[first]["name"] == "Ä & Co"


@pytest.mark.no_database
def test_failures_are_tried_again_by_the_library_then_wrapped(port: StripePort, server: StripeServer) -> None:
    server.fails_next = 1
    assert port.new_customer(tenant_id=uuid.uuid4(), name="x", key=str(uuid.uuid4()))
    with pytest.raises(PaymentsFailed):
        port.payment_page(customer="cus_none", name="Credit", amount_nano=USD, ways=WAYS, key=str(uuid.uuid4()))
    with pytest.raises(PaymentsFailed):
        port.intent("pi_none")
    bad = StripePort(secret_key="sk_wrong", api_base=server.url)
    with pytest.raises(PaymentsFailed):
        bad.session("cs_none")
    bad.close()


def test_a_top_up_that_is_paid_becomes_credit_once(shop: Shop) -> None:
    session = shop.page(12_34 * NANO_PER_CENT)
    assert shop.tell("checkout.session.completed", shop.server.objects[session]) == "done"
    assert shop.payments() == []
    shop.server.pay(session)
    told = shop.server.event("checkout.session.completed", shop.server.objects[session])
    assert [shop.take(*told) for _ in range(3)] == ["done", "known", "known"]
    assert shop.tell("checkout.session.async_payment_succeeded", shop.server.objects[session]) == "done"
    assert shop.payments() == [("top_up", 12_34 * NANO_PER_CENT)]
    assert left(shop.company) == 12_34 * NANO_PER_CENT
    assert books(shop.company) == {"cash": 12_34 * NANO_PER_CENT, "customer": -12_34 * NANO_PER_CENT}


def test_refunds_take_credit_back_and_what_was_used_is_owed(shop: Shop) -> None:
    intent = shop.topped_up(20 * USD)
    use(shop.company, 15 * USD)
    charge = shop.server.refund(intent, 500)
    for kind in ("charge.refunded", "refund.updated"):
        assert shop.tell(kind, {**charge, "payment_intent": intent}) == "done"
    assert left(shop.company) == 0
    shop.server.refund(intent, 1_500)
    shop.tell("charge.refunded", charge)
    found = books(shop.company)
    assert (found.get("cash", 0), found["customer"], left(shop.company)) == (0, 15 * USD, 0)


def test_a_dispute_takes_the_money_and_winning_it_brings_it_back(shop: Shop) -> None:
    intent = shop.topped_up(20 * USD)
    use(shop.company, 5 * USD)
    dispute = shop.server.dispute(intent, 2_000)
    shop.tell("charge.dispute.created", dispute)
    assert (left(shop.company), books(shop.company)["customer"]) == (0, 5 * USD)
    dispute["status"] = "won"
    shop.tell("charge.dispute.closed", dispute)
    assert (left(shop.company), books(shop.company)["cash"]) == (15 * USD, 20 * USD)


def test_events_may_come_in_any_order_and_twice(new_company: object, server: StripeServer, port: StripePort) -> None:
    for order in permutations(range(3)):
        shop = Shop(new_company(), server, port)  # type: ignore[operator]
        session = shop.page(20 * USD)
        intent = server.pay(session)
        charge, dispute = server.refund(intent, 300), server.dispute(intent, 200)
        events = [
            server.event("checkout.session.completed", server.objects[session]),
            server.event("charge.refunded", charge),
            server.event("charge.dispute.created", dispute),
        ]
        for place in (*order, *order):
            shop.take(*events[place])
        assert books(shop.company) == {"cash": 15 * USD, "customer": -15 * USD}
        assert left(shop.company) == 15 * USD


def test_the_tenant_is_whose_customer_it_is_whatever_an_event_says(
    shop: Shop, neighbour: Company, port: StripePort
) -> None:
    session = shop.page()
    shop.server.pay(session)
    claims = {"metadata": {"parley_tenant": str(neighbour.id), "tenant_id": str(neighbour.id)}}
    shop.tell("checkout.session.completed", {**shop.server.objects[session], **claims})
    assert left(shop.company) == 20 * USD
    theirs = Shop(neighbour, shop.server, port)
    # A page of one customer's, told as another's: it is no page of theirs.
    another = shop.page()
    shop.server.pay(another)
    shop.tell("checkout.session.completed", {**shop.server.objects[another], "customer": theirs.customer})
    assert theirs.payments() == []
    # Nor is a payment.
    with inside(neighbour):
        Checkout.objects.create(
            tenant_id=neighbour.id, provider="stripe", external_id=another, purpose="top_up", amount_nano=20 * USD
        )
    shop.tell("checkout.session.completed", {**shop.server.objects[another], "customer": theirs.customer})
    assert theirs.payments() == []
    assert shop.tell("checkout.session.completed", {**shop.server.objects[another], "customer": "cus_x"}) == "ignored"


def test_another_currency_is_refused(shop: Shop) -> None:
    session = shop.page()
    shop.server.pay(session, currency="eur")
    with pytest.raises(WrongCurrency):
        shop.tell("checkout.session.completed", shop.server.objects[session])
    with inside(shop.company):
        assert not PaymentEvent.objects.exists()
    assert shop.payments() == []


def test_only_what_stripe_signed_now_is_taken(shop: Shop) -> None:
    about = {"id": "cs_x", "customer": shop.customer}
    body, signature = shop.server.event("checkout.session.completed", about)
    for forged in (
        "",
        "t=,v1=",
        "v1=abc",
        signature.replace("t=", "t=1"),
        signed(body, secret="whsec_other"),
        signed(body, at=time.time() - 301),
        signed(body, at=time.time() + 302),
        signed(body + b" "),
    ):
        with pytest.raises(BadSignature):
            shop.take(body, forged)
    with pytest.raises(BadSignature):
        webhook.take(body=body, signature=signed(body, secret=""), secret="", reader=shop.port)
    for text in (b"", b"[]", b"{}", b'{"id": 7}', b"\xff", json.dumps({"id": "e", "type": "x"}).encode()):
        with pytest.raises(InvalidRequest):
            shop.take(text, signed(text) if text != b"\xff" else signature)
    assert shop.tell("customer.created", about) == "ignored"


def test_a_subscription_that_is_paid_begins_and_goes_on_with_its_payments(shop: Shop) -> None:
    chosen = plan("seat", price_nano=5 * USD)
    page_id = shop.plan_page(chosen, seats=3)
    assert shop.server.objects[page_id]["amount_total"] == 1_500
    reference = shop.server.pay(page_id)
    paid = shop.server.invoice(shop.customer, 1_500, is_paid=True)
    shop.tell("invoice.paid", paid)
    for _ in range(2):
        shop.tell("checkout.session.completed", shop.server.objects[page_id])
    with inside(shop.company):
        sub = Subscription.objects.get()
        assert (sub.state, sub.plan_id, sub.seats) == ("active", chosen.id, 3)
    assert books(shop.company) == {"cash": 15 * USD, "revenue": -15 * USD}

    failed = shop.server.invoice(shop.customer, 1_500, is_paid=False)
    late = shop.server.event("invoice.payment_failed", failed)
    shop.tell("invoice.payment_failed", failed)
    assert state(shop) == "past_due"
    failed |= shop.server.invoice(shop.customer, 1_500, is_paid=True) | {"id": failed["id"]}
    shop.tell("invoice.paid", failed)
    assert state(shop) == "active"
    # Told late that it failed, which is no longer so.
    shop.take(*late)
    assert state(shop) == "active"

    shop.port.end_subscription(subscription=reference, at_period_end=True)
    assert shop.server.objects[reference]["cancel_at_period_end"] == "true"
    shop.port.end_subscription(subscription="sub_gone", at_period_end=False)
    shop.tell("customer.subscription.deleted", {"id": "sub_other", "customer": shop.customer})
    assert state(shop) == "active"
    shop.tell("customer.subscription.deleted", shop.server.objects[reference])
    assert state(shop) == "cancelled"


def test_a_plan_that_is_paid_for_is_no_trial(shop: Shop) -> None:
    with inside(shop.company):
        subscriptions.subscribe(plan=plan("free"))
        subscriptions.cancel(at_once=True)
    page_id = shop.plan_page(plan("payg", price_nano=5 * USD, trial_days=14))
    shop.server.pay(page_id)
    shop.tell("checkout.session.completed", shop.server.objects[page_id])
    assert state(shop) == "active"


def test_a_trial_ends_when_its_plan_is_paid_for(shop: Shop) -> None:
    tried = plan("payg", price_nano=5 * USD, included_nano=USD, trial_days=14)
    with inside(shop.company):
        ends = subscriptions.subscribe(plan=tried).period_end
    page_id = shop.plan_page(tried)
    shop.server.pay(page_id)
    for _ in range(2):
        shop.tell("checkout.session.completed", shop.server.objects[page_id])
    assert state(shop) == "active"
    with inside(shop.company):
        assert subscriptions.current_subscription().period_end > ends
    # More than the trial's credit can be used, and the period was charged once.
    use(shop.company, 3 * USD)
    assert books(shop.company)["revenue"] == -(5 + 3) * USD


def test_of_two_pages_that_were_paid_one_goes_on(shop: Shop) -> None:
    chosen = plan("payg", price_nano=5 * USD)
    pages = [shop.plan_page(chosen) for _ in range(2)]
    first, second = [shop.server.pay(page_id) for page_id in pages]
    for page_id in (*pages, pages[0]):
        shop.tell("checkout.session.completed", shop.server.objects[page_id])
    assert [shop.server.objects[one]["status"] for one in (first, second)] == ["canceled", "active"]
    shop.tell("customer.subscription.deleted", shop.server.objects[first])
    assert state(shop) == "active"


def test_a_plan_whose_payments_ended_before_its_page_was_told_of_doesnt_begin(shop: Shop) -> None:
    page_id = shop.plan_page(plan("payg", price_nano=5 * USD))
    reference = shop.server.pay(page_id)
    shop.server.objects[reference]["status"] = "canceled"
    shop.tell("customer.subscription.deleted", shop.server.objects[reference])
    assert shop.tell("checkout.session.completed", shop.server.objects[page_id]) == "done"
    with inside(shop.company):
        assert not Subscription.objects.exists()
        assert PaymentCustomer.objects.get().subscription_ref == ""
        assert Checkout.objects.get().done_at is not None


def test_an_invoice_counts_by_all_payments_that_came_in_and_no_others(shop: Shop) -> None:
    paid = shop.server.invoice(shop.customer, 1_500, is_paid=True)
    listed = paid["payments"]["data"]
    given_up = shop.server.payment(shop.customer, 1_500)
    given_up |= {"status": "canceled", "amount_received": 0}
    rest = shop.server.payment(shop.customer, 500)
    listed.insert(0, _part_of_invoice(given_up, status="canceled"))
    listed.append(_part_of_invoice(rest, status="paid"))
    paid["amount_paid"] = 2_000
    for _ in range(2):
        shop.tell("invoice.paid", paid)
    assert shop.payments() == [("subscription", 15 * USD), ("subscription", 5 * USD)]


def _part_of_invoice(intent: dict[str, object], *, status: str) -> dict[str, object]:
    payment = {"type": "payment_intent", "payment_intent": intent["id"]}
    return {"object": "invoice_payment", "status": status, "payment": payment}


def state(shop: Shop) -> str:
    with inside(shop.company):
        return subscriptions.current_subscription().state
