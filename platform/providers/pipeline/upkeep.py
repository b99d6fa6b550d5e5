"""What is done for deployments beside answering requests: tell and hear how they are, see whether a broken one answers
again, and tell whoever can mend a misconfigured one. One task per event loop, started by the first request."""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from kernel import adb, lifecycle
from kernel.errors import ParleyError
from kernel.per_loop import PerLoop
from kernel.redis import async_redis
from providers.base import Timeouts
from providers.errors import Misconfigured, ProviderError, Transient
from providers.pipeline.health import DeploymentHealth, Health, health
from providers.pipeline.sharing import KEPT_S, KEY, Sharing
from providers.pipeline.values import Candidate
from tenants.services.audit import record_unasked

log = structlog.get_logger(__name__)

EVERY_S = 0.4
PROBE_EVERY_S = 2.0
"""How often a deployment whose breaker is open is asked whether it answers again."""
PROBE_TIMEOUTS = Timeouts(connect_s=2.0, first_token_s=2.0, between_tokens_s=2.0, total_s=2.0)
LEASE_MS = 3_000
"""For how long the process that asks a deployment keeps the others from doing so."""
MAX_PROBES = 8
CANCEL_AGAIN_S = 0.2
MAX_ALERTS = 100
TOLD_AGAIN_S = 3_600
"""How often, at most, somebody is told that the same deployment is misconfigured."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A deployment that can't work as it is set up, and the tenant whose request found it out."""

    candidate: Candidate
    error: ProviderError
    tenant_id: uuid.UUID


class Upkeep:
    """One event loop's."""

    def __init__(self, known: Health) -> None:
        self._health = known
        self._sharing = Sharing(known)
        self._alerts: deque[Alert] = deque(maxlen=MAX_ALERTS)
        self._probed_s: dict[uuid.UUID, float] = {}
        self._probing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._redis_away = False
        self._closing = False
        known.on_news = self._on_news
        self.task = asyncio.create_task(self._run(), name="upkeep of deployments")

    async def close(self) -> None:
        """End it."""
        self._closing = True
        left = {self.task, *self._probing}
        while left:
            for task in left:
                task.cancel()
            # A library may take a cancellation that comes just as its own time is up for that, and go on.
            _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)

    async def turn(self) -> None:
        """Once around: what there is to tell, to hear, to try and to report."""
        await self._share()
        self._probe()
        while self._alerts:
            await self._alert(self._alerts.popleft())

    def _on_news(self, candidate: Candidate, error: ProviderError, tenant_id: uuid.UUID) -> None:
        if isinstance(error, Misconfigured):
            self._alerts.append(Alert(candidate, error, tenant_id))
        self._wake.set()

    async def _run(self) -> None:
        while not (self._closing or lifecycle.is_draining()):
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.turn()
            except Exception:
                log.exception("upkeep_failed")

    async def _share(self) -> None:
        news = self._sharing.news()
        try:
            if news:
                async with async_redis().pipeline(transaction=False) as pipe:
                    pipe.hset(KEY, mapping=news)  # type: ignore[arg-type]
                    pipe.expire(KEY, round(KEPT_S))
                    await pipe.execute()
            said: dict[bytes, bytes] = await async_redis().hgetall(KEY)  # type: ignore[assignment]
            stale = self._sharing.learn(said)
            if stale:
                await async_redis().hdel(KEY, *stale)
        except (RedisError, OSError):
            if not self._redis_away:
                log.warning("deployments_not_shared")
            self._redis_away = True
            self._sharing.tell_again()
        else:
            self._redis_away = False

    def _probe(self) -> None:
        now = asyncio.get_running_loop().time()
        for known in self._health.troubled():
            candidate = known.candidate
            if candidate is None or known.breaker.state != "open" or len(self._probing) >= MAX_PROBES:
                continue
            if now - self._probed_s.get(known.id, 0.0) < PROBE_EVERY_S:
                continue
            self._probed_s[known.id] = now
            task = asyncio.create_task(self._ask(known, candidate), name=f"probe {candidate.name}")
            self._probing.add(task)
            task.add_done_callback(self._probing.discard)
        self._probed_s = {known: at for known, at in self._probed_s.items() if now - at < KEPT_S}

    async def _ask(self, known: DeploymentHealth, candidate: Candidate) -> None:
        """Whether it answers a question that costs nothing. Any answer will do but that of a broken server."""
        if not await self._leased(known.id):
            return
        try:
            await candidate.adapter.list_models(candidate.target, PROBE_TIMEOUTS)
        except Transient:
            return
        except ProviderError as error:
            log.debug("deployment_answers_again", deployment=candidate.name, error=error.code)
        known.breaker.answered()
        self._wake.set()

    async def _leased(self, deployment_id: uuid.UUID) -> bool:
        """Whether this process may ask, and no other. Without Redis each asks for itself."""
        try:
            taken = await async_redis().set(f"parley:probing:{deployment_id}", b"1", nx=True, px=LEASE_MS)
        except (RedisError, OSError):
            return True
        return bool(taken)

    async def _alert(self, alert: Alert) -> None:
        """Tell the tenant in its audit, or the operators in the log, once in `TOLD_AGAIN_S`."""
        deployment = alert.candidate.deployment
        try:
            first = await async_redis().set(alert_key(deployment.id), b"1", nx=True, ex=TOLD_AGAIN_S)
        except (RedisError, OSError):
            first = True
        if not first:
            return
        log.error("deployment_misconfigured", deployment=alert.candidate.name, platform=deployment.platform)
        if deployment.platform:
            return
        try:
            async with adb.transaction(alert.tenant_id) as opened:
                await record_unasked(
                    opened,
                    tenant_id=alert.tenant_id,
                    action="deployment.misconfigured",
                    subject_kind="deployment",
                    subject_id=deployment.id,
                    data={"deployment": alert.candidate.name, "reason": alert.error.reason},
                )
        except ParleyError:
            self._alerts.append(alert)


def alert_key(deployment_id: uuid.UUID) -> str:
    """Where it is noted for `TOLD_AGAIN_S` that a deployment was found misconfigured."""
    return f"parley:alerted:{deployment_id}"


_upkeep = PerLoop(lambda: Upkeep(health))


def keep_up() -> None:
    """Have the deployments of this event loop looked after."""
    _upkeep()


async def close() -> None:
    """End that."""
    upkeep = _upkeep.pop()
    if upkeep is not None:
        await upkeep.close()
