"""The price book in the database: what is in force when, what can't be entered, and what can't be changed."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import Error, IntegrityError, transaction
from django.utils import timezone

from billing.errors import UnknownPrice
from billing.models import Price, PriceBook, TenantPrice
from billing.pricing import charge
from billing.tariffs import STANDARD_BOOK, known_tariff, set_prices, tariffs_in_force
from billing.types import Tariff, Tokens
from kernel import adb
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tests.support.cast import Company

PLATFORM = "platform"


def fresh_model() -> str:
    return f"conn/{uuid.uuid4().hex}"


def enter(
    model: str, *, meter: str = "input", tier: str = "standard", cost: int = 7, since: datetime | None = None
) -> None:
    book, _ = PriceBook.objects.using(PLATFORM).get_or_create(name=STANDARD_BOOK, defaults={"id": uuid7()})
    with transaction.atomic(using=PLATFORM):
        Price.objects.using(PLATFORM).create(
            book=book,
            model=model,
            meter=meter,
            tier=tier,
            effective_from=since or timezone.now(),
            cost_nano_per_mtok=cost,
            sell_nano_per_mtok=2 * cost,
        )


def price_all(model: str, *, cost: int, since: datetime | None = None) -> None:
    set_prices(
        model=model,
        input_nano_per_mtok=cost,
        output_nano_per_mtok=cost,
        tenant_id=None,
        using=PLATFORM,
        effective_from=since,
    )


async def platform_tariff(
    company: Company, model: str, *, markup_bps: int | None = None, at: datetime | None = None
) -> Tariff:
    async with adb.transaction(company.id) as connection:
        tariffs, _ = await tariffs_in_force(
            connection, platform_models=[model], tenant_models=[], markup_bps=markup_bps, at=at
        )
    return known_tariff(tariffs, model)


@pytest.fixture
def model() -> str:
    """A model of the test's own, with a price of 1,000,000 since yesterday."""
    name = fresh_model()
    price_all(name, cost=1_000_000, since=timezone.now() - timedelta(days=1))
    return name


async def test_a_price_with_a_date_to_come_is_in_force_from_then_on(acme: Company, model: str) -> None:
    now = timezone.now()
    await sync_to_async(enter)(model, cost=9_000_000, since=now + timedelta(hours=1))
    assert (await platform_tariff(acme, model)).rates["input"].cost_nano_per_mtok == 1_000_000
    later = await platform_tariff(acme, model, at=now + timedelta(hours=1))
    assert later.rates["input"].cost_nano_per_mtok == 9_000_000
    before = await platform_tariff(acme, model, at=now + timedelta(minutes=59))
    assert before.rates["input"].cost_nano_per_mtok == 1_000_000


async def test_a_tier_of_the_book_is_chosen_by_the_tokens_read(acme: Company, model: str) -> None:
    await sync_to_async(enter)(model, tier="standard>200000", cost=2_000_000)
    await sync_to_async(enter)(model, tier="batch", cost=500_000)
    tariff = await platform_tariff(acme, model)
    assert [charge(Tokens(input=n), tariff).cost_nano for n in (200_000, 200_001)] == [200_000, 400_002]
    assert charge(Tokens(input=10), tariff, service="batch").cost_nano == 5


async def test_a_markup_is_put_on_the_platforms_models_and_not_on_a_tenants_own(company: Company, model: str) -> None:
    own = f"{uuid.uuid4()}/own"

    def price_own() -> None:
        with tenant_scope(company.id), transaction.atomic():
            set_prices(
                model=own, input_nano_per_mtok=10, output_nano_per_mtok=10, tenant_id=company.id, using="default"
            )

    await sync_to_async(price_own)()
    async with adb.transaction(company.id) as connection:
        platform, tenant = await tariffs_in_force(
            connection, platform_models=[model], tenant_models=[own], markup_bps=1_500
        )
    assert {rate.sell_nano_per_mtok for rate in platform[model].rates.values()} == {1_150_000}
    assert {rate.sell_nano_per_mtok for rate in tenant[own].rates.values()} == {10}
    assert {rate.markup_bps for rate in tenant[own].rates.values()} == {None}


async def test_a_model_that_lacks_a_price_is_refused_by_name(acme: Company) -> None:
    name = fresh_model()
    await sync_to_async(enter)(name, meter="input")
    with pytest.raises(UnknownPrice, match=name):
        await platform_tariff(acme, name)


def test_a_price_can_be_entered_once_for_a_moment() -> None:
    name, since = fresh_model(), datetime(2026, 1, 1, tzinfo=UTC)
    enter(name, since=since)
    with pytest.raises(IntegrityError, match="price_key"):
        enter(name, since=since, cost=8)
    enter(name, since=since, tier="standard>128000")


@pytest.mark.parametrize("tier", ["", "cheap", "standard>0", "standard>", "batch>12x", "standard>9999999999"])
def test_a_tier_that_is_none_cannot_be_entered(tier: str) -> None:
    with pytest.raises(IntegrityError, match="price_tier"):
        enter(fresh_model(), tier=tier)


@pytest.mark.parametrize("meter", ["tokens", "", "cached"])
def test_a_meter_that_is_none_cannot_be_entered(meter: str) -> None:
    with pytest.raises(IntegrityError, match="price_meter"):
        enter(fresh_model(), meter=meter)


def test_a_price_cannot_be_changed_or_deleted(model: str) -> None:
    rows = Price.objects.using(PLATFORM).filter(model=model)
    with pytest.raises(Error), transaction.atomic(using=PLATFORM):
        rows.update(cost_nano_per_mtok=0)
    with pytest.raises(Error), transaction.atomic(using=PLATFORM):
        rows.delete()
    assert rows.count() == 5


def test_prices_for_what_has_none_leave_the_others_alone(model: str) -> None:
    set_prices(
        model=model,
        input_nano_per_mtok=5,
        output_nano_per_mtok=5,
        tenant_id=None,
        using=PLATFORM,
        only_if_unpriced=True,
    )
    assert Price.objects.using(PLATFORM).filter(model=model).count() == 5
    name = fresh_model()
    set_prices(
        model=name,
        input_nano_per_mtok=5,
        output_nano_per_mtok=6,
        tenant_id=None,
        using=PLATFORM,
        others={("standard", "cache_read"): 1, ("standard>1000", "input"): 9},
        only_if_unpriced=True,
    )
    rows = Price.objects.using(PLATFORM).filter(model=name).values_list("tier", "meter", "cost_nano_per_mtok")
    assert set(rows) == {
        ("standard", "input", 5),
        ("standard", "cache_read", 1),
        ("standard", "cache_write", 5),
        ("standard", "output", 6),
        ("standard", "reasoning", 6),
        ("standard>1000", "input", 9),
    }
    price_all(model, cost=5)
    assert Price.objects.using(PLATFORM).filter(model=model).count() == 10


def test_a_tenants_own_models_have_prices_that_say_nothing_is_charged(company: Company) -> None:
    own = f"{uuid.uuid4()}/own"
    with tenant_scope(company.id), transaction.atomic():
        set_prices(model=own, input_nano_per_mtok=0, output_nano_per_mtok=0, tenant_id=company.id, using="default")
        rows = list(TenantPrice.objects.filter(model=own))
    assert sorted((row.meter, row.cost_nano_per_mtok, row.sell_nano_per_mtok) for row in rows) == [
        (meter, 0, 0) for meter in ("cache_read", "cache_write", "input", "output", "reasoning")
    ]
