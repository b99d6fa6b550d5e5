"""Alerts of budgets, told: by e-mail, in the app and by webhook (`tenants.notifications`), each once.

The ledger writes an alert in the transaction that passed the threshold, or that first refused. What is told here is marked after
it was handed over; a crash in between hands it over again, under the key by which it is known."""

import uuid
from decimal import Decimal

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from billing.models import Alert, Budget
from billing.services.budgets import Subject
from kernel.errors import ParleyError
from kernel.tenancy import tenant_scope
from tenants.models import ApiKey
from tenants.notifications import Audience, notify

log = structlog.get_logger(__name__)

PLATFORM = "platform"
MAX_ALERTS = 500
"""At a time; the rest the next time."""
THRESHOLD_REACHED = "budget.threshold_reached"
REFUSED = "budget.refused"
LINK = "/console/budgets"
_WHAT = {
    "tenant": "the organisation",
    "funds": "what was paid in advance",
    "member": "a member",
    "group": "a group",
    "key": "an API key",
    "room": "a room",
}


def tell_alerts() -> int:
    """Tell what hasn't been told; one that can't be now is logged, and told the next time. How many."""
    told = 0
    for alert in list(Alert.objects.using(PLATFORM).filter(told_at=None).order_by("at")[:MAX_ALERTS]):
        try:
            _hand_over(alert)
        except (ParleyError, DatabaseError):
            log.exception("budget_alert_not_told", tenant=str(alert.tenant_id), budget=str(alert.budget_id))
            continue
        log.info("budget_alert_told", tenant=str(alert.tenant_id), budget=str(alert.budget_id), at=alert.threshold)
        told += 1
    return told


def _hand_over(alert: Alert) -> None:
    with tenant_scope(alert.tenant_id), transaction.atomic():
        budget = Budget.objects.filter(id=alert.budget_id).first()
        if budget is not None:
            _tell(alert, budget)
    Alert.objects.using(PLATFORM).filter(id=alert.id, tenant_id=alert.tenant_id).update(told_at=timezone.now())


def _tell(alert: Alert, budget: Budget) -> None:
    subject = Subject.of(budget.scope)
    label = f"“{budget.name}”" if budget.name else f"for {_what(subject)}"
    used, limit = amount_text(budget.measure, alert.settled), amount_text(budget.measure, alert.limit_amount)
    if alert.threshold:
        topic, said = THRESHOLD_REACHED, f"{alert.threshold} % of the budget {label} is used"
        text = f"{used} of {limit} are used {_WHEN[budget.period]}."
        text += _WHAT_THEN[budget.mode] if alert.threshold >= 100 else ""
    else:
        topic, said = REFUSED, f"The budget {label} refuses requests"
        text = (
            f"A request was refused: {used} of {limit} are used {_WHEN[budget.period]}, and too little is left for it."
        )
    notify(
        tenant_id=alert.tenant_id,
        topic=topic,
        once_key=f"budget {alert.budget_id} {alert.period_start} {alert.threshold}",
        audience=Audience(permission="usage.read", memberships=_concerned(subject)),
        subject=said,
        text=text,
        link=LINK,
        data={
            "alert_id": str(alert.id),
            "budget_id": str(budget.id),
            "scope": budget.scope,
            "measure": budget.measure,
            "limit": alert.limit_amount,
            "settled": alert.settled,
            "percent": alert.threshold or None,
            "period_start": alert.period_start.isoformat(),
        },
    )


_WHEN = {"day": "today", "month": "this month", "total": "in all"}
_WHAT_THEN = {
    "hard": " Requests that don't fit are refused.",
    "soft": " Requests go on.",
    "shadow": " Requests go on; those that a hard budget would refuse are counted.",
}


def _what(subject: Subject) -> str:
    return f"the model {subject.model}"[:120] if subject.kind == "model" else _WHAT[subject.kind]


def _concerned(subject: Subject) -> tuple[uuid.UUID, ...]:
    """The memberships that a budget is about, beside those who see all."""
    if subject.id is None:
        return ()
    if subject.kind == "member":
        return (subject.id,)
    if subject.kind == "key":
        return tuple(ApiKey.objects.filter(id=subject.id).values_list("membership_id", flat=True))
    return ()


def amount_text(measure: str, amount: int) -> str:
    """For people: dollars to the cent, finer where there is less than one."""
    if measure == "tokens":
        return f"{amount:,} tokens"
    dollars = Decimal(amount).scaleb(-9)
    return f"${dollars:,.2f}" if amount >= 10_000_000 or not amount else f"${dollars.normalize():f}"
