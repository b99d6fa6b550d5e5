"""A hit, as a job's caller holds it: everything is there, nothing runs."""

from collections.abc import AsyncIterator

from providers.cache.entries import Entry
from providers.pipeline.answering import Answering
from providers.pipeline.values import Candidate, Job, Result
from providers.types import ChatAnswer, StreamEvent


class Served(Answering):
    """The answer of an entry. `whole` says that nothing the caller said was ignored to find it, so that what was sent
    to another caller can be sent to this one."""

    def __init__(self, job: Job, entry: Entry, *, whole: bool) -> None:
        self.job = job
        self.entry = entry
        self.whole = whole
        self.result = Result(job=job, status="complete", attempts=(), answer=entry.kept.answer)
        self._stopped = False

    async def events(self) -> AsyncIterator[StreamEvent]:
        for event in self.entry.events():
            if self._stopped:
                return
            yield event

    async def answer(self) -> ChatAnswer:
        return self.entry.kept.answer

    def serving(self) -> tuple[Candidate, float] | None:
        """Nobody's: no provider was asked."""
        return None

    def stop(self) -> None:
        self._stopped = True

    def interrupt(self) -> None:
        self._stopped = True

    def disconnect(self) -> None:
        self._stopped = True
