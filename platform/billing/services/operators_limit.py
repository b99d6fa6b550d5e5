"""The monthly limit that an operator sets for a tenant (`manage.py tenant limit`), as a budget that the tenant can't change."""

import uuid

from django.db import transaction

from billing.models import Budget
from kernel.tenancy import tenant_scope
from tenants.epochs import announce_limits

PLATFORM = "platform"
NAME = "Limit set by the operator"
THRESHOLDS = (50, 80, 100)


def enforce_limit(tenant_id: uuid.UUID, monthly_limit_nano: int | None) -> None:
    """Make the tenant's limit a hard budget of each month; None lifts it. What was used this month counts on."""
    with tenant_scope(tenant_id), transaction.atomic(using=PLATFORM):
        budgets = Budget.objects.using(PLATFORM).filter(
            owner="operator", scope="tenant", measure="nano", period="month"
        )
        if monthly_limit_nano is None:
            budgets.update(active=False)
        elif not budgets.update(limit_amount=monthly_limit_nano, active=True):
            Budget.objects.using(PLATFORM).create(
                tenant_id=tenant_id,
                name=NAME,
                scope="tenant",
                measure="nano",
                period="month",
                limit_amount=monthly_limit_nano,
                mode="hard",
                thresholds=list(THRESHOLDS),
                owner="operator",
            )
        announce_limits(tenant_id)
