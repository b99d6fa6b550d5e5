"""Shows, in a simulation, what one tenant's requests lose beside others': docs/scheduling.md has the table.

    python -m bench.fairness                 # about a minute

The gate and the limiter are the product's own; the upstream, the requests and the clock are simulated, so that every run with
the same seed is the same, and nothing but the scheduling is measured. The upstream works on 40 requests at a time, for 0.2 s
each, and lets what comes beyond wait in a queue of its own, first come, first served. A neighbour asks for a fifth of what it
can do: alone, beside a tenant who asks for five times as much as there is, beside batch of twice as much, and beside two who
flood. The program fails when the neighbour's p95 beside them is more than 1.25 times what it is alone, or when the upstream is
left idle for more than a quarter."""

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from bench.openloop import percentile
from providers.scheduling.fair_queue import Class
from providers.scheduling.gate import Gate
from providers.scheduling.limiter import Signal

AT_ONCE = 40
PATIENCE_S = 30.0
MAY_GROW = 1.25
SHOULD_DO = 0.75


@dataclass(frozen=True)
class Upstream:
    """How a simulated upstream behaves: each request takes `work_s`, varied by a log-normal of `sigma`, and has its first content
    after `first_s` of that."""

    name: str
    work_s: float
    first_s: float
    sigma: float
    signal: Signal

    @property
    def per_s(self) -> float:
        """What it can do."""
        return AT_ONCE / self.work_s


@dataclass(frozen=True)
class Traffic:
    """What one tenant asks for: `load` times what the upstream can do, at random times."""

    tenant: str
    load: float
    rank: Class = Class.NORMAL


UPSTREAMS = (
    Upstream("whole answers, the same time", 0.2, 0.2, 0.0, "whole"),
    Upstream("whole answers, all alike", 0.2, 0.2, 0.02, "whole"),
    Upstream("whole answers, varied", 0.2, 0.2, 0.5, "whole"),
    Upstream("streams", 2.0, 0.3, 0.2, "stream"),
)
NEIGHBOUR = Traffic("neighbour", 0.2)
MIXES: dict[str, tuple[Traffic, ...]] = {
    "alone": (NEIGHBOUR,),
    "beside a flood": (NEIGHBOUR, Traffic("flood", 5.0)),
    "beside batch": (NEIGHBOUR, Traffic("batch", 2.0, Class.BATCH)),
    "beside its own batch": (NEIGHBOUR, Traffic("neighbour", 2.0, Class.BATCH)),
    "beside two floods": (NEIGHBOUR, Traffic("flood", 5.0), Traffic("other", 5.0)),
}


@dataclass(eq=False)
class Call:
    """One request."""

    traffic: Traffic
    due_s: float
    began_s: float = 0.0
    epoch: int = 0
    answered: bool = False


@dataclass
class Outcome:
    """What became of one mix: the neighbour's times to the end, how many it was refused, and how many requests in all were
    done."""

    whole_s: list[float] = field(default_factory=list)
    refused: int = 0
    done: int = 0
    over_s: float = 0.0
    limits: list[int] = field(default_factory=list)


class Simulation:
    """One upstream behind one gate, until the neighbour has had its samples."""

    def __init__(self, upstream: Upstream, mix: Sequence[Traffic], *, seed: int) -> None:
        self.upstream = upstream
        self.mix = mix
        self.now_s = 0.0
        self.outcome = Outcome()
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._working = 0
        self._waiting: deque[Call] = deque()
        self._gate: Gate[Call] = Gate(self._begin, now_s=0.0)

    def run(self, samples: int) -> Outcome:
        """Until the neighbour has asked so often."""
        end_s = samples / (NEIGHBOUR.load * self.upstream.per_s)
        for traffic in self.mix:
            self._arrive_later(traffic)
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, happens = heapq.heappop(self._events)
            happens()
        self.outcome.over_s = end_s
        return self.outcome

    def _at(self, when_s: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), happens))

    def _arrive_later(self, traffic: Traffic) -> None:
        wait_s = self._random.expovariate(traffic.load * self.upstream.per_s)
        self._at(self.now_s + wait_s, lambda: self._arrive(traffic))

    def _arrive(self, traffic: Traffic) -> None:
        self._arrive_later(traffic)
        call = Call(traffic, self.now_s)
        tenant, rank = traffic.tenant, traffic.rank
        self.outcome.limits.append(self._gate.limiter.limit)
        if self._gate.enter(rank, tenant=tenant, now_s=self.now_s):
            self._begin(call)
        elif self._gate.refusal(tenant=tenant, rank=rank, patience_s=PATIENCE_S, now_s=self.now_s):
            self.outcome.refused += traffic is NEIGHBOUR
        else:
            self._gate.wait(call, tenant=tenant, rank=rank)

    def _begin(self, call: Call) -> bool:
        """The gate lets a call through to the upstream."""
        call.began_s = self.now_s
        self._at(self.now_s, lambda: self._reach(call))
        return True

    def _reach(self, call: Call) -> None:
        call.epoch = self._gate.epoch
        if self._working >= AT_ONCE:
            self._waiting.append(call)
        else:
            self._work(call)

    def _work(self, call: Call) -> None:
        self._working += 1
        factor = self._random.lognormvariate(-(self.upstream.sigma**2) / 2, self.upstream.sigma)
        self._at(self.now_s + self.upstream.first_s * factor, lambda: self._answered(call))
        self._at(self.now_s + self.upstream.work_s * factor, lambda: self._ended(call))

    def _answered(self, call: Call) -> None:
        call.answered = True
        self._gate.answered(self.now_s - call.began_s, signal=self.upstream.signal, epoch=call.epoch)

    def _ended(self, call: Call) -> None:
        self._working -= 1
        self.outcome.done += 1
        if call.traffic is NEIGHBOUR:
            self.outcome.whole_s.append(self.now_s - call.due_s)
        while self._waiting and self._working < AT_ONCE:
            self._work(self._waiting.popleft())
        held_s = self.now_s - call.began_s
        self._gate.leave(
            call.traffic.rank, tenant=call.traffic.tenant, answered=call.answered, held_s=held_s, now_s=self.now_s
        )


def main() -> int:
    """Simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    bad = 0
    heads = f"{'answered':>8} {'p50 ms':>7} {'p95 ms':>7} {'of alone':>8} {'limit':>6} {'done':>5}"
    print(f"{'upstream':28} {'neighbour':22} {heads}")
    for upstream in UPSTREAMS:
        alone_s = 0.0
        for name, mix in MIXES.items():
            outcome = Simulation(upstream, mix, seed=options.seed).run(options.samples)
            p95_s = percentile(outcome.whole_s, 0.95)
            alone_s = alone_s or p95_s
            done = outcome.done / outcome.over_s / upstream.per_s
            fine = p95_s <= MAY_GROW * alone_s and not outcome.refused and (done >= SHOULD_DO or mix == (NEIGHBOUR,))
            bad += not fine
            print(
                f"{upstream.name:28} {name:22} {len(outcome.whole_s):8} {percentile(outcome.whole_s, 0.5) * 1000:7.0f} "
                f"{p95_s * 1000:7.0f} {p95_s / alone_s:8.2f} {percentile(outcome.limits, 0.5):6.0f} {done:5.0%}"
                + ("" if fine else "   << FAILS"),
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
