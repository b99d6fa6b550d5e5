"""A loop's lateness is seen within half a second, and forgotten again."""

import asyncio
from collections.abc import Callable

import pytest

from kernel.lag import DROWNING_S, SAMPLE_S, WINDOW_SAMPLES, LagMonitor, lag

pytestmark = pytest.mark.no_database


class Clock:
    """A loop whose timers come as late as the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.timers.append((when, callback))

    def run(self, samples: int, *, late_s: float) -> None:
        for _ in range(samples):
            ((due, callback),) = self.timers
            self.timers.clear()
            self.now = due + late_s
            callback()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> LagMonitor:
    monitor = LagMonitor()
    monitor.watch(clock)
    return monitor


def test_a_loop_that_keeps_up_has_no_overload(clock: Clock, monitor: LagMonitor) -> None:
    clock.run(100, late_s=0.0005)
    assert monitor.ewma_s == pytest.approx(0.0005)
    assert monitor.overload == 0


def test_a_drowning_loop_is_seen_within_seconds_and_forgotten_again(clock: Clock, monitor: LagMonitor) -> None:
    clock.run(5, late_s=2 * DROWNING_S)
    assert monitor.ewma_s > DROWNING_S
    assert monitor.overload == 1
    clock.run(25, late_s=0)
    assert monitor.overload == 0


def test_one_hiccup_is_remembered_but_is_no_overload(clock: Clock, monitor: LagMonitor) -> None:
    clock.run(20, late_s=0)
    clock.run(1, late_s=0.2)
    assert monitor.max_s == pytest.approx(0.2)
    assert monitor.overload == 0
    clock.run(WINDOW_SAMPLES, late_s=0)
    assert monitor.max_s == pytest.approx(0.2)
    clock.run(WINDOW_SAMPLES, late_s=0)
    assert monitor.max_s == pytest.approx(0)


def test_it_samples_ten_times_a_second(clock: Clock, monitor: LagMonitor) -> None:
    clock.run(10, late_s=0)
    assert clock.now == pytest.approx(100 + 10 * SAMPLE_S)
    assert monitor.samples == 10


async def test_each_loop_has_one() -> None:
    mine = lag()
    assert lag() is mine

    async def other() -> LagMonitor:
        return lag()

    assert await asyncio.to_thread(asyncio.run, other()) is not mine
