"""The limit is found, follows a change, and isn't lost to noise. Time is simulated; bench/concurrency.py shows the same as a
picture."""

import random
from collections.abc import Callable
from itertools import cycle, pairwise

import pytest

from providers.scheduling.limiter import (
    MAX_LIMIT,
    MIN_LIMIT,
    MIN_SIGNAL_SAMPLES,
    NO_EPOCH,
    START_LIMIT,
    WINDOW_SAMPLES,
    Limiter,
)

pytestmark = pytest.mark.no_database

Latency = Callable[[int], float]


def work(limiter: Limiter, latency: Latency, *, answers: int, capacity: int | None = None) -> None:
    """A saturated deployment: as many run as may, and each takes what `latency` says of so many. Beyond `capacity`, if there is
    one, they are refused."""
    for _ in range(answers):
        crowd = limiter.limit
        if capacity is not None and crowd > capacity:
            limiter.refused(epoch=limiter.epoch, in_flight=crowd)
        else:
            limiter.answered(latency(crowd), signal="stream", epoch=limiter.epoch, in_flight=crowd, pending=crowd)


def queueing(capacity: int, *, service_s: float = 1.0) -> Latency:
    """An upstream that works on so many at a time and lets the others wait."""
    return lambda crowd: service_s * max(1.0, crowd / capacity)


def test_it_begins_with_64() -> None:
    assert Limiter().limit == START_LIMIT == 64


def settled(limiter: Limiter, latency: Latency, capacity: int | None = None) -> tuple[int, int, int]:
    """The least, middle and greatest limit of a long time after a long time."""
    work(limiter, latency, answers=20_000, capacity=capacity)
    seen = []
    for _ in range(300):
        work(limiter, latency, answers=50, capacity=capacity)
        seen.append(limiter.limit)
    return min(seen), sorted(seen)[150], max(seen)


@pytest.mark.parametrize("capacity", [2, 8, 40, 150, 600])
def test_it_finds_what_an_upstream_bears_that_lets_requests_wait(capacity: int) -> None:
    least, middle, most = settled(Limiter(), queueing(capacity))
    assert capacity * 0.5 <= least
    assert capacity * 0.8 <= middle <= capacity * 1.35
    assert most <= max(capacity * 1.75, capacity + 2)


@pytest.mark.parametrize("capacity", [1, 8, 40, 300])
def test_it_finds_what_an_upstream_bears_that_refuses_beyond_it(capacity: int) -> None:
    least, middle, most = settled(Limiter(), lambda _: 1.0, capacity)
    assert capacity * 0.4 <= least
    assert capacity * 0.8 <= middle <= capacity
    assert most <= capacity * 1.16 + 1


def test_it_follows_a_change_both_ways() -> None:
    limiter = Limiter()
    for capacity in (100, 20, 100):
        work(limiter, queueing(capacity), answers=20_000)
        assert capacity * 0.6 <= limiter.limit <= capacity * 1.75


def test_an_upstream_that_becomes_slower_for_everyone_keeps_its_limit() -> None:
    limiter = Limiter()
    work(limiter, queueing(100), answers=20_000)
    work(limiter, queueing(100, service_s=5.0), answers=10_000)
    assert 60 <= limiter.limit <= 175


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_make_it_collapse(seed: int) -> None:
    """Times to the first token that differ tenfold from one request to the next, and one refusal in a hundred."""
    noise = random.Random(seed)
    limiter = Limiter()
    seen = []
    for number in range(40_000):
        crowd = limiter.limit
        if noise.random() < 0.01:
            limiter.refused(epoch=limiter.epoch, in_flight=crowd)
        else:
            first_s = noise.lognormvariate(0.0, 0.8) * max(1.0, crowd / 100)
            limiter.answered(first_s, signal="stream", epoch=limiter.epoch, in_flight=crowd, pending=crowd)
        if number > 5_000:
            seen.append(limiter.limit)
    seen.sort()
    assert seen[0] >= 20
    assert seen[len(seen) // 20] >= 50
    assert 80 <= seen[len(seen) // 2] <= 150


def test_it_doubles_in_the_time_of_an_answer_until_the_first_sign() -> None:
    """So a thousand streams that begin at once all run after six times the time to the first token."""
    limiter = Limiter()
    for doubled in range(1, 5):
        for _ in range(limiter.limit + MIN_SIGNAL_SAMPLES):
            limiter.answered(0.2, signal="stream", epoch=limiter.epoch, in_flight=limiter.limit, pending=limiter.limit)
        assert START_LIMIT * 2**doubled <= limiter.limit


def test_it_hardly_grows_when_those_at_the_end_of_a_crowd_wait_longer() -> None:
    """64 come at once to an upstream that works on 8 at a time."""
    limiter = Limiter()
    for number in range(64):
        limiter.answered(
            1.0 + number // 8, signal="stream", epoch=limiter.epoch, in_flight=limiter.limit, pending=limiter.limit
        )
    assert limiter.limit <= START_LIMIT + 10


def test_it_takes_one_more_while_nobody_waits_upstream() -> None:
    """Streams that run for long: whoever begins is answered, however late, and few are without an answer."""
    limiter = Limiter()
    for number in range(60):
        limiter.answered(3.0 + number, signal="stream", epoch=limiter.epoch, in_flight=limiter.limit, pending=2)
    assert limiter.limit == START_LIMIT + 60


def test_it_does_not_grow_while_nobody_needs_it_to() -> None:
    limiter = Limiter()
    for _ in range(5_000):
        limiter.answered(1.0, signal="stream", epoch=limiter.epoch, in_flight=10, pending=10)
    assert limiter.limit == START_LIMIT


def test_one_refusal_changes_nothing_and_many_at_once_only_once() -> None:
    limiter = Limiter()
    before = limiter.epoch
    limiter.refused(epoch=before, in_flight=64)
    assert limiter.limit == 64
    for _ in range(63):
        limiter.refused(epoch=before, in_flight=64)
    assert limiter.limit == 44


def test_it_backs_off_from_how_many_there_were() -> None:
    limiter = Limiter()
    for _ in range(5):
        limiter.refused(epoch=limiter.epoch, in_flight=10)
    assert limiter.limit == 7


def test_it_is_never_less_than_one_nor_more_than_the_most() -> None:
    limiter = Limiter()
    work(limiter, lambda _: 1.0, answers=2_000, capacity=0)
    assert limiter.limit == MIN_LIMIT
    work(limiter, lambda _: 1.0, answers=200_000)
    assert MAX_LIMIT * 0.6 <= limiter.limit <= MAX_LIMIT


def test_what_started_under_another_limit_says_nothing() -> None:
    limiter = Limiter()
    for _ in range(10 * WINDOW_SAMPLES):
        limiter.refused(epoch=NO_EPOCH, in_flight=100)
        limiter.answered(100.0, signal="stream", epoch=NO_EPOCH, in_flight=100, pending=100)
    assert (limiter.limit, limiter.epoch) == (START_LIMIT, 0)


def test_differences_of_milliseconds_mean_nothing() -> None:
    limiter = Limiter()
    work(limiter, lambda crowd: 0.0001 * crowd, answers=3_000)
    assert limiter.limit >= 500


def test_whole_answers_are_not_compared_with_first_tokens() -> None:
    """More whole answers than before make the times longer, not the upstream more crowded."""
    limiter = Limiter()
    mix = random.Random(7)
    for share in (0.1, 0.9):
        for _ in range(5_000):
            whole = mix.random() < share
            signal = "whole" if whole else "stream"
            limiter.answered(
                20.0 if whole else 0.5,
                signal=signal,
                epoch=limiter.epoch,
                in_flight=limiter.limit,
                pending=limiter.limit,
            )
    assert limiter.limit > 500


@pytest.mark.parametrize("seed", range(3))
def test_where_slots_are_kept_for_others_it_stays_a_while_at_what_the_upstream_bears(seed: int) -> None:
    """Answers that are all alike, of an upstream that bears 40; 8 slots are kept free on average, and now and then needed."""
    chance = random.Random(seed)
    limiter = Limiter()
    seen = []
    for number in range(20_000):
        crowd = limiter.limit - chance.randrange(1, 16)
        first_s = max(1.0, crowd / 40) * chance.uniform(0.98, 1.02)
        limiter.answered(first_s, signal="whole", epoch=limiter.epoch, in_flight=crowd, pending=crowd, waiting=True)
        if number > 2_000:
            seen.append(limiter.limit)
    seen.sort()
    assert 36 <= seen[len(seen) // 2] <= 46
    assert seen[len(seen) * 9 // 10] <= 50


def test_those_who_wait_for_a_whole_answer_are_seen_though_most_do_not_wait() -> None:
    """Answers that all take as long come in step: 40 are worked on, and who came with them takes twice as long."""
    limiter = Limiter()
    seen = []
    for number in range(20_000):
        crowd = limiter.limit
        first_s = 1.0 if number % crowd < 40 else 2.0
        limiter.answered(first_s, signal="whole", epoch=limiter.epoch, in_flight=crowd, pending=crowd)
        seen.append(limiter.limit)
    settled = sorted(seen[2_000:])
    assert 36 <= settled[len(settled) // 2] <= 48
    assert settled[-1] <= 56


def test_a_throng_at_the_beginning_is_more_than_halved_at_once() -> None:
    """64 at an upstream that bears 20 whole answers, all alike."""
    limiter = Limiter()
    work_whole = queueing(20)
    tried = []
    for number in range(600):
        crowd = limiter.limit
        first_s = 1.0 if number < MIN_SIGNAL_SAMPLES else work_whole(crowd)
        limiter.answered(first_s, signal="whole", epoch=limiter.epoch, in_flight=crowd, pending=crowd)
        if tried[-1:] != [limiter.limit]:
            tried.append(limiter.limit)
    assert any(before * 0.5 > after for before, after in pairwise(tried)), tried
    assert 16 <= limiter.limit <= 30


def test_answers_that_were_alike_and_are_no_more_wait_upstream() -> None:
    limiter = Limiter()
    work(limiter, lambda _: 1.0, answers=4_000, capacity=40)
    while not 30 <= limiter.limit <= 34:
        work(limiter, lambda _: 1.0, answers=1, capacity=40)
    before, spread = limiter.limit, cycle((1.0, 1.2))
    # The median is a tenth more, and the spread would explain that, had it been there before.
    work(limiter, lambda _: next(spread), answers=WINDOW_SAMPLES, capacity=40)
    assert limiter.limit < before
