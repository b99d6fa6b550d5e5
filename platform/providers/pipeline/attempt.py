"""One attempt at one deployment, while it runs and as it is recorded."""

import asyncio
from datetime import UTC, datetime

from providers.assemble import Assembler
from providers.errors import ProviderError
from providers.estimate import estimate_tokens, estimate_usage
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Status
from providers.types import NO_USAGE, Finished, StreamEvent, Usage, is_content


class Attempt:
    """What is known of an attempt while it runs."""

    def __init__(self, number: int, candidate: Candidate) -> None:
        self.number = number
        self.candidate = candidate
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

    def output_tokens(self) -> int:
        """An estimate of what it has written so far."""
        return estimate_tokens(self.assembler.output_bytes + self.assembler.reasoning_bytes)

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
