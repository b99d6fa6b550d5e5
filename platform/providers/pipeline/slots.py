"""The place of one attempt at its deployment: whoever holds a slot may have one request in flight there."""

from providers.pipeline.health import health
from providers.pipeline.values import Candidate, Job
from providers.scheduling.scheduler import Slot, scheduler


class slot:  # noqa: N801 - reads as a verb where it is used: `async with slot(candidate, job)`
    """`async with slot(candidate, job) as place:` around everything that is done at the deployment: waits for its turn,
    and counts what is in flight. `place.answered()` says that the first content is here.

    May raise a ProviderError that moves on to the next deployment, or a ParleyError for the caller."""

    __slots__ = ("_candidate", "_health", "_job", "_place")

    def __init__(self, candidate: Candidate, job: Job) -> None:
        self._candidate = candidate
        self._job = job
        self._health = health.of(candidate.deployment.id)

    async def __aenter__(self) -> Slot:
        self._place = await scheduler().take_slot(self._candidate, self._job)
        self._health.in_flight += 1
        return self._place

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._health.in_flight -= 1
        self._place.release(error)
