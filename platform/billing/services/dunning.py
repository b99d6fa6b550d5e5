"""What follows when a payment doesn't come in, and when it does; and reminders. A subscription stays usable for the plan's
days of grace, then the platform's models are refused until it is paid."""

from datetime import datetime, timedelta

from django.utils import timezone

from billing.invoices import settling
from billing.models import Subscription
from billing.services import subscriptions
from billing.services.subscriptions import (
    OWING,
    TRIAL_REMINDER,
    current_subscription,
    note,
    save,
    tell,
)
from tenants.principals import Principal


def payment_failed(*, reason: str = "", actor: Principal | None = None, now: datetime | None = None) -> Subscription:
    """A payment is due and didn't come: the days of grace begin. Of a subscription that owes already nothing changes."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state != "active":
        return sub
    sub.state, sub.past_due_since = "past_due", moment
    save(sub, moment)
    note(sub, "subscription.past_due", actor, reason=reason[:200])
    days = sub.plan.grace_days
    tell(
        sub,
        "subscription.past_due",
        once=moment.isoformat(),
        subject=f"A payment for the plan {sub.plan.name} is due",
        text=f"Without it the platform's models can't be used any more in {days} days.",
    )
    return sub


def payment_came(*, actor: Principal | None = None, now: datetime | None = None) -> Subscription:
    """What was due is paid: the subscription goes on, or ends, if it was cancelled and its period is over."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state not in OWING:
        return sub
    subscriptions.go_on(sub, moment)
    save(sub, moment)
    if sub.state == "cancelled":
        return sub
    note(sub, "subscription.resumed", actor)
    tell(
        sub,
        "subscription.resumed",
        once=moment.isoformat(),
        subject=f"The plan {sub.plan.name} goes on",
        text="The payment has come in.",
    )
    return sub


def go_on(*, actor: Principal | None = None, now: datetime | None = None) -> None:
    """Something was paid, or is asked no more: the subscription goes on, if there is one and nothing is overdue any more."""
    if Subscription.objects.exists() and not settling.is_overdue():
        payment_came(actor=actor, now=now)


def suspend(*, actor: Principal | None = None, reason: str = "", now: datetime | None = None) -> Subscription:
    """Refuse the platform's models until it is paid."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state in ("suspended", "cancelled"):
        return sub
    sub.state, sub.past_due_since = "suspended", sub.past_due_since or moment
    save(sub, moment)
    note(sub, "subscription.suspended", actor, reason=reason[:200])
    tell(
        sub,
        "subscription.suspended",
        once=moment.isoformat(),
        subject=f"The plan {sub.plan.name} is suspended",
        text="The platform's models can't be used until the payment has come in. Models by keys of your own can.",
    )
    return sub


def look_after(*, now: datetime | None = None) -> None:
    """Suspend when the days of grace are over, and remind before; remind of a trial's end. The time of the next look is
    written down."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.past_due_since is not None and sub.state == "past_due":
        grace = timedelta(days=sub.plan.grace_days)
        if sub.past_due_since + grace <= moment:
            suspend(reason="not paid within the days of grace", now=moment)
            return
        if sub.past_due_since + grace / 2 <= moment:
            tell(
                sub,
                "subscription.past_due",
                once=f"{sub.past_due_since.isoformat()} again",
                subject=f"A payment for the plan {sub.plan.name} is still due",
                text="Without it the platform's models can't be used any more "
                f"from {sub.past_due_since + grace:%Y-%m-%d %H:%M} UTC on.",
            )
    if sub.state == "trialing" and sub.period_end - TRIAL_REMINDER <= moment < sub.period_end:
        tell(
            sub,
            "subscription.trial_ending",
            once=sub.period_end.isoformat(),
            subject=f"The trial of the plan {sub.plan.name} ends soon",
            text=f"It ends at {sub.period_end:%Y-%m-%d %H:%M} UTC; then the plan is charged, unless it is cancelled before.",
        )
    save(sub, moment)
