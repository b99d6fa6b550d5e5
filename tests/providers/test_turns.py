"""Each class of error does what the table says: who is tried again, who is next, who is left alone."""

import uuid

import pytest

from kernel.errors import ParleyError, RateLimited, UpstreamFailed
from providers.adapters.fake import FakeAdapter, Script
from providers.base import Timeouts
from providers.errors import (
    ContextTooLong,
    Misconfigured,
    NoneAvailable,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    TooLong,
    Transient,
    UpstreamUnusable,
)
from providers.pipeline.breaker import RULES
from providers.pipeline.execute import Execution
from providers.pipeline.health import LONGEST_PAUSE_S, PAUSE_S, DeploymentHealth, health
from providers.pipeline.retry import Retries
from providers.pipeline.values import Candidate, Job
from providers.types import StreamEvent, TextDelta
from tests.providers.conftest import AT_ONCE, SHORT, ask, candidate, job

pytestmark = pytest.mark.no_database

PATIENT = Timeouts(connect_s=1, first_token_s=30, between_tokens_s=30, total_s=60)


class Waits:
    """Retries that wait for nothing, and remember for how long they should have."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.retries = Retries(sleep=self._sleep, chance=lambda: 0.5)

    async def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


def route(**faults: ProviderError | None) -> tuple[FakeAdapter, list[Candidate]]:
    """A deployment per name, each failing in its way, if any."""
    fake = FakeAdapter({name: Script(text=name, fault=fault) for name, fault in faults.items()})
    return fake, [candidate(fake, name=name, model=name) for name in faults]


def patient(*candidates: Candidate) -> Job:
    return job(*candidates, timeouts=PATIENT)


def tried(fake: FakeAdapter) -> list[str]:
    return [target.model for _, target in fake.calls]


async def answer(work: Job, retries: Retries = AT_ONCE) -> str:
    events: list[StreamEvent] = [event async for came in Execution(work, retries=retries).events() for event in came]
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def health_of(one: Candidate) -> DeploymentHealth:
    return health.of(one.deployment.id)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_what_may_pass_is_tried_five_times_then_elsewhere(stream: bool) -> None:
    fake, candidates = route(bad=Transient(cause="server", status=500), good=None)
    waits = Waits()
    work = job(*candidates, request=ask(stream=stream), timeouts=PATIENT)
    execution = Execution(work, retries=waits.retries)
    assert [event async for event in execution.events()]
    assert tried(fake) == ["bad"] * 5 + ["good"]
    assert waits.waited == [0.05, 0.1, 0.2, 0.4]
    assert [attempt.number for attempt in execution.outcomes("complete")] == [1, 2, 3, 4, 5, 6]


async def test_each_try_that_may_have_cost_tokens_is_recorded_with_what_it_cost() -> None:
    _, candidates = route(bad=Transient(cause="cut"), good=None)
    execution = Execution(patient(*candidates), retries=AT_ONCE)
    assert [event async for event in execution.events()]
    *failed, served = execution.outcomes("complete")
    assert [(one.status, one.estimated, one.usage.input > 0) for one in failed] == [("failed", True, True)] * 5
    assert served.status == "complete"


async def test_one_that_recovers_between_tries_serves() -> None:
    fake = FakeAdapter()
    faults = iter([Transient(cause="connect"), Transient(cause="server"), None])

    async def pace(_: float) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault

    fake = FakeAdapter({"m": Script("Fine.")}, pace=pace)
    only = candidate(fake, model="m")
    assert await answer(patient(only)) == "Fine."
    assert len(fake.calls) == 3
    assert health_of(only).breaker.state == "closed"


async def test_no_try_begins_once_the_first_token_is_overdue() -> None:
    fake, candidates = route(bad=Transient(cause="server"), good=None)
    waits = Retries(first_wait_s=60, longest_wait_s=60, chance=lambda: 1.0)
    assert await answer(job(*candidates, timeouts=SHORT), waits) == "good"
    assert tried(fake) == ["bad", "good"]


@pytest.mark.parametrize(
    "error", [QuotaExceeded(status=429), RateLimitedUpstream(), Misconfigured(status=401)], ids=repr
)
async def test_what_trying_again_cannot_mend_is_tried_elsewhere_at_once(error: ProviderError) -> None:
    fake, candidates = route(bad=error, good=None)
    waits = Waits()
    assert await answer(patient(*candidates), waits.retries) == "good"
    assert tried(fake) == ["bad", "good"]
    assert waits.waited == []


async def test_one_without_quota_is_asked_again_by_the_next_request() -> None:
    fake, candidates = route(bad=QuotaExceeded(status=429), good=None)
    assert [await answer(patient(*candidates)) for _ in range(2)] == ["good", "good"]
    assert tried(fake) == ["bad", "good"] * 2


async def test_one_that_asks_for_a_pause_gets_it() -> None:
    fake, candidates = route(bad=RateLimitedUpstream(retry_after_s=7.0), good=None)
    assert [await answer(patient(*candidates)) for _ in range(3)] == ["good"] * 3
    assert tried(fake) == ["bad", "good", "good", "good"]
    assert 6 < health_of(candidates[0]).pause_left_s <= 7
    assert health_of(candidates[0]).snapshot().condition == "pausing"


async def test_a_lone_deployment_that_pauses_is_429_with_the_time_left() -> None:
    fake, (only,) = route(only=RateLimitedUpstream(retry_after_s=7.0))
    for _ in range(2):
        with pytest.raises(RateLimited) as refused:
            await answer(patient(only))
        assert refused.value.retry_after_s == 7
    assert tried(fake) == ["only"]


@pytest.mark.parametrize(("said_s", "kept_s"), [(None, PAUSE_S), (3600.0, LONGEST_PAUSE_S)])
def test_a_pause_is_bounded(said_s: float | None, kept_s: float) -> None:
    known = DeploymentHealth(uuid.uuid4(), now=lambda: 5.0)
    leave = known.breaker.admit()
    assert leave is not None
    assert known.failed(leave, RateLimitedUpstream(retry_after_s=said_s), route(x=None)[1][0])
    assert known.pause_left_s == kept_s


async def test_the_fifth_failure_opens_the_breaker_and_the_traffic_moves_at_once() -> None:
    fake, candidates = route(bad=Transient(cause="connect"), good=None)
    assert [await answer(patient(*candidates)) for _ in range(20)] == ["good"] * 20
    assert tried(fake) == ["bad"] * RULES.failures + ["good"] * 20
    assert health_of(candidates[0]).snapshot().condition == "failing"


async def test_a_lone_deployment_whose_breaker_is_open_is_503_with_the_time_left() -> None:
    fake, (only,) = route(only=Transient(cause="connect"))
    with pytest.raises(UpstreamFailed):
        await answer(patient(only))
    with pytest.raises(NoneAvailable) as refused:
        await answer(patient(only))
    assert refused.value.status == 503
    assert 1 <= int(refused.value.headers["Retry-After"]) <= RULES.open_s
    assert refused.value.details is not None
    assert [attempt["class"] for attempt in refused.value.details["attempts"]] == ["skipped"]
    assert len(fake.calls) == RULES.failures


async def test_one_that_recovers_is_spared_unless_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, candidates = route(back=None, other=None)
    known = health_of(candidates[0])
    known.breaker.learn_open(left_s=1, times_opened=1)
    known.breaker.learn_ramping(ramped_s=0)
    monkeypatch.setattr(known.breaker, "_chance", lambda: 0.99)
    assert await answer(patient(*candidates)) == "other"
    assert await answer(patient(candidates[0])) == "back"
    assert tried(fake) == ["other", "back"]


async def test_a_request_that_is_too_long_goes_to_a_larger_model_alone() -> None:
    fake = FakeAdapter({"gpt-4.1": Script("long")} | {m: Script(fault=TooLong()) for m in ("gpt-4o", "gpt-4o-mini")})
    models = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")
    candidates = [candidate(fake, name=model, model=model) for model in models]
    assert await answer(patient(*candidates)) == "long"
    assert tried(fake) == ["gpt-4o", "gpt-4.1"]
    with pytest.raises(ContextTooLong):
        await answer(patient(*candidates[:2]))


async def test_one_that_is_misconfigured_is_marked_until_it_works() -> None:
    fake = FakeAdapter({"m": Script(fault=Misconfigured(status=401))})
    only = candidate(fake, model="m")
    news: list[str] = []
    health.on_news = lambda candidate, error, tenant_id: news.append(error.code)
    try:
        for _ in range(3):
            with pytest.raises(UpstreamUnusable):
                await answer(patient(only))
    finally:
        health.on_news = None
    assert news == ["misconfigured"], "whoever can mend it is told once, not per request"
    assert health_of(only).snapshot().condition == "misconfigured"
    fake.scripts["m"] = Script("Fine.")
    await answer(patient(only))
    assert health_of(only).snapshot().condition == "healthy"


async def test_what_is_in_flight_is_counted_and_given_back() -> None:
    fake = FakeAdapter({"m": Script("abcdef", piece_chars=1)})
    only = candidate(fake, model="m")
    events = Execution(patient(only)).events()
    await anext(events)
    during = health_of(only).in_flight
    await events.aclose()
    assert (during, health_of(only).in_flight) == (1, 0)


async def test_latency_is_that_of_the_first_content() -> None:
    _, (only,) = route(only=None)
    assert await answer(patient(only)) == "only"
    seen = health_of(only).snapshot()
    assert seen.latency_ms is not None
    assert seen.median_ms == seen.latency_ms
    assert 0 <= seen.latency_ms < 1000


async def test_stopping_an_answer_says_nothing_bad_of_its_deployment() -> None:
    _, (only,) = route(only=None)
    for _ in range(2 * RULES.failures):
        events = Execution(patient(only)).events()
        await anext(events)
        await events.aclose()
    assert health_of(only).breaker.state == "closed"


async def test_what_fails_in_mid_stream_counts_and_is_not_tried_again() -> None:
    fake = FakeAdapter({"m": Script("abcdefgh", piece_chars=1, fault=Transient(cause="cut"), fault_after=3)})
    only = candidate(fake, model="m")
    for _ in range(RULES.failures):
        with pytest.raises(ParleyError):
            await answer(patient(only))
    assert len(fake.calls) == RULES.failures
    assert health_of(only).breaker.state == "open"
