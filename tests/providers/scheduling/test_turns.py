"""Jobs that share a deployment: who goes when, who is sent away, and that nothing is left behind."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from billing.types import Payer
from kernel.errors import ParleyError, PermissionDenied, RateLimited
from kernel.lag import LagMonitor
from providers.adapters.fake import FakeAdapter, Script
from providers.base import DEFAULT_TIMEOUTS
from providers.errors import OverCapacity, ProviderError, RateLimitedUpstream, Transient
from providers.pipeline import run
from providers.pipeline.execute import Execution
from providers.pipeline.pumps import Pumps
from providers.pipeline.retry import Retries
from providers.pipeline.values import Candidate, Job, Wishes
from providers.scheduling.gate import MAX_QUEUED
from providers.scheduling.limiter import START_LIMIT
from providers.scheduling.scheduler import GateState, scheduler
from providers.types import ChatAnswer, Started
from tenants.principals import Principal, Priority
from tests.providers.conftest import Ledger, ask, candidate, job

pytestmark = pytest.mark.no_database

A, B = uuid4(), uuid4()


class Upstream(FakeAdapter):
    """Answers each request when the test says so, in the order in which it likes."""

    def __init__(self) -> None:
        super().__init__({"echo": Script("Fine.", piece_chars=100)}, pace=self._wait)
        self.working: list[asyncio.Future[None]] = []

    async def _wait(self, _: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.working.append(turn)
        await turn

    @property
    def prompts(self) -> list[str]:
        return [request.messages[-1].text for request, _ in self.calls]

    async def answer(self, count: int) -> None:
        """Let so many go, the first that came first."""
        for _ in range(count):
            self.working.pop(0).set_result(None)
            await settle()

    async def answer_all(self) -> None:
        """Let all go, until no more come."""
        while self.working:
            await self.answer(1)


class Refusing(FakeAdapter):
    """Refuses all that come, once all have come."""

    async def _fault(self, script: Script, emitted: int) -> None:
        await settle()
        await super()._fault(script, emitted)


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def _calm() -> None:
    """However busy the machine is, this loop counts as calm: no test here is about an overloaded process."""
    scheduler().lag = LagMonitor()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def only(upstream: Upstream) -> Candidate:
    return candidate(upstream)


Start = Callable[..., asyncio.Task[ChatAnswer]]


@pytest.fixture
def start(only: Candidate) -> Start:
    """Starts a job whose prompt is `name`, of a caller who is allowed that priority."""

    def start(
        name: str,
        *,
        tenant: UUID = A,
        priority: Priority | None = None,
        deadline_s: float | None = None,
        allowed: Priority = "interactive",
        candidates: tuple[Candidate, ...] = (),
    ) -> asyncio.Task[ChatAnswer]:
        payer = Payer(tenant_id=tenant, principal_kind="member", membership_id=uuid4())
        wishes = Wishes(priority=priority, deadline_s=deadline_s)
        work = structs.replace(
            job(*(candidates or (only,)), request=ask(name), timeouts=DEFAULT_TIMEOUTS),
            payer=payer,
            wishes=wishes,
            principal=caller(allowed),
        )
        return asyncio.create_task(execute(work))

    return start


def caller(allowed: Priority) -> Principal:
    return Principal("member", A, uuid4(), uuid4(), "member", frozenset({"models.use"}), priority=allowed)


async def execute(work: Job) -> ChatAnswer:
    execution = Execution(work, retries=Retries(tries=1))
    async for _ in execution.events():
        continue
    return execution.answer()


def state(of: Candidate) -> GateState:
    return scheduler().states()[of.deployment.id]


async def fill(start: Start) -> list[asyncio.Task[ChatAnswer]]:
    """Every slot taken, by another tenant."""
    tasks = [start(f"in {number}", tenant=uuid4()) for number in range(START_LIMIT)]
    await settle()
    return tasks


async def test_as_many_run_as_the_limit_says_and_the_rest_wait(
    upstream: Upstream, start: Start, only: Candidate
) -> None:
    tasks = await fill(start)
    tasks += [start("later") for _ in range(3)]
    await settle()
    assert state(only) == GateState(START_LIMIT, START_LIMIT, {"interactive": 3, "normal": 0, "batch": 0})
    assert len(upstream.calls) == START_LIMIT
    await upstream.answer(2)
    assert len(upstream.calls) == START_LIMIT + 2
    await upstream.answer_all()
    assert {answer.text for answer in await asyncio.gather(*tasks)} == {"Fine."}
    assert state(only).in_flight == 0


async def test_a_flooding_tenant_does_not_starve_another(upstream: Upstream, start: Start) -> None:
    tasks = await fill(start)
    tasks += [start(f"a{number}", tenant=A) for number in range(300)]
    await settle()
    tasks += [start(f"b{number}", tenant=B) for number in range(3)]
    await settle()
    await upstream.answer(6)
    assert upstream.prompts[START_LIMIT:] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    await upstream.answer_all()
    assert len(await asyncio.gather(*tasks)) == START_LIMIT + 303


async def test_batch_waits_while_interactive_goes(upstream: Upstream, start: Start) -> None:
    tasks = await fill(start)
    tasks += [start(f"batch{number}", priority="batch") for number in range(3)]
    await settle()
    tasks += [start(f"chat{number}", priority="interactive") for number in range(3)]
    await settle()
    await upstream.answer(6)
    assert upstream.prompts[START_LIMIT:] == ["chat0", "chat1", "chat2", "batch0", "batch1", "batch2"]
    await upstream.answer_all()
    await asyncio.gather(*tasks)


async def test_what_it_waited_is_in_the_report(upstream: Upstream, start: Start, only: Candidate) -> None:
    tasks = await fill(start)
    work = job(only)
    tasks.append(asyncio.create_task(execute(work)))
    await settle()
    assert work.report.queued_ms == 0
    await upstream.answer_all()
    await asyncio.gather(*tasks)
    assert work.report.queued_ms > 0


async def test_a_cancelled_waiter_leaves_no_hole(upstream: Upstream, start: Start, only: Candidate) -> None:
    tasks = await fill(start)
    early, late, granted = start("early"), start("late"), start("granted")
    await settle()
    early.cancel()
    await settle()
    assert state(only).queued["interactive"] == 2
    await upstream.answer(1)
    assert upstream.prompts[-1] == "late"
    # One whose turn comes in the very moment in which it is cancelled.
    upstream.working.pop(0).set_result(None)
    while state(only).queued["interactive"]:
        await asyncio.sleep(0)
    granted.cancel()
    await settle()
    assert granted.cancelled()
    assert "granted" not in upstream.prompts
    assert state(only).in_flight == START_LIMIT - 1
    await upstream.answer_all()
    await asyncio.gather(*tasks, late)
    assert state(only).in_flight == 0
    assert not any(state(only).queued.values())


async def test_a_full_queue_sheds_at_once_with_retry_after(upstream: Upstream, start: Start, only: Candidate) -> None:
    tasks = await fill(start)
    tasks += [start("flood", tenant=A, deadline_s=600) for _ in range(MAX_QUEUED)]
    await settle()
    shed = [task for task in tasks if task.done()]
    assert len(shed) == MAX_QUEUED // 2
    for task in shed:
        error = task.exception()
        assert isinstance(error, RateLimited)
        assert error.retry_after_s >= 1
        assert error.headers["Retry-After"] == str(error.retry_after_s)
        assert error.details is not None
        assert error.details["attempts"][0]["class"] == "overloaded"
    for _ in range(MAX_QUEUED // 2):
        tasks.append(start("one each", tenant=uuid4(), deadline_s=600))
    tasks.append(start("one too many", tenant=uuid4(), deadline_s=600))
    await settle()
    error = tasks[-1].exception()
    assert isinstance(error, OverCapacity)
    assert (error.status, error.code) == (503, "overloaded")
    assert int(error.headers["Retry-After"]) >= 1
    await upstream.answer_all()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(upstream.calls) == START_LIMIT + MAX_QUEUED
    assert state(only).in_flight == 0


async def test_a_drowning_process_lets_nobody_wait(upstream: Upstream, start: Start) -> None:
    tasks = await fill(start)
    for _ in range(50):
        scheduler().lag.observe(1.0)
    with pytest.raises(OverCapacity):
        await start("one more")
    await upstream.answer_all()
    await asyncio.gather(*tasks)


async def test_who_waited_to_the_deadline_is_told_when_to_come_back(
    upstream: Upstream, start: Start, only: Candidate
) -> None:
    tasks = await fill(start)
    late = start("late", deadline_s=0.02)
    with pytest.raises(OverCapacity) as shed:
        await late
    assert shed.value.retry_after_s >= 1
    assert state(only).queued["interactive"] == 0
    await upstream.answer_all()
    await asyncio.gather(*tasks)
    assert "late" not in upstream.prompts


async def test_what_one_deployment_has_no_room_for_another_answers(
    upstream: Upstream, start: Start, only: Candidate
) -> None:
    tasks = await fill(start)
    other = candidate(FakeAdapter({"echo": Script("From elsewhere.")}), name="other")
    tasks += [start("flood", tenant=A, deadline_s=600) for _ in range(MAX_QUEUED // 2)]
    await settle()
    execution = Execution(
        structs.replace(
            job(only, other),
            payer=Payer(A, "member", uuid4()),
            wishes=Wishes(deadline_s=600),
            principal=caller("interactive"),
        )
    )
    async for _ in execution.events():
        continue
    assert execution.answer().text == "From elsewhere."
    assert [outcome.candidate.name for outcome in execution.outcomes("complete")] == ["other"], "no attempt was made"
    await upstream.answer_all()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("error", [RateLimitedUpstream(status=429), Transient(cause="server", status=529)], ids=repr)
async def test_an_upstream_that_pushes_back_gets_less(error: ProviderError, start: Start, only: Candidate) -> None:
    busy = replace(only, adapter=Refusing({"echo": Script(fault=error)}))
    answers = await asyncio.gather(*(start("x", candidates=(busy,)) for _ in range(40)), return_exceptions=True)
    assert all(isinstance(answer, ParleyError) for answer in answers)
    assert state(busy).limit == 28, "seven tenths of how many there were"
    assert state(busy).in_flight == 0


async def test_an_upstream_that_is_merely_broken_keeps_its_limit(start: Start, only: Candidate) -> None:
    broken = replace(only, adapter=Refusing({"echo": Script(fault=Transient(cause="server", status=500))}))
    await asyncio.gather(*(start("x", candidates=(broken,)) for _ in range(40)), return_exceptions=True)
    assert state(broken) == GateState(START_LIMIT, 0, {"interactive": 0, "normal": 0, "batch": 0})


async def test_a_key_may_ask_for_less_but_not_for_more(start: Start, upstream: Upstream, only: Candidate) -> None:
    tasks = await fill(start)
    tasks += [start("lower", allowed="normal", priority="batch"), start("usual", allowed="normal")]
    await settle()
    assert state(only).queued == {"interactive": 0, "normal": 1, "batch": 1}
    with pytest.raises(PermissionDenied, match="interactive") as refused:
        await start("more", allowed="normal", priority="interactive")
    assert refused.value.details is not None
    assert refused.value.details["max_priority"] == "normal"
    await upstream.answer_all()
    await asyncio.gather(*tasks)


async def test_a_priority_that_is_not_allowed_is_refused_before_a_pump_is_made(only: Candidate) -> None:
    work = structs.replace(job(only), principal=caller("normal"), wishes=Wishes(priority="interactive"))
    with pytest.raises(PermissionDenied):
        await run.start(work)


async def test_a_thousand_streams_at_once_through_one_process() -> None:
    """Of one deployment, each in the middle of its answer while all others are."""
    gate = asyncio.Event()

    async def pace(delay_s: float) -> None:
        if delay_s:
            await gate.wait()

    fake = FakeAdapter({"echo": Script("Hello, world!", piece_chars=5, delay_s=1)}, pace=pace)
    only = candidate(fake)
    pumps, ledger = Pumps(), Ledger()
    answering = [pumps.start(job=job(only, timeouts=DEFAULT_TIMEOUTS), settle=ledger) for number in range(1000)]
    streams = [pump.events() for pump in answering]
    for stream in streams:
        assert isinstance(await anext(stream), Started)
    await settle()
    assert fake.open_streams == 1000
    gate.set()
    for pump, stream in zip(answering, streams, strict=True):
        async for _ in stream:
            continue
        await pump.wait()
    assert {result.answer.text for result in ledger.results} == {"Hello, world!"}
    assert len(ledger.results) == 1000
    assert fake.open_streams == 0
    assert state(only).in_flight == 0
