"""How late an event loop runs: the one number that says a process has more to do than it can.

A timer is set every `SAMPLE_S`; by how much it comes late is what any other callback waited too. A sample costs one timer and a
few additions; nothing is started that would have to be ended.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from kernel.per_loop import PerLoop

SAMPLE_S = 0.1
SMOOTHING = 0.2
"""The weight of a new sample: a change is seen for two thirds after 5 samples, half a second."""
WINDOW_SAMPLES = 50
"""`max_s` looks back over one to two windows of 5 s."""
CALM_S = 0.05
DROWNING_S = 0.5
"""Between these two smoothed latenesses `overload` rises from 0 to 1."""


class Clock(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Now, in seconds."""

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        """Have `callback` called once it is `when`."""


class LagMonitor:
    """One loop's lateness. `ewma_s` is smoothed, `max_s` the worst of the last seconds."""

    def __init__(self) -> None:
        self.ewma_s = 0.0
        self.samples = 0
        self._max_s = 0.0
        self._max_before_s = 0.0

    @property
    def max_s(self) -> float:
        """The worst lateness of the last 5 to 10 s."""
        return max(self._max_s, self._max_before_s)

    @property
    def overload(self) -> float:
        """0 while the loop keeps up, 1 when it is drowning: how much of the load should be refused."""
        return min(1.0, max(0.0, (self.ewma_s - CALM_S) / (DROWNING_S - CALM_S)))

    def observe(self, late_s: float) -> None:
        """Take one sample in."""
        late_s = max(0.0, late_s)
        self.ewma_s += SMOOTHING * (late_s - self.ewma_s)
        if self.samples % WINDOW_SAMPLES == 0:
            self._max_before_s, self._max_s = self._max_s, 0.0
        self._max_s = max(self._max_s, late_s)
        self.samples += 1

    def watch(self, clock: Clock) -> None:
        """Sample this clock from now on."""
        due = clock.time() + SAMPLE_S

        def tick() -> None:
            self.observe(clock.time() - due)
            self.watch(clock)

        clock.call_at(due, tick)


def _watching() -> LagMonitor:
    monitor = LagMonitor()
    monitor.watch(asyncio.get_running_loop())
    return monitor


lag = PerLoop(_watching)
"""`lag()` is the running loop's monitor. It samples from its first use on."""
