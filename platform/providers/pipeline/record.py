"""Settle: the hold ends with one usage record per attempt, durable before the caller sees the end of the answer."""

from typing import Any

import msgspec

from billing.ledger import settle
from billing.orphans import ESTIMATED_METERS, KIND, OrphanFacts, settle_orphan
from billing.types import Charge, UsageEvent
from providers.meters import charge_of, tokens_of
from providers.pipeline.values import AttemptOutcome, Job, Result
from providers.routes import ResolvedDeployment
from providers.types import Usage

__all__ = ("KIND", "OrphanFacts", "orphan_facts", "record_orphan", "record_result", "sold_nano")


async def record_result(result: Result) -> None:
    """Write one record per attempt and give the rest of the hold back. Raises `billing.commits.UsageNotRecorded`.

    Of a stream the caller has all but the end by then: it may wait for others."""
    job = result.job
    await settle(job.hold, [_event(result, attempt) for attempt in result.attempts], patient=job.request.stream)


def sold_nano(result: Result) -> int:
    """What a result is sold at in all, as its usage records say."""
    return sum(_charge(attempt).sell_nano for attempt in result.attempts if not _is_unseen(attempt))


def orphan_facts(job: Job, *, input_tokens: int) -> OrphanFacts:
    """The facts of a job's first attempt, to be stored before it is made. `input_tokens` is an estimate."""
    deployment = job.candidates[0].deployment
    rates = deployment.tariff.rates_for(input_tokens)
    return OrphanFacts(
        payer=job.payer,
        request_id=job.request_id,
        alias=job.request.model,
        provider=deployment.provider,
        connection=deployment.connection,
        model=deployment.model,
        platform=deployment.platform,
        rates={meter: rate for meter, rate in rates.items() if meter in ESTIMATED_METERS},
        input_tokens=input_tokens,
    )


async def record_orphan(facts: OrphanFacts, *, output_tokens: int) -> UsageEvent:
    """Bill an attempt whose process died, by estimate: what was sent, and what had come of the answer. Idempotent."""
    return await settle_orphan(facts, output_tokens=output_tokens)


def _event(result: Result, attempt: AttemptOutcome) -> UsageEvent:
    job: Job = result.job
    deployment: ResolvedDeployment = attempt.candidate.deployment
    return UsageEvent(
        payer=job.payer,
        request_id=job.request_id,
        attempt=attempt.number,
        kind=KIND,
        at=attempt.started_at,
        status=attempt.status,
        alias=job.request.model,
        provider=deployment.provider,
        connection=deployment.connection,
        model=deployment.model,
        platform_paid=deployment.platform,
        tokens=tokens_of(attempt.usage),
        charge=_charge(attempt),
        estimated=attempt.estimated,
        streamed=job.request.stream,
        cache=job.report.cache,
        latency_ms=attempt.latency_ms,
        ttft_ms=attempt.ttft_ms,
        finish_reason=attempt.finish_reason,
        error_code=attempt.error.code if attempt.error else None,
        provider_usage=_reported(attempt.usage),
        unseen=_is_unseen(attempt),
    )


def _is_unseen(attempt: AttemptOutcome) -> bool:
    """Whether the caller saw nothing of an attempt, because it failed: another took its place, or an error. One that the
    caller ended before its first content is theirs."""
    return attempt.error is not None and not attempt.visible


def _charge(attempt: AttemptOutcome) -> Charge:
    return charge_of(attempt.usage, attempt.candidate.deployment.tariff)


def _reported(usage: Usage) -> dict[str, Any] | None:
    """What the provider said was used; counts of zero are left out."""
    if not usage.reported:
        return None
    return {name: said for name, said in msgspec.to_builtins(usage).items() if said and name != "reported"}
