"""A storm of random faults: every upstream format misbehaves, to every client format, and everything must still be right.

    python -m bench.faults --count 10000 --seed 7

Starts a Parley of its own with two web processes, throws that many requests at it that meet a fault, and prints what they met,
how they ended, and everything that was wrong: see `tests.support.fault_storm`. Ends with 1 if anything was.
"""

import argparse
import base64
import logging
import random
import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from tests.support.fault_storm import Report, brewing
from tests.support.stack import Stack

FIRST_TOKEN_S = BETWEEN_TOKENS_S = 2.0
TOTAL_S = 10.0
REQUESTS_PER_ROUTE = 5
MAX_SHOWN = 20


def main() -> int:
    """Rage, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="requests that meet a fault")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    environment = {
        "PARLEY_UPSTREAM_FIRST_TOKEN_S": str(FIRST_TOKEN_S),
        "PARLEY_UPSTREAM_BETWEEN_TOKENS_S": str(BETWEEN_TOKENS_S),
        "PARLEY_UPSTREAM_TOTAL_S": str(TOTAL_S),
        "PARLEY_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PARLEY_KEY_PEPPER": secrets.token_urlsafe(32),
        "PARLEY_JWT_KEY": secrets.token_urlsafe(32),
    }
    # The upstreams' own complaints about callers that have what they need and leave.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    print(f"faults: seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="parley-faults-") as folder:
        stack = Stack(Path(folder), "--workers", "2", "--no-local-model", environment=environment).start()
        try:
            routes = max(20, options.count // REQUESTS_PER_ROUTE)
            with brewing(stack, stack.create_tenant(), seed=options.seed, routes=routes, total_s=TOTAL_S) as storm:
                report = storm.rage(options.count)
        finally:
            stack.stop()
    _print(report)
    return 1 if report.problems else 0


def _print(report: Report) -> None:
    calls = report.calls
    attempts = [tried for one in calls for tried in one.attempts]
    pairs = Counter((one.plan.api, tried.format) for one in calls for tried in one.attempts)
    print(
        f"faults: {sum(one.met_a_fault for one in calls):,} requests met a fault, of {len(calls):,} with {len(attempts):,} "
        f"attempts, in {report.took_s:.0f} s; {len(pairs)} pairs of formats"
    )
    print("faults: ended " + ", ".join(f"{number:,} {how}" for how, number in report.ended.most_common()))
    print("faults: met " + ", ".join(f"{number:,} {fault}" for fault, number in report.faults.most_common()))
    print(f"faults: slowest {max(one.heard.took_s for one in calls):.1f} s")
    print(f"faults: {len(report.problems)} problems")
    for problem in report.problems[:MAX_SHOWN]:
        print(problem)


if __name__ == "__main__":
    sys.exit(main())
