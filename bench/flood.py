"""What happens when far more is asked for than can be answered.

    python -m bench.flood                         # about twenty minutes
    python -m bench.flood --samples 400           # a look, two minutes
    python -m bench.flood --only streams batch    # some of it
    python -m bench.flood --only neighbour --work-s 1 --at-once 80    # an upstream as slow as models are: 21 minutes

Starts a Parley of its own (one web process, a home that is thrown away) and slow upstreams on loopback, and measures from
outside, by requests that start when they are due:

    flood        five times what the upstream can do: every answer is 200, 429 or 503, the last two with Retry-After, and
                 none takes longer than the 30 s that a request may wait, and a little more
    batch        interactive requests keep their latency while batch fills all that it may: p95 may grow by a quarter
    neighbour    a tenant at a fifth of the capacity, alone and beside one who floods: its p95 may grow by a quarter
    streams      1,000 through one process, all of them open at one moment

A deployment gets 64 requests at a time to begin with, and one tenant may fill half of its queue of 1,000: so the streams go to
four models, 250 each. Each takes two open files of the process, which raises its own limit (config.serve) as far as the
system lets it. Exits with 1 if a line doesn't hold."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from bench.openloop import Client, Shot, at_once, chat_request, open_loop, percentile, statuses
from bench.stack import Stack, running, slow_upstream

WORK_S = 0.2
AT_ONCE = 40
FIFTH, FLOOD, BATCH = 0.2, 5, 2
"""Of what the upstream can do."""
ALLOWED = {200, 429, 503}
MAY_GROW = 1.25
MOST_S = 35.0
STREAM_S = 30.0
STREAM_MODELS = 4
LEAD_S = 5.0
"""Before others are measured beside it, other traffic has gone on for so long."""


class Table:
    """What was measured, and whether it is as it should be."""

    def __init__(self) -> None:
        self.failed = 0
        print(f"{'':34} {'asked':>7} {'p50 ms':>8} {'p95 ms':>8} {'max s':>7}  answers")

    def row(self, name: str, shots: Sequence[Shot], holds: bool, note: str = "") -> None:
        """Print a line. Latencies are of what was answered with 200."""
        self.failed += not holds
        good = [shot.whole_s * 1000 for shot in shots if shot.status == 200]
        print(
            f"{name:34} {len(shots):7} {percentile(good, 0.5):8.0f} {percentile(good, 0.95):8.0f} "
            f"{max((shot.whole_s for shot in shots), default=0):7.1f}  {statuses(shots):28} {note}"
            + ("" if holds else "   << FAILS"),
            flush=True,
        )


class Bench:
    """A stack, a client, and two tenants."""

    def __init__(self, stack: Stack, table: Table, options: argparse.Namespace) -> None:
        self.stack, self.table, self.samples, self.streams_wanted = stack, table, options.samples, options.streams
        capacity_per_s = options.at_once / options.work_s
        self.fifth_per_s, self.flood_per_s, self.batch_per_s = (
            share * capacity_per_s for share in (FIFTH, FLOOD, BATCH)
        )
        self.seconds = options.samples / self.fifth_per_s
        self.client = Client(stack.url)
        flooder, neighbour = stack.new_tenant(), stack.new_tenant()
        self.flood_request = chat_request(stack.url, flooder["api_key"], model="slow")
        self.small_request = chat_request(stack.url, neighbour["api_key"], model="slow")
        self.batch_request = chat_request(
            stack.url, flooder["api_key"], model="slow", headers=("x-parley-priority: batch",)
        )
        self.interactive_request = chat_request(stack.url, stack.interactive_key(neighbour["slug"]), model="slow")
        self.stream_requests = [
            chat_request(stack.url, neighbour["api_key"], model=f"streams-{number}", stream=True)
            for number in range(STREAM_MODELS)
        ]

    async def warm_up(self) -> None:
        """Nothing is measured."""
        for request in (self.small_request, self.interactive_request):
            await open_loop(self.client, request, per_s=self.fifth_per_s, count=200)

    async def flood(self) -> None:
        """Far too much."""
        count = int(self.flood_per_s * min(self.seconds, 30))
        shots = await open_loop(self.client, self.flood_request, per_s=self.flood_per_s, count=count)
        sheds = any(shot.status != 200 for shot in shots)
        self.table.row(f"flood, {self.flood_per_s:.0f}/s", shots, polite(shots) and sheds)

    async def batch(self) -> None:
        """Interactive beside batch."""
        alone = await self._alone("interactive", self.interactive_request)
        async with self._meanwhile(self.batch_request, per_s=self.batch_per_s) as background:
            await self._beside("batch", self.interactive_request, alone)
        shots = await background
        self.table.row(f"  that batch, {self.batch_per_s:.0f}/s", shots, polite(shots) and any(good(shots)))

    async def neighbour(self) -> None:
        """One tenant beside another who floods."""
        alone = await self._alone("neighbour", self.small_request)
        async with self._meanwhile(self.flood_request, per_s=self.flood_per_s) as background:
            await self._beside("a flood", self.small_request, alone)
        shots = await background
        self.table.row(f"  that flood, {self.flood_per_s:.0f}/s", shots, polite(shots) and any(good(shots)))

    async def streams(self) -> None:
        """Many at one time."""
        before = self.stack.memory_mib()
        each = self.streams_wanted // len(self.stream_requests)
        bursts = [at_once(self.client, request, count=each) for request in self.stream_requests]
        shots = [shot for burst in await asyncio.gather(*bursts) for shot in burst]
        answered = all(shot.status == 200 for shot in shots)
        together = max(shot.first_s for shot in shots) < min(shot.whole_s for shot in shots)
        note = f"{before:.0f} MiB before, {self.stack.memory_mib():.0f} after" + (
            "" if together else ", not all at once"
        )
        self.table.row(f"{len(shots)} streams of {STREAM_S:.0f} s at once", shots, answered and together, note)

    async def _alone(self, name: str, request: bytes) -> Sequence[Shot]:
        shots = await open_loop(self.client, request, per_s=self.fifth_per_s, count=self.samples)
        self.table.row(f"{name} alone, {self.fifth_per_s:.0f}/s", shots, len(good(shots)) == len(shots))
        return shots

    async def _beside(self, what: str, request: bytes, alone: Sequence[Shot]) -> None:
        shots = await open_loop(self.client, request, per_s=self.fifth_per_s, count=self.samples)
        grown = p95(shots) / p95(alone) if good(alone) else float("inf")
        holds = grown <= MAY_GROW and len(good(shots)) == len(shots)
        self.table.row(f"  beside {what}", shots, holds, f"{grown:.2f} x alone")

    @contextlib.asynccontextmanager
    async def _meanwhile(self, request: bytes, *, per_s: float) -> AsyncIterator[Awaitable[list[Shot]]]:
        """Other traffic, which has begun before the block and goes on until about its end."""
        count = int(per_s * (self.seconds + LEAD_S))
        other = asyncio.create_task(open_loop(self.client, request, per_s=per_s, count=count, seed=2))
        await asyncio.sleep(LEAD_S)
        yield other


def good(shots: Sequence[Shot]) -> list[Shot]:
    """Those that were answered."""
    return [shot for shot in shots if shot.status == 200]


def p95(shots: Sequence[Shot]) -> float:
    """Of the answers with 200, in seconds."""
    return percentile([shot.whole_s for shot in good(shots)], 0.95)


def polite(shots: Sequence[Shot]) -> bool:
    """Whether everything was answered in time, and what was refused says when to come back."""
    return all(
        shot.status in ALLOWED and (shot.status == 200 or bool(shot.retry_after)) and shot.whole_s <= MOST_S
        for shot in shots
    )


CASES: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "flood": Bench.flood,
    "batch": Bench.batch,
    "neighbour": Bench.neighbour,
    "streams": Bench.streams,
}


async def measure(stack: Stack, table: Table, options: argparse.Namespace) -> None:
    """What was asked for, one after the other."""
    bench = Bench(stack, table, options)
    await bench.warm_up()
    for name in options.only:
        await CASES[name](bench)
    await bench.client.close()


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000, help="of each latency that is compared")
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--work-s", type=float, default=WORK_S, help="how long the upstream works on a request")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="on how many it works at a time")
    options = parser.parse_args()
    with (
        slow_upstream(work_s=options.work_s, at_once=options.at_once) as slow,
        slow_upstream(work_s=STREAM_S, at_once=2 * options.streams) as streams,
        running() as stack,
    ):
        stack.model("slow", slow)
        for number in range(STREAM_MODELS):
            stack.model(f"streams-{number}", streams)
        table = Table()
        asyncio.run(measure(stack, table, options))
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
