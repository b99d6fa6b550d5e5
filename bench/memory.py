"""Whether a web process's memory stays flat, over misses, hits, streams, refusals and clients that leave.

    python -m bench.memory                        # 200,000 requests, about five minutes
    python -m bench.memory --requests 40000       # a look

Starts a Parley of its own (one web process, a home that is thrown away, 8 MiB for the cache in memory, so that it is full early)
and an upstream that answers at once. After each tenth of the requests it prints what the web process holds. The first four
tenths fill what may be filled: caches, pools, the heap's free lists. The line through the rest, drawn on to 200,000 requests, may
rise by 16 MiB (84 bytes a request): more is a leak, and the program exits with 1."""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import uvloop

from bench.load import Run
from bench.stack import Stack, quick_upstream, running

CACHE_MIB = 8
ROUNDS = 10
WARM_ROUNDS = 4
REQUESTS = 200_000
MAY_RISE_MIB = 16.0
CONNECTIONS = 50
LEAVE_AFTER_S = 0.02
PATIENCE_S = 10.0
KINDS = {"miss": 0.35, "hit": 0.35, "stream": 0.2, "unknown": 0.05, "leave": 0.05}
"""Of all requests. `unknown` asks for a model that isn't there; `leave` is a stream whose client goes away."""
STATUS = {"unknown": 404}
_numbers = itertools.count(time.time_ns())


class Asked:
    """What is sent."""

    def __init__(self, stack: Stack) -> None:
        host, _, port = stack.url.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)
        self._key = stack.tenant()

    def request(self, kind: str) -> bytes:
        """One request, ready to be sent; new each time, but for hits."""
        word = "one" if kind == "hit" else str(next(_numbers))
        body: dict[str, object] = {
            "model": f"model-{word}" if kind == "unknown" else "bench",
            "temperature": 0,
            "messages": [{"role": "user", "content": f"Tell me about item {word}"}],
            "stream": kind in ("stream", "leave"),
        }
        content = json.dumps(body).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (self._key.encode(), len(content), content)
        )

    def maker(self, kind: str) -> Callable[[], bytes]:
        """Makes requests of a kind."""
        return lambda: self.request(kind)


async def answered(asked: Asked, kind: str, *, count: int, per_s: float) -> Counter[int]:
    """Send so many and read their answers; how many of each status, 0 for none."""
    run = Run(asked.host, asked.port, connections=CONNECTIONS, make=asked.maker(kind))
    outcome = await run.at_rate(per_s=per_s, seconds=count / per_s)
    return outcome.statuses + Counter({0: outcome.unanswered})


async def left(asked: Asked, *, count: int) -> None:
    """Ask for so many streams, and go away before they end."""

    async def one() -> None:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(asked.host, asked.port)
            writer.write(asked.request("leave"))
            await asyncio.sleep(LEAVE_AFTER_S)
            writer.transport.abort()

    for start in range(0, count, CONNECTIONS):
        await asyncio.gather(*(one() for _ in range(min(CONNECTIONS, count - start))))


def one_round(asked: Asked, *, count: int, per_s: float) -> int:
    """So many requests of all kinds; how many were not answered as they should be."""
    bad = 0
    for kind, share in KINDS.items():
        number = max(1, int(count * share))
        if kind == "leave":
            uvloop.run(left(asked, count=number))
            continue
        statuses = uvloop.run(answered(asked, kind, count=number, per_s=per_s))
        bad += sum(found for status, found in statuses.items() if status != STATUS.get(kind, 200))
    return bad


def slope(values: Sequence[float]) -> float:
    """By how much the line of least squares rises from one value to the next."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return over / sum((at - middle) ** 2 for at in range(len(values)))


def watch(stack: Stack, *, requests: int, per_s: float) -> bool:
    """Send them, print what the web process holds, and whether that is flat."""
    asked = Asked(stack)
    held, bad, each = [], 0, requests // ROUNDS
    for number in range(1, ROUNDS + 1):
        bad += one_round(asked, count=each, per_s=per_s)
        held.append(stack.memory_mib())
        print(
            f"{number * each:9} requests: {held[-1]:7.1f} MiB" + (f", {bad} answered wrongly" if bad else ""),
            flush=True,
        )
    rise = slope(held[WARM_ROUNDS:]) * REQUESTS / each
    flat = rise <= MAY_RISE_MIB
    print(f"rises by {rise:.1f} MiB in {REQUESTS} requests: {'flat' if flat else 'NOT FLAT'}")
    return flat and not bad


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--per-s", type=float, default=800)
    options = parser.parse_args()
    os.environ["PARLEY_CACHE_MEMORY_MIB"] = str(CACHE_MIB)
    with quick_upstream(first_ms=5, gap_ms=2) as upstream, running() as stack:
        stack.model("bench", upstream)
        flat = watch(stack, requests=options.requests, per_s=options.per_s)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
