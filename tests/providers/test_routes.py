"""From what a caller names to deployments: exact names, wildcards, fallbacks, the tenant's own before the platform's."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.errors import UnknownPrice
from kernel.tenancy import tenant_scope
from providers import routes
from providers.models import (
    Connection,
    Deployment,
    ModelRole,
    PlatformConnection,
    PlatformDeployment,
    PlatformRoute,
    PlatformRouteTarget,
    Route,
    RouteTarget,
)
from providers.routes import MAX_HOPS, ModelNotFound, ResolvedRoute, find_model, list_models, resolve_route
from providers.services.connections import Offer, add_provider
from tenants.principals import Principal
from tests.support.cast import Company

NOWHERE = "http://127.0.0.1:9"


def unique(name: str = "m") -> str:
    return f"{name}-{secrets.token_hex(4)}"


def offer(*models: tuple[str, str], tenant: Company | None = None, name: str | None = None) -> None:
    add_provider(
        Offer(
            kind="fake",
            name=name or unique("c"),
            base_url=NOWHERE,
            api_key="",
            models=models,
            input_nano_per_mtok=1,
            output_nano_per_mtok=2,
        ),
        tenant_slug=tenant.tenant.slug if tenant else None,
    )


def change(company: Company | None, alias: str, **fields: Any) -> None:
    if company is None:
        PlatformRoute.objects.using("platform").filter(alias=alias).update(**fields)
        return
    with tenant_scope(company.id), transaction.atomic():
        Route.objects.filter(alias=alias).update(**fields)


async def resolve(company: Company, alias: str, **fields: Any) -> ResolvedRoute:
    routes.forget_routes(company.id)
    return await resolve_route(principal(company, **fields), alias)


def principal(company: Company, **fields: Any) -> Principal:
    return replace(company.owner.principal, **fields)


def models(route: ResolvedRoute) -> list[str]:
    return [one.model for one in route.deployments]


async def test_the_longest_wildcard_that_fits_wins_and_an_exact_name_over_all(company: Company) -> None:
    start = unique("claude")
    await sync_to_async(offer)(
        (f"{start}*", "short"), (f"{start}-opus-*", "long"), (f"{start}-opus-4", "exact"), tenant=company
    )
    found = {name: models(await resolve(company, start + name)) for name in ("", "-x", "-opus-5", "-opus-4")}
    assert found == {"": ["short"], "-x": ["short"], "-opus-5": ["long"], "-opus-4": ["exact"]}
    assert (await resolve(company, f"{start}-opus-5")).matched == f"{start}-opus-*"


async def test_a_deployment_of_any_model_gets_the_name_that_was_asked_for(company: Company) -> None:
    start = unique("open")
    await sync_to_async(offer)((f"{start}/*", "*"), tenant=company)
    resolved = await resolve(company, f"{start}/llama-3")
    (only,) = resolved.deployments
    assert (only.model, only.any_model, resolved.alias) == (f"{start}/llama-3", True, f"{start}/llama-3")


@pytest.mark.parametrize("name", ["", "*", "x" * 300], ids=["no", "star", "long"])
async def test_a_name_that_is_none_is_not_found(company: Company, name: str) -> None:
    start = unique("w")
    await sync_to_async(offer)((f"{start}*", "m"), tenant=company)
    with pytest.raises(ModelNotFound):
        await resolve(company, f"{start}{name}" if name else "nothing-" + start)


async def test_of_two_that_fit_alike_the_tenants_own_wins(company: Company) -> None:
    alias = unique("both")
    await sync_to_async(offer)((alias, "platforms"))
    await sync_to_async(offer)((alias, "own"), tenant=company)
    assert models(await resolve(company, alias)) == ["own"]


async def test_fallbacks_are_followed_once_each(company: Company) -> None:
    first, second, third = (unique(name) for name in ("first", "second", "third"))
    await sync_to_async(offer)((first, "a"), (second, "b"), tenant=company)
    await sync_to_async(offer)((third, "c"))
    await sync_to_async(change)(company, first, fallbacks=[second, "never-there"])
    await sync_to_async(change)(company, second, fallbacks=[first, third])
    resolved = await resolve(company, first)
    assert models(resolved) == ["a", "b", "c"]
    assert [one.guarded for one in resolved.deployments] == [False, False, False]
    assert [len(group.deployments) for group in resolved.groups] == [1, 1, 1]


async def test_fallbacks_are_bounded(company: Company) -> None:
    chain = [unique(f"hop{number}") for number in range(MAX_HOPS + 3)]
    await sync_to_async(offer)(*((alias, alias) for alias in chain), tenant=company)
    for alias, following in pairwise(chain):
        await sync_to_async(change)(company, alias, fallbacks=[following])
    assert models(await resolve(company, chain[0])) == chain[:MAX_HOPS]


async def test_default_is_the_model_of_the_tenants_role_for_chats(company: Company) -> None:
    alias = unique("chosen")
    await sync_to_async(offer)((alias, "m"), tenant=company)

    def choose() -> None:
        with tenant_scope(company.id), transaction.atomic():
            ModelRole.objects.create(tenant_id=company.id, role="chat", alias=alias)

    await sync_to_async(choose)()
    resolved = await resolve(company, "default")
    assert (resolved.alias, models(resolved)) == (alias, ["m"])


async def test_a_key_for_certain_models_may_name_them_by_wildcard(company: Company) -> None:
    start = unique("family")
    await sync_to_async(offer)((f"{start}*", "m"), (unique("other"), "m"), tenant=company)
    allowed = frozenset({f"{start}-*"})
    assert models(await resolve(company, f"{start}-1", allowed_models=allowed)) == ["m"]
    with pytest.raises(ModelNotFound):
        await resolve(company, f"{start}1", allowed_models=allowed)


async def test_wildcards_are_listed(company: Company) -> None:
    alias = unique("wild") + "*"
    await sync_to_async(offer)((alias, "*"), tenant=company)
    assert alias in [entry.alias for entry in await list_models(principal(company))]


async def test_a_name_that_a_wildcard_stands_for_can_be_looked_at(company: Company) -> None:
    start = unique()
    await sync_to_async(offer)((f"{start}*", "*"), tenant=company)
    (listed,) = [entry for entry in await list_models(principal(company)) if entry.alias == f"{start}*"]
    assert await find_model(principal(company), f"{start}*") == listed
    assert await find_model(principal(company), f"{start}-8b") == replace(listed, alias=f"{start}-8b")
    only = principal(company, allowed_models=frozenset({f"{start}-8b"}))
    assert (await find_model(only, f"{start}-8b")).alias == f"{start}-8b"
    for who, name in ((only, f"{start}-70b"), (principal(company), unique("none"))):
        with pytest.raises(ModelNotFound):
            await find_model(who, name)


async def test_a_deployment_without_a_price_is_left_out_and_alone_refused_by_name(company: Company) -> None:
    alias = unique("priced")
    await sync_to_async(offer)((alias, "m"))
    unpriced = unique("unpriced")

    def add() -> None:
        account = PlatformConnection.objects.using("platform").create(name=unpriced, kind="fake", base_url=NOWHERE)
        free = PlatformDeployment.objects.using("platform").create(connection=account, model="m", price_model=unpriced)
        alone = PlatformRoute.objects.using("platform").create(alias=unpriced)
        beside = PlatformRoute.objects.using("platform").get(alias=alias)
        for route in (alone, beside):
            PlatformRouteTarget.objects.using("platform").create(route=route, deployment=free, position=7)

    await sync_to_async(add)()
    assert len((await resolve(company, alias)).deployments) == 1
    with pytest.raises(UnknownPrice, match=unpriced):
        await resolve(company, unpriced)


async def test_what_a_tenant_chose_is_guarded_and_what_an_operator_chose_is_not(company: Company) -> None:
    alias = unique("guarded")
    await sync_to_async(offer)((alias, "m"), tenant=company, name=alias)
    assert not (await resolve(company, alias)).deployments[0].guarded

    def chosen_by_the_tenant() -> None:
        with tenant_scope(company.id), transaction.atomic():
            Connection.objects.filter(name=alias).update(vouched=False)

    await sync_to_async(chosen_by_the_tenant)()
    assert (await resolve(company, alias)).deployments[0].guarded


async def test_a_route_of_the_tenants_may_mix_own_and_platform_deployments(
    company: Company, new_company: Callable[[], Company]
) -> None:
    offered, mixed = unique("offered"), unique("mixed")
    await sync_to_async(offer)((offered, "platforms"))
    await sync_to_async(offer)((mixed, "own"), tenant=company)

    def mix() -> None:
        with tenant_scope(company.id), transaction.atomic():
            target = RouteTarget.objects.get(route__alias=mixed)
            RouteTarget.objects.create(
                id=uuid.uuid4(),
                tenant_id=company.id,
                route_id=target.route_id,
                platform_deployment_id=_deployment_of(offered),
                position=5,
                weight=3,
            )
            assert Deployment.objects.count() == 1

    await sync_to_async(mix)()
    resolved = await resolve(company, mixed)
    assert [(one.model, one.platform, one.weight) for one in resolved.deployments] == [
        ("own", False, 1),
        ("platforms", True, 3),
    ]
    with pytest.raises(ModelNotFound):
        await resolve(await sync_to_async(new_company)(), mixed)


def _deployment_of(alias: str) -> uuid.UUID:
    return PlatformRouteTarget.objects.using("platform").get(route__alias=alias).deployment_id
