"""`python -m bench`: run every benchmark against the installation in PARLEY_HOME, and print a table."""

import os
import subprocess
import sys

PROGRAMS = ("bench.usage", "bench.cache", "bench.limits", "bench.gateway", "bench.streaming", "bench.billing_latency")


def main() -> int:
    """Run them one after the other. The first failure's exit code, or 0."""
    if not os.environ.get("DATABASE_URL"):
        print(f"Measuring the installation in {os.environ.get('PARLEY_HOME', '.parley')}; `make run` must be running.")
    for program in PROGRAMS:
        done = subprocess.run([sys.executable, "-m", program], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
