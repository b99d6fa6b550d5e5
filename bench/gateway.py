"""The gateway's speed, measured from outside: exact-cache hits and misses, with auth, limits and usage recorded.

    python -m bench.gateway                  # about two minutes
    python -m bench.memory                   # whether memory stays flat over 200,000 requests

Starts a Parley of its own (two web processes, a home that is thrown away) and an upstream that answers at once. Each row:
what was asked for and answered a second, latency from the intended start of each request, answers other than 200, and the CPU
of all of Parley's processes, its PostgreSQL and Redis among them. The client runs on the same machine and takes its share.
`flat out` is a closed loop, to find how much there is. At the end the usage records are counted and what they cost is
recomputed from the price."""

import argparse
import itertools
import json
import sys
import time
from dataclasses import dataclass

import psycopg
import uvloop

from bench.load import Outcome, Run
from bench.openloop import percentile
from bench.stack import Stack, quick_upstream, running

CONNECTIONS = 100
MODEL = "bench"
INPUT_USD, OUTPUT_USD = "0.15", "0.60"
COST_NANO = 9 * 150 + 20 * 600
"""Of one answer of the upstream: 9 tokens in, 20 out, at these prices."""
_numbers = itertools.count(time.time_ns())


@dataclass(frozen=True)
class Asked:
    """What is sent: always the same, or something new each time."""

    stack: Stack
    key: str

    def hit(self) -> bytes:
        """The same request."""
        return self._request("one")

    def miss(self) -> bytes:
        """A new one."""
        return self._request(str(next(_numbers)))

    def _request(self, word: str) -> bytes:
        message = {"role": "user", "content": f"Tell me about item {word}"}
        body = json.dumps({"model": MODEL, "temperature": 0, "messages": [message]}).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (self.key.encode(), len(body), body)
        )

    def run(self, kind: str) -> Run:
        """A run of hits or misses."""
        host, _, port = self.stack.url.removeprefix("http://").rpartition(":")
        return Run(host, int(port), connections=CONNECTIONS, make=self.hit if kind == "hit" else self.miss)


class Table:
    """What was measured."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.answered = {"hit": 0, "miss": 0}
        self.bad = 0
        print(f"{'':18}{'asked/s':>9}{'got/s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'not 200':>9}{'cpu µs':>8}")

    def measure(self, name: str, kind: str, asked: Asked, *, per_s: float | None, seconds: float) -> Outcome:
        """Run, and print a row."""
        before = self._stack.cpu_s()
        run = asked.run(kind)
        outcome = uvloop.run(
            run.flat_out(seconds=seconds) if per_s is None else run.at_rate(per_s=per_s, seconds=seconds)
        )
        used = self._stack.cpu_s() - before
        bad = outcome.unanswered + sum(number for status, number in outcome.statuses.items() if status != 200)
        self.answered[kind] += outcome.statuses[200]
        self.bad += bad
        p50, p95, p99 = (percentile(outcome.whole_s, share) * 1000 for share in (0.5, 0.95, 0.99))
        print(
            f"{name:18}{'flat out' if per_s is None else f'{per_s:.0f}':>9}{outcome.per_s:9.0f}{p50:9.2f}{p95:9.2f}{p99:9.2f}"
            f"{bad:9}{used / max(len(outcome.whole_s), 1) * 1e6:8.0f}",
            flush=True,
        )
        return outcome


def check_books(stack: Stack, tenant: str, table: Table) -> bool:
    """Whether there is a usage record for each answer, and each costs what the price says."""
    url = stack.database_url()
    wanted = table.answered["hit"] + table.answered["miss"]
    deadline = time.monotonic() + 10
    while True:
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(cost_nano), 0), count(*) FILTER (WHERE cache = 'miss') "
                "FROM billing_usagerecord WHERE tenant_id = %s",
                (tenant,),
            ).fetchone()
        assert row is not None
        records, cost, misses = row
        if records >= wanted or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    right: bool = records == wanted and cost == misses * COST_NANO
    print(
        f"answers {wanted}, usage records {records}; cost {cost} nano-USD, {misses} misses x {COST_NANO} = {misses * COST_NANO}"
    )
    return right


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    with quick_upstream() as upstream, running(workers=2) as stack:
        tenant = stack.new_tenant()
        stack.manage(
            *("add_provider", "openai-compatible", "--name", MODEL, "--base-url", upstream, "--api-key", "none"),
            *("--model", MODEL, "--input-price", INPUT_USD, "--output-price", OUTPUT_USD),
        )
        asked = Asked(stack, tenant["api_key"])
        table = Table(stack)
        for kind in ("miss", "hit"):
            table.measure("warm-up", kind, asked, per_s=200, seconds=2)
        for kind, rates in (("hit", (4_000, 6_000, None)), ("miss", (1_000, 2_000, None))):
            for per_s in rates:
                table.measure(kind, kind, asked, per_s=per_s, seconds=options.seconds)
        right = check_books(stack, tenant["tenant"], table)
    return 0 if right and not table.bad else 1


if __name__ == "__main__":
    sys.exit(main())
