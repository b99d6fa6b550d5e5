"""The breaker opens at the fifth failure, lets a few probes through, and comes back gradually."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from providers.pipeline.breaker import RULES, Breaker, Pass

pytestmark = pytest.mark.no_database


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(now=clock, chance=lambda: 0.5)


def fail(breaker: Breaker) -> bool:
    leave = breaker.admit()
    assert leave is not None
    return breaker.failed(leave)


def succeed(breaker: Breaker) -> None:
    leave = breaker.admit()
    assert leave is not None
    breaker.succeeded(leave)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(RULES.failures):
        fail(breaker)
    assert breaker.state == "open"
    return breaker


def test_it_opens_at_the_fifth_failure(breaker: Breaker) -> None:
    assert [fail(breaker) for _ in range(RULES.failures)] == [False] * 4 + [True]
    assert breaker.state == "open"
    assert breaker.admit() is None
    assert breaker.open_left_s == RULES.open_s


def test_it_opens_at_the_fifth_failure_however_much_went_well_before(breaker: Breaker) -> None:
    for _ in range(1000):
        succeed(breaker)
    assert [fail(breaker) for _ in range(5)].index(True) == 4


def test_failures_now_and_then_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(1000):
        fail(breaker)
        for _ in range(RULES.among // 2):
            succeed(breaker)
    assert breaker.state == "closed"


def test_old_failures_do_not_count(breaker: Breaker, clock: Clock) -> None:
    for _ in range(RULES.failures - 1):
        fail(breaker)
    clock.s += RULES.window_s
    assert not fail(breaker)
    assert breaker.state == "closed"


def test_half_open_lets_a_few_probes_through_at_a_time(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.s += RULES.open_s
    probes = [breaker.admit() for _ in range(RULES.probes + 2)]
    assert [probe is not None for probe in probes] == [True] * RULES.probes + [False, False]
    first = probes[0]
    assert first is not None
    breaker.left(first)
    assert breaker.admit() is not None, "one that told nothing makes room for another"


def test_it_comes_back_gradually(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.s += RULES.open_s
    for _ in range(RULES.probes):
        assert breaker.state == "half_open"
        succeed(breaker)
    shares = []
    while breaker.state == "ramping":
        shares.append(breaker.share)
        clock.s += 1
    assert shares[0] == RULES.ramp_from
    assert shares == sorted(shares)
    assert len(set(shares)) == RULES.ramp_s
    assert breaker.state == "closed"
    assert breaker.share == 1


def test_while_it_ramps_only_a_share_passes(clock: Clock) -> None:
    chances = iter(number / 100 for number in range(100))
    breaker = opened(Breaker(now=clock, chance=lambda: next(chances)))
    clock.s += RULES.open_s
    for _ in range(RULES.probes):
        succeed(breaker)
    clock.s += RULES.ramp_s / 2
    passed = sum(breaker.admit() is not None for _ in range(99))
    assert passed == 55  # 0.1 + 0.9 / 2
    assert all(breaker.admit(force=True) for _ in range(100)), "who has nowhere else to go isn't sent away"


def test_a_failed_probe_opens_it_again_for_twice_as_long(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    periods = []
    for _ in range(6):
        periods.append(breaker.open_left_s)
        clock.s += breaker.open_left_s
        assert fail(breaker)
    assert periods == [5, 10, 20, 40, 80, 120]


def test_it_forgets_how_often_it_opened_once_it_is_closed(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.s += RULES.open_s
    for _ in range(RULES.probes):
        succeed(breaker)
    clock.s += RULES.ramp_s
    assert breaker.state == "closed"
    assert opened(breaker).open_left_s == RULES.open_s


def test_a_second_failure_ends_the_ramp(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    breaker.learn_ramping(ramped_s=RULES.ramp_s * 0.9)
    assert not fail(breaker)
    assert fail(breaker)
    assert breaker.open_left_s == 2 * RULES.open_s


def test_what_began_before_it_opened_tells_nothing_afterwards(breaker: Breaker, clock: Clock) -> None:
    early = breaker.admit()
    assert early is not None
    opened(breaker)
    assert not breaker.holds(early)
    clock.s += RULES.open_s
    assert breaker.state == "half_open"
    assert not breaker.failed(early)
    for _ in range(RULES.probes):
        breaker.succeeded(early)
    assert breaker.state == "half_open"


def test_a_good_answer_to_a_health_check_shortens_the_wait_but_not_below_a_quarter(
    breaker: Breaker, clock: Clock
) -> None:
    opened(breaker)
    for _ in range(3):
        breaker.answered()
    assert breaker.open_left_s == RULES.open_s / 4
    clock.s += RULES.open_s / 2
    assert breaker.state == "half_open"


def test_it_learns_from_others(breaker: Breaker, clock: Clock) -> None:
    breaker.learn_open(left_s=7, times_opened=2)
    assert (breaker.state, breaker.open_left_s, breaker.times_opened) == ("open", 7, 2)
    breaker.learn_ramping(ramped_s=1)
    assert (breaker.state, breaker.ramped_s) == ("ramping", 1)
    breaker.learn_open(left_s=1e9, times_opened=1)
    assert breaker.open_left_s == RULES.longest_open_s, "whatever was read, it is not shut out for ever"


class Machine(RuleBasedStateMachine):
    """Any order of attempts, ends and waits, beside a plain count of what should open it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(now=self.clock, chance=lambda: 0.0)
        self.passes: list[tuple[Pass, str]] = []
        self.recent: deque[tuple[float, bool]] = deque(maxlen=RULES.among)

    @rule()
    def begin(self) -> None:
        state = self.breaker.state
        leave = self.breaker.admit()
        assert (leave is None) == (state == "open" or (state == "half_open" and self.probing() >= RULES.probes))
        if leave is not None:
            self.passes.append((leave, state))

    def probing(self) -> int:
        return sum(state == "half_open" and self.breaker.holds(leave) for leave, state in self.passes)

    @precondition(lambda self: self.passes)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "left"]))
    def end(self, data: st.DataObject, how: str) -> None:
        leave, began_in = self.passes.pop(data.draw(st.integers(0, len(self.passes) - 1)))
        before = self.breaker.state
        counts = began_in == before == "closed" and leave == self.breaker.admit()
        if before != "closed":
            self.recent.clear()
        getattr(self.breaker, how)(leave)
        if not counts:
            return
        if how != "left":
            self.recent.append((self.clock.s, how == "failed"))
        failures = sum(bad and at > self.clock.s - RULES.window_s for at, bad in self.recent)
        should_open = how == "failed" and failures >= RULES.failures
        assert self.breaker.state == ("open" if should_open else "closed")
        if should_open:
            self.recent.clear()

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.clock.s += seconds

    @rule()
    def answer_a_health_check(self) -> None:
        self.breaker.answered()

    @invariant()
    def it_never_stays_open_for_longer_than_the_longest(self) -> None:
        assert 0 <= self.breaker.open_left_s <= RULES.longest_open_s

    def teardown(self) -> None:
        """From wherever it got to, a well upstream closes it again."""
        self.clock.s += RULES.longest_open_s
        for _ in range(len(self.passes)):
            leave, _ = self.passes.pop()
            self.breaker.left(leave)
        for _ in range(RULES.probes):
            succeed(self.breaker)
        self.clock.s += RULES.ramp_s
        succeed(self.breaker)
        assert self.breaker.state == "closed"


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)
