"""Execute: try the candidates of a job, until one answers.

Who is tried when is decided in `turns`; an attempt holds a slot at its deployment, and tells the deployment's health how it
went (`trial`)."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kernel import egress
from providers.assemble import events_of
from providers.errors import caller_error
from providers.images import Fetch
from providers.pipeline.attempt import Attempt
from providers.pipeline.retry import RETRIES, Retries
from providers.pipeline.trial import Trial
from providers.pipeline.turns import Turn, Turns
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Status
from providers.types import NO_ANSWER, ChatAnswer, EmbeddingRequest, Request, StreamEvent


def comes_whole(request: Request) -> bool:
    """Whether the answer is asked for in one piece. Then nothing is seen of it before its end."""
    return not request.stream


class Execution:
    """One job's attempts: by `whole` or by `events`, which may be closed at any point; `outcomes` and `answer` then say
    how far it came."""

    def __init__(self, job: Job, *, retries: Retries = RETRIES, fetch: Fetch = egress.fetch) -> None:
        self._job = job
        self._fetch = fetch
        self._retries = retries
        self._attempts: list[Attempt] = []

    async def whole(self) -> ChatAnswer:
        """The answer of the first attempt that is answered, for a job whose answer `comes_whole`. Raises the ParleyError
        that lists every attempt when none is left to try, or when one failed in a way that no other would mend."""
        turns = self._turns()
        while (turn := await turns.next()) is not None:
            with Trial(self._job, turns, turn, self._attempts) as trial:
                attempt = await trial.begin()
                answer = await _asked(turn)
                attempt.answered(answer)
                trial.seen()
                return attempt.answer()
        raise caller_error(turns.failures) from turns.last_error

    async def events(self) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """The same in pieces: the events of the first attempt that is answered, none before real content, so that the next
        can still take over unseen. What came before it comes with it; all others one by one."""
        if comes_whole(self._job.request):
            yield tuple(events_of(await self.whole()))
            return
        turns = self._turns()
        while (turn := await turns.next()) is not None:
            with Trial(self._job, turns, turn, self._attempts) as trial:
                attempt = await trial.begin()
                held: list[StreamEvent] | None = []
                async with aclosing(_streamed(turn)) as events:
                    async for event in events:
                        attempt.saw(event)
                        if held is not None:
                            held.append(event)
                            if not attempt.visible:
                                continue
                            trial.seen()
                            early, held = held, None
                            yield early
                        else:
                            yield (event,)
                return
        raise caller_error(turns.failures) from turns.last_error

    def _turns(self) -> Turns:
        return Turns(self._job, self._retries, self._fetch)

    @property
    def is_tried(self) -> bool:
        """Whether an attempt has begun."""
        return bool(self._attempts)

    @property
    def is_counted(self) -> bool:
        """Whether it is known of every attempt what it used, without counting."""
        return all(attempt.is_counted for attempt in self._attempts)

    async def count(self) -> None:
        """Count the tokens of attempts of which the upstream didn't say. Without it they are estimated by their length."""
        for attempt in self._attempts:
            await attempt.count(self._job)

    def outcomes(self, ending: Status) -> tuple[AttemptOutcome, ...]:
        """Every attempt so far; one that was still running ended as the job did."""
        return tuple([attempt.outcome(self._job, ending) for attempt in self._attempts])

    def output_tokens(self) -> int:
        """An estimate of what the attempt that runs has written so far."""
        return self._attempts[-1].output_tokens() if self._attempts else 0

    def serving(self) -> tuple[Candidate, float] | None:
        """Whose answer the caller sees, and the seconds from that attempt's start to its first content."""
        attempt = self._seen()
        return (attempt.candidate, attempt.first_content_s) if attempt is not None else None

    def answer(self) -> ChatAnswer:
        """What the caller could see of the answer so far."""
        attempt = self._seen()
        return attempt.answer() if attempt is not None else NO_ANSWER

    def _seen(self) -> Attempt | None:
        """The attempt whose answer the caller sees: the last, if any is seen."""
        return next((attempt for attempt in reversed(self._attempts) if attempt.visible), None)


def _streamed(turn: Turn) -> AsyncGenerator[StreamEvent, None]:
    if isinstance(turn.request, EmbeddingRequest):
        raise AssertionError("vectors come whole")
    return turn.candidate.adapter.stream(turn.request, turn.candidate.target, turn.timeouts)


async def _asked(turn: Turn) -> ChatAnswer:
    candidate, request = turn.candidate, turn.request
    if isinstance(request, EmbeddingRequest):
        return await candidate.adapter.embed(request, candidate.target, turn.timeouts)
    return await candidate.adapter.complete(request, candidate.target, turn.timeouts)
