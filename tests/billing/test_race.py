"""The race of `bench.billing_race`, small: nothing is overspent, billed twice or lost, though processes are killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import database_url

ROOT = Path(__file__).resolve().parents[2]
ADMISSIONS = 20_000
PATIENCE_S = 150


@pytest.mark.timeout(PATIENCE_S + 10)
def test_budgets_hold_whoever_races_and_dies() -> None:
    race = ("--admissions", str(ADMISSIONS), "--kills", "3", "--database", database_url("test_parley"))
    done = subprocess.run(
        [sys.executable, "-m", "bench.billing_race", *race],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    verdicts = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert verdicts == ["ok"] * 8
