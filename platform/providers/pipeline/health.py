"""What this process knows of its deployments: who is well, how quick, how busy. Read by the choice of a deployment, by
the schedule of attempts and by the status that admins see; written by execute."""

import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

from providers.errors import Misconfigured, ProviderError, RateLimitedUpstream, Rejected, Skipped, TooLong, Transient
from providers.pipeline.breaker import Breaker, BreakerState, Chance, Clock, Pass
from providers.pipeline.values import Candidate

PAUSE_S = 1.0
"""For how long a deployment is left alone that limits requests without saying how long."""
LONGEST_PAUSE_S = 60.0
MARKED_S = 60.0
"""For how long a misconfigured deployment is tried after all others."""
SMOOTHING = 0.2
"""The weight of the latest attempt in the smoothed latency."""
RECENT = 128
MAX_DEPLOYMENTS = 10_000

Condition = Literal["healthy", "recovering", "pausing", "misconfigured", "failing"]
OnNews = Callable[[Candidate, ProviderError, uuid.UUID], None]
"""Told of a failure that other processes should know of, or somebody who could mend it, and of the tenant that met it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One deployment's health at one moment. Latencies are those to the first content."""

    condition: Condition
    breaker: BreakerState
    in_flight: int
    latency_ms: float | None
    median_ms: float | None
    last_error: str | None
    last_error_at: float | None


class DeploymentHealth:
    """One deployment's, in this process. Times are of `now`, in seconds."""

    def __init__(self, deployment_id: uuid.UUID, *, now: Clock, chance: Chance | None = None) -> None:
        self.id = deployment_id
        self.candidate: Candidate | None = None
        """How to reach it, once it has failed."""
        self.breaker = Breaker(now=now) if chance is None else Breaker(now=now, chance=chance)
        self.in_flight = 0
        self.latency_s: float | None = None
        self.last_error: ProviderError | None = None
        self.last_error_at: float | None = None
        self._now = now
        self._paused_until_s = 0.0
        self._marked_until_s = 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)

    @property
    def pause_left_s(self) -> float:
        """Seconds until the provider wants to hear of it again."""
        return max(0.0, self._paused_until_s - self._now()) if self._paused_until_s else 0.0

    @property
    def marked(self) -> bool:
        """Whether it was found misconfigured of late, and not to work since."""
        return self._marked_until_s > 0 and self._now() < self._marked_until_s

    def admit(self, *, force: bool = False) -> Pass | Skipped:
        """Leave to make an attempt, or why there is none. A pass has to be given back by one of the three below."""
        if self._paused_until_s and (left_s := self.pause_left_s) > 0:
            return Skipped("rate_limited", retry_after_s=left_s)
        leave = self.breaker.admit(force=force)
        if leave is not None:
            return leave
        if self.breaker.state == "ramping":
            return Skipped("recovering", retry_after_s=0.0)
        return Skipped("failing", retry_after_s=self.breaker.open_left_s)

    def succeeded(self, leave: Pass, *, first_content_s: float) -> None:
        """An attempt was answered whole; its first content came after so long."""
        self._marked_until_s = 0.0
        self.breaker.succeeded(leave)
        self._recent.append(first_content_s)
        known = self.latency_s
        self.latency_s = first_content_s if known is None else known + SMOOTHING * (first_content_s - known)

    def failed(self, leave: Pass, error: ProviderError, candidate: Candidate) -> bool:
        """An attempt failed. Returns whether that is news: for other processes, or for somebody who could mend it."""
        self.last_error, self.last_error_at = error, time.time()
        if isinstance(error, Transient):
            return self.breaker.failed(leave)
        if isinstance(error, TooLong | Rejected):
            self.breaker.succeeded(leave)
            return False
        self.breaker.left(leave)
        if isinstance(error, RateLimitedUpstream):
            self.pause(PAUSE_S if error.retry_after_s is None else error.retry_after_s)
            return True
        if isinstance(error, Misconfigured) and not _wrong_name(error, candidate):
            news = not self.marked
            self._marked_until_s = self._now() + MARKED_S
            return news
        return False

    def left(self, leave: Pass, *, answered: bool) -> None:
        """An attempt was ended by us; `answered` says that the upstream had begun to answer."""
        if answered:
            self.breaker.succeeded(leave)
        else:
            self.breaker.left(leave)

    def pause(self, wait_s: float) -> None:
        """Leave it alone for so long, at most `LONGEST_PAUSE_S`."""
        self._paused_until_s = max(self._paused_until_s, self._now() + min(wait_s, LONGEST_PAUSE_S))

    def snapshot(self) -> Snapshot:
        """For those who look at it."""
        state = self.breaker.state
        return Snapshot(
            condition=self._condition(state),
            breaker=state,
            in_flight=self.in_flight,
            latency_ms=None if self.latency_s is None else round(self.latency_s * 1000, 1),
            median_ms=round(median(self._recent) * 1000, 1) if self._recent else None,
            last_error=self.last_error.code if self.last_error else None,
            last_error_at=self.last_error_at,
        )

    def _condition(self, state: BreakerState) -> Condition:
        if state == "open":
            return "failing"
        if self.marked:
            return "misconfigured"
        if self.pause_left_s > 0:
            return "pausing"
        return "healthy" if state == "closed" else "recovering"


def _wrong_name(error: Misconfigured, candidate: Candidate) -> bool:
    """Whether a caller of a wildcard asked for a model that isn't there, which is no fault of the deployment."""
    return error.status == 404 and candidate.deployment.any_model


class Health:
    """Every deployment's that this process has tried of late."""

    def __init__(self, *, now: Clock = time.monotonic) -> None:
        self._now = now
        self._known: OrderedDict[uuid.UUID, DeploymentHealth] = OrderedDict()
        self._troubled: dict[uuid.UUID, DeploymentHealth] = {}
        self.on_news: OnNews | None = None

    def of(self, deployment_id: uuid.UUID) -> DeploymentHealth:
        """This deployment's; a new one is taken to be well."""
        known = self._known.get(deployment_id)
        if known is None:
            known = self._known[deployment_id] = DeploymentHealth(deployment_id, now=self._now)
            if len(self._known) > MAX_DEPLOYMENTS:
                self._forget_one()
        return known

    def known(self, deployment_id: uuid.UUID) -> DeploymentHealth | None:
        """This deployment's, if it was tried here."""
        return self._known.get(deployment_id)

    def report(self, known: DeploymentHealth, candidate: Candidate, error: ProviderError, tenant_id: uuid.UUID) -> None:
        """A failure that is news."""
        known.candidate = candidate
        self.in_trouble(known)
        if self.on_news is not None:
            self.on_news(candidate, error, tenant_id)

    def in_trouble(self, known: DeploymentHealth) -> None:
        """Look after this one until it has `recovered`."""
        self._troubled[known.id] = known

    def recovered(self, known: DeploymentHealth) -> None:
        """It is well again."""
        self._troubled.pop(known.id, None)

    def troubled(self) -> list["DeploymentHealth"]:
        """Those that failed or paused of late."""
        return list(self._troubled.values())

    def _forget_one(self) -> None:
        idle = next((known.id for known in self._known.values() if not known.in_flight), None)
        if idle is not None:
            del self._known[idle]


health = Health()
"""This process's own."""
