"""From tokens to whole nano-dollars."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import amount, charge
from billing.types import METERS, Rate, Tariff, Tokens

pytestmark = pytest.mark.no_database

COUNTS = st.integers(min_value=0, max_value=10**9)
RATES = st.integers(min_value=0, max_value=10**12)


def tariff(**rates: int) -> Tariff:
    return Tariff("m", {meter: Rate(uuid.uuid4(), rates.get(meter, 0), 2 * rates.get(meter, 0)) for meter in METERS})


def test_a_dollar_per_million_tokens_is_a_thousand_nano_dollars_each() -> None:
    assert amount(1, 1_000_000_000) == 1_000


def test_half_a_nano_dollar_is_rounded_up() -> None:
    assert [amount(1, rate) for rate in (499_999, 500_000, 1_499_999, 1_500_000)] == [0, 1, 1, 2]


def test_each_meter_has_its_own_line_and_price() -> None:
    rates = tariff(input=1_000_000, cache_read=100_000, output=3_000_000)
    charged = charge(Tokens(input=10, cache_read=20, output=5), rates)
    assert [(line["meter"], line["tokens"], line["cost_nano"], line["sell_nano"]) for line in charged.lines] == [
        ("input", 10, 10, 20),
        ("cache_read", 20, 2, 4),
        ("output", 5, 15, 30),
    ]
    assert {line["price"] for line in charged.lines} == {
        str(rates.rates[meter].price_id) for meter in ("input", "cache_read", "output")
    }
    assert (charged.cost_nano, charged.sell_nano) == (27, 54)


@given(count=COUNTS, rate=RATES)
def test_an_amount_is_within_half_a_nano_dollar_of_the_exact_one(count: int, rate: int) -> None:
    assert abs(amount(count, rate) * 1_000_000 - count * rate) <= 500_000


@given(counts=st.tuples(*[COUNTS] * 5), rates=st.tuples(*[RATES] * 5))
def test_a_charge_is_the_sum_of_its_lines(counts: tuple[int, ...], rates: tuple[int, ...]) -> None:
    by_meter = dict(zip(METERS, counts, strict=True))
    charged = charge(Tokens(**by_meter), tariff(**dict(zip(METERS, rates, strict=True))))
    assert charged.cost_nano == sum(line["cost_nano"] for line in charged.lines)
    assert charged.sell_nano == sum(line["sell_nano"] for line in charged.lines)
    assert {line["meter"] for line in charged.lines} == {meter for meter, count in by_meter.items() if count}
