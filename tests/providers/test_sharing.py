"""What one process learns of a deployment the others know within a second, and go on without Redis."""

import time
import uuid
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from kernel.redis import async_redis
from kernel.tenancy import tenant_scope
from providers.adapters.fake import FakeAdapter
from providers.base import Target, Timeouts
from providers.errors import Misconfigured, ProviderError, RateLimitedUpstream, Transient
from providers.pipeline import upkeep
from providers.pipeline.breaker import RULES
from providers.pipeline.health import DeploymentHealth, Health
from providers.pipeline.sharing import KEPT_S, KEY, Sharing
from providers.pipeline.upkeep import Upkeep
from providers.pipeline.values import Candidate
from providers.types import ModelInfo
from tenants.models import AuditEvent
from tests.providers.conftest import candidate, until
from tests.support.cast import Company
from tests.support.patience import soon
from tests.support.stack import SOON_S


class Process:
    """One process's health and its side of the sharing, on a clock of the test's own."""

    clock_s = 100.0

    def __init__(self) -> None:
        self.health = Health(now=lambda: Process.clock_s)
        self.sharing = Sharing(self.health, wall=lambda: 1e9 + Process.clock_s)

    def fail(self, one: Candidate, error: ProviderError, times: int = 1) -> DeploymentHealth:
        known = self.health.of(one.deployment.id)
        for _ in range(times):
            leave = known.breaker.admit()
            assert leave is not None
            if known.failed(leave, error, one):
                self.health.report(known, one, error, uuid.uuid4())
        return known

    def succeed(self, one: Candidate, times: int = 1) -> None:
        known = self.health.of(one.deployment.id)
        for _ in range(times):
            leave = known.breaker.admit()
            assert leave is not None
            known.succeeded(leave, first_content_s=0.1)


@pytest.fixture(autouse=True)
def _clock() -> None:
    Process.clock_s = 100.0


def tell(teller: Process, *others: Process) -> dict[str, bytes]:
    news = teller.sharing.news()
    for other in others:
        assert other.sharing.learn({name.encode(): said for name, said in news.items()}) == []
    return news


def broken() -> tuple[Candidate, Process, Process]:
    one, here, there = candidate(FakeAdapter()), Process(), Process()
    here.fail(one, Transient(cause="connect"), times=RULES.failures)
    return one, here, there


@pytest.mark.no_database
def test_an_open_breaker_is_open_everywhere_until_the_same_moment() -> None:
    one, here, there = broken()
    Process.clock_s += 1
    assert len(tell(here, there)) == 1
    known = there.health.of(one.deployment.id)
    assert (known.breaker.state, known.breaker.open_left_s) == ("open", RULES.open_s - 1)
    assert tell(here, there) == {}, "nothing is told twice"
    assert tell(there, here) == {}, "and what was learned isn't told again"


@pytest.mark.no_database
def test_who_recovers_recovers_everywhere() -> None:
    one, here, there = broken()
    tell(here, there)
    Process.clock_s += RULES.open_s
    assert tell(here, there) == {}, "that the time is over everybody knows"
    here.succeed(one, times=RULES.probes)
    Process.clock_s += 1
    tell(here, there)
    known = there.health.of(one.deployment.id)
    assert (known.breaker.state, known.breaker.ramped_s) == ("ramping", 1)
    Process.clock_s += RULES.ramp_s
    tell(here, there)
    assert {known.breaker.state, here.health.of(one.deployment.id).breaker.state} == {"closed"}
    assert here.health.troubled() == []


@pytest.mark.no_database
def test_a_pause_that_was_asked_for_is_kept_everywhere() -> None:
    one, here, there = candidate(FakeAdapter()), Process(), Process()
    here.fail(one, RateLimitedUpstream(retry_after_s=20))
    tell(here, there)
    assert there.health.of(one.deployment.id).pause_left_s == 20


@pytest.mark.no_database
def test_words_that_nobody_keeps_up_or_understands_are_thrown_away() -> None:
    one, here, there = broken()
    ((name, said),) = tell(here).items()
    Process.clock_s += KEPT_S + 1
    words = {name.encode(): said, b"who": said, str(uuid.uuid4()).encode(): b"{"}
    assert sorted(there.sharing.learn(words)) == sorted(key.decode() for key in words)
    assert there.health.known(one.deployment.id) is None


@pytest.mark.no_database
def test_a_wrong_clock_elsewhere_shuts_nobody_out_for_long() -> None:
    one, here, there = broken()
    fast = Sharing(here.health, wall=lambda: 1e9 + Process.clock_s + KEPT_S / 2)
    there.sharing.learn({name.encode(): said for name, said in fast.news().items()})
    assert there.health.of(one.deployment.id).breaker.open_left_s <= RULES.longest_open_s


class Reachable(FakeAdapter):
    """Lists its models, or fails to, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: ProviderError | None = None
        self.asked = 0

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return ()


async def test_two_processes_share_by_redis_within_a_second() -> None:
    one = candidate(Reachable())
    here, there = Health(), Health()
    both = [Upkeep(known) for known in (here, there)]
    try:
        began = time.monotonic()
        process = Process()
        process.health = here
        process.fail(one, Transient(cause="connect"), times=RULES.failures)
        await until(lambda: there.of(one.deployment.id).breaker.state == "open")
        assert time.monotonic() - began < SOON_S
    finally:
        for each in both:
            await each.close()
        await async_redis().hdel(KEY, str(one.deployment.id))


@pytest.mark.parametrize(
    ("failure", "sooner"),
    [(None, True), (Misconfigured(status=404), True), (Transient(cause="connect"), False)],
    ids=["lists", "answers", "down"],
)
async def test_a_broken_one_that_answers_again_is_tried_sooner(failure: ProviderError | None, sooner: bool) -> None:
    adapter = Reachable()
    adapter.failure = failure
    one = candidate(adapter)
    process = Process()
    process.health = Health()
    both = [Upkeep(process.health), Upkeep(Health())]
    try:
        known = process.fail(one, Transient(cause="connect"), times=RULES.failures)
        await until(lambda: adapter.asked > 0)
        if sooner:
            await until(lambda: known.breaker.open_left_s <= RULES.open_s / 4)
        else:
            assert known.breaker.open_left_s > RULES.open_s / 4
        assert adapter.asked == 1, "one process asks, and not all the time"
    finally:
        for each in both:
            await each.close()
        await async_redis().hdel(KEY, str(one.deployment.id))


async def test_without_redis_each_process_goes_by_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise ConnectionError("Redis is away")

    monkeypatch.setattr(upkeep, "async_redis", away)
    adapter = Reachable()
    one = candidate(adapter)
    process = Process()
    process.health = Health()
    alone = Upkeep(process.health)
    try:
        known = process.fail(one, Transient(cause="connect"), times=RULES.failures)
        await until(lambda: known.breaker.open_left_s <= RULES.open_s / 4)
        assert adapter.asked == 1
    finally:
        await alone.close()


async def test_a_tenants_admin_reads_once_in_the_audit_that_a_deployment_is_misconfigured(company: Company) -> None:
    found = candidate(FakeAdapter(), name="ours")
    one = replace(found, deployment=replace(found.deployment, platform=False))
    known = Health()
    kept = Upkeep(known)
    try:
        for _ in range(3):
            known.report(known.of(one.deployment.id), one, Misconfigured("sk-secret", status=401), company.id)
            await kept.turn()
        # Its own task may have taken the alert, and be about to write it.
        async with soon():
            while not (events := await _audit(company)):
                await kept.turn()
    finally:
        await kept.close()
        await async_redis().delete(f"parley:alerted:{one.deployment.id}")
    assert [(event.action, event.subject_id) for event in events] == [("deployment.misconfigured", one.deployment.id)]
    assert events[0].data == {"deployment": "ours", "reason": "the deployment is misconfigured (HTTP 401)"}


async def _audit(company: Company) -> list[AuditEvent]:
    def read() -> list[AuditEvent]:
        with tenant_scope(company.id), transaction.atomic():
            return list(AuditEvent.objects.filter(subject_kind="deployment"))

    return await sync_to_async(read)()
