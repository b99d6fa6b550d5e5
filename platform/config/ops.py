"""The operators' listener: `/metrics`, `/healthz`, and `/readyz` in detail. On loopback unless told otherwise; it asks for no
credential.
"""

import asyncio
import os
from collections import Counter
from typing import Any

import msgspec
import structlog
from psycopg import Error

from config.health import answer, find_degradations, find_problems
from kernel import metrics
from kernel.errors import Unavailable
from kernel.lag import lag
from kernel.outbox.upkeep import state_now
from providers.cache.semantic.support import Support, support
from providers.limits.stage import limiter
from providers.pipeline.breaker import BreakerState
from providers.pipeline.health import health
from providers.pipeline.pumps import pumps
from providers.scheduling.fair_queue import Class
from providers.scheduling.scheduler import scheduler

log = structlog.get_logger(__name__)

BREAKER_STATES: tuple[BreakerState, ...] = ("open", "half_open", "ramping")
"""Those to be looked at; all others are closed."""
OUTBOX_WAIT_S = 2.0


@metrics.sample
def _sample() -> None:
    one = limiter()
    metrics.lag.set(lag().ewma_s)
    metrics.limits_local.set(int(one.is_local))
    metrics.limits_factor.set(one.overload.factor)
    metrics.running.set(len(pumps))
    waiting: Counter[str] = Counter()
    for gate in scheduler().states().values():
        waiting.update(gate.queued)
    for rank in Class:
        metrics.queued.labels(rank.name.lower()).set(waiting[rank.name.lower()])
    troubled = Counter(known.breaker.state for known in health.troubled())
    for state in BREAKER_STATES:
        metrics.breakers.labels(state).set(troubled[state])


async def operators(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI app."""
    if scope["type"] != "http":
        return
    match scope["path"]:
        case "/metrics":
            metrics.sample_now()
            await _sample_outbox()
            found = await asyncio.to_thread(metrics.exposition)
            await answer(send, 200, found, content_type=metrics.CONTENT_TYPE.encode())
        case "/healthz":
            await answer(send, 200, b'{"status":"alive"}')
        case "/readyz":
            problems, degraded, tier = await asyncio.gather(find_problems(), find_degradations(), support())
            detail = {"status": "not ready" if problems else "ready", "problems": problems, "degraded": degraded}
            await answer(
                send, 503 if problems else 200, msgspec.json.encode(detail | _this_process() | _semantic(tier))
            )
        case _:
            await answer(send, 404, b'{"status":"not found"}')


async def _sample_outbox() -> None:
    """What the database says of the outbox; without it, what it said last."""
    try:
        async with asyncio.timeout(OUTBOX_WAIT_S):
            state = await state_now()
    except (Error, Unavailable, TimeoutError) as error:
        log.warning("outbox_not_sampled", problem=repr(error))
        return
    for name in ("waiting", "claimed", "failing", "dead"):
        metrics.outbox.labels(name).set(getattr(state, name))
    metrics.outbox_late.set(state.late_s)


def _semantic(tier: Support) -> dict[str, Any]:
    """Whether questions in other words can be answered from the cache, and why not. Everything else goes on without."""
    state = "off" if tier.problem else "ready"
    return {"semantic_cache": {"state": state, "why": tier.problem, "pgvector": tier.version, "indexed": tier.indexed}}


def _this_process() -> dict[str, Any]:
    one = limiter()
    return {
        "process": os.getpid(),
        "limits": {
            "mode": "local" if one.is_local else "redis",
            "share_of": one.processes.count,
            "factor": one.overload.factor,
        },
        "event_loop_lag_ms": round(lag().ewma_s * 1000, 1),
    }
