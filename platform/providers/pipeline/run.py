"""From an accepted job to its answer: the stages before a pump, and what is remembered after it.

Each stage is one line here. A stage before the pump may raise a ParleyError (nothing was used yet), replace the job, or
answer it by returning another `Answering`."""

from providers.cache.flights import follow_or_lead
from providers.cache.lookups import look_up, place_of
from providers.pipeline.answering import Answering
from providers.pipeline.pump import OnDisconnect
from providers.pipeline.pumps import pumps
from providers.pipeline.record import record_result
from providers.pipeline.values import Job


async def start(job: Job, *, on_disconnect: OnDisconnect = "stop") -> Answering:
    """Let an accepted job through the stages. Raises the ParleyError of the stage that refuses it."""
    place = await place_of(job)
    if place is not None and (hit := await look_up(job, place)) is not None:
        return hit
    if place is not None:
        return follow_or_lead(job, place, on_disconnect=on_disconnect)
    return pumps.start(job=job, settle=record_result, on_disconnect=on_disconnect)
