"""In what order files are collected and tested, and what coverage watches.

Workers of pytest-xdist take file after file. Those that keep a worker waiting come first, so that none is left to run alone at
the end while the other workers have nothing more to do.

Coverage makes everything that it watches slower by half. What is measured in every run, the packages `kernel` and `tenants`,
is reached well enough by tests that look at them and a few of those that go through them; tests of what is above them, that
repeat the same way hundreds of times, or talk to other processes, are not watched. So the figure is a lower bound. `make
coverage` watches everything.
"""

import gc
import os
from collections.abc import Generator

import pytest

FIRST = (
    "e2e/test_a_conversation.py",
    "config/test_up.py",
    "e2e/test_fault_storm.py",
    "e2e/test_first_conversation.py",
    "billing/test_race.py",
    "e2e/test_pairings.py",
    "e2e/test_budgets.py",
    "e2e/test_browser.py",
    "e2e/test_killed_in_mid_answer.py",
    "e2e/test_operators.py",
    "config/test_supervisor.py",
    "e2e/test_browser_pages.py",
    "e2e/test_browser_console.py",
    "e2e/test_upstream_faults.py",
    "config/test_embedded_servers.py",
    "config/test_local_model.py",
)
OF_ALL_TENANTS = (
    "providers/cache/test_upkeep.py",
    "providers/test_published_models.py",
    "providers/test_routing_api.py",
)
"""These go through all that a worker's tests have made so far: before the others, that is little."""
OF_OTHER_PROCESSES = ("config/test_serve.py", "web/", "e2e/")
WATCHED = (
    "api/test_idempotency.py",
    "billing/test_holds.py",
    "billing/test_reports.py",
    "billing/test_usage.py",
    "chat/",
    "isolation/",
    "kernel/",
    "notifications/",
    "providers/batches/",
    "providers/test_connections.py",
    "providers/test_limits.py",
    "providers/test_request_log.py",
    "providers/test_routes.py",
    "tenants/",
)
"""Files and folders below `tests`, each by how its path begins, that coverage watches, but for those `REPEATING`."""
REPEATING = (
    "chat/test_resume.py",
    "isolation/test_fuzz.py",
    "isolation/test_mallory.py",
    "isolation/test_mallory_gateway.py",
    "isolation/test_mutants.py",
)
LONG = (
    "api/test_schema.py",
    "isolation/test_mallory.py",
    "providers/test_secrets.py",
    "chat/test_resume.py",
    "providers/cache/test_keys.py",
)
"""Of those not watched, the ones that are begun first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Whether coverage is spared these tests."""
    parser.addoption("--watch-less", action="store_true", help="no coverage of tests that repeat themselves")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Every other worker collects from the end: what one has compiled, the other needn't."""
    report = yield
    if isinstance(collector, pytest.Directory) and from_the_end():
        report.result.reverse()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Those of other processes first, the repeating ones last: coverage, once it stopped in a thread, doesn't come back."""
    if hasattr(config, "workerinput"):
        # All workers must have the same order, wherever they began.
        items.sort(key=_path)
    result = yield
    items.sort(key=lambda item: _rank(_path(item)))
    return result


def pytest_collection_finish() -> None:
    """What was made until now stays: the garbage collector needn't look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Coverage looks on while tests are run that it watches, and at all that belongs to those: fixtures, too."""
    coverage = item.config.pluginmanager.getplugin("_cov")
    if coverage is not None and coverage.cov_controller is not None and item.config.getoption("--watch-less"):
        controller, watched = coverage.cov_controller, _rank(_path(item))[0] == 1
        if watched and not controller.started:
            controller.resume()
        elif controller.started and not watched:
            controller.pause()
    return (yield)


def from_the_end() -> bool:
    """Whether this process is every other worker."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2 == 1


def comes_first(item: pytest.Item) -> bool:
    """Whether an item is of those that come before the many which run within one process."""
    return _rank(_path(item))[0] == 0


def _rank(path: str) -> tuple[int, int]:
    if path in FIRST:
        return 0, FIRST.index(path)
    for place, beginning in enumerate(OF_OTHER_PROCESSES):
        if path.startswith(beginning):
            return 0, len(FIRST) + place
    if path in OF_ALL_TENANTS:
        return 1, 0
    if path.startswith(WATCHED) and not path.startswith(REPEATING):
        return 1, 1
    return 2, LONG.index(path) if path in LONG else len(LONG)


def _path(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0].removeprefix("tests/")
