"""What the processes of `up` are told, and what comes of that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded.home import Home
from config.up import plan

pytestmark = pytest.mark.no_database
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
PLATFORM = Path(__file__).resolve().parents[2] / "platform"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home as it is while `up` runs."""
    made = Home(tmp_path / "home")
    made.prepare()
    made.clear_metrics()
    return made


def _webs(home: Home, workers: int) -> list[dict[str, str]]:
    specs = plan.web_specs({}, home, host="127.0.0.1", port=1, fd=3, ops_fd=4, workers=workers)
    return [dict(spec.environment) for spec in specs]


def _counting(environment: dict[str, str], statement: str) -> str:
    """What a process in this environment prints after `statement`."""
    known = os.environ | {"PYTHONPATH": str(PLATFORM), FOLDER: environment[FOLDER]}
    code = f"from kernel import metrics\n{statement}"
    return subprocess.run([sys.executable, "-c", code], env=known, check=True, capture_output=True, text=True).stdout


def test_what_the_worker_counts_is_in_the_numbers_of_the_web_processes(home: Home) -> None:
    worker = next(dict(spec.environment) for spec in plan.background_specs({}, home) if spec.name == "worker")
    _counting(worker, "metrics.books_differ.inc()")
    shown = _counting(_webs(home, 1)[0], "print(metrics.exposition().decode())")
    assert "parley_books_differ_total 1.0" in shown


def test_a_process_that_limits_nothing_does_not_say_that_all_is_held_back(home: Home) -> None:
    shown = _counting(_webs(home, 1)[0], "print(metrics.exposition().decode())")
    assert "parley_limits_factor 1.0" in shown


def test_web_processes_are_as_many_as_the_operator_says(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARLEY_WEB_PROCESSES", raising=False)
    assert {one["PARLEY_WEB_PROCESSES"] for one in _webs(home, 2)} == {"2"}
    monkeypatch.setenv("PARLEY_WEB_PROCESSES", "6")
    assert {one["PARLEY_WEB_PROCESSES"] for one in _webs(home, 2)} == {"6"}
