"""A tenant's subscription: begun, changed, renewed, cancelled. Each step is one transaction with the tenant's books locked,
is in its audit, and done twice is done once.

    trialing ──> active ──> past_due ──> suspended
                   ^            └────────────┘   paid (`billing.services.dunning`)
    any ──> cancelled ──> a new subscription
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone

from billing.invoices import settling
from billing.invoices.closing import close_period
from billing.models import Plan, PlanCharge, Subscription
from billing.periods import following_boundary, next_boundary, seconds, share_of, zone_of
from billing.plan_models import MAX_NANO
from billing.posting import Transfer, lock_books, post
from billing.services.funds import add_grant, limit_by_credit
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant
from tenants.notifications import Audience, notify
from tenants.principals import Principal
from tenants.services.audit import record

TRIAL_REMINDER = timedelta(days=3)
PREPAID_KINDS = frozenset({"free", "prepaid"})
OWING = frozenset({"past_due", "suspended"})
LINK = "/console/billing"
MAX_PERIODS_AT_ONCE = 24
"""A subscription that nobody looked after for longer catches up over several runs."""


class NoSubscription(NotFound):
    """There is no subscription."""

    code = "no_subscription"


def current_subscription() -> Subscription:
    """The tenant's subscription, with its books locked. Raises `NoSubscription`."""
    lock_books()
    found = Subscription.objects.select_related("plan", "next_plan").first()
    if found is None:
        raise NoSubscription
    return found


def subscribe(
    *, plan: Plan, seats: int = 1, actor: Principal | None = None, with_trial: bool = True, now: datetime | None = None
) -> Subscription:
    """Begin a subscription, with the plan's trial if the tenant never had one. Raises `Conflict` where another is in force, or
    where an invoice is overdue (but not to operators), and `InvalidRequest` for a number of seats that can't be."""
    moment = now or timezone.now()
    lock_books()
    found = Subscription.objects.select_related("plan").first()
    if found is not None and found.state != "cancelled":
        if (found.plan_id, found.seats) == (plan.id, seats):
            return found
        raise Conflict("There is a subscription already: change that one.")
    check_seats(plan, seats)
    if actor is not None:
        check_nothing_overdue()
    sub = found or Subscription(tenant_id=current_tenant_id())
    tries = with_trial and plan.trial_days > 0 and not sub.has_tried
    sub.plan, sub.seats = plan, seats
    sub.next_plan = sub.next_seats = sub.past_due_since = None
    sub.cancel_at_period_end = False
    sub.period_start = moment
    if tries:
        sub.state, sub.has_tried = "trialing", True
        sub.period_end = moment + timedelta(days=plan.trial_days)
        sub.anchor_day = sub.period_end.astimezone(tenants_zone()).day
    else:
        sub.state = "active"
        sub.anchor_day = moment.astimezone(tenants_zone()).day
        sub.period_end = boundary_after(moment, sub)
    begin_period(sub)
    save(sub, moment)
    note(sub, "subscription.started", actor, plan=plan.slug, version=plan.version, seats=seats, trial=tries)
    return sub


def change_plan(
    *, plan: Plan, seats: int | None = None, actor: Principal | None = None, now: datetime | None = None
) -> Subscription:
    """Change to another plan or number of seats. What costs as much or more begins at once: the rest of the period is
    charged anew and what was paid for it is given back, by the second, each rounded down to a whole nano-dollar. What
    costs less begins with the next period.

    Raises `NoSubscription`, `InvalidRequest`, and `Conflict` while a payment is due.
    """
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state == "cancelled":
        return subscribe(plan=plan, seats=seats or 1, actor=actor, now=moment)
    if sub.state in OWING:
        raise Conflict("A payment is due: the plan can be changed when it has come in.")
    wanted = sub.seats if seats is None else seats
    check_seats(plan, wanted)
    if (plan.id, wanted) == (sub.plan_id, sub.seats):
        sub.next_plan = sub.next_seats = None
        action = "subscription.kept"
    elif begins_later(sub, plan, wanted):
        sub.next_plan, sub.next_seats = plan, wanted
        action = "subscription.will_change"
    else:
        _change_now(sub, plan, wanted, moment)
        action = "subscription.changed"
    save(sub, moment)
    note(sub, action, actor, plan=plan.slug, version=plan.version, seats=wanted)
    return sub


@dataclass(frozen=True, slots=True)
class Prorated:
    """What a change within a period moves, in nano-USD: given back of what was paid for the rest of it, charged anew for it,
    and given of the additional included credit."""

    back_nano: int = 0
    anew_nano: int = 0
    credit_nano: int = 0


def begins_later(sub: Subscription, plan: Plan, seats: int) -> bool:
    """Whether a change waits for the next period: to what costs less, unless nothing was paid for this one."""
    return sub.state != "trialing" and fee(plan, seats) < fee(sub.plan, sub.seats)


def prorated(sub: Subscription, plan: Plan, seats: int, moment: datetime) -> Prorated:
    """What a change that begins at once moves: nothing within a trial."""
    if sub.state != "active":
        return Prorated()
    whole = seconds(sub.period_start, sub.period_end)
    rest = min(max(0, seconds(moment, sub.period_end)), whole)
    return Prorated(
        back_nano=share_of(fee(sub.plan, sub.seats), part_s=rest, whole_s=whole),
        anew_nano=share_of(fee(plan, seats), part_s=rest, whole_s=whole),
        credit_nano=share_of(max(0, plan.included_nano - sub.included_nano), part_s=rest, whole_s=whole),
    )


def _change_now(sub: Subscription, plan: Plan, seats: int, moment: datetime) -> None:
    moved = prorated(sub, plan, seats, moment)
    change = f"{moment.isoformat()} {sub.plan.slug} {sub.plan.version} {sub.seats}"
    charge(sub, "proration_credit", f"back {change}", moved.back_nano, since=moment)
    charge(sub, "proration", f"anew {change}", moved.anew_nano, since=moment, plan=plan, seats=seats)
    if moved.credit_nano:
        ends = credit_ends(plan, sub)
        add_grant(amount_nano=moved.credit_nano, source="plan", key=f"change {change}", expires_at=ends)
    sub.plan, sub.seats = plan, seats
    sub.included_nano = max(sub.included_nano, plan.included_nano)
    sub.next_plan = sub.next_seats = None
    limit_by_credit(is_hard=is_prepaid(sub))


def cancel(
    *, actor: Principal | None = None, at_once: bool = False, reason: str = "", now: datetime | None = None
) -> Subscription:
    """End the subscription with its period, or at once. Credit that was bought stays, until it expires. One that is suspended
    stays so until what is due is paid: nobody gets rid of a debt by cancelling. Raises `NoSubscription`."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state == "cancelled" or (sub.cancel_at_period_end and not at_once):
        return sub
    if at_once:
        _end(sub, moment)
        action = "subscription.cancelled"
    else:
        sub.cancel_at_period_end = True
        action = "subscription.will_end"
    save(sub, moment)
    note(sub, action, actor, reason=reason[:200])
    return sub


def keep(*, actor: Principal | None = None, now: datetime | None = None) -> Subscription:
    """Take a cancellation back before the period has ended. Raises `NoSubscription`."""
    sub = current_subscription()
    if sub.cancel_at_period_end:
        sub.cancel_at_period_end = False
        save(sub, now or timezone.now())
        note(sub, "subscription.kept", actor)
    return sub


def end_trial(*, now: datetime | None = None) -> Subscription:
    """End a trial before its time, where there is one: the plan was paid for, and its first period begins. Raises
    `NoSubscription`."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state == "trialing":
        sub.state = "active"
        begin_whole_period(sub, moment)
        save(sub, moment)
        note(sub, "subscription.renewed", None, period_start=moment.isoformat())
    return sub


def renew(*, now: datetime | None = None) -> int:
    """Begin the periods whose time has come; a trial that is over becomes a subscription, one that was cancelled ends. How
    many began. Nothing is renewed while it is suspended; what was used before is for an invoice all the same."""
    moment = now or timezone.now()
    sub = current_subscription()
    if sub.state == "suspended" and sub.period_end <= moment:
        close_period(until=sub.period_end)
    begun = 0
    while begun < MAX_PERIODS_AT_ONCE and sub.period_end <= moment and sub.state not in ("suspended", "cancelled"):
        if sub.cancel_at_period_end:
            _end(sub, moment)
            note(sub, "subscription.cancelled", None)
            break
        _take_next_plan(sub)
        if sub.state == "trialing":
            sub.state = "active"
        sub.period_start = sub.period_end
        sub.period_end = period_after(sub.period_start, sub)
        begin_period(sub)
        note(sub, "subscription.renewed", None, period_start=sub.period_start.isoformat())
        begun += 1
    save(sub, moment)
    return begun


def go_on(sub: Subscription, moment: datetime) -> None:
    """What was due of it is paid. Where its period ended while it was suspended, a whole one begins now, of the plan that was to
    be next; or it ends, if it was cancelled."""
    was_suspended = sub.state == "suspended"
    sub.state, sub.past_due_since = "active", None
    if sub.period_end > moment or not was_suspended:
        return
    if sub.cancel_at_period_end:
        _end(sub, moment)
        note(sub, "subscription.cancelled", None)
        return
    _take_next_plan(sub)
    begin_whole_period(sub, moment)


def begin_whole_period(sub: Subscription, moment: datetime) -> None:
    """Begin a month now, on whatever day others began."""
    sub.anchor_day = moment.astimezone(tenants_zone()).day
    sub.period_start, sub.period_end = moment, boundary_after(moment, sub)
    begin_period(sub)


def begin_period(sub: Subscription) -> None:
    """Charge the period's fee, give its credit, each once, and let the credit limit what may be used if the plan says so.
    What was before is for an invoice, and so is the fee."""
    start = sub.period_start.isoformat()
    if sub.state != "trialing":
        charge(sub, "period", f"period {start}", fee(sub.plan, sub.seats), since=sub.period_start)
    limit_by_credit(is_hard=is_prepaid(sub))
    sub.included_nano = sub.plan.included_nano
    if sub.plan.included_nano:
        add_grant(
            amount_nano=sub.plan.included_nano,
            source="plan",
            key=f"period {start}",
            expires_at=credit_ends(sub.plan, sub),
        )
    close_period(until=sub.period_start)


def charge(
    sub: Subscription,
    kind: str,
    key: str,
    amount_nano: int,
    *,
    since: datetime,
    plan: Plan | None = None,
    seats: int | None = None,
) -> None:
    """Charge for the plan until the period's end, or give that back, once for each `key`."""
    if not amount_nano or PlanCharge.objects.filter(key=key).exists():
        return
    made = PlanCharge.objects.create(
        tenant_id=sub.tenant_id,
        key=key,
        kind=kind,
        plan=plan or sub.plan,
        seats=seats or sub.seats,
        amount_nano=amount_nano,
        since=since,
        until=sub.period_end,
    )
    accounts = ("revenue", "customer") if kind == "proration_credit" else ("customer", "revenue")
    post(Transfer(made.id, "plan", *accounts, amount_nano))


def fee(plan: Plan, seats: int) -> int:
    """What a period costs, in nano-USD."""
    return plan.price_nano * (seats if plan.kind == "seat" else 1)


def is_prepaid(sub: Subscription) -> bool:
    """Whether credit is all that may be used: of free and prepaid plans, in every trial, and when it has ended."""
    return sub.plan.kind in PREPAID_KINDS or sub.state in ("trialing", "cancelled")


def credit_ends(plan: Plan, sub: Subscription) -> datetime | None:
    """When credit that is given in this period expires."""
    if sub.state == "trialing" or plan.included_lasts == "period":
        return sub.period_end
    return period_after(sub.period_end, sub) if plan.included_lasts == "next_period" else None


def check_seats(plan: Plan, seats: int) -> None:
    """Raise `InvalidRequest` for more seats than the plan has, or none, or a fee beyond all bounds."""
    if not 1 <= seats <= plan.max_seats or fee(plan, seats) > MAX_NANO:
        raise InvalidRequest(f"This plan is for 1 to {plan.max_seats} seats.", details={"param": "seats"})


def check_nothing_overdue() -> None:
    """Raise `Conflict` where an invoice waits for its payment too long: nobody gets rid of it by a new subscription."""
    if settling.is_overdue():
        raise Conflict("An invoice is overdue: a plan can begin when it is paid.")


def tenants_zone() -> ZoneInfo:
    """The time zone in which the tenant's periods begin."""
    return zone_of(Tenant.objects.values_list("timezone", flat=True).get(id=current_tenant_id()))


def boundary_after(moment: datetime, sub: Subscription) -> datetime:
    """When the period that `moment` is in ends."""
    return next_boundary(moment, anchor_day=sub.anchor_day, zone=tenants_zone())


def period_after(boundary: datetime, sub: Subscription) -> datetime:
    """When the period that begins at such a boundary ends, also where the tenant's time zone was another when it was set."""
    return following_boundary(boundary, anchor_day=sub.anchor_day, zone=tenants_zone())


def save(sub: Subscription, moment: datetime) -> None:
    """Write it, with the moment at which something is to be done next."""
    sub.due_at = _due_at(sub, moment)
    sub.save()


def note(sub: Subscription, action: str, actor: Principal | None, **data: object) -> None:
    """Into the tenant's audit."""
    record(action=action, subject_kind="subscription", subject_id=sub.id, actor=actor, data=data)


def tell(sub: Subscription, topic: str, *, once: str, subject: str, text: str) -> None:
    """Tell those who look after the tenant's plan, once."""
    notify(
        tenant_id=sub.tenant_id,
        topic=topic,
        once_key=f"{topic} {once}",
        audience=Audience(permission="billing.manage"),
        subject=subject,
        text=text,
        link=LINK,
        data={"plan": sub.plan.slug, "state": sub.state, "period_end": sub.period_end.isoformat()},
    )


def _take_next_plan(sub: Subscription) -> None:
    if sub.next_plan is not None:
        sub.plan, sub.seats = sub.next_plan, sub.next_seats or sub.seats
        sub.next_plan = sub.next_seats = None


def _end(sub: Subscription, moment: datetime) -> None:
    sub.state, sub.past_due_since, sub.cancel_at_period_end = "cancelled", None, False
    sub.next_plan = sub.next_seats = None
    limit_by_credit(is_hard=True)
    close_period(until=moment)
    tell(
        sub,
        "subscription.cancelled",
        once=moment.isoformat(),
        subject=f"The plan {sub.plan.name} has ended",
        text="The platform's models can't be used any more. Models by keys of your own can.",
    )


def _due_at(sub: Subscription, moment: datetime) -> datetime | None:
    if sub.state == "cancelled":
        return None
    if sub.state == "suspended":
        return sub.period_end if sub.period_end > moment else None
    times = [sub.period_end]
    if sub.state == "trialing" and (reminder := sub.period_end - TRIAL_REMINDER) > moment:
        times.append(reminder)
    if sub.past_due_since is not None:
        grace = timedelta(days=sub.plan.grace_days)
        times.append(sub.past_due_since + grace)
        if (halfway := sub.past_due_since + grace / 2) > moment:
            times.append(halfway)
    return min(times)
