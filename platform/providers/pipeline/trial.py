"""One attempt from its turn to its end: it waits for a slot at its deployment, and tells the deployment's health how it went."""

from types import TracebackType

from billing.ledger import checkpoint
from providers.errors import ProviderError, Skipped
from providers.pipeline.attempt import Attempt
from providers.pipeline.health import health
from providers.pipeline.turns import Turn, Turns
from providers.pipeline.values import Job
from providers.scheduling.scheduler import Slot, scheduler


class Trial:
    """`with Trial(…) as trial:` around everything that is done for one turn, beginning with `trial.begin()`.

    A ProviderError ends the trial, and only that: whether another follows is for `turns` to say. Whatever else ends it
    goes on to whoever asked."""

    __slots__ = ("_attempt", "_attempts", "_job", "_place", "_turn", "_turns")

    def __init__(self, job: Job, turns: Turns, turn: Turn, attempts: list[Attempt]) -> None:
        self._job = job
        self._turns = turns
        self._turn = turn
        self._attempts = attempts
        self._attempt: Attempt | None = None
        self._place: Slot | None = None

    async def begin(self) -> Attempt:
        """Wait for a slot; then the attempt, which is added to those of the job. Raises Overloaded, Skipped if the
        deployment broke meanwhile, and a ParleyError for the caller."""
        turn = self._turn
        self._place = await scheduler().take_slot(turn.candidate, self._job)
        turn.health.in_flight += 1
        if not turn.health.breaker.holds(turn.leave):
            raise Skipped("failing", retry_after_s=turn.health.breaker.open_left_s)
        hold = self._job.hold
        if hold is not None and not hold.is_sent:
            hold.is_sent = True
            checkpoint(hold, output_tokens=0)
        self._attempt = Attempt(len(self._attempts) + 1, turn.candidate)
        self._attempts.append(self._attempt)
        return self._attempt

    def seen(self) -> None:
        """The caller now sees something of this attempt."""
        if self._place is not None:
            self._place.answered()

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        if self._place is not None:
            self._turn.health.in_flight -= 1
            self._place.release(error)
        failure = error if isinstance(error, ProviderError) else None
        if failure is not None:
            visible = self._attempt is not None and self._attempt.visible
            self._turns.failed(self._turn.candidate, failure, final=visible or not failure.moves_on)
        self._ended(failure)
        return failure is not None

    def _ended(self, failure: ProviderError | None) -> None:
        """Give the leave back with how it went. No failure and no end means that we ended it."""
        turn, attempt = self._turn, self._attempt
        if attempt is None:
            turn.health.left(turn.leave, answered=False)
        elif failure is not None:
            attempt.failed(failure)
            if turn.health.failed(turn.leave, failure, turn.candidate):
                health.report(turn.health, turn.candidate, failure, self._job.payer.tenant_id)
        elif attempt.finished is not None:
            turn.health.succeeded(turn.leave, first_content_s=attempt.first_content_s)
        else:
            turn.health.left(turn.leave, answered=attempt.visible)
