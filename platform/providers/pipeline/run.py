"""From an accepted job to its answer: the stages before a pump, and what is remembered after it.

Each stage is one line here. A stage before the pump may raise a ParleyError (nothing was used yet), replace the job, or
answer it by returning another `Answering`."""

from functools import partial

from providers.cache.flights import follow, lead
from providers.cache.lookups import Place, look_up, place_of, redis_key_of
from providers.cache.semantic.lookups import look_up_alike
from providers.cache.semantic.writes import remember_alike
from providers.cache.stats import asked_of_a_provider
from providers.guardrails.stage import Inspected, inspect
from providers.limits.stage import Admission, admit
from providers.pipeline.accept import accept_again
from providers.pipeline.answering import Answering
from providers.pipeline.checkpoints import keep_checkpoints
from providers.pipeline.hold import give_back, hold
from providers.pipeline.pump import OnDisconnect, Remember
from providers.pipeline.pumps import pumps
from providers.pipeline.record import record_result
from providers.pipeline.upkeep import keep_up
from providers.pipeline.values import Job
from providers.scheduling.priority import priority_of


async def start(job: Job, *, on_disconnect: OnDisconnect = "stop") -> Answering:
    """Let an accepted job through the stages. Raises the ParleyError of the stage that refuses it."""
    priority_of(job)  # a priority that the caller may not have is refused before anything is done
    keep_up()
    inspected = await inspect(job)
    job = inspected.job
    place = await place_of(job, masks=inspected.masks)
    admission = await admit(job, cache_key=redis_key_of(place))
    cached = admission.cached
    try:
        if admission.principal != job.principal and admission.principal is not None:
            job = await accept_again(job, principal=admission.principal)
            priority_of(job)
            place, cached = await place_of(job, masks=inspected.masks), None
        answering: Answering | None = None
        remember: tuple[Remember, ...] = ()
        if place is not None:
            answering = await look_up(job, place, cached) or follow(job, place, on_disconnect)
            if answering is None and place.namespace.semantic:
                answering, missed = await look_up_alike(job, place)
                remember = (partial(remember_alike, missed),) if missed is not None else ()
        if answering is None:
            answering = await _execute(job, admission, inspected, place, on_disconnect, remember=remember)
        if job.report.cache in ("exact", "semantic", "dedupe"):
            # Another's answer takes none of this caller's tokens.
            await admission.correct(0)
        elif job.principal is not None:
            asked_of_a_provider(job.principal.tenant_id, job.report.cache)
        return answering
    except BaseException:
        # Nothing was begun, so nothing was used.
        await admission.correct(0)
        raise


async def _execute(
    job: Job,
    admission: Admission,
    inspected: Inspected,
    place: Place | None,
    on_disconnect: OnDisconnect,
    *,
    remember: tuple[Remember, ...],
) -> Answering:
    """Hold what the job may cost, and have it done."""
    remember, outward = (*admission.remember, *inspected.remember(), *remember), inspected.outward()
    job = await hold(job, admission.budgeted)
    begun: Answering | None = None
    try:
        if place is not None:
            # While this one waited for its hold, another may have begun the same.
            following = follow(job, place, on_disconnect)
            if following is not None:
                return following
            begun = lead(job, place, on_disconnect=on_disconnect, remembers=remember, outward=outward)
        else:
            begun = pumps.start(
                job=job, settle=record_result, on_disconnect=on_disconnect, remember=remember, outward=outward
            )
        keep_checkpoints()
        return begun
    finally:
        if begun is None:
            give_back(job)
