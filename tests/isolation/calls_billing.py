"""Example calls of billing."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Max

from billing.models import Budget, Invoice, InvoiceLine, Plan, Subscription
from billing.payments.manual import entries
from billing.services import funds, subscriptions
from billing.services.plans import create_plan
from billing.usage_writer import record_usage
from kernel.ids import uuid7
from kernel.loop import on_loop
from tests.billing.events import usage_event
from tests.isolation.calls import Call, Made
from tests.isolation.roles import administrator
from tests.support.cast import Company


def _usage(company: Company) -> uuid.UUID:
    """One attempt of the owner's."""
    event = usage_event(company.owner)
    on_loop(record_usage(event))
    return event.request_id


def _spender(company: Company) -> uuid.UUID:
    """Whoever was charged something."""
    _usage(company)
    return company.owner.membership_id


def _budget(company: Company) -> uuid.UUID:
    """A budget of the whole company's that refuses nobody."""
    with company.scope(), transaction.atomic():
        made = Budget.objects.create(
            tenant_id=company.id, scope="tenant", measure="nano", period="month", limit_amount=10**17, mode="soft"
        )
    return made.id


def _alert(company: Company) -> uuid.UUID:
    """An alert of one."""
    alert = uuid7()
    budget = _budget(company)
    with administrator() as admin:
        admin.execute(
            "INSERT INTO billing_alert (tenant_id, budget_id, period_start, threshold, id, settled, limit_amount, told_at)"
            " VALUES (%s, %s, '2026-01-01', 50, %s, 50, 100, now())",
            (company.id, budget, alert),
        )
    return alert


def _new_budget(company: Company) -> Made:
    scope = {"kind": "member", "id": str(company.bob.membership_id)}
    return Made(body={"scope": scope, "limit": 10**17, "mode": "soft"})


def _plan() -> Plan:
    """A plan that limits nothing."""
    return Plan.objects.filter(slug="isolation").first() or create_plan(slug="isolation", name="A plan", kind="payg")


def _subscription(company: Company) -> uuid.UUID:
    """The company's subscription to it."""
    plan = _plan()
    with company.scope(), transaction.atomic():
        found = Subscription.objects.first()
        return (found or subscriptions.subscribe(plan=plan)).id


def _subscribed(body: dict[str, object] | None = None) -> Callable[[Company], Made]:
    return lambda company: Made(body=body, listed=(_subscription(company),))


def _credit(company: Company) -> uuid.UUID:
    with company.scope(), transaction.atomic():
        return funds.add_grant(amount_nano=1, source="gift", key=str(uuid7()))[0].id


def _payment(company: Company) -> uuid.UUID:
    with company.scope(), transaction.atomic():
        return entries.top_up(amount_nano=1, reference=str(uuid7()))[0].id


def _invoice(company: Company) -> uuid.UUID:
    """A final invoice of the company's, of one line."""
    with company.scope(), transaction.atomic():
        made = Invoice.objects.create(
            tenant_id=company.id,
            since=datetime(2001, 1, 1, tzinfo=UTC),
            until=datetime(2001, 1, 1, tzinfo=UTC) + timedelta(seconds=uuid7().int % 10**9),
            until_tx=1,
            time_zone="UTC",
            lines=1,
        )
        InvoiceLine.objects.create(
            tenant_id=company.id, invoice=made, position=1, kind="plan", description="A plan", amount_nano=0
        )
        number = Invoice.objects.filter(kind="invoice").aggregate(last=Max("number"))["last"] or 0
        made.state, made.number, made.label = "final", number + 1, f"ISOLATED-{number + 1}"
        made.save()
    return made.id


def _of_invoice(company: Company) -> Made:
    return Made(ids={"invoice_id": _invoice(company)})


def _of_line(company: Company) -> Made:
    invoice = _invoice(company)
    with company.scope(), transaction.atomic():
        line = InvoiceLine.objects.get(invoice_id=invoice)
    return Made(ids={"invoice_id": invoice, "line_id": line.id})


BILL = "billing/invoices/<uuid:invoice_id>"
ONE = "billing/budgets/<uuid:budget_id>"

CALLS = (
    Call("GET", "usage", lambda company: Made(listed=(_usage(company),))),
    Call("GET", "billing/usage", lambda company: Made(listed=(_usage(company),))),
    Call("GET", "billing/reports/usage"),
    Call("GET", "billing/reports/top", lambda company: Made(listed=(_spender(company),))),
    Call("GET", "billing/reports/forecast"),
    Call("GET", "billing/reports/anomalies"),
    Call("GET", "billing/balance"),
    Call("GET", "billing/plans"),
    Call("GET", "billing/subscription", _subscribed()),
    Call("PUT", "billing/subscription", _subscribed({"plan": "isolation"})),
    Call("PATCH", "billing/subscription", _subscribed({"cancel_at_period_end": False})),
    Call("POST", "billing/plan-previews", lambda company: Made(body={"plan": _plan().slug})),
    Call("GET", "billing/payment-options"),
    Call("GET", "billing/credits", lambda company: Made(listed=(_credit(company),))),
    Call("GET", "billing/payments", lambda company: Made(listed=(_payment(company),))),
    # No payments are taken online here; tests/billing/test_plans_api.py is where they are.
    Call("POST", "billing/top-ups", lambda company: Made(body={"amount_nano": 10**10}), status=404),
    Call("POST", "billing/checkouts", lambda company: Made(body={"plan": _plan().slug}), status=404),
    Call("POST", "billing/stripe/webhook", public=True, status=404),
    Call("GET", "billing/budgets", lambda company: Made(listed=(_budget(company),))),
    Call("POST", "billing/budgets", _new_budget, status=201),
    Call("GET", ONE, lambda company: Made(ids={"budget_id": _budget(company)})),
    Call("PATCH", ONE, lambda company: Made(ids={"budget_id": _budget(company)}, body={"limit": 10**16})),
    Call("DELETE", ONE, lambda company: Made(ids={"budget_id": _budget(company)}), status=204),
    Call("GET", "billing/profile"),
    Call("PUT", "billing/profile", lambda company: Made(body={"name": "A company"})),
    Call("GET", "billing/invoices", lambda company: Made(listed=(_invoice(company),))),
    Call("GET", BILL, _of_invoice),
    Call("POST", f"{BILL}/checkout", _of_invoice, status=404),
    Call("GET", f"{BILL}/lines", _of_invoice),
    Call("GET", f"{BILL}/lines/<uuid:line_id>/usage", _of_line),
    Call("GET", f"{BILL}/pdf", _of_invoice),
    Call("GET", f"{BILL}/csv", _of_invoice),
    Call("GET", f"{BILL}/json", _of_invoice),
    Call("GET", "billing/alerts", lambda company: Made(listed=(_alert(company),))),
)
