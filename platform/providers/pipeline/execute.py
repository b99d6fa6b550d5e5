"""Execute: try the candidates of a job, until one answers.

Who is tried when is decided in `turns`; an attempt holds a slot at its deployment (`slots`), and tells the deployment's
health how it went."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from billing.ledger import checkpoint
from kernel import egress
from providers.assemble import Assembler, events_of
from providers.errors import ProviderError, Skipped, caller_error
from providers.images import Fetch
from providers.pipeline.attempt import Attempt
from providers.pipeline.health import health
from providers.pipeline.retry import RETRIES, Retries
from providers.pipeline.slots import slot
from providers.pipeline.turns import Turn, Turns
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Status
from providers.scheduling.scheduler import Slot
from providers.types import ChatAnswer, EmbeddingRequest, Finished, StreamEvent, is_content


class Execution:
    """One job's attempts. `events` may be closed at any point; `outcomes` and `answer` then say how far it
    came."""

    def __init__(self, job: Job, *, retries: Retries = RETRIES, fetch: Fetch = egress.fetch) -> None:
        self._job = job
        self._fetch = fetch
        self._retries = retries
        self._attempts: list[Attempt] = []

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        """The events of the first attempt that is answered; none before real content, so that the next can still
        take over unseen. Raises the ParleyError that lists every attempt when none is left to try, or when one
        failed that the caller has seen content of."""
        turns = Turns(self._job, self._retries, self._fetch)
        last: ProviderError | None = None
        while (turn := await turns.next()) is not None:
            attempt: Attempt | None = None
            failure: ProviderError | None = None
            try:
                async with slot(turn.candidate, self._job) as place:
                    attempt = self._begin(turn)
                    async with aclosing(self._attempt(attempt, turn, place)) as events:
                        async for event in events:
                            yield event
                return
            except ProviderError as error:
                last = failure = error
                turns.failed(turn.candidate, error)
                if (attempt is not None and attempt.visible) or not error.moves_on:
                    break
            finally:
                self._ended(turn, attempt, failure)
        raise caller_error(turns.failures) from last

    def _begin(self, turn: Turn) -> Attempt:
        """The attempt that now has its slot. Raises Skipped if its deployment broke while it waited for that."""
        if not turn.health.breaker.holds(turn.leave):
            raise Skipped("failing", retry_after_s=turn.health.breaker.open_left_s)
        hold = self._job.hold
        if hold is not None and not hold.is_sent:
            hold.is_sent = True
            checkpoint(hold, output_tokens=0)
        attempt = Attempt(len(self._attempts) + 1, turn.candidate)
        self._attempts.append(attempt)
        return attempt

    def _ended(self, turn: Turn, attempt: Attempt | None, failure: ProviderError | None) -> None:
        """Give the leave back with how it went. No failure and no end means that we ended it."""
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

    async def _attempt(self, attempt: Attempt, turn: Turn, place: Slot) -> AsyncGenerator[StreamEvent, None]:
        held: list[StreamEvent] = []
        async with aclosing(_upstream(turn)) as events:
            async for event in events:
                attempt.saw(event)
                if attempt.visible:
                    yield event
                    continue
                held.append(event)
                if is_content(event) or isinstance(event, Finished):
                    attempt.visible = True
                    place.answered()
                    for early in held:
                        yield early

    def outcomes(self, ending: Status) -> tuple[AttemptOutcome, ...]:
        """Every attempt so far; one that was still running ended as the job did."""
        return tuple(attempt.outcome(self._job, ending) for attempt in self._attempts)

    def output_tokens(self) -> int:
        """An estimate of what the attempt that runs has written so far."""
        return self._attempts[-1].output_tokens() if self._attempts else 0

    def serving(self) -> tuple[Candidate, float] | None:
        """Whose answer the caller sees, and the seconds from that attempt's start to its first content."""
        seen = [attempt for attempt in self._attempts if attempt.visible]
        return (seen[-1].candidate, seen[-1].first_content_s) if seen else None

    def answer(self) -> ChatAnswer:
        """What the caller could see of the answer so far."""
        seen = [attempt for attempt in self._attempts if attempt.visible]
        return (seen[-1].assembler if seen else Assembler()).answer()


def _upstream(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
    request = turn.request
    if request.stream and not isinstance(request, EmbeddingRequest):
        return turn.candidate.adapter.stream(request, turn.candidate.target, turn.timeouts)
    return _at_once(turn)


async def _at_once(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
    adapter, request = turn.candidate.adapter, turn.request
    if isinstance(request, EmbeddingRequest):
        answer = await adapter.embed(request, turn.candidate.target, turn.timeouts)
    else:
        answer = await adapter.complete(request, turn.candidate.target, turn.timeouts)
    for event in events_of(answer):
        yield event
