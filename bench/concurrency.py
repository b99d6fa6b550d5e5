"""Shows, in a simulation, how a deployment's limit is found: docs/adr/0007-adaptive-concurrency.md has the picture.

    python -m bench.concurrency --plot docs/images/adaptive-concurrency.png

The gate and the limiter are the product's own; the upstream, the requests and the clock are simulated, so that every run
with the same seed is the same. Requests come at random, twice as many as the upstream can do. The table tells, for each
upstream and each of its capacities, the middle of the limit once it had time to settle, and how much of what the upstream
could do was done. The program fails when a limit ends far from the capacity."""

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from providers.scheduling.fair_queue import Class
from providers.scheduling.gate import Gate
from providers.scheduling.limiter import Limiter, Signal

PHASE_S = 600.0
SETTLED_SHARE = 0.5
"""Of each phase, the part at its end that the table speaks of."""
REFUSAL_S = 0.02
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Upstream:
    """How a simulated upstream behaves. It works on `capacities[phase]` requests at a time, each for `work_s`, and has its first
    content after `first_s` of that. What comes beyond waits (or is refused). Times vary by a log-normal of `sigma`; of all
    requests `stray` are refused for no reason."""

    name: str
    capacities: tuple[int, ...]
    work_s: float
    first_s: float
    sigma: float = 0.2
    refuses: bool = False
    stray: float = 0.0
    slower: tuple[float, ...] = ()
    signal: Signal = "stream"


UPSTREAMS = (
    Upstream("whole answers, waits", (40, 15, 80), 1.0, 1.0, signal="whole"),
    Upstream("streams, waits", (40, 15, 80), 6.0, 0.4),
    Upstream("refuses", (40, 15, 80), 1.0, 0.3, refuses=True),
    Upstream("noisy: tenfold times, 1 % refused", (60, 60, 60), 2.0, 2.0, sigma=0.8, stray=0.01, signal="whole"),
    Upstream("three times slower in the middle", (60, 60, 60), 1.0, 1.0, slower=(1.0, 3.0, 1.0), signal="whole"),
    Upstream("small, as on one's own machine", (4, 2, 4), 0.5, 0.5, signal="whole"),
)


@dataclass(eq=False)
class Call:
    """One request at the upstream."""

    began_s: float = 0.0
    epoch: int = 0
    answered: bool = False


class Simulation:
    """One upstream behind one gate, from its first request to the last phase's end."""

    def __init__(self, upstream: Upstream, seed: int) -> None:
        self.upstream = upstream
        self.now_s = 0.0
        self.limits: list[tuple[float, int]] = []
        self.done: list[float] = []
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._working = 0
        self._waiting: deque[Call] = deque()
        self._gate: Gate[Call] = Gate(self._begin, now_s=0.0, limiter=Limiter())

    def run(self) -> None:
        """Run all phases."""
        end_s = PHASE_S * len(self.upstream.capacities)
        self._at(0.0, self._arrive)
        self._at(0.0, self._sample)
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, happens = heapq.heappop(self._events)
            happens()

    def _at(self, when_s: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), happens))

    @property
    def phase(self) -> int:
        return min(int(self.now_s / PHASE_S), len(self.upstream.capacities) - 1)

    @property
    def capacity(self) -> int:
        return self.upstream.capacities[self.phase]

    def per_s(self, phase: int) -> float:
        """What the upstream can do in a phase."""
        slower = self.upstream.slower[phase] if self.upstream.slower else 1.0
        return self.upstream.capacities[phase] / (self.upstream.work_s * slower)

    def _sample(self) -> None:
        self.limits.append((self.now_s, self._gate.limiter.limit))
        self._at(self.now_s + 1.0, self._sample)

    def _arrive(self) -> None:
        self._at(self.now_s + self._random.expovariate(2 * self.per_s(self.phase)), self._arrive)
        call = Call()
        if self._gate.enter(Class.NORMAL, tenant=0, now_s=self.now_s):
            self._begin(call)
        elif not self._gate.refusal(tenant=0, rank=Class.NORMAL, patience_s=PATIENCE_S, now_s=self.now_s):
            self._gate.wait(call, tenant=0, rank=Class.NORMAL)

    def _begin(self, call: Call) -> bool:
        """The gate lets a call through to the upstream."""
        call.began_s = self.now_s
        self._at(self.now_s, lambda: self._reach(call))
        return True

    def _reach(self, call: Call) -> None:
        call.epoch = self._gate.epoch
        if self._random.random() < self.upstream.stray or (self.upstream.refuses and self._working >= self.capacity):
            self._at(self.now_s + REFUSAL_S, lambda: self._refused(call))
        elif self._working >= self.capacity:
            self._waiting.append(call)
        else:
            self._work(call)

    def _work(self, call: Call) -> None:
        self._working += 1
        factor = self.upstream.slower[self.phase] if self.upstream.slower else 1.0
        factor *= self._random.lognormvariate(-(self.upstream.sigma**2) / 2, self.upstream.sigma)
        self._at(self.now_s + self.upstream.first_s * factor, lambda: self._answered(call))
        self._at(self.now_s + self.upstream.work_s * factor, lambda: self._ended(call))

    def _answered(self, call: Call) -> None:
        call.answered = True
        self._gate.answered(self.now_s - call.began_s, signal=self.upstream.signal, epoch=call.epoch)

    def _ended(self, call: Call) -> None:
        self._working -= 1
        self.done.append(self.now_s)
        while self._waiting and self._working < self.capacity:
            self._work(self._waiting.popleft())
        self._leave(call, held_s=self.now_s - call.began_s)

    def _refused(self, call: Call) -> None:
        self._gate.limiter.refused(epoch=call.epoch, in_flight=self._gate.in_flight)
        self._leave(call, held_s=None)

    def _leave(self, call: Call, *, held_s: float | None) -> None:
        self._gate.leave(Class.NORMAL, tenant=0, answered=call.answered, held_s=held_s, now_s=self.now_s)


@dataclass(frozen=True)
class Row:
    """One phase of one upstream, as the table tells it."""

    upstream: str
    capacity: int
    limit: float
    least: int
    most: int
    done_share: float


def rows(simulation: Simulation) -> list[Row]:
    """What came of each phase."""
    found = []
    for phase, capacity in enumerate(simulation.upstream.capacities):
        start_s, end_s = (phase + 1 - SETTLED_SHARE) * PHASE_S, (phase + 1) * PHASE_S
        limits = [limit for at_s, limit in simulation.limits if start_s <= at_s < end_s]
        done = sum(start_s <= at_s < end_s for at_s in simulation.done) / (end_s - start_s)
        share = done / simulation.per_s(phase)
        found.append(Row(simulation.upstream.name, capacity, median(limits), min(limits), max(limits), share))
    return found


def plot(simulations: list[Simulation], path: Path) -> None:
    """Limits and capacities over time, a panel for each upstream."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 3, figsize=(13, 6), layout="constrained", sharex=True)
    for panel, simulation in zip(panels.flat, simulations, strict=True):
        times, limits = zip(*simulation.limits, strict=True)
        capacities = simulation.upstream.capacities
        edges = [phase * PHASE_S / 60 for phase in range(len(capacities) + 1)]
        panel.stairs(capacities, edges, color="black", linestyle="--", baseline=None, label="what it bears")
        panel.plot([at_s / 60 for at_s in times], limits, linewidth=1, label="limit")
        panel.set_title(simulation.upstream.name, fontsize=10)
        panel.set_ylim(0, 150 if max(capacities) > 10 else 16)
        panel.set_xlabel("minutes")
        panel.set_ylabel("requests in flight")
    panels.flat[0].legend(loc="upper left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> int:
    """Simulate, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    simulations = [Simulation(upstream, options.seed) for upstream in UPSTREAMS]
    print(f"{'upstream':36} {'bears':>6} {'limit':>6} {'from':>5} {'to':>5} {'done of what it can':>20}")
    bad = 0
    for simulation in simulations:
        simulation.run()
        for row in rows(simulation):
            fine = 0.6 * row.capacity <= row.limit <= 2 * row.capacity + 1 and row.done_share >= 0.8
            bad += not fine
            print(
                f"{row.upstream:36} {row.capacity:6} {row.limit:6.0f} {row.least:5} {row.most:5} {row.done_share:20.0%}"
                + ("" if fine else "   << too far off")
            )
    if options.plot:
        plot(simulations, options.plot)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
