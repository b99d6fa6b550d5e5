"""Accept: from a caller and what they ask to a job that may be run.

Checked here, before any cache: the model is one this caller may use, every deployment has a price, and the tenant's monthly
limit is not reached.
"""

import uuid
from functools import cache, partial

from django.conf import settings
from msgspec.structs import replace

from billing.types import Payer
from kernel.errors import ParleyError
from kernel.per_loop import PerLoop
from providers.base import Target, Timeouts
from providers.factory import ModelFactory
from providers.limits.stage import admit_refused
from providers.pipeline.candidates import in_order
from providers.pipeline.values import NO_WISHES, Candidate, Job, Wishes
from providers.routes import ResolvedDeployment, resolve_route
from providers.types import Request
from tenants.credentials import confirm_now
from tenants.principals import Principal


@cache
def factory() -> ModelFactory:
    """This process's model factory."""
    return ModelFactory()


@cache
def timeouts() -> Timeouts:
    """How long this deployment of Parley waits for providers."""
    return Timeouts(
        connect_s=settings.UPSTREAM_CONNECT_S,
        first_token_s=settings.UPSTREAM_FIRST_TOKEN_S,
        between_tokens_s=settings.UPSTREAM_BETWEEN_TOKENS_S,
        total_s=settings.UPSTREAM_TOTAL_S,
    )


async def accept(
    *,
    principal: Principal,
    request: Request,
    request_id: uuid.UUID,
    surface: str,
    wishes: Wishes = NO_WISHES,
    subject_kind: str | None = None,
    subject_id: uuid.UUID | None = None,
) -> Job:
    """The job of a request that came by `surface` (an API, or `room`). The subject is what it is for, such as a room.

    Raises `PermissionDenied`, `ModelNotFound`, `UnknownPrice` and `NotSupported`. What is refused so takes a
    request from the caller's limits all the same; `LimitExceeded` where none is left.
    """
    job = partial(
        _accept,
        request=request,
        request_id=request_id,
        surface=surface,
        wishes=wishes,
        subject_kind=subject_kind,
        subject_id=subject_id,
    )
    try:
        return await job(principal)
    except ParleyError:
        # Their rights may have changed since they were last looked at: what they may not is said of them as they are now.
        now = await confirm_now(principal)
        if now == principal:
            await admit_refused(principal)
            raise
    try:
        return await job(now)
    except ParleyError:
        await admit_refused(now)
        raise


async def accept_again(job: Job, *, principal: Principal) -> Job:
    """The job of the same request, for a caller whose rights have changed meanwhile."""
    again = await _accept(
        principal,
        request=job.request,
        request_id=job.request_id,
        surface=job.surface,
        wishes=job.wishes,
        subject_kind=job.payer.subject_kind,
        subject_id=job.payer.subject_id,
    )
    return replace(again, report=job.report)


async def _accept(
    principal: Principal,
    *,
    request: Request,
    request_id: uuid.UUID,
    surface: str,
    wishes: Wishes,
    subject_kind: str | None,
    subject_id: uuid.UUID | None,
) -> Job:
    principal.require("models.use")
    route = await resolve_route(principal, request.model)
    return Job(
        request_id=request_id,
        request=request,
        payer=Payer(
            tenant_id=principal.tenant_id,
            principal_kind=principal.kind,
            membership_id=principal.membership_id,
            api_key_id=principal.api_key_id,
            subject_kind=subject_kind,
            subject_id=subject_id,
        ),
        candidates=tuple(
            _candidate(deployment)
            for deployment in in_order(route, request, region=settings.REGION, lenient=wishes.drop_params)
        ),
        timeouts=timeouts(),
        principal=principal,
        wishes=wishes,
        surface=surface,
        route=route.alias,
        cap_tokens=route.max_output_tokens,
    )


_MAX_CANDIDATES = 10_000
_candidates: PerLoop[dict[uuid.UUID, Candidate]] = PerLoop(dict)


def _candidate(deployment: ResolvedDeployment) -> Candidate:
    """The candidate that a deployment makes, the same for as long as it was resolved."""
    known = _candidates()
    candidate = known.get(deployment.id)
    if candidate is None or candidate.deployment is not deployment:
        if len(known) >= _MAX_CANDIDATES:
            known.clear()
        candidate = known[deployment.id] = _new_candidate(deployment)
    return candidate


def _new_candidate(deployment: ResolvedDeployment) -> Candidate:
    return Candidate(
        name=deployment.name,
        adapter=factory().adapter(deployment.provider),
        target=Target(
            provider=deployment.provider,
            base_url=deployment.base_url,
            model=deployment.model,
            secret=deployment.secret,
            guarded=deployment.guarded,
        ),
        deployment=deployment,
    )
