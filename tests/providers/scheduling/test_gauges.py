"""What operators see of now: requests that wait for a turn, and breakers that aren't closed."""

import asyncio
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from config import ops
from kernel import metrics
from providers.pipeline.breaker import RULES
from providers.pipeline.health import health
from providers.scheduling.limiter import START_LIMIT
from tests.providers.scheduling.test_turns import Start, Upstream, _calm, fill, only, settle, start, upstream

__all__ = ["_calm", "only", "start", "upstream"]

pytestmark = pytest.mark.no_database


def value(name: str, **labels: str) -> float | None:
    metrics.sample_now()
    return REGISTRY.get_sample_value(name, labels)


def waiting() -> list[float | None]:
    return [value("parley_queued", priority=priority) for priority in ("interactive", "normal", "batch")]


async def test_those_who_wait_are_counted_by_class(upstream: Upstream, start: Start) -> None:
    assert waiting() == [0, 0, 0]
    tasks = await fill(start)
    tasks += [start("later", priority=priority) for priority in ("normal", "batch", "batch")]
    await settle()
    assert len(upstream.working) == START_LIMIT
    assert waiting() == [0, 1, 2]
    await upstream.answer_all()
    await asyncio.gather(*tasks)
    assert waiting() == [0, 0, 0]


async def test_breakers_are_counted_by_state() -> None:
    before = {state: value("parley_breakers", state=state) for state in ops.BREAKER_STATES}
    ailing = health.of(uuid4())
    leave = ailing.breaker.admit()
    assert leave is not None
    for _ in range(RULES.failures):
        ailing.breaker.failed(leave)
    health.in_trouble(ailing)
    try:
        assert value("parley_breakers", state="open") == (before["open"] or 0) + 1
        ailing.breaker.learn_ramping(ramped_s=0.0)
        assert value("parley_breakers", state="open") == before["open"]
        assert value("parley_breakers", state="ramping") == (before["ramping"] or 0) + 1
    finally:
        health.recovered(ailing)
    assert {state: value("parley_breakers", state=state) for state in ops.BREAKER_STATES} == before
