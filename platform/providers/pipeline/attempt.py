"""One attempt at one deployment, while it runs and as it is recorded."""

import asyncio
from datetime import UTC, datetime

from providers.assemble import Assembler, as_told, assembled, holds_content, reason_of
from providers.errors import ProviderError
from providers.estimate import count_usage, estimate_tokens, estimate_usage
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Status
from providers.types import NO_USAGE, ChatAnswer, Finished, StreamEvent, Usage, is_content


class Attempt:
    """What is known of an attempt while it runs: of one whose answer comes in pieces by `saw`, of others by `answered`.

    It is `visible` once there is something of it for the caller to see."""

    def __init__(self, number: int, candidate: Candidate) -> None:
        self.number = number
        self.candidate = candidate
        self._assembler = Assembler()
        self._whole: ChatAnswer | None = None
        self.visible = False
        self.finished: Finished | None = None
        self.error: ProviderError | None = None
        self._estimate: Usage | None = None
        self._clock = asyncio.get_running_loop().time
        self._started_at = datetime.now(UTC)
        self._started_s = self._clock()
        self._first_s: float | None = None
        self._ended_s: float | None = None

    def saw(self, event: StreamEvent) -> None:
        """The next event came."""
        self._assembler.add(event)
        if self._first_s is None and is_content(event):
            self._first_s = self._clock()
            self.visible = True
        if isinstance(event, Finished):
            self.finished = event
            self._ended_s = self._clock()
            self.visible = True

    def answered(self, answer: ChatAnswer) -> None:
        """The whole answer came."""
        self._whole = answer = as_told(answer)
        self.visible = True
        self._ended_s = self._clock()
        if holds_content(answer):
            self._first_s = self._ended_s
        self.finished = Finished(reason_of(answer), answer.usage)

    def answer(self) -> ChatAnswer:
        """The answer so far."""
        return self._whole if self._whole is not None else self._assembler.answer()

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
        return estimate_tokens(self._assembler.output_bytes + self._assembler.reasoning_bytes)

    def _usage(self, job: Job) -> Usage:
        if (known := self._known()) is not None:
            return known
        if self._estimate is not None:
            return self._estimate
        said = self._assembler if self._whole is None else assembled(self._whole)
        return estimate_usage(job.request, output_bytes=said.output_bytes, reasoning_bytes=said.reasoning_bytes)

    def _known(self) -> Usage | None:
        """What is known without counting: what the upstream said, or that it can't have cost anything."""
        if self.finished is not None and self.finished.usage.reported:
            return self.finished.usage
        if self.error is not None and not (self.visible or self.error.worked):
            return NO_USAGE
        return None

    @property
    def is_counted(self) -> bool:
        """Whether it is known what it used, without counting."""
        return self._known() is not None

    async def count(self, job: Job) -> None:
        """Count tokens, if the upstream has not said how many they were."""
        if self._known() is None:
            model = self.candidate.target.model
            self._estimate = await count_usage(job.request, self.answer(), model=model, read=self._assembler.read)

    @property
    def first_content_s(self) -> float:
        """Seconds from the start to the first content, or to now while there is none."""
        return (self._clock() if self._first_s is None else self._first_s) - self._started_s

    def _ms(self, at_s: float) -> int:
        return round((at_s - self._started_s) * 1000)
