"""What happens when far more is asked for than can be answered.

    python -m bench.flood                    # about ten minutes; --samples 1000 for a look

Starts a Parley of its own (one web process, a home that is thrown away) and slow upstreams on loopback, and measures from
outside, by requests that start when they are due:

    flood        five times what the upstream can do: every answer is 200, 429 or 503, the last two with Retry-After
    batch        interactive requests keep their latency while batch fills all that it may
    neighbour    a tenant at a fifth of the capacity, alone and beside one who floods: its p95 may grow by a quarter
    streams      1,000 at once through one process

Exits with 1 if one of these doesn't hold."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence

from bench.openloop import Client, Shot, at_once, chat_request, open_loop, percentile, statuses
from bench.stack import Stack, running, slow_upstream

WORK_S = 0.2
AT_ONCE = 40
CAPACITY_PER_S = AT_ONCE / WORK_S
FLOOD_TIMES = 5
ALLOWED = {200, 429, 503}
STREAMS = 1_000
STREAM_S = 20.0


class Table:
    """What was measured, and whether it is as it should be."""

    def __init__(self) -> None:
        self.failed = 0

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


def p95(shots: Sequence[Shot]) -> float:
    """Of the answers with 200, in seconds."""
    return percentile([shot.whole_s for shot in shots if shot.status == 200], 0.95)


def polite(shots: Sequence[Shot]) -> bool:
    """Whether everything was answered, and what was refused says when to come back."""
    return all(shot.status in ALLOWED and (shot.status == 200 or bool(shot.retry_after)) for shot in shots)


async def measure(stack: Stack, table: Table, samples: int) -> None:
    """All of it, one after the other."""
    flooder, neighbour = stack.tenant(), stack.tenant()
    client = Client(stack.url)
    flood = chat_request(stack.url, flooder, model="slow")
    small = chat_request(stack.url, neighbour, model="slow")
    batch = chat_request(stack.url, flooder, model="slow", headers=("x-parley-priority: batch",))
    flood_per_s, fifth_per_s = FLOOD_TIMES * CAPACITY_PER_S, CAPACITY_PER_S / 5
    seconds = samples / fifth_per_s
    await open_loop(client, small, per_s=fifth_per_s, count=200)

    shots = await open_loop(client, flood, per_s=flood_per_s, count=int(flood_per_s * min(seconds, 30)))
    table.row(f"flood, {flood_per_s:.0f}/s", shots, polite(shots) and any(shot.status != 200 for shot in shots))

    alone = await open_loop(client, small, per_s=fifth_per_s, count=samples)
    table.row(f"neighbour alone, {fifth_per_s:.0f}/s", alone, all(shot.status == 200 for shot in alone))

    async with _meanwhile(client, batch, per_s=2 * CAPACITY_PER_S, seconds=min(seconds, 60) + 5) as background:
        beside = await open_loop(client, small, per_s=fifth_per_s, count=min(samples, int(60 * fifth_per_s)))
    table.row("  beside batch", beside, p95(beside) <= 1.25 * p95(alone), f"{p95(beside) / p95(alone):.2f} x alone")
    table.row(f"  that batch, {2 * CAPACITY_PER_S:.0f}/s", await background, polite(await background))

    async with _meanwhile(client, flood, per_s=flood_per_s, seconds=seconds + 5) as background:
        beside = await open_loop(client, small, per_s=fifth_per_s, count=samples)
    table.row("  beside a flood", beside, p95(beside) <= 1.25 * p95(alone), f"{p95(beside) / p95(alone):.2f} x alone")
    table.row(f"  that flood, {flood_per_s:.0f}/s", await background, polite(await background))

    before = stack.memory_mib()
    stream = chat_request(stack.url, neighbour, model="streams", stream=True)
    shots = await at_once(client, stream, count=STREAMS)
    note = f"{before:.0f} MiB before, {stack.memory_mib():.0f} after"
    table.row(f"{STREAMS} streams of {STREAM_S:.0f} s at once", shots, all(shot.status == 200 for shot in shots), note)
    await client.close()


@contextlib.asynccontextmanager
async def _meanwhile(client: Client, request: bytes, *, per_s: float, seconds: float):  # type: ignore[no-untyped-def]
    """Other traffic, which has begun 5 s before the block and is awaited after it."""
    other = asyncio.create_task(open_loop(client, request, per_s=per_s, count=int(per_s * seconds), seed=2))
    await asyncio.sleep(5.0)
    yield other


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    options = parser.parse_args()
    table = Table()
    with (
        slow_upstream(work_s=WORK_S, at_once=AT_ONCE) as slow,
        slow_upstream(work_s=STREAM_S, at_once=2 * STREAMS) as streams,
        running() as stack,
    ):
        stack.model("slow", slow)
        stack.model("streams", streams)
        print(f"{'':34} {'asked':>7} {'p50 ms':>8} {'p95 ms':>8} {'max s':>7}  answers")
        asyncio.run(measure(stack, table, options.samples))
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
