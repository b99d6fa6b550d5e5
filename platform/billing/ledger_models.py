"""The ledger and what guards it: accounts, entries, holds, budgets. Only the definer functions of `billing.ledger` write
accounts, entries, holds and balances; everybody else reads them."""

import uuid
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from billing.types import ACCOUNTS
from kernel.models import TenantModel, unique_in_tenant

HOLD_STATES = ("reserved", "sent", "streaming")


class Account(models.Model):
    """One of a tenant's accounts. Its totals are kept in the transaction of each entry; the balance is their difference."""

    pk = models.CompositePrimaryKey("tenant_id", "kind")
    tenant_id = models.UUIDField()
    kind = models.CharField(max_length=20, choices=[(kind, kind) for kind in ACCOUNTS])
    debits_nano = models.BigIntegerField(default=0)
    credits_nano = models.BigIntegerField(default=0)

    class Meta:
        managed = False
        db_table = "billing_account"


class Entry(models.Model):
    """A transfer of `amount_nano` from one account to another: debited here, credited there, so the books balance by
    construction. Append-only; partitioned by month of `source_id` (a UUIDv7), so its key is unique for ever.

    `source_id` is what it is posted for: a request, a grant, an invoice. A correction is an entry with the accounts
    swapped that `reverses` the wrong one's `source_id`.
    """

    pk = models.CompositePrimaryKey("tenant_id", "source_id", "kind", "line")
    tenant_id = models.UUIDField()
    source_id = models.UUIDField()
    kind = models.CharField(max_length=20)
    line = models.SmallIntegerField()
    debit = models.CharField(max_length=20)
    credit = models.CharField(max_length=20)
    amount_nano = models.BigIntegerField()
    at = models.DateTimeField()
    reverses = models.UUIDField(null=True)
    reason = models.CharField(max_length=200, default="")

    class Meta:
        managed = False
        db_table = "billing_entry"


class Hold(models.Model):
    """What one request may cost at most, reserved until it is settled. Gone when it is; `facts` say how to bill what there
    was by `checkpoint_…` when its process died. One of state `allowance` is no request's (`billing.allowances`).
    """

    pk = models.CompositePrimaryKey("tenant_id", "request_id")
    tenant_id = models.UUIDField()
    request_id = models.UUIDField()
    state = models.CharField(max_length=16)
    amount_nano = models.BigIntegerField()
    tokens = models.BigIntegerField()
    cap_tokens = models.BigIntegerField()
    budgets = ArrayField(models.UUIDField())
    periods = ArrayField(models.DateField())
    checkpoint_output = models.BigIntegerField(default=0)
    facts = models.JSONField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "billing_hold"


class Budget(TenantModel):
    """How much may be used by what `scope` names (`tenant`, `member:<id>`, `group:<id>`, `key:<id>`, `room:<id>`,
    `model:<alias>`; `funds` for what was paid or given in advance) in each period, in nano-USD or in tokens.

    `hard` refuses what would pass the limit, `soft` only tells, `shadow` counts what it would have refused.
    """

    name = models.CharField(max_length=120, default="")
    scope = models.CharField(max_length=240)
    measure = models.CharField(max_length=8, choices=[("nano", "nano"), ("tokens", "tokens")])
    period = models.CharField(max_length=8, choices=[("day", "day"), ("month", "month"), ("total", "total")])
    limit_amount = models.BigIntegerField(help_text="nano-USD or tokens, by the measure")
    mode = models.CharField(max_length=8, choices=[("hard", "hard"), ("soft", "soft"), ("shadow", "shadow")])
    thresholds = ArrayField(models.SmallIntegerField(), default=list, help_text="percent of the limit; each tells once")
    owner = models.CharField(
        max_length=16, choices=[("tenant", "tenant"), ("operator", "operator"), ("plan", "plan")], default="tenant"
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    tightened_at = models.DateTimeField(
        null=True, help_text="when its limit was last lowered, or began to bind: written by a trigger"
    )

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("budget"),
            models.CheckConstraint(name="budget_not_negative", condition=models.Q(limit_amount__gte=0)),
            models.CheckConstraint(name="budget_measure", condition=models.Q(measure__in=("nano", "tokens"))),
            models.CheckConstraint(name="budget_period", condition=models.Q(period__in=("day", "month", "total"))),
            models.CheckConstraint(name="budget_mode", condition=models.Q(mode__in=("hard", "soft", "shadow"))),
            models.CheckConstraint(name="budget_owner", condition=models.Q(owner__in=("tenant", "operator", "plan"))),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "scope"], name="budget_by_scope")]


class BudgetBalance(models.Model):
    """How a budget stands in one period: what is held for requests under way, what was settled, and how many requests
    a shadow budget would have refused.
    """

    pk = models.CompositePrimaryKey("tenant_id", "budget_id", "period_start")
    tenant_id = models.UUIDField()
    budget_id = models.UUIDField()
    period_start = models.DateField(help_text="in the tenant's time zone; of `total`, 1970-01-01")
    measure = models.CharField(max_length=8)
    held = models.BigIntegerField(default=0)
    settled = models.BigIntegerField(default=0)
    would_refuse = models.BigIntegerField(default=0)
    no_allowance_until = models.DateTimeField(
        null=True, help_text="somebody is short of it, and allowances have to end"
    )

    class Meta:
        managed = False
        db_table = "billing_budgetbalance"


class Alert(models.Model):
    """A budget passed a threshold in a period: written in the transaction that passed it, once."""

    pk = models.CompositePrimaryKey("tenant_id", "budget_id", "period_start", "threshold")
    tenant_id = models.UUIDField()
    budget_id = models.UUIDField()
    period_start = models.DateField()
    threshold = models.SmallIntegerField(help_text="percent of the limit")
    id = models.UUIDField(default=uuid.uuid4)
    settled = models.BigIntegerField()
    limit_amount = models.BigIntegerField()
    at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, help_text="when people were told")

    class Meta:
        managed = False
        db_table = "billing_alert"
