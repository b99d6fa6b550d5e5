"""Execute: try the candidates of a job in order, until one answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from providers.assemble import Assembler, events_of
from providers.errors import Failure, Overloaded, ProviderError, Unsupported, caller_error
from providers.estimate import estimate_usage
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Status
from providers.scheduling.scheduler import Slot, scheduler
from providers.translate import fit
from providers.types import NO_USAGE, ChatAnswer, EmbeddingRequest, Finished, Request, StreamEvent, Usage, is_content


class _Attempt:
    """What is known of an attempt while it runs."""

    def __init__(self, number: int, candidate: Candidate, slot: Slot) -> None:
        self.number = number
        self.candidate = candidate
        self._slot = slot
        self.assembler = Assembler()
        self.visible = False
        self.finished: Finished | None = None
        self.error: ProviderError | None = None
        self._clock = asyncio.get_running_loop().time
        self._started_at = datetime.now(UTC)
        self._started_s = self._clock()
        self._first_s: float | None = None
        self._ended_s: float | None = None

    def saw(self, event: StreamEvent) -> None:
        self.assembler.add(event)
        if self._first_s is None and is_content(event):
            self._first_s = self._clock()
            self._slot.answered()
        if isinstance(event, Finished):
            self.finished = event
            self._ended_s = self._clock()

    def failed(self, error: ProviderError) -> None:
        self.error = error
        self._ended_s = self._clock()

    def outcome(self, job: Job, ending: Status) -> AttemptOutcome:
        """`ending` is how the job ended: so did this attempt, unless it had ended by itself."""
        status: Status = "complete" if self.finished else "failed" if self.error else ending
        return AttemptOutcome(
            number=self.number,
            candidate=self.candidate,
            status=status,
            usage=self._usage(job),
            visible=self.visible,
            started_at=self._started_at,
            ttft_ms=None if self._first_s is None else self._ms(self._first_s),
            latency_ms=self._ms(self._clock() if self._ended_s is None else self._ended_s),
            finish_reason=self.finished.finish_reason if self.finished else None,
            error=self.error,
        )

    def _usage(self, job: Job) -> Usage:
        reported = self.assembler.usage
        if reported is not None and reported.reported:
            return reported
        if self.error is not None and not (self.visible or self.error.worked):
            return NO_USAGE
        return estimate_usage(
            job.request,
            output_bytes=self.assembler.output_bytes,
            reasoning_bytes=self.assembler.reasoning_bytes,
        )

    @property
    def first_content_s(self) -> float:
        """Seconds from the start to the first content, or to now while there is none."""
        return (self._clock() if self._first_s is None else self._first_s) - self._started_s

    def _ms(self, at_s: float) -> int:
        return round((at_s - self._started_s) * 1000)


class Execution:
    """One job's attempts. `events` may be closed at any point; `outcomes` and `answer` then say how far it
    came."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._attempts: list[_Attempt] = []
        self._failures: list[Failure] = []

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """The events of the first candidate that answers; none before real content, so that the next can
        still take over unseen. Raises the ParleyError that lists every attempt when none is left to try, or
        when one failed that the caller has seen content of."""
        last: ProviderError | None = None
        for candidate in self._job.candidates:
            request = self._fitted(candidate)
            if request is None:
                continue
            try:
                slot = await scheduler().take_slot(candidate, self._job)
            except Overloaded as error:
                self._failed(candidate, error)
                last = error
                continue
            attempt = _Attempt(len(self._attempts) + 1, candidate, slot)
            self._attempts.append(attempt)
            try:
                async with aclosing(self._attempt(attempt, request)) as events:
                    async for event in events:
                        yield event
                return
            except ProviderError as error:
                attempt.failed(error)
                self._failed(candidate, error)
                last = error
                if attempt.visible or not error.moves_on:
                    break
            finally:
                slot.release(attempt.error)
        raise caller_error(self._failures) from last

    def _fitted(self, candidate: Candidate) -> Request | None:
        """The request as this candidate can say it; None, and nothing was tried, if it can't."""
        try:
            fitted = fit(self._job.request, candidate.adapter, drop=self._job.wishes.drop_params)
        except Unsupported as error:
            self._failed(candidate, error)
            return None
        self._job.report.dropped[:] = fitted.dropped
        return fitted.request

    def _failed(self, candidate: Candidate, error: ProviderError) -> None:
        self._failures.append(Failure(candidate.target.provider, candidate.name, error))

    async def _attempt(self, attempt: _Attempt, request: Request) -> AsyncGenerator[StreamEvent, None]:
        held: list[StreamEvent] = []
        async with aclosing(self._upstream(attempt.candidate, request)) as events:
            async for event in events:
                attempt.saw(event)
                if attempt.visible:
                    yield event
                    continue
                held.append(event)
                if is_content(event) or isinstance(event, Finished):
                    attempt.visible = True
                    for early in held:
                        yield early

    async def _upstream(self, candidate: Candidate, request: Request) -> AsyncGenerator[StreamEvent, None]:
        timeouts = self._job.timeouts
        if isinstance(request, EmbeddingRequest):
            for event in events_of(await candidate.adapter.embed(request, candidate.target, timeouts)):
                yield event
        elif request.stream:
            async with aclosing(candidate.adapter.stream(request, candidate.target, timeouts)) as events:
                async for event in events:
                    yield event
        else:
            for event in events_of(await candidate.adapter.complete(request, candidate.target, timeouts)):
                yield event

    def outcomes(self, ending: Status) -> tuple[AttemptOutcome, ...]:
        """Every attempt so far; one that was still running ended as the job did."""
        return tuple(attempt.outcome(self._job, ending) for attempt in self._attempts)

    def serving(self) -> tuple[Candidate, float] | None:
        """Whose answer the caller sees, and the seconds from that attempt's start to its first content."""
        seen = [attempt for attempt in self._attempts if attempt.visible]
        return (seen[-1].candidate, seen[-1].first_content_s) if seen else None

    def answer(self) -> ChatAnswer:
        """What the caller could see of the answer so far."""
        seen = [attempt for attempt in self._attempts if attempt.visible]
        return (seen[-1].assembler if seen else Assembler()).answer()
