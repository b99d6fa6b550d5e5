"""Whose turn it is: which deployment is tried next, when, and which not at all. The table of what each class of error
does is `providers.errors`."""

import asyncio
from collections import deque

import msgspec

from kernel.errors import without_frames
from providers.base import Timeouts
from providers.errors import Failure, ProviderError, Skipped, TooLong, Transient, Unsupported
from providers.images import Fetch, inline
from providers.pipeline.breaker import Pass
from providers.pipeline.health import DeploymentHealth, health
from providers.pipeline.retry import Retries
from providers.pipeline.values import Candidate, Job
from providers.profiles import profile
from providers.prompt_formats import as_text
from providers.translate import fit
from providers.types import ChatRequest, Request


class Turn(msgspec.Struct, frozen=True):
    """One attempt to be made: where, with what request, how patiently, and with whose leave."""

    candidate: Candidate
    request: Request
    timeouts: Timeouts
    health: DeploymentHealth
    leave: Pass


class Turns:
    """The attempts of one job, as they become due. `failures` are those of the deployments tried or passed over. `fetch`
    gets the images that some of them must be sent as data."""

    def __init__(self, job: Job, retries: Retries, fetch: Fetch) -> None:
        self._job = job
        self._fetch = fetch
        self._images: dict[str, str] = {}
        self._retries = retries
        self._waiting = deque(job.candidates)
        self._spared: deque[Candidate] = deque()
        self._sparing = True
        self._now = asyncio.get_running_loop().time
        self._began_s = self._now()
        self._again: Candidate | None = None
        self._tries = 0
        self._larger_than = 0
        self.failures: list[Failure] = []
        self.last_error: ProviderError | None = None
        self._over = False

    async def next(self) -> Turn | None:
        """The next attempt, once it is due; None when nothing is left to try."""
        if self._over:
            return None
        if self._again is not None:
            again, self._again = self._again, None
            wait_s = self._retries.wait_s(self._tries)
            if self._now() + wait_s < self._began_s + self._job.timeouts.first_token_s:
                await self._retries.sleep(wait_s)
                turn = await self._turn(again)
                if turn is not None:
                    return turn
        while (candidate := self._following()) is not None:
            self._tries = 0
            turn = await self._turn(candidate)
            if turn is not None:
                return turn
        return None

    def failed(self, candidate: Candidate, error: ProviderError, *, final: bool = False) -> None:
        """An attempt there failed, or could not be begun: decides what comes next. After a `final` one nothing does."""
        self._over = final
        self.last_error = without_frames(error)
        self.failures.append(Failure(candidate.target.provider, candidate.name, error))
        if isinstance(error, Transient):
            self._tries += 1
            self._again = candidate if self._tries < self._retries.tries else None
        elif isinstance(error, TooLong):
            self._larger_than = max(self._larger_than, profile(candidate.target.model).context_tokens or 0)

    def _following(self) -> Candidate | None:
        if not self._waiting and self._sparing:
            # Those that are just recovering are spared only for as long as there are others.
            self._sparing = False
            self._waiting = self._spared
        while self._waiting:
            candidate = self._waiting.popleft()
            context_tokens = profile(candidate.target.model).context_tokens if self._larger_than else None
            if context_tokens is None or context_tokens > self._larger_than:
                return candidate
        return None

    async def _turn(self, candidate: Candidate) -> Turn | None:
        spent_s = self._now() - self._began_s
        timeouts = self._job.timeouts
        if spent_s >= timeouts.total_s:
            self.failed(candidate, Skipped("late"))
            return None
        request = await self._fitted(candidate)
        if request is None:
            return None
        known = health.of(candidate.deployment.id)
        leave = known.admit(force=not self._sparing)
        if isinstance(leave, Skipped):
            if leave.why == "recovering":
                self._spared.append(candidate)
            else:
                self.failed(candidate, leave)
            return None
        spent_s = self._now() - self._began_s
        if self.failures:
            timeouts = Timeouts(
                timeouts.connect_s, timeouts.first_token_s, timeouts.between_tokens_s, timeouts.total_s - spent_s
            )
        return Turn(candidate, request, timeouts, known, leave)

    async def _fitted(self, candidate: Candidate) -> Request | None:
        """The request as this candidate can say it; None, and nothing was tried, if it can't."""
        adapter = candidate.adapter
        try:
            asked, written = self._job.request, candidate.deployment.prompt_format
            if written and isinstance(asked, ChatRequest):
                asked = as_text(asked, written)
            fitted = fit(asked, adapter, model=candidate.target.model, drop=self._job.wishes.drop_params)
            request = fitted.request
            if adapter.inlines_images and isinstance(request, ChatRequest):
                request = await inline(request, self._fetch, known=self._images)
        except Unsupported as error:
            self.failed(candidate, error)
            return None
        self._job.report.dropped[:] = fitted.dropped
        return request
