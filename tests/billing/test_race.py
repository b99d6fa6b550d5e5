"""The race of `bench.billing_race`, small: nothing is overspent, billed twice or lost, though processes are killed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import database_url

ROOT = Path(__file__).resolve().parents[2]
ADMISSIONS = 20_000
PATIENCE_S = 280


@pytest.mark.timeout(PATIENCE_S + 10)
def test_budgets_hold_whoever_races_and_dies() -> None:
    assert race("--admissions", str(ADMISSIONS), "--kills", "3")


@pytest.mark.timeout(PATIENCE_S + 10)
def test_they_hold_where_processes_race_for_allowances() -> None:
    told = race(
        "--admissions", "6000", "--kills", "2", "--concurrency", "32", "--members", "1", "--keys", "1", "--room", "1"
    )
    drawn = re.search(r"([\d,]+) drawn from allowances", told)
    assert drawn is not None
    assert int(drawn[1].replace(",", "")) > 100


def race(*arguments: str) -> str:
    """What the bench says when all holds."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.billing_race", *arguments, "--database", database_url("test_parley")],
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
    return done.stdout
