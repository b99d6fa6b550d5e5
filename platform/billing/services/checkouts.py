"""Paying online: a page of the provider's is asked for, and written down with what it is for before anybody sees it."""

import uuid
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction

from billing.invoice_models import BPS_MAX
from billing.invoices import profiles
from billing.invoices.gathering import CENT
from billing.models import Checkout, Invoice, PaymentCustomer, Plan, Subscription
from billing.payments.base import Page, PaymentPort, Ways
from billing.payments.online import online_port
from billing.services.subscriptions import (
    OWING,
    begins_later,
    change_plan,
    check_nothing_overdue,
    check_seats,
    current_subscription,
    keep,
)
from kernel.errors import Conflict, InvalidRequest, ParleyError
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant
from tenants.principals import Principal
from tenants.services.audit import record

log = structlog.get_logger(__name__)

PATH = "/console/billing"


class CheckoutNeeded(Conflict):
    """This plan costs something: begin it with a checkout."""

    code = "checkout_needed"


@dataclass(frozen=True, slots=True)
class Begun:
    """A checkout, and where it is paid."""

    checkout: Checkout
    url: str


def begin_top_up(*, caller: Principal, amount_nano: int) -> Begun:
    """A page to buy credit for an amount. Opens transactions of its own: the provider is asked outside of all.

    Raises `NoOnlinePayments`, `PaymentsFailed`, and `InvalidRequest` for an amount that the provider doesn't take.
    """
    port = online_port()
    checkout_id = uuid7()
    customer = _customer(port)
    key = f"checkout {checkout_id}"
    page = port.payment_page(customer=customer, name="Credit", amount_nano=amount_nano, ways=_ways(), key=key)
    return _begun(checkout_id, port, page, caller, purpose="top_up", amount_nano=amount_nano)


def begin_payment(*, caller: Principal, invoice: Invoice) -> Begun:
    """A page to pay what is due of an invoice, or as near to it as the provider takes at once; what comes in pays that one
    first. Opens transactions of its own.

    Raises as `begin_top_up`, and `Conflict` where nothing is due.
    """
    port = online_port()
    if not invoice.due_nano:
        raise Conflict("Nothing is due of this invoice.")
    # Nobody is suspended for cents that can't be paid: what is too much pays invoices to come, the rest another page.
    due_nano = -(-invoice.due_nano // CENT) * CENT
    amount_nano = min(max(due_nano, port.least_nano), port.most_nano)
    checkout_id = uuid7()
    page = port.payment_page(
        customer=_customer(port),
        name=f"Invoice {invoice.label}",
        amount_nano=amount_nano,
        ways=_ways(),
        key=f"checkout {checkout_id}",
    )
    return _begun(checkout_id, port, page, caller, purpose="invoice", amount_nano=amount_nano, invoice=invoice)


def begin_subscription(*, caller: Principal, plan: Plan, seats: int) -> Begun:
    """A page to begin paying for a plan each month; it is the tenant's when it is paid. Opens transactions of its own.

    Raises as `begin_top_up`, and `Conflict` where another is being paid for in this way, or an invoice is overdue.
    """
    port = online_port()
    check_seats(plan, seats)
    if not plan.price_nano:
        raise InvalidRequest("This plan has no price to be paid.", details={"param": "plan"})
    with transaction.atomic():
        check_nothing_overdue()
        known = PaymentCustomer.objects.filter(provider=port.name).first()
        if known is not None and known.subscription_ref:
            raise Conflict("A plan is being paid for already: cancel that one first.")
        name, price_nano = _collected(plan)
    checkout_id = uuid7()
    page = port.subscription_page(
        customer=_customer(port),
        name=name,
        price_nano=price_nano,
        seats=seats if plan.kind == "seat" else 1,
        ways=_ways(),
        key=f"checkout {checkout_id}",
    )
    return _begun(checkout_id, port, page, caller, purpose="subscription", plan=plan, seats=seats)


def stop_paying(*, at_period_end: bool) -> None:
    """Have the provider collect no more for the plan. Nothing where it doesn't. Raises `PaymentsFailed`."""
    with transaction.atomic():
        known = PaymentCustomer.objects.exclude(subscription_ref="").first()
    if known is not None:
        online_port().end_subscription(subscription=known.subscription_ref, at_period_end=at_period_end)


def is_paid_online() -> bool:
    """Whether the provider collects what the plan costs."""
    return PaymentCustomer.objects.exclude(subscription_ref="").exists()


def change_paid_plan(*, caller: Principal | None, plan: Plan, seats: int | None) -> Subscription:
    """Change the plan that the provider collects for, there first: what it can't collect changes nothing. Opens transactions of
    its own.

    Raises `Conflict` for a plan without a price, or while a payment is due; `InvalidRequest`, `NoOnlinePayments`,
    `PaymentsFailed` and `NoSubscription`.
    """
    port = online_port()
    with transaction.atomic():
        known = PaymentCustomer.objects.filter(provider=port.name).exclude(subscription_ref="").first()
        sub = current_subscription()
        check_changeable_online(plan, sub)
        if known is None:
            raise Conflict("The plan is not paid online any more.")
        wanted = sub.seats if seats is None else seats
        check_seats(plan, wanted)
        is_same = (plan.id, wanted) == (sub.plan_id, sub.seats)
        at_once = not is_same and not begins_later(sub, plan, wanted)
        if at_once:
            check_nothing_to_come(sub)
        name, price_nano = _collected(plan)
    port.change_subscription(
        subscription=known.subscription_ref,
        name=name,
        price_nano=price_nano,
        seats=wanted if plan.kind == "seat" else 1,
        at_once=at_once,
        key=f"change {uuid7()}",
    )
    try:
        with transaction.atomic():
            keep(actor=caller)
            return change_plan(plan=plan, seats=wanted, actor=caller)
    except ParleyError:
        # Asked for again, both say the same.
        log.exception("plan_changed_at_provider_alone", tenant=str(sub.tenant_id), plan=plan.slug, seats=wanted)
        raise


def check_changeable_online(plan: Plan, found: Subscription | None) -> None:
    """Raise `Conflict` where a plan that the provider collects for can't be changed to this one now."""
    if not plan.price_nano:
        raise Conflict("This plan is paid online, and the other costs nothing: cancel this one.")
    if found is None or found.state in OWING or found.state == "cancelled":
        raise Conflict("A payment is due, or the plan has ended: it can't be changed now.")


def check_nothing_to_come(found: Subscription) -> None:
    """Raise `Conflict` where the provider was told of a plan for the next period: in settling the rest of this one it would
    give back that plan's price, not the one that was paid."""
    if found.next_plan_id is not None:
        raise Conflict(
            "Another plan is to begin with the next period: choose the one in force to take that back first."
        )


def check_not_paid_online() -> None:
    """Raise `Conflict` where the provider collects what the plan costs: it is changed there too (`change_paid_plan`)."""
    if is_paid_online():
        raise Conflict("This plan is paid online: choose it, or another, to go on with it.")


def is_as_it_was(plan: Plan, seats: int | None, found: Subscription | None) -> bool:
    """Whether a subscription is as somebody wants it, and is to stay so."""
    return (
        found is not None
        and (found.plan_id, found.state != "cancelled", found.cancel_at_period_end) == (plan.id, True, False)
        and found.next_plan_id is None
        and seats in (None, found.seats)
    )


def check_paid_for(plan: Plan, seats: int | None, found: Subscription | None) -> None:
    """Raise `CheckoutNeeded` for a change to what costs something, where payments are taken online."""
    is_same = found is not None and found.plan_id == plan.id and seats in (None, found.seats)
    if is_same and found is not None and found.state != "cancelled" and not found.cancel_at_period_end:
        return
    if plan.price_nano and settings.STRIPE_SECRET_KEY:
        raise CheckoutNeeded


def _collected(plan: Plan) -> tuple[str, int]:
    """What the provider collects each month for a plan, or each of its seats, and what it is called there: its price and, as
    on the invoices that it pays, the tenant's tax, of each rounded up to a cent."""
    terms = profiles.terms()
    if not terms.tax_bps:
        return plan.name, plan.price_nano
    tax_nano = -(-plan.price_nano * terms.tax_bps // (BPS_MAX * CENT)) * CENT
    return f"{plan.name}, with {terms.tax_name} {terms.tax_bps / 100:g} %", plan.price_nano + tax_nano


def _customer(port: PaymentPort) -> str:
    """What the provider calls this tenant. Two who ask at once get the same: the provider knows the key."""
    tenant_id = current_tenant_id()
    with transaction.atomic():
        known = PaymentCustomer.objects.filter(provider=port.name).order_by("id").first()
        if known is not None:
            return known.external_id
        name = Tenant.objects.values_list("name", flat=True).get(id=tenant_id)
    made = port.new_customer(tenant_id=tenant_id, name=name, key=f"customer {tenant_id}")
    with transaction.atomic():
        customer, _ = PaymentCustomer.objects.get_or_create(tenant_id=tenant_id, provider=port.name, external_id=made)
    return customer.external_id


def _begun(checkout_id: uuid.UUID, port: PaymentPort, page: Page, caller: Principal, **what: object) -> Begun:
    with transaction.atomic():
        checkout = Checkout.objects.create(
            id=checkout_id,
            tenant_id=current_tenant_id(),
            provider=port.name,
            external_id=page.external_id,
            membership_id=caller.membership_id,
            **what,
        )
        record(
            action="checkout.begun",
            subject_kind="checkout",
            subject_id=checkout.id,
            actor=caller,
            data={"purpose": checkout.purpose, "amount_nano": checkout.amount_nano},
        )
    return Begun(checkout, page.url)


def _ways() -> Ways:
    if not settings.PUBLIC_URL:
        raise InvalidRequest("PARLEY_PUBLIC_URL is not set: there is no page to come back to.")
    return Ways(paid_url=f"{settings.PUBLIC_URL}{PATH}?paid=1", left_url=f"{settings.PUBLIC_URL}{PATH}")
