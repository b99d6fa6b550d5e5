"""What the gateway adds to the time to first token, and between tokens, at 300 streams a second.

    python -m bench.streaming                # about a minute

Starts a Parley of its own (two web processes, a home that is thrown away) and an upstream whose first token comes after 50 ms
and the other 19 after 5 ms each. The same requests go to the upstream directly and through Parley, each new, at the same rate;
times count from when a request was due. What is added is the difference of the percentiles."""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable

import uvloop

from bench.load import Outcome, Run
from bench.openloop import percentile
from bench.stack import quick_upstream, running

PER_S = 300
CONNECTIONS = 300
FIRST_MS, GAP_MS = 50, 5
SHARES = (0.5, 0.95, 0.99)
_numbers = itertools.count(time.time_ns())


def _request(path: str, key: str, model: str) -> Callable[[], bytes]:
    def make() -> bytes:
        message = {"role": "user", "content": f"Tell me about item {next(_numbers)}"}
        body = json.dumps({"model": model, "stream": True, "messages": [message]}).encode()
        return (
            b"POST %b HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (path.encode(), key.encode(), len(body), body)
        )

    return make


def _measure(url: str, make: Callable[[], bytes], seconds: float, per_s: float) -> Outcome:
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    run = Run(host, int(port), connections=CONNECTIONS, make=make)
    return uvloop.run(run.at_rate(per_s=per_s, seconds=seconds))


def _row(name: str, outcome: Outcome) -> list[float]:
    first = [percentile(outcome.first_s, share) * 1000 for share in SHARES]
    whole = percentile(outcome.whole_s, 0.5) * 1000
    bad = outcome.unanswered + sum(number for status, number in outcome.statuses.items() if status != 200)
    print(f"{name:12}{len(outcome.whole_s):9}" + "".join(f"{value:9.2f}" for value in first) + f"{whole:12.1f}{bad:9}")
    return first


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--per-s", type=float, default=PER_S)
    options = parser.parse_args()
    with quick_upstream(first_ms=FIRST_MS, gap_ms=GAP_MS) as upstream, running(workers=2) as stack:
        stack.model("bench", upstream)
        through = _request("/v1/chat/completions", stack.tenant(), "bench")
        direct = _request("/v1/chat/completions", "none", "quick")
        print(f"{'':12}{'streams':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'whole p50':>12}{'not 200':>9}")
        _measure(stack.url, through, 3, options.per_s)
        base = _row("direct", _measure(upstream, direct, options.seconds, options.per_s))
        before = stack.cpu_s()
        outcome = _measure(stack.url, through, options.seconds, options.per_s)
        used = stack.cpu_s() - before
        seen = _row("through", outcome)
        print(f"{'added':12}{'':9}" + "".join(f"{ours - theirs:9.2f}" for ours, theirs in zip(seen, base, strict=True)))
        print(f"CPU of Parley's processes: {used / max(len(outcome.whole_s), 1) * 1e6:.0f} µs a stream of 20 tokens")
    return 0 if outcome.statuses[200] == len(outcome.whole_s) and not outcome.unanswered else 1


if __name__ == "__main__":
    sys.exit(main())
