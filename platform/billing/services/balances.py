"""How a tenant's account stands."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from billing.models import Account
from billing.rollups import sold_since
from billing.services.funds import standing
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """In nano-USD. `owed_nano` is negative where the tenant has paid in advance; `funds_nano` is what is left of
    that and not held for requests under way; None where nothing is refused for want of it."""

    owed_nano: int
    month_nano: int
    month_start: date
    funds_nano: int | None


def account_balance() -> AccountBalance:
    """The balance of the tenant in scope, as far as everything settled goes."""
    zone = ZoneInfo(Tenant.objects.get(id=current_tenant_id()).timezone)
    month = datetime.now(tz=zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    customer = Account.objects.filter(kind="customer").first()
    funds = standing()
    return AccountBalance(
        owed_nano=customer.debits_nano - customer.credits_nano if customer else 0,
        month_nano=sold_since(month),
        month_start=month.date(),
        funds_nano=funds.left_nano - funds.held_nano if funds and funds.is_limit else None,
    )
