"""The place of one attempt at its deployment: whoever holds a slot may have one request in flight there."""

from providers.pipeline.health import health
from providers.pipeline.values import Candidate, Job


class slot:  # noqa: N801 - reads as a verb where it is used: `async with slot(candidate, job)`
    """`async with slot(candidate, job):` around everything that is done at the deployment. Counts what is in flight.

    May raise a ProviderError that moves on to the next deployment, or a ParleyError for the caller."""

    __slots__ = ("_health",)

    def __init__(self, candidate: Candidate, job: Job) -> None:
        self._health = health.of(candidate.deployment.id)

    async def __aenter__(self) -> None:
        self._health.in_flight += 1

    async def __aexit__(self, *_: object) -> None:
        self._health.in_flight -= 1
