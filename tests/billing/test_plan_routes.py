"""What a plan means to requests: its markup is the price, and who hasn't paid uses keys of their own alone."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from billing.errors import NoPlan
from billing.models import Plan
from billing.services import dunning, subscriptions
from providers.routes import ResolvedRoute, forget_routes, resolve_route
from providers.services.connections import Offer, add_provider
from tests.billing.plan_support import JAN_1, inside, plan
from tests.support.cast import Company


def offered(*, to: Company | None = None, alias: str = "") -> str:
    """A model that costs 1,000 nano-dollars a million tokens, of the platform's or of the company's own."""
    name = alias or f"m-{secrets.token_hex(4)}"
    add_provider(
        Offer(
            kind="fake",
            name=f"c-{secrets.token_hex(4)}",
            base_url="http://127.0.0.1:9",
            api_key="",
            models=[(name, name)],
            input_nano_per_mtok=1_000,
            output_nano_per_mtok=1_000,
        ),
        tenant_slug=to.tenant.slug if to else None,
    )
    return name


@sync_to_async
def change(company: Company, what: Any, **values: Any) -> None:
    with inside(company):
        what(**values)


async def resolved(company: Company, alias: str) -> ResolvedRoute:
    forget_routes(company.id)
    return await resolve_route(company.owner.principal, alias)


@pytest.mark.parametrize(("markup", "sold_at"), [(None, 1_000), (2_500, 1_250), (-5_000, 500)])
async def test_the_plans_markup_is_the_price(company: Company, markup: int | None, sold_at: int) -> None:
    ours: Plan = await sync_to_async(plan)("payg", markup_bps=markup)
    platforms, own = await sync_to_async(offered)(), await sync_to_async(offered)(to=company)
    await change(company, subscriptions.subscribe, plan=ours)
    found = [(await resolved(company, alias)).deployments[0].tariff.rates["input"] for alias in (platforms, own)]
    assert [rate.sell_nano_per_mtok for rate in found] == [sold_at, 1_000]
    assert found[0].cost_nano_per_mtok == 1_000


async def test_who_is_suspended_uses_keys_of_their_own_alone(company: Company) -> None:
    platforms, own = await sync_to_async(offered)(), await sync_to_async(offered)(to=company)
    await change(company, subscriptions.subscribe, plan=await sync_to_async(plan)("payg"), now=JAN_1)
    await change(company, dunning.payment_failed, now=JAN_1)
    assert (await resolved(company, platforms)).deployments
    await change(company, dunning.suspend, now=JAN_1)
    with pytest.raises(NoPlan) as refused:
        await resolved(company, platforms)
    assert (refused.value.status, refused.value.code) == (402, "plan_not_active")
    # From what is kept of the route, too: no query for each request that is refused.
    with pytest.raises(NoPlan):
        await resolve_route(company.owner.principal, platforms)
    assert (await resolved(company, own)).deployments
    await change(company, dunning.payment_came, now=JAN_1 + timedelta(days=1))
    assert (await resolved(company, platforms)).deployments


async def test_a_plan_that_has_ended_refuses_the_platforms_models(company: Company) -> None:
    platforms = await sync_to_async(offered)()
    await change(company, subscriptions.subscribe, plan=await sync_to_async(plan)("payg"), now=JAN_1)
    await change(company, subscriptions.cancel, at_once=True)
    with pytest.raises(NoPlan):
        await resolved(company, platforms)
