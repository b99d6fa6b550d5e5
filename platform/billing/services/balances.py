"""How a tenant's account stands."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from django.db.models import F, Sum

from billing.holds import FUNDS
from billing.models import Account, Budget, BudgetBalance, UsageRecord
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """In nano-USD. `owed_nano` is negative where the tenant has paid in advance; `funds_nano` is None where no funds bind it."""

    owed_nano: int
    month_nano: int
    month_start: date
    funds_nano: int | None


def account_balance() -> AccountBalance:
    """The balance of the tenant in scope, as far as everything settled goes."""
    zone = ZoneInfo(Tenant.objects.get(id=current_tenant_id()).timezone)
    month = datetime.now(tz=zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    customer = Account.objects.filter(kind="customer").first()
    spent = UsageRecord.objects.filter(at__gte=month).aggregate(spent=Sum("sell_nano"))["spent"]
    return AccountBalance(
        owed_nano=customer.debits_nano - customer.credits_nano if customer else 0,
        month_nano=int(spent or 0),
        month_start=month.date(),
        funds_nano=_funds(),
    )


def _funds() -> int | None:
    """What is left of what was paid or given in advance: of several such budgets, the least."""
    limits = dict(Budget.objects.filter(scope=FUNDS, measure="nano", active=True).values_list("id", "limit_amount"))
    if not limits:
        return None
    used = (
        BudgetBalance.objects.filter(budget_id__in=limits)
        .values_list("budget_id")
        .annotate(n=Sum(F("held") + F("settled")))
    )
    taken = {budget_id: int(amount) for budget_id, amount in used}
    return min(max(0, limit - taken.get(budget_id, 0)) for budget_id, limit in limits.items())
