"""The arithmetic of limits: Redis and this process reckon alike, and never let more through than the limit says."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from kernel.redis import sync_redis
from providers.limits import script
from providers.limits.buckets import MAX_DEBT_US, MINUTE_US, Bucket, LocalBuckets, Taken, depth_us
from providers.limits.headers import LimitState, duration, tightest

NAMES = ("a", "b", "c")
RATES = some.integers(1, 10_000_000)


@some.composite
def buckets(draw: Any) -> tuple[Bucket, ...]:
    return tuple(
        Bucket(
            f"parley:{{arithmetic}}:{name}", "tokens", rate := draw(RATES), depth_us(draw(some.integers(1, 1000)), rate)
        )
        for name in draw(some.lists(some.sampled_from(NAMES), min_size=1, unique=True))
    )


STEPS = some.lists(
    some.tuples(
        some.integers(-2 * MINUTE_US, 3 * MINUTE_US),
        some.one_of(
            some.tuples(some.just("take"), some.integers(0, 20_000_000), some.sampled_from((1.0, 1.5, 4.0))),
            some.tuples(some.just("correct"), some.integers(-20_000_000, 20_000_000), some.just(1.0)),
        ),
    ),
    max_size=30,
)


def in_redis(name: str, given: tuple[int, list[Any]]) -> Any:
    """Run a script as the limiter does, by a clock that is given."""
    count, arguments = given
    return sync_redis().eval(getattr(script, name).text, count, *arguments)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=buckets(), steps=STEPS, start=some.integers(1_700_000_000_000_000, 1_900_000_000_000_000))
@pytest.mark.no_database
def test_redis_and_this_process_reckon_alike(chosen: tuple[Bucket, ...], steps: Any, start: int) -> None:
    """Over any schedule, clocks that go back and corrections included."""
    sync_redis().delete(*(bucket.key for bucket in chosen))
    local, now = LocalBuckets(), start
    for passed, (what, amount, scale) in steps:
        now += passed
        if what == "take":
            costs = tuple(bucket.cost_us(amount, scale=scale) for bucket in chosen)
            expected = local.take(chosen, costs, now_us=now)
            arguments = script.take_arguments(
                epochs_key="parley:{arithmetic}:epochs",
                fields=("l",),
                buckets=chosen,
                costs=costs,
                cache_key=None,
                now_us=now,
            )
            granted, used, epochs, cached = in_redis("TAKE", arguments)
            assert Taken(bool(granted), tuple(used)) == expected
            assert (epochs, cached) == ([None], None)
        else:
            by = [(bucket, bucket.correction_us(amount)) for bucket in chosen]
            expected_us = [local.correct(bucket, by_us, now_us=now) for bucket, by_us in by]
            assert in_redis("CORRECT", script.correct_arguments(by, now_us=now)) == expected_us


@settings(max_examples=200, deadline=None)
@given(
    rate=RATES,
    percent=some.integers(1, 1000),
    asks=some.lists(some.tuples(some.integers(0, MINUTE_US), some.integers(1, 1_000_000)), min_size=1, max_size=60),
)
@pytest.mark.no_database
def test_no_span_of_time_gets_more_than_the_burst_and_the_rate(rate: int, percent: int, asks: Any) -> None:
    """In any span, what was taken is at most what the bucket held and what came in meanwhile, to the rounding."""
    bucket = Bucket("k", "tokens", rate, depth_us(percent, rate))
    local, now = LocalBuckets(), 10 * MINUTE_US
    taken: list[tuple[int, int]] = []
    for passed, amount in asks:
        now += passed
        cost = bucket.cost_us(amount)
        if local.take((bucket,), (cost,), now_us=now).granted:
            taken.append((now, cost))
    for first in range(len(taken)):
        total = 0
        for at, cost in taken[first:]:
            total += cost
            assert total <= bucket.depth_us + (at - taken[first][0])


@pytest.mark.no_database
def test_all_buckets_give_or_none() -> None:
    wide, narrow = Bucket("wide", "requests", 100, MINUTE_US), Bucket("narrow", "requests", 1, MINUTE_US)
    local = LocalBuckets()
    costs = (wide.cost_us(1), narrow.cost_us(1))
    assert local.take((wide, narrow), costs, now_us=0).granted
    refused = local.take((wide, narrow), costs, now_us=0)
    assert not refused.granted
    assert [wide.left(refused.used_us[0]), narrow.left(refused.used_us[1])] == [99, 0]


@pytest.mark.no_database
@pytest.mark.parametrize(("rate", "percent"), [(1, 1), (60, 100), (600, 50), (1_000_000, 200), (7, 1000)])
def test_a_full_bucket_holds_its_burst_and_refills_at_its_rate(rate: int, percent: int) -> None:
    bucket = Bucket("k", "requests", rate, depth_us(percent, rate))
    holds = max(1, rate * percent // 100)
    local, now = LocalBuckets(), 5 * MINUTE_US
    let_through = 0
    while local.take((bucket,), (bucket.cost_us(1),), now_us=now).granted and let_through < 5000:
        let_through += 1
    assert let_through == min(5000, int(Fraction(bucket.depth_us, bucket.cost_us(1)))) <= holds
    assert let_through >= min(5000, holds * 99 // 100)
    if let_through < 5000:
        assert not local.take((bucket,), (bucket.cost_us(1),), now_us=now).granted
        assert local.take((bucket,), (bucket.cost_us(1),), now_us=now + bucket.cost_us(1)).granted


@pytest.mark.no_database
def test_what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_owed_a_minute_at_most() -> None:
    bucket = Bucket("k", "tokens", 1000, MINUTE_US)
    local = LocalBuckets()
    assert local.take((bucket,), (bucket.cost_us(1_000_000),), now_us=0).granted
    assert local.correct(bucket, bucket.correction_us(1_000_000), now_us=0) == bucket.depth_us + MAX_DEBT_US
    assert not local.take((bucket,), (bucket.cost_us(1),), now_us=MAX_DEBT_US - 1).granted
    assert local.take((bucket,), (bucket.cost_us(1),), now_us=MAX_DEBT_US + bucket.cost_us(1)).granted


@pytest.mark.no_database
def test_what_a_process_remembers_of_buckets_is_bounded(monkeypatch: Any) -> None:
    from providers.limits import buckets as module

    monkeypatch.setattr(module, "MAX_LOCAL_BUCKETS", 3)
    local = LocalBuckets()
    for number in range(5):
        local.correct(Bucket(str(number), "tokens", 1, MINUTE_US), 1, now_us=0)
    assert len(local) == 3


@pytest.mark.no_database
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (2.5, "2.5s"),
        (59.9991, "1m0s"),
        (360, "6m0s"),
        (3723.2, "1h2m4s"),
    ],
)
def test_times_are_said_as_openai_does(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.no_database
def test_the_tightest_of_each_kind_is_shown() -> None:
    states = [
        LimitState("requests", "tenant", 100, 50, 1.0),
        LimitState("requests", "api_key", 10, 4, 1.0),
        LimitState("tokens", "tenant", 1000, 900, 1.0),
    ]
    assert tightest(states) == (states[1], states[2])
