"""What is asked of Stripe. https://docs.stripe.com/api"""

import uuid
from collections.abc import Callable
from typing import TypeVar

from stripe import InvalidRequestError, RequestsClient, StripeClient, StripeError
from stripe.checkout import Session
from stripe.params import SubscriptionUpdateParamsItemPriceData

from billing.payments.base import Page, PaymentsFailed, Ways
from billing.payments.stripe.amounts import CURRENCY, MAX_CENTS, MIN_CENTS, NANO_PER_CENT, cents, nano
from billing.payments.stripe.states import Dispute, Intent, PaidInvoice, SessionState

CONNECT_S, READ_S = 5.0, 15.0
RETRIES = 2
"""By the library, with the same Idempotency-Key."""
DISPUTES_MAX = 100
WON = frozenset({"won", "warning_needs_response", "warning_under_review", "warning_closed", "prevented"})
"""States of a dispute in which the money is ours: it was won, or is only asked about yet."""
ENDED = frozenset({"canceled", "incomplete_expired"})
"""States of a subscription that it doesn't come back from."""

T = TypeVar("T")


class StripePort:
    """Stripe as a `PaymentPort`, and how things stand there, for what it tells by webhook."""

    name = "stripe"
    least_nano, most_nano = MIN_CENTS * NANO_PER_CENT, MAX_CENTS * NANO_PER_CENT

    def __init__(self, *, secret_key: str, api_base: str = "") -> None:
        self._http = RequestsClient(timeout=(CONNECT_S, READ_S))
        self._client = StripeClient(
            secret_key,
            base_addresses={"api": api_base} if api_base else None,
            http_client=self._http,
            max_network_retries=RETRIES,
        )

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()  # type: ignore[no-untyped-call]

    def new_customer(self, *, tenant_id: uuid.UUID, name: str, key: str) -> str:
        customers = self._client.v1.customers
        made = _asked(
            lambda: customers.create(
                {"name": name, "metadata": {"parley_tenant": str(tenant_id)}}, {"idempotency_key": key}
            )
        )
        return made.id

    def payment_page(self, *, customer: str, name: str, amount_nano: int, ways: Ways, key: str) -> Page:
        sessions, amount = self._client.v1.checkout.sessions, cents(amount_nano)
        made = _asked(
            lambda: sessions.create(
                {
                    "mode": "payment",
                    "customer": customer,
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": CURRENCY,
                                "unit_amount": amount,
                                "product_data": {"name": name},
                            },
                        }
                    ],
                    "success_url": ways.paid_url,
                    "cancel_url": ways.left_url,
                },
                {"idempotency_key": key},
            )
        )
        return _page(made)

    def subscription_page(self, *, customer: str, name: str, price_nano: int, seats: int, ways: Ways, key: str) -> Page:
        sessions, amount = self._client.v1.checkout.sessions, cents(price_nano)
        made = _asked(
            lambda: sessions.create(
                {
                    "mode": "subscription",
                    "customer": customer,
                    "line_items": [
                        {
                            "quantity": seats,
                            "price_data": {
                                "currency": CURRENCY,
                                "unit_amount": amount,
                                "recurring": {"interval": "month"},
                                "product_data": {"name": name},
                            },
                        }
                    ],
                    "success_url": ways.paid_url,
                    "cancel_url": ways.left_url,
                },
                {"idempotency_key": key},
            )
        )
        return _page(made)

    def change_subscription(
        self, *, subscription: str, name: str, price_nano: int, seats: int, at_once: bool, key: str
    ) -> None:
        # https://docs.stripe.com/billing/subscriptions/change-price
        subscriptions, amount = self._client.v1.subscriptions, cents(price_nano)
        found = _asked(lambda: subscriptions.retrieve(subscription))
        if len(found["items"].data) != 1:
            raise PaymentsFailed(details={"provider": "stripe", "code": "items"})
        item = found["items"].data[0].id
        product = _asked(lambda: self._client.v1.products.create({"name": name}, {"idempotency_key": f"{key} product"}))
        price: SubscriptionUpdateParamsItemPriceData = {
            "currency": CURRENCY,
            "unit_amount": amount,
            "recurring": {"interval": "month"},
            "product": product.id,
        }
        _asked(
            lambda: subscriptions.update(
                subscription,
                {
                    "items": [{"id": item, "quantity": seats, "price_data": price}],
                    "proration_behavior": "always_invoice" if at_once else "none",
                    "payment_behavior": "error_if_incomplete",
                    "cancel_at_period_end": False,
                },
                {"idempotency_key": key},
            )
        )

    def end_subscription(self, *, subscription: str, at_period_end: bool) -> None:
        subscriptions = self._client.v1.subscriptions
        try:
            if at_period_end:
                _asked(lambda: subscriptions.update(subscription, {"cancel_at_period_end": True}))
            else:
                _asked(lambda: subscriptions.cancel(subscription))
        except PaymentsFailed as error:
            if not isinstance(error.__cause__, InvalidRequestError) or error.__cause__.http_status != 404:
                raise

    def session(self, session_id: str) -> SessionState:
        """How a checkout stands."""
        found = _asked(lambda: self._client.v1.checkout.sessions.retrieve(session_id))
        return SessionState(
            is_paid=found.status == "complete" and found.payment_status in ("paid", "no_payment_required"),
            customer=_id(found.customer),
            intent=_id(found.payment_intent),
            subscription=_id(found.subscription),
        )

    def has_ended(self, subscription: str) -> bool:
        """Whether nothing is collected by a subscription any more."""
        found = _asked(lambda: self._client.v1.subscriptions.retrieve(subscription))
        return found.status in ENDED

    def intent(self, intent_id: str) -> Intent:
        """How a payment stands: what came in, what went back, what is disputed."""
        found = _asked(lambda: self._client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}))
        charge = found.latest_charge
        refunded = 0 if charge is None or isinstance(charge, str) else charge.amount_refunded
        listed = _asked(lambda: self._client.v1.disputes.list({"payment_intent": intent_id, "limit": DISPUTES_MAX}))
        return Intent(
            customer=_id(found.customer),
            paid_nano=nano(found.amount_received, found.currency) if found.status == "succeeded" else 0,
            refunded_nano=nano(refunded, found.currency),
            disputes=tuple(
                Dispute(one.id, 0 if one.status in WON else nano(one.amount, one.currency)) for one in listed.data
            ),
        )

    def invoice(self, invoice_id: str) -> PaidInvoice:
        """How an invoice of a subscription stands."""
        found = _asked(lambda: self._client.v1.invoices.retrieve(invoice_id, {"expand": ["payments"]}))
        payments = found.payments.data if found.payments else []
        came_in = [one.payment for one in payments if one.status == "paid" and one.payment.type == "payment_intent"]
        return PaidInvoice(
            customer=_id(found.customer),
            status=found.status or "",
            paid_nano=nano(found.amount_paid, found.currency),
            intents=tuple(_id(one.payment_intent) for one in came_in),
        )


def _page(made: Session) -> Page:
    if not made.url:
        raise PaymentsFailed("The payment provider gave no page.")
    return Page(external_id=made.id, url=made.url)


def _id(named: object) -> str:
    """The id of what Stripe names by it, or gives whole; empty for nothing."""
    return str(named if isinstance(named, str) else getattr(named, "id", "") or "")


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except StripeError as error:
        raise PaymentsFailed(details={"provider": "stripe", "code": str(error.code or "")[:100]}) from error
