"""What choosing a plan would come to, before anybody does: by the same sums as the change itself, and nothing is written."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from billing.models import Plan, Subscription
from billing.services import checkouts
from billing.services.subscriptions import OWING, begins_later, check_nothing_overdue, check_seats, fee, prorated
from kernel.errors import Conflict


@dataclass(frozen=True, slots=True)
class Preview:
    """When it would begin, and what would be charged, given back and given as credit then, in nano-USD. `fee_nano` is each
    whole period's. `is_checkout`: it is begun at the payment provider's page."""

    starts_at: datetime
    charge_nano: int
    back_nano: int
    credit_nano: int
    fee_nano: int
    trial_ends_at: datetime | None
    is_checkout: bool


def preview(*, plan: Plan, seats: int, now: datetime | None = None) -> Preview:
    """What this plan with so many seats would come to now. Raises `InvalidRequest` for a number of seats that can't be, and
    `Conflict` while a payment is due, or for a plan without a price where the provider of payments collects for one."""
    moment = now or timezone.now()
    check_seats(plan, seats)
    sub = Subscription.objects.select_related("plan").first()
    if sub is not None and sub.state in OWING:
        raise Conflict("A payment is due: the plan can be changed when it has come in.")
    is_same = sub is not None and sub.state != "cancelled" and (sub.plan_id, sub.seats) == (plan.id, seats)
    is_online = checkouts.is_paid_online()
    if is_online:
        checkouts.check_changeable_online(plan, sub)
    if sub is None or sub.state == "cancelled":
        check_nothing_overdue()
    each = fee(plan, seats)
    is_checkout = bool(plan.price_nano and settings.STRIPE_SECRET_KEY and not is_same and not is_online)
    if sub is None or sub.state == "cancelled":
        tries = plan.trial_days > 0 and not (sub and sub.has_tried) and not is_checkout
        ends = moment + timedelta(days=plan.trial_days) if tries else None
        return Preview(moment, 0 if tries else each, 0, plan.included_nano, each, ends, is_checkout)
    if is_same:
        return Preview(moment, 0, 0, 0, each, None, is_checkout)
    if begins_later(sub, plan, seats):
        return Preview(sub.period_end, each, 0, plan.included_nano, each, None, is_checkout)
    if is_checkout and sub.state == "trialing":
        return Preview(moment, each, 0, plan.included_nano, each, None, is_checkout)
    if is_online:
        checkouts.check_nothing_to_come(sub)
    moved = prorated(sub, plan, seats, moment)
    return Preview(moment, moved.anew_nano, moved.back_nano, moved.credit_nano, each, None, is_checkout)
