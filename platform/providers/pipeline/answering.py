"""What a job's caller holds, whoever answers it: a provider by way of a pump, a cache, or another's answer in flight."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence

from providers.pipeline.values import Candidate, Job, Result
from providers.types import ChatAnswer, StreamEvent

Take = Callable[[Sequence[StreamEvent]], bool]
"""Takes events the moment they come, unless it returns False. It is called in the turn of who has them, and must not raise."""


class Answering(ABC):
    """One job on its way to an answer. `result` is there once it has ended and was settled."""

    job: Job
    result: Result | None = None

    @abstractmethod
    def events(self) -> AsyncIterator[StreamEvent]:
        """The answer as it comes, for one consumer; the last is Finished unless the job was interrupted or
        failed, which raises the error for the caller. A consumer that leaves early must say so by
        `disconnect`."""

    def ready(self) -> Sequence[StreamEvent]:
        """What whoever reads `events` would get next without waiting, as far as that is known: they take it here
        instead."""
        return ()

    def hand_to(self, take: Take | None) -> None:  # noqa: B027
        """From now on, have `take` asked first: what it takes whoever reads `events` doesn't get, and isn't woken for. It is
        asked while nothing is queued for them; never for the end. An answering whose events don't come one by one asks
        nobody."""

    @abstractmethod
    async def answer(self) -> ChatAnswer:
        """The whole answer, once it is settled. Raises the error for the caller."""

    @abstractmethod
    def serving(self) -> tuple[Candidate, float] | None:
        """Whose answer is seen, and the seconds that its provider took to its first content."""

    @property
    def is_tried(self) -> bool:
        """Whether a provider has been asked, as far as that is known."""
        return True

    @abstractmethod
    def stop(self) -> None:
        """End the answer here, because someone asked. Nothing happens if it has ended."""

    @abstractmethod
    def interrupt(self) -> None:
        """End the answer here, because the process goes down."""

    @abstractmethod
    def disconnect(self) -> None:
        """The consumer is gone. By the job's policy the answer ends here, or goes on without anyone listening."""
