"""What the providers' tests share: the fake upstream over HTTP, an adapter for it, short time-outs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from billing.types import Payer, Tariff
from providers.adapters.openai.adapter import OpenAICompatible
from providers.base import Adapter, Target, Timeouts
from providers.pipeline.retry import Retries
from providers.pipeline.values import Candidate, Job, Result
from providers.routes import ResolvedDeployment
from providers.types import ChatRequest, user_message
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.upstream import Upstream
from tests.providers.vendors import KEY, VENDORS, Vendor
from tests.support.patience import PATIENCE_S

SHORT = Timeouts(connect_s=0.3, first_token_s=0.3, between_tokens_s=0.3, total_s=1.0)

LONG = Timeouts(connect_s=5.0, first_token_s=5.0, between_tokens_s=5.0, total_s=10.0)


def patience(fault: str) -> Timeouts:
    """How long to wait for a fault: where something comes, as long as that takes on a busy machine."""
    return SHORT if fault.startswith("hang") else LONG


async def _no_wait(_: float) -> None:
    return


AT_ONCE = Retries(sleep=_no_wait)
ONCE = Retries(tries=1)


@pytest.fixture(scope="session")
def running_upstream() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(running_upstream: OpenAIUpstream) -> OpenAIUpstream:
    running_upstream.reset()
    return running_upstream


@pytest.fixture
async def adapter() -> AsyncIterator[OpenAICompatible]:
    adapter = OpenAICompatible()
    yield adapter
    await adapter.close()


@pytest.fixture
def target(upstream: OpenAIUpstream) -> Target:
    return Target("openai-compatible", upstream.base_url, "fake-model", secret="sk-upstream")


@pytest.fixture(scope="session")
def running_vendors() -> Iterator[dict[str, Upstream]]:
    with ExitStack() as running:
        yield {name: running.enter_context(kind(api_key=KEY)) for name, (_, kind) in VENDORS.items()}


@pytest.fixture(params=VENDORS)
async def vendor(request: pytest.FixtureRequest, running_vendors: dict[str, Upstream]) -> AsyncIterator[Vendor]:
    """Each format in turn. What an adapter has open ends with it, at the upstream too."""
    upstream = running_vendors[request.param]
    upstream.reset()
    adapter = VENDORS[request.param][0]()
    yield Vendor(request.param, adapter, upstream)
    await adapter.close()
    await until(lambda: upstream.open_connections == 0 and upstream.in_flight == 0)


def ask(text: str = "Hello", *, stream: bool = True, **fields: object) -> ChatRequest:
    """A request of one message."""
    return ChatRequest(model="alias", messages=(user_message(text),), stream=stream, **fields)  # type: ignore[arg-type]


def candidate(adapter: Adapter, *, name: str = "fake", model: str = "echo", target: Target | None = None) -> Candidate:
    """A deployment that no database knows, which costs nothing."""
    goes_to = target or Target("fake", "fake://", model)
    deployment = ResolvedDeployment(
        id=uuid4(),
        provider=goes_to.provider,
        connection=name,
        base_url=goes_to.base_url,
        model=goes_to.model,
        platform=True,
        tariff=Tariff(goes_to.model, {}),
        secret=goes_to.secret,
    )
    return Candidate(name, adapter, goes_to, deployment)


def job(*candidates: Candidate, request: ChatRequest | None = None, timeouts: Timeouts = SHORT) -> Job:
    """A job that a member of some tenant asked for."""
    payer = Payer(tenant_id=uuid4(), principal_kind="member", membership_id=uuid4())
    return Job(uuid4(), payer, request or ask(), candidates, timeouts)


async def until(true: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    """Wait for something that happens outside of this event loop."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


class Ledger:
    """A settle that remembers; it can be told to fail, or to wait for `gate`."""

    def __init__(self, *, failure: Exception | None = None, gate: Awaitable[object] | None = None) -> None:
        self.results: list[Result] = []
        self._failure = failure
        self._gate = gate

    async def __call__(self, result: Result) -> None:
        if self._gate is not None:
            await self._gate
        self.results.append(result)
        if self._failure is not None:
            raise self._failure

    @property
    def only(self) -> Result:
        assert len(self.results) == 1
        return self.results[0]
