"""Which price a request comes to: by how much it reads, by how it is served, and by when it is made."""

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.holds import worst_case
from billing.pricing import charge, marked_up, worst_rates
from billing.tariffs import sold_at_markup
from billing.tiers import parse_tier, tariffs_of, tier_name
from billing.types import FINER, METERS, PRICED_METERS, SERVICES, Tariff, Tokens

pytestmark = pytest.mark.no_database

Prices = dict[str, dict[str, int]]


def tariff(prices: Prices, *, markup_bps: int | None = None) -> Tariff:
    """A tariff of prices by tier and meter, sold at twice their cost."""
    rows: list[dict[str, Any]] = [
        {
            "model": "m",
            "meter": meter,
            "tier": tier,
            "id": uuid.uuid4(),
            "cost_nano_per_mtok": cost,
            "sell_nano_per_mtok": 2 * cost,
        }
        for tier, by_meter in prices.items()
        for meter, cost in by_meter.items()
    ]
    return tariffs_of(sold_at_markup(rows, markup_bps))["m"]


BASE = {
    "input": 1_000_000,
    "cache_read": 100_000,
    "cache_write": 1_250_000,
    "output": 5_000_000,
    "reasoning": 5_000_000,
}
LONG = {
    "input": 2_000_000,
    "cache_read": 200_000,
    "cache_write": 2_500_000,
    "output": 7_500_000,
    "reasoning": 7_500_000,
}
BATCH = {"input": 500_000, "output": 2_500_000}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("above", [0, 1, 128_000, 200_000])
def test_a_tier_is_read_as_it_is_written(service: str, above: int) -> None:
    assert parse_tier(tier_name(service, above)) == (service, above)


@pytest.mark.parametrize("name", ["", "cheap", "standard>", "standard>0", "standard>-1", "standard>1e6", "standard\n"])
def test_what_is_no_tier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no tier"):
        parse_tier(name)


def test_a_prompt_beyond_the_threshold_is_charged_as_long_in_all_its_meters() -> None:
    prices = tariff({"standard": BASE, "standard>200000": LONG})
    at = charge(Tokens(input=150_000, cache_read=50_000, output=1_000), prices)
    beyond = charge(Tokens(input=150_000, cache_read=50_001, output=1_000), prices)
    assert at.cost_nano == 150_000 + 5_000 + 5_000
    assert beyond.cost_nano == 300_000 + 10_000 + 7_500
    assert {line["tier"] for line in at.lines} == {"standard"}
    assert {line["tier"] for line in beyond.lines} == {"standard>200000"}


def test_the_highest_threshold_that_is_exceeded_holds() -> None:
    prices = tariff({"standard": BASE, "standard>1000": {"input": 2_000_000}, "standard>2000": {"input": 3_000_000}})
    assert [charge(Tokens(input=n), prices).cost_nano for n in (1_000, 1_001, 2_000, 2_001)] == [
        1_000,
        2_002,
        4_000,
        6_003,
    ]


def test_what_a_tier_has_no_price_for_is_charged_as_without_it() -> None:
    prices = tariff({"standard": BASE, "standard>1000": {"input": 2_000_000}, "batch": BATCH})
    long = charge(Tokens(input=2_000, output=10), prices)
    assert [(line["meter"], line["tier"]) for line in long.lines] == [
        ("input", "standard>1000"),
        ("output", "standard"),
    ]
    batch = charge(Tokens(input=100, cache_read=10, output=10), prices, service="batch")
    assert [(line["meter"], line["tier"], line["cost_nano"]) for line in batch.lines] == [
        ("input", "batch", 50),
        ("cache_read", "standard", 1),
        ("output", "batch", 25),
    ]


def test_a_service_without_prices_of_its_own_is_charged_as_standard() -> None:
    prices = tariff({"standard": BASE, "standard>1000": LONG})
    tokens = Tokens(input=2_000)
    assert charge(tokens, prices, service="flex") == charge(tokens, prices)


def test_a_meter_that_is_priced_apart_is_no_longer_part_of_the_other() -> None:
    finer = {**BASE, "input_audio": 10_000_000, "cache_write_1h": 2_000_000, "output_audio": 20_000_000}
    tokens = Tokens(input=100, cache_write=50, output=30, input_audio=40, cache_write_1h=20, output_audio=10)
    assert {
        line["meter"]: (line["tokens"], line["cost_nano"]) for line in charge(tokens, tariff({"standard": finer})).lines
    } == {
        "input": (60, 60),
        "cache_write": (30, 38),
        "output": (20, 100),
        "input_audio": (40, 400),
        "cache_write_1h": (20, 40),
        "output_audio": (10, 200),
    }
    assert {line["meter"]: line["tokens"] for line in charge(tokens, tariff({"standard": BASE})).lines} == {
        "input": 100,
        "cache_write": 50,
        "output": 30,
    }


def test_more_of_a_part_than_of_the_whole_is_charged_as_the_whole() -> None:
    finer = {**BASE, "input_audio": 10_000_000}
    (line,) = charge(Tokens(input=10, input_audio=1_000), tariff({"standard": finer})).lines
    assert (line["meter"], line["tokens"]) == ("input_audio", 10)


@pytest.mark.parametrize(
    ("cost", "bps", "sold"),
    [(1_000, 0, 1_000), (1_000, 2_500, 1_250), (1, 1, 2), (999, 1, 1_000), (0, 10_000, 0), (3, 3_333, 4)],
)
def test_a_markup_is_rounded_up_to_a_whole_nano_dollar(cost: int, bps: int, sold: int) -> None:
    assert marked_up(cost, bps) == sold


def test_a_plans_markup_takes_the_place_of_the_books_selling_price() -> None:
    charged = charge(Tokens(input=1_000_000), tariff({"standard": BASE}, markup_bps=2_000))
    assert (charged.cost_nano, charged.sell_nano) == (1_000_000, 1_200_000)
    assert charged.lines[0]["markup_bps"] == 2_000
    assert "markup_bps" not in charge(Tokens(input=1), tariff({"standard": BASE})).lines[0]


def test_the_dearest_reachable_price_is_that_of_any_service_and_tier_within_the_bound() -> None:
    prices = tariff({"standard": BASE, "standard>200000": LONG, "priority": {"input": 1_500_000}, "batch": BATCH})
    assert worst_rates(prices, 200_000)["input"].tier == "priority"
    assert worst_rates(prices, 200_001)["input"].tier == "standard>200000"
    assert worst_rates(prices, 200_000, ["standard", "batch"])["input"].tier == "standard"


def test_a_tariff_can_be_stored_and_read_again() -> None:
    prices = tariff({"standard": BASE, "standard>200000": LONG, "batch": BATCH}, markup_bps=150)
    assert msgspec.json.decode(msgspec.json.encode(prices), type=Tariff) == prices


COUNTS = st.integers(min_value=0, max_value=400_000)
AMOUNTS = st.integers(min_value=0, max_value=10**11)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    tiers = draw(
        st.sets(st.sampled_from(["standard>128000", "standard>200000", "batch", "priority", "priority>200000"]))
    )
    prices: Prices = {"standard": {meter: draw(AMOUNTS) for meter in METERS}}
    for tier in ("standard", *sorted(tiers)):
        meters = draw(st.sets(st.sampled_from(PRICED_METERS)))
        prices.setdefault(tier, {}).update({meter: draw(AMOUNTS) for meter in sorted(meters)})
    return tariff(prices, markup_bps=draw(st.none() | st.integers(0, 50_000)))


@settings(max_examples=60)
@given(prices=tariffs(), counts=st.tuples(*[COUNTS] * len(PRICED_METERS)), service=st.sampled_from(SERVICES))
def test_no_charge_exceeds_the_worst_case_and_every_token_is_charged_once(
    prices: Tariff, counts: tuple[int, ...], service: str
) -> None:
    tokens = Tokens(**dict(zip(PRICED_METERS, counts, strict=True)))
    charged = charge(tokens, prices, service=service)
    worst = worst_case([prices], input_tokens=tokens.prompt, cap_tokens=tokens.output + tokens.reasoning)
    assert charged.sell_nano <= worst.amount_nano
    assert sum(line["tokens"] for line in charged.lines) == sum(tokens.by_meter().values())
    dearest = worst_rates(prices, tokens.prompt)
    rates = prices.rates_for(tokens.prompt, service)
    assert all(dearest[meter].sell_nano_per_mtok >= rates[meter].sell_nano_per_mtok for meter in rates)
    assert {line["meter"] for line in charged.lines} <= {*METERS, *FINER}
