"""The stage `hold`: what the request may cost at most is reserved against every budget that applies, before any provider is
asked. Where money is short, the answer's cap shrinks to what is left; where there is too little, the request is refused.
Where no budget applies, nobody waits for the hold (docs/adr/0013-free-holds.md).

The cap is sent to the provider and told in `x-parley-max-tokens`: what the caller asked for; else what its
route says, or `DEFAULT_CAP_TOKENS`, and at most what the model can write."""

import msgspec
from msgspec import structs

from billing.holds import Hold, HoldRequest, scopes_of, worst_case
from billing.ledger import admit, admit_free, settle_soon
from billing.scopes import BudgetScopes
from providers.bounds import bound_input
from providers.estimate import estimate_input
from providers.pipeline.record import orphan_facts
from providers.pipeline.values import Job
from providers.profiles import profile
from providers.scheduling.scheduler import scheduler
from providers.types import ChatRequest, EmbeddingRequest, Request

DEFAULT_CAP_TOKENS = 4_096
CAP_HEADER = "x-parley-max-tokens"
LEAST_THOUGHTS_TOKENS = 1_024
"""The least that providers take as a budget for thoughts."""

_encode = msgspec.json.Encoder().encode


async def hold(job: Job, budgeted: BudgetScopes) -> Job:
    """The job with its hold, and the cap that this allows. Raises `billing.errors.BudgetExceeded`."""
    request = job.request
    cap = cap_of(job)
    choices = 1 if isinstance(request, EmbeddingRequest) else request.answers
    facts = msgspec.Raw(_encode(orphan_facts(job, input_tokens=estimate_input(request))))
    scopes = _scopes(job) if budgeted else ()
    is_sent = scheduler().is_free(job.candidates[0])
    granted: Hold | None = None
    if budgeted.isdisjoint(scopes):
        granted = admit_free(job.payer, job.request_id, cap_tokens=cap * choices, facts=facts, is_sent=is_sent)
    if granted is None:
        worst = worst_case(
            (candidate.deployment.tariff for candidate in job.candidates),
            input_tokens=bound_input(request, [profile(one.deployment.model) for one in job.candidates]),
            cap_tokens=cap * choices,
            answers=choices,
        )
        granted = await admit(
            HoldRequest(job.payer, job.request_id, scopes or _scopes(job), worst, facts, is_sent, budgeted)
        )
    if isinstance(request, EmbeddingRequest):
        return structs.replace(job, hold=granted)
    cap = granted.cap_tokens // choices
    job.report.headers[CAP_HEADER] = str(cap)
    return structs.replace(job, hold=granted, request=capped(request, cap))


def capped(request: ChatRequest, cap: int) -> ChatRequest:
    """The request with this cap. Where that is less than was asked, so that thoughts as long as was asked don't fit any
    more, half of it is for thoughts; an answer too short for any goes without."""
    asked, budget = request.max_output_tokens, request.reasoning_budget
    if cap == asked:
        return request
    if asked is not None and cap < asked and budget is not None and budget >= cap:
        budget = cap // 2 if cap >= 2 * LEAST_THOUGHTS_TOKENS else None
    return structs.replace(request, max_output_tokens=cap, reasoning_budget=budget)


def _scopes(job: Job) -> tuple[str, ...]:
    principal = job.principal
    if principal is None:
        return scopes_of(job.payer, groups=(), alias=job.alias)
    return scopes_of(job.payer, groups=principal.groups, alias=job.alias, bound_by=principal.bound_by)


def give_back(job: Job) -> None:
    """End the hold of a job that was never begun."""
    settle_soon(job.hold, ())


def cap_of(job: Job) -> int:
    """The most tokens that the answer to a job may have, if its budgets allow them."""
    request: Request = job.request
    if isinstance(request, EmbeddingRequest):
        return 0
    asked = request.max_output_tokens
    if asked is None:
        asked = (job.cap_tokens or DEFAULT_CAP_TOKENS) + (request.reasoning_budget or 0)
        known = [profile(candidate.deployment.model).max_output_tokens for candidate in job.candidates]
        asked = min([asked, *(tokens for tokens in known if tokens is not None)])
    return asked
