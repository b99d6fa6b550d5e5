"""The running platform that the end-to-end tests share: one per worker of the test run, with two web processes."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.databases import make_database
from tests.support.order import comes_first
from tests.support.servers import SECRETS, database_url, redis_url
from tests.support.stack import Stack, Tenant

MODEL = "fake"
CLAUDE = "claude-fake"
FIRST_TOKEN_S = BETWEEN_TOKENS_S = 2.0
TOTAL_S = 10.0
"""How long the running platform waits for providers."""

PATIENCE = {
    "PARLEY_UPSTREAM_FIRST_TOKEN_S": str(FIRST_TOKEN_S),
    "PARLEY_UPSTREAM_BETWEEN_TOKENS_S": str(BETWEEN_TOKENS_S),
    "PARLEY_UPSTREAM_TOTAL_S": str(TOTAL_S),
}


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What the test has opened, closed when it ends: a connection that nobody closes fails another test."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="session")
def upstream() -> Iterator[OpenAIUpstream]:
    """A provider that does what it is told."""
    with OpenAIUpstream(api_key="upstream-secret") as running:
        yield running


@pytest.fixture(autouse=True)
def _scripts_end_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test told the upstream is nothing to the next."""
    yield
    if "upstream" in request.fixturenames:
        running: OpenAIUpstream = request.getfixturevalue("upstream")
        running.forget_scripts()


_running: list[Stack] = []


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, upstream: OpenAIUpstream, database: str) -> Iterator[Stack]:
    """Parley under uvicorn, on servers that it did not start, with the model `fake` at the fake upstream. Its database is
    a copy of the one that in-process tests have, made as that was."""
    make_database(database_url("test_e2e"))
    environment = {"DATABASE_URL": database_url("test_e2e"), "REDIS_URL": redis_url(1), **SECRETS, **PATIENCE}
    stack = Stack(
        tmp_path_factory.mktemp("stack"), "--workers", "2", "--no-local-model", environment=environment
    ).start()
    _running.append(stack)
    stack.add_model(MODEL, upstream.base_url, upstream="fake-model")
    yield stack
    _stop()


def _stop() -> None:
    while _running:
        _running.pop().stop()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """No end-to-end test comes after those that come first: the platform would take part of a processor for nothing."""
    if nextitem is not None and not comes_first(nextitem):
        _stop()


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    """A tenant of the running platform for each file of tests. Other files' models are there too; its own is `MODEL`."""
    made = stack.create_tenant()
    stack.use_by_default(made, MODEL)
    return made


@pytest.fixture(scope="session")
def running_claude(stack: Stack) -> Iterator[AnthropicUpstream]:
    """A provider that speaks Anthropic's format, with the model `claude-fake`."""
    with AnthropicUpstream(api_key="upstream-secret") as running:
        offer_claude(stack, running, CLAUDE)
        yield running


@pytest.fixture
def claude(running_claude: AnthropicUpstream) -> AnthropicUpstream:
    """The same, with a clean account."""
    running_claude.reset()
    return running_claude


def offer_claude(stack: Stack, upstream: AnthropicUpstream, alias: str) -> None:
    """Offer a model of Anthropic's format, with a deployment of its own, at $1 and $2 per million tokens."""
    prices = ("--input-price", "1", "--output-price", "2")
    connection = ("--name", f"fake-{alias}", "--base-url", upstream.base_url, "--api-key", "upstream-secret")
    stack.manage("add_provider", "anthropic", *connection, "--model", f"{alias}=fake-model", *prices)
