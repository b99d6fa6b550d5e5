"""The providers that the environment names are offered to every tenant; what is missing is named, and never a crash."""

import secrets
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from billing.tiers import parse_tier
from billing.types import PRICED_METERS, SERVICES
from config.env import BadEnvironment, provider_variables
from providers import registry
from providers.adapters.fake import FakeAdapter
from providers.factory import ModelFactory
from providers.list_prices import LIST_PRICES, ListPrice, list_price
from providers.models import PlatformConnection, PlatformRoute, PlatformRouteTarget
from providers.registry import ProviderSpec, UnknownProvider
from providers.routes import ResolvedRoute, forget_routes, resolve_route
from providers.services.environment import ensure_environment_providers
from tests.support.cast import Company


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ProviderSpec, ProviderSpec]]:
    """Two providers that need keys, the second with a model whose price nobody knows."""
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    prices = dict(LIST_PRICES)
    monkeypatch.setattr("providers.list_prices.LIST_PRICES", prices)
    made = []
    for models in (("m1",), ("m2", "unpriced")):
        name = f"p{secrets.token_hex(4)}"
        spec = ProviderSpec(
            name,
            name,
            FakeAdapter,
            "https://x.example/v1",
            tuple(f"{name}-{model}" for model in models),
            None,
            f"{name.upper()}_API_KEY",
            f"{name.upper()}_BASE_URL",
        )
        registry.register(spec)
        prices[name, spec.models[0]] = ListPrice(1_000, 2_000)
        made.append(spec)
    yield made[0], made[1]
    PlatformRouteTarget.objects.using("platform").filter(route__alias="default").delete()
    with connections["platform"].cursor() as cursor:
        # Not by the ORM, which would look among the tenants' rules for those of this route.
        cursor.execute("DELETE FROM providers_platformroute WHERE alias = 'default'")


def factory(*specs: ProviderSpec, **environment: str) -> ModelFactory:
    return ModelFactory(environment=environment, primary=specs[0].name, fallbacks=[spec.name for spec in specs[1:]])


def key(spec: ProviderSpec) -> str:
    return str(spec.key_variable)


async def resolve(company: Company, alias: str) -> ResolvedRoute:
    forget_routes(company.id)
    return await resolve_route(company.owner.principal, alias)


async def test_primary_and_fallbacks_are_offered_in_order(
    company: Company, two: tuple[ProviderSpec, ProviderSpec]
) -> None:
    first, second = two
    made = factory(first, second, **{key(first): "sk-1", key(second): "sk-2"})
    for _ in range(2):  # safe to repeat
        ensured = await sync_to_async(ensure_environment_providers)(made)
    assert [(one.provider, one.models) for one in ensured] == [
        (first.name, first.models),
        (second.name, second.models[:1]),
    ]
    default = await resolve(company, "default")
    assert [(one.provider, one.secret) for one in default.deployments] == [(first.name, "sk-1"), (second.name, "sk-2")]
    assert default.deployments[0].tariff.rates["output"].sell_nano_per_mtok == 2_000
    named = await resolve(company, first.models[0])
    assert [one.provider for one in named.deployments] == [first.name, second.name], "its fallback is the default route"


async def test_a_model_without_a_known_price_is_refused_by_name(two: tuple[ProviderSpec, ProviderSpec]) -> None:
    _, second = two
    (ensured,) = await sync_to_async(ensure_environment_providers)(factory(second, **{key(second): "sk"}))
    (reason,) = ensured.reasons
    assert second.models[1] in reason
    assert "price" in reason
    assert not await PlatformRoute.objects.using("platform").filter(alias=second.models[1]).aexists()


async def test_a_provider_without_its_key_is_unavailable_and_no_crash(
    company: Company, two: tuple[ProviderSpec, ProviderSpec]
) -> None:
    first, second = two
    ensured = await sync_to_async(ensure_environment_providers)(factory(first, second, **{key(second): "sk"}))
    assert (ensured[0].models, ensured[0].reasons) == ((), (f"{first.key_variable} is not set",))
    assert [one.provider for one in (await resolve(company, "default")).deployments] == [second.name]
    connections = PlatformConnection.objects.using("platform")
    assert not await connections.filter(name=f"env-{first.name}").aexists()


async def test_the_order_follows_the_environment(company: Company, two: tuple[ProviderSpec, ProviderSpec]) -> None:
    first, second = two
    keys = {key(first): "sk", key(second): "sk"}
    await sync_to_async(ensure_environment_providers)(factory(first, second, **keys))
    await sync_to_async(ensure_environment_providers)(factory(second, first, **keys))
    assert [one.provider for one in (await resolve(company, "default")).deployments] == [second.name, first.name]
    assert await PlatformRouteTarget.objects.using("platform").filter(route__alias="default").acount() == 2


@pytest.mark.no_database
def test_a_provider_that_there_is_not_stops_the_start_by_name() -> None:
    with pytest.raises(UnknownProvider, match="nobody"):
        ModelFactory(primary="nobody")


@pytest.mark.no_database
def test_what_runs_on_ones_own_machines_is_free_and_what_is_not_known_has_no_price() -> None:
    assert list_price("ollama", "anything", needs_key=False) == ListPrice(0, 0)
    assert list_price("openai", "who-knows", needs_key=True) is None
    known = list_price("openai", "gpt-4o-mini", needs_key=True)
    assert known == ListPrice(150_000_000, 600_000_000, {("standard", "cache_read"): 75_000_000})


@pytest.mark.no_database
def test_every_list_price_is_of_a_model_that_its_provider_offers() -> None:
    for provider, model in LIST_PRICES:
        if provider in registry.names():
            assert model in registry.get(provider).models, (provider, model)


@pytest.mark.no_database
def test_keys_and_addresses_are_read_by_what_they_end_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("keys") / "key"
    path.write_text("sk-from-a-file\n")
    monkeypatch.setenv("NEW_PROVIDER_API_KEY_FILE", str(path))
    monkeypatch.setenv("NEW_PROVIDER_BASE_URL", " https://new.example/v1 ")
    monkeypatch.setenv("EMPTY_API_KEY", "")
    found = provider_variables()
    assert found["NEW_PROVIDER_API_KEY"] == "sk-from-a-file"
    assert found["NEW_PROVIDER_BASE_URL"] == "https://new.example/v1"
    assert "EMPTY_API_KEY" not in found
    monkeypatch.setenv("NEW_PROVIDER_API_KEY", "sk-beside-it")
    with pytest.raises(BadEnvironment, match="not both"):
        provider_variables()


def test_what_claude_keeps_in_its_cache_costs_more_by_how_long() -> None:
    price = LIST_PRICES["anthropic", "claude-haiku-4-5"]
    assert price.others == {
        ("standard", "cache_read"): 100_000_000,
        ("standard", "cache_write"): 1_250_000_000,
        ("standard", "cache_write_1h"): 2_000_000_000,
    }


def test_list_prices_are_of_meters_and_tiers_that_there_are() -> None:
    for price in LIST_PRICES.values():
        for tier, meter in price.others:
            assert parse_tier(tier)[0] in SERVICES
            assert meter in PRICED_METERS
