"""What tenants have agreed to pay and what they have in advance: plans, subscriptions, credit."""

from typing import Any, ClassVar

from django.db import models

from billing.ledger_models import Budget
from kernel.constraints import TenantForeignKey
from kernel.ids import uuid7
from kernel.models import TenantModel, unique_in_tenant

PLAN_KINDS = ("free", "seat", "prepaid", "payg")
CREDIT_LASTS = ("period", "next_period", "forever")
SUBSCRIPTION_STATES = ("trialing", "active", "past_due", "suspended", "cancelled")
GRANT_SOURCES = ("plan", "topup", "gift", "refund")
CHARGE_KINDS = ("period", "proration", "proration_credit")
MAX_SEATS = 100_000
MAX_NANO = 10**17
"""A hundred million dollars: no price, grant or payment is larger, so sums of them fit their columns."""


def _choices(values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


def _one_of(table: str, field: str, values: tuple[str, ...]) -> models.CheckConstraint:
    return models.CheckConstraint(name=f"{table}_{field}", condition=models.Q(**{f"{field}__in": values}))


class Plan(models.Model):
    """What the platform offers. Its terms are immutable: new terms are a new version, and who has an older one keeps it.

    `free` and `prepaid` can't use more than there is credit; `seat` and `payg` are billed afterwards for what passes it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.CharField(max_length=64)
    version = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=8, choices=_choices(PLAN_KINDS))
    price_nano = models.BigIntegerField(default=0, help_text="nano-USD a month, of `seat` for each seat")
    included_nano = models.BigIntegerField(default=0, help_text="credit given each period, in nano-USD")
    included_lasts = models.CharField(
        max_length=12, choices=_choices(CREDIT_LASTS), default="period", help_text="how long that credit can be used"
    )
    markup_bps = models.IntegerField(
        null=True, blank=True, help_text="on cost, in hundredths of a percent; null: the price book"
    )
    trial_days = models.PositiveSmallIntegerField(default=0)
    grace_days = models.PositiveSmallIntegerField(default=7, help_text="from a payment that failed to suspension")
    max_seats = models.PositiveIntegerField(default=MAX_SEATS)
    is_offered = models.BooleanField(default=True, help_text="tenants may choose it; operators may give any")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["slug", "version"], name="plan_key"),
            models.CheckConstraint(
                name="plan_slug_form", condition=models.Q(slug__regex=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")
            ),
            _one_of("plan", "kind", PLAN_KINDS),
            _one_of("plan", "included_lasts", CREDIT_LASTS),
            models.CheckConstraint(
                name="plan_amounts",
                condition=models.Q(price_nano__range=(0, MAX_NANO), included_nano__range=(0, MAX_NANO)),
            ),
            models.CheckConstraint(
                name="plan_markup",
                condition=models.Q(markup_bps=None) | models.Q(markup_bps__range=(-10_000, 1_000_000)),
            ),
            models.CheckConstraint(
                name="plan_bounds",
                condition=models.Q(
                    trial_days__lte=365, grace_days__lte=365, max_seats__gte=1, max_seats__lte=MAX_SEATS, version__gte=1
                ),
            ),
        ]


class Subscription(TenantModel):
    """A tenant's plan. There is one row at most, used again after it ended; what it was before is in the audit and in its
    charges.

    A period is `[period_start, period_end)`; `anchor_day` (1 to 31, of the tenant's time zone) is when the next begins,
    in a shorter month its last day. `due_at` is when something is to be done by itself.
    """

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=12, choices=_choices(SUBSCRIPTION_STATES))
    seats = models.PositiveIntegerField(default=1)
    anchor_day = models.PositiveSmallIntegerField()
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    included_nano = models.BigIntegerField(default=0, help_text="the most that a plan of this period comes with")
    has_tried = models.BooleanField(default=False, help_text="a tenant has one trial")
    next_plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    next_seats = models.PositiveIntegerField(null=True)
    cancel_at_period_end = models.BooleanField(default=False)
    past_due_since = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("subscription"),
            models.UniqueConstraint(fields=["tenant"], name="subscription_one", condition=~models.Q(state="cancelled")),
            _one_of("subscription", "state", SUBSCRIPTION_STATES),
            models.CheckConstraint(name="subscription_anchor", condition=models.Q(anchor_day__range=(1, 31))),
            models.CheckConstraint(name="subscription_seats", condition=models.Q(seats__range=(1, MAX_SEATS))),
            models.CheckConstraint(
                name="subscription_period", condition=models.Q(period_end__gt=models.F("period_start"))
            ),
            models.CheckConstraint(
                name="subscription_owing",
                condition=models.Q(state__in=("past_due", "suspended"), past_due_since__isnull=False)
                | (~models.Q(state__in=("past_due", "suspended")) & models.Q(past_due_since=None)),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["due_at"], name="subscription_due", condition=models.Q(due_at__isnull=False))
        ]


class PlanCharge(TenantModel):
    """What a plan costs for a time, or (`proration_credit`) what is given back of that. In the books with its own id as
    the source; an invoice lists it. `key` says for what it is, once."""

    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=_choices(CHARGE_KINDS))
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+", db_index=False)
    seats = models.PositiveIntegerField()
    amount_nano = models.BigIntegerField()
    since = models.DateTimeField()
    until = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("plan_charge"),
            models.UniqueConstraint(fields=["tenant", "key"], name="plan_charge_key"),
            _one_of("plan_charge", "kind", CHARGE_KINDS),
            models.CheckConstraint(name="plan_charge_amount", condition=models.Q(amount_nano__gt=0)),
        ]


class Funds(TenantModel):
    """What a tenant has in advance, one row, made with its books locked. Its `budget` (scope `funds`) is what requests are
    held against.

    `uncovered_nano` is what was used beyond all credit there was by then, and is owed. `needs_check`: what is held passes
    what is left, since credit was taken back; its limit is worked out again when that has ended.
    """

    budget = models.ForeignKey(
        Budget, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    uncovered_nano = models.BigIntegerField(default=0)
    needs_check = models.BooleanField(default=False)
    low_at_nano = models.BigIntegerField(default=0, help_text="people are told when less than this is left")
    low_told_at = models.DateTimeField(null=True, help_text="when they were; None: there is more, or it wasn't noticed")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("funds"),
            models.UniqueConstraint(fields=["tenant", "budget"], name="funds_budget_key"),
            TenantForeignKey(name="funds_budget_fk", field="budget"),
            models.CheckConstraint(name="funds_uncovered", condition=models.Q(uncovered_nano__gte=0)),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant"], name="funds_to_check", condition=models.Q(needs_check=True))
        ]


class CreditGrant(TenantModel):
    """Credit that was given or bought. What was used is drawn (`allocated_nano`) from the open grant of the lowest
    `priority`, then the one that expires first, then the oldest. `key` says for what it was given, once."""

    key = models.CharField(max_length=200)
    source = models.CharField(max_length=8, choices=_choices(GRANT_SOURCES))
    amount_nano = models.BigIntegerField()
    priority = models.SmallIntegerField()
    expires_at = models.DateTimeField(null=True)
    allocated_nano = models.BigIntegerField(default=0)
    expired_nano = models.BigIntegerField(default=0)
    withdrawn_nano = models.BigIntegerField(default=0, help_text="taken back: a refund, a disputed payment")
    expiries = models.PositiveSmallIntegerField(default=0, help_text="in how many steps it has expired")
    is_open = models.BooleanField(default=True, help_text="there is something left of it")
    note = models.CharField(max_length=200, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("credit_grant"),
            models.UniqueConstraint(fields=["tenant", "key"], name="credit_grant_key"),
            _one_of("credit_grant", "source", GRANT_SOURCES),
            models.CheckConstraint(name="credit_grant_amount", condition=models.Q(amount_nano__range=(1, MAX_NANO))),
            models.CheckConstraint(
                name="credit_grant_parts",
                condition=models.Q(
                    allocated_nano__gte=0,
                    expired_nano__gte=0,
                    withdrawn_nano__gte=0,
                    amount_nano__gte=models.F("allocated_nano") + models.F("expired_nano") + models.F("withdrawn_nano"),
                ),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "priority"], name="credit_grant_open", condition=models.Q(is_open=True)),
            models.Index(
                fields=["expires_at"],
                name="credit_grant_expiry",
                condition=models.Q(is_open=True, expires_at__isnull=False),
            ),
        ]

    @property
    def left_nano(self) -> int:
        """What can still be drawn of it."""
        return self.amount_nano - self.allocated_nano - self.expired_nano - self.withdrawn_nano
