"""Whether a server keeps docs/websocket.md, line by line, told from outside.

    python -m tests.conformance https://parley.example --token T --other T2 --other-membership ID --stranger T3 --model M

`--token` and `--other` are access tokens of two members of one tenant, `--stranger` one of another tenant's. The model is asked
to say astral and combining text; where it is the suite's fake upstream, `--script` makes sure that it does. Prints a line per
check and answers with 1 if any fails.
"""

import argparse
import asyncio
import sys

from tests.conformance import CHECKS, Target, run


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    for name in ("token", "other", "other-membership", "stranger", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--script", action="store_true")
    failures = asyncio.run(run(Target(**vars(parser.parse_args()))))
    for one in CHECKS:
        failure = failures.get(one.__name__)
        sys.stdout.write(f"{'FAILED' if failure else 'holds '}  {one.__name__.replace('_', ' ')}\n")
        if failure:
            sys.stdout.write(f"        {failure}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
