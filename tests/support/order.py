"""In what order files are tested, and what coverage watches.

Workers of pytest-xdist take file after file. Those that keep a worker waiting come first, so that none is left to run alone at
the end while the other workers have nothing more to do.

Coverage makes everything that it watches slower by half. What is measured in every run, the packages `kernel` and `tenants`,
is reached well enough by tests that look at them or go through them a few times; tests that repeat the same way hundreds of
times, and those that talk to other processes, are not watched. So the figure is a lower bound. `make coverage` watches
everything.
"""

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
OF_OTHER_PROCESSES = ("e2e/", "config/test_serve.py", "web/")
REPEATING = (
    "isolation/test_mallory.py",
    "isolation/test_mallory_gateway.py",
    "isolation/test_fuzz.py",
    "isolation/test_mutants.py",
    "api/test_schema.py",
    "chat/test_resume.py",
    "providers/test_anthropic_adapter.py",
    "providers/test_anthropic_answers.py",
    "providers/test_anthropic_requests.py",
    "providers/test_azure.py",
    "providers/test_cohere.py",
    "providers/test_faults.py",
    "providers/test_gemini.py",
    "providers/test_gemini_requests.py",
    "providers/test_guardrails.py",
    "providers/test_hostile_requests.py",
    "providers/test_limits_arithmetic.py",
    "providers/test_ollama.py",
    "providers/test_openai_",
    "providers/test_pump.py",
    "providers/test_secrets.py",
    "providers/test_sse.py",
    "providers/test_vendors.py",
    "providers/test_whole_answers.py",
    "providers/cache/test_keys.py",
    "providers/scheduling/",
)
"""Files and folders below `tests`, each by how its path begins."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Whether coverage is spared these tests."""
    parser.addoption("--watch-less", action="store_true", help="no coverage of tests that repeat themselves")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those of other processes first, the repeating ones last: coverage, once it stopped in a thread, doesn't come back."""
    items.sort(key=lambda item: _rank(_path(item)))
    if config.getoption("--watch-less"):
        for item in items:
            if _rank(_path(item))[0] != 1:
                item.add_marker("no_cover")


def _rank(path: str) -> tuple[int, int]:
    if path in FIRST:
        return 0, FIRST.index(path)
    if path.startswith(OF_OTHER_PROCESSES):
        return 0, len(FIRST)
    if path.startswith(REPEATING):
        return 2, 0
    return 1, 0 if path in OF_ALL_TENANTS else 1


def _path(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0].removeprefix("tests/")
