"""What each of Stripe's events leads to, in the tenant's transaction: how things stand is read, and entered."""

import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog
from django.utils import timezone

from billing.models import Checkout, Payment, PaymentCustomer, Subscription
from billing.payments.stripe.states import Intent, PaidInvoice, SessionState
from billing.services import dunning, subscriptions
from billing.services.payments import Received, receive, went_back

log = structlog.get_logger(__name__)

PROVIDER = "stripe"


class Reader(Protocol):
    """How things stand at Stripe, and what is ended there."""

    def session(self, session_id: str) -> SessionState: ...
    def intent(self, intent_id: str) -> Intent: ...
    def invoice(self, invoice_id: str) -> PaidInvoice: ...
    def has_ended(self, subscription: str) -> bool: ...
    def end_subscription(self, *, subscription: str, at_period_end: bool) -> None: ...


Step = Callable[[Reader, PaymentCustomer, str, str], None]
"""Given what the event is about by its id, and the payment it names, if it does."""


def _checked_out(reader: Reader, customer: PaymentCustomer, session_id: str, _: str) -> None:
    """What was begun here was paid there. What it was for, our own row says."""
    checkout = Checkout.objects.select_related("plan").filter(provider=PROVIDER, external_id=session_id).first()
    if checkout is None:
        log.warning("checkout_of_nobody", checkout=session_id)
        return
    state = reader.session(session_id)
    if not state.is_paid or state.customer != customer.external_id:
        return
    if checkout.purpose in ("top_up", "invoice"):
        _follow(reader, customer, state.intent, purpose=checkout.purpose, invoice_id=checkout.invoice_id)
    elif checkout.done_at is None and checkout.plan is not None and not reader.has_ended(state.subscription):
        # Where it has ended, the event that says so may have come first: there is nothing to begin.
        sub = Subscription.objects.first()
        if sub is not None and sub.state in subscriptions.OWING:
            sub = dunning.payment_came()
        if sub is None or sub.state == "cancelled":
            subscriptions.subscribe(plan=checkout.plan, seats=checkout.seats, with_trial=False)
        else:
            subscriptions.keep()
            subscriptions.change_plan(plan=checkout.plan, seats=checkout.seats)
            subscriptions.end_trial()
        if customer.subscription_ref not in ("", state.subscription):
            # Two pages were open, and both were paid: only the later one goes on.
            reader.end_subscription(subscription=customer.subscription_ref, at_period_end=False)
        customer.subscription_ref = state.subscription
        customer.save(update_fields=["subscription_ref"])
    checkout.done_at = checkout.done_at or timezone.now()
    checkout.save(update_fields=["done_at"])


def _changed(reader: Reader, customer: PaymentCustomer, _: str, intent_id: str) -> None:
    """A refund or a dispute. One of a payment that was not entered yet is entered with it."""
    payment = Payment.objects.filter(provider=PROVIDER, external_id=intent_id).first()
    if payment is not None:
        _follow(reader, customer, intent_id, purpose=payment.purpose)


def _invoiced(reader: Reader, customer: PaymentCustomer, invoice_id: str, _: str) -> None:
    """A period of the subscription was paid, or could not be."""
    invoice = reader.invoice(invoice_id)
    if invoice.customer != customer.external_id:
        return
    if invoice.status == "paid" and invoice.intents:
        for intent_id in invoice.intents:
            _follow(reader, customer, intent_id, purpose="subscription")
    elif invoice.status == "paid" and invoice.paid_nano:
        receive(Received(PROVIDER, invoice_id, "subscription", invoice.paid_nano))
    elif invoice.status in ("open", "uncollectible") and Subscription.objects.exists():
        dunning.payment_failed(reason="the payment provider could not collect it")


def _ended(reader: Reader, customer: PaymentCustomer, subscription_id: str, _: str) -> None:
    """Nothing is paid any more by the subscription."""
    if not subscription_id or customer.subscription_ref != subscription_id:
        return
    customer.subscription_ref = ""
    customer.save(update_fields=["subscription_ref"])
    subscriptions.cancel(at_once=True, reason="ended at the payment provider")


def _follow(
    reader: Reader,
    customer: PaymentCustomer,
    intent_id: str,
    *,
    purpose: str,
    invoice_id: uuid.UUID | None = None,
) -> None:
    """Enter a payment as it stands: what came in, first for that invoice of ours if one is given; what went back."""
    if not intent_id:
        return
    state = reader.intent(intent_id)
    if state.customer != customer.external_id or not state.paid_nano:
        return
    payment, _ = receive(Received(PROVIDER, intent_id, purpose, state.paid_nano, invoice_id=invoice_id))
    went_back(payment, kind="refund", total_nano=state.refunded_nano)
    for dispute in state.disputes:
        went_back(payment, kind="dispute", external_id=dispute.id, total_nano=dispute.amount_nano)


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "checkout.session.completed": _checked_out,
        "checkout.session.async_payment_succeeded": _checked_out,
        "charge.refunded": _changed,
        "charge.refund.updated": _changed,
        "refund.updated": _changed,
        "refund.failed": _changed,
        "charge.dispute.created": _changed,
        "charge.dispute.updated": _changed,
        "charge.dispute.closed": _changed,
        "charge.dispute.funds_withdrawn": _changed,
        "charge.dispute.funds_reinstated": _changed,
        "invoice.paid": _invoiced,
        "invoice.payment_failed": _invoiced,
        "customer.subscription.deleted": _ended,
    }
)
