"""Example calls of billing."""

import uuid
from collections.abc import Callable

from django.db import transaction

from billing.models import Budget, Plan, Subscription
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
    Call("GET", "billing/alerts", lambda company: Made(listed=(_alert(company),))),
)
