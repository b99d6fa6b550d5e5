"""Each strategy orders the deployments of a route as it says."""

import random
from collections import Counter
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.types import Rate, Tariff
from providers.choice import RULES, Load, distance, order, price
from providers.models import Strategy

pytestmark = pytest.mark.no_database


def tariff(input_nano: int, output_nano: int) -> Tariff:
    return Tariff("m", {"input": Rate(uuid4(), 0, input_nano), "output": Rate(uuid4(), 0, output_nano)})


@dataclass(frozen=True)
class One:
    weight: int = 1
    region: str = ""
    tariff: Tariff = field(default_factory=lambda: Tariff("m", {}))


def idle(count: int) -> list[Load]:
    return [Load()] * count


def test_every_strategy_that_a_route_can_have_is_one_that_there_is() -> None:
    assert set(RULES) == set(Strategy.values)


def test_priority_keeps_the_routes_own_order() -> None:
    assert order([One()] * 4, idle(4), strategy="priority") == [0, 1, 2, 3]


def test_weights_are_shares() -> None:
    chance = random.Random(7).random
    options = [One(weight=1), One(weight=3), One(weight=6)]
    firsts = Counter(order(options, idle(3), strategy="weighted", chance=chance)[0] for _ in range(10_000))
    assert [round(firsts[place] / 10_000, 1) for place in range(3)] == [0.1, 0.3, 0.6]


def test_the_one_with_the_least_in_flight_for_its_weight_comes_first() -> None:
    loads = [Load(in_flight=4), Load(in_flight=2), Load(in_flight=6)]
    assert order([One(), One(), One(weight=6)], loads, strategy="least_in_flight") == [2, 1, 0]


def test_among_equally_busy_ones_chance_decides() -> None:
    chance = random.Random(7).random
    firsts = {order([One()] * 3, idle(3), strategy="least_in_flight", chance=chance)[0] for _ in range(50)}
    assert firsts == {0, 1, 2}


def test_of_two_at_random_the_quicker_comes_first() -> None:
    chance = random.Random(7).random
    loads = [Load(latency_s=3.0), Load(latency_s=1.0), Load(latency_s=2.0)]
    orders = [order([One()] * 3, loads, strategy="lowest_latency", chance=chance) for _ in range(9_000)]
    firsts = Counter(one[0] for one in orders)
    assert firsts[0] == 0, "the slowest of three is never the quicker of two"
    assert round(firsts[1] / 9_000, 1) == 0.7  # in two of the three pairs
    assert {tuple(one) for one in orders} == {(1, 2, 0), (2, 1, 0)}


def test_one_whose_latency_is_not_known_gets_its_chance() -> None:
    loads = [Load(latency_s=0.1), Load()]
    assert order([One()] * 2, loads, strategy="lowest_latency") == [1, 0]


def test_the_cheapest_comes_first() -> None:
    options = [One(tariff=tariff(100, 500)), One(tariff=tariff(10, 600)), One(tariff=tariff(200, 100))]
    assert [price(one.tariff) for one in options] == [800, 630, 700]
    assert order(options, idle(3), strategy="cheapest") == [1, 2, 0]


def test_the_nearest_region_comes_first() -> None:
    options = [One(region="us-east-1"), One(), One(region="eu-west-1"), One(region="eu-central-1")]
    assert order(options, idle(4), strategy="nearest_region", region="eu-central-1") == [3, 2, 0, 1]
    assert order(options, idle(4), strategy="nearest_region", region="") == [0, 1, 2, 3]
    assert distance("eu-central-1", "eu-central-1") == 0


@given(
    strategy=st.sampled_from(sorted(RULES)),
    loads=st.lists(
        st.builds(
            Load,
            in_flight=st.integers(0, 99),
            latency_s=st.none() | st.floats(0, 9),
            marked=st.booleans(),
        ),
        max_size=8,
    ),
    seed=st.integers(),
)
def test_whatever_the_strategy_each_comes_once_and_the_misconfigured_last(
    strategy: str, loads: list[Load], seed: int
) -> None:
    places = order([One()] * len(loads), loads, strategy=strategy, region="eu", chance=random.Random(seed).random)
    assert sorted(places) == list(range(len(loads)))
    marks = [loads[place].marked for place in places]
    assert marks == sorted(marks)
