"""The monthly limit of a tenant."""

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async

from billing import limits
from billing.errors import LimitReached
from billing.limits import check_limit
from billing.types import Charge
from billing.usage_writer import record_usage
from tenants.services.provisioning import limit_tenant
from tests.billing.events import usage_event
from tests.support.cast import Company


@pytest.fixture(autouse=True)
def _read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READ_EVERY_S", -1.0)


def spent(company: Company, nano: int, *, at: datetime | None = None) -> object:
    charge = Charge(cost_nano=0, sell_nano=nano, lines=())
    return record_usage(usage_event(company.alice, charge=charge, **({"at": at} if at else {})))


async def test_without_a_limit_nothing_is_refused(company: Company) -> None:
    await spent(company, 10**15)
    assert await check_limit(company.id) is None


async def test_a_limit_refuses_once_it_is_reached(company: Company) -> None:
    await sync_to_async(limit_tenant)(slug=company.tenant.slug, monthly_usd="0.000000100")
    await spent(company, 99)
    assert await check_limit(company.id) is None
    await spent(company, 1)
    with pytest.raises(LimitReached) as raised:
        await check_limit(company.id)
    assert raised.value.status == 402
    assert raised.value.details == {"limit_nano": 100, "spent_nano": 100, "period": "month"}


async def test_what_was_spent_in_an_earlier_month_does_not_count(company: Company) -> None:
    await sync_to_async(limit_tenant)(slug=company.tenant.slug, monthly_usd="1")
    await spent(company, 10**12, at=datetime.now(tz=UTC) - timedelta(days=32))
    assert await check_limit(company.id) is None
