"""Settle, as far as there is a ledger: one usage record per attempt, durable before the caller sees the end of the answer."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from billing.pricing import charge
from billing.types import Charge, Payer, Rate, Tariff, Tokens, UsageEvent
from billing.usage_writer import record_all, record_usage
from providers.pipeline.values import AttemptOutcome, Job, Result
from providers.routes import ResolvedDeployment
from providers.types import Usage

KIND = "completion"


class OrphanFacts(msgspec.Struct, frozen=True):
    """What has to be known of an attempt to bill it when the process that made it is gone. Kept as JSON with what it is for."""

    payer: dict[str, str | None]
    request_id: str
    alias: str
    provider: str
    connection: str
    model: str
    platform: bool
    rates: dict[str, tuple[str, int, int]]
    input_tokens: int
    started_at: str


async def record_result(result: Result) -> None:
    """Write one record per attempt. Raises `billing.usage_writer.UsageNotRecorded`."""
    await record_all([_event(result.job, attempt) for attempt in result.attempts])


def sold_nano(result: Result) -> int:
    """What a result is sold at in all, as its usage records say."""
    return sum(_charge(attempt).sell_nano for attempt in result.attempts)


def orphan_facts(job: Job, *, input_tokens: int) -> OrphanFacts:
    """The facts of a job's first attempt, to be stored before it is made. `input_tokens` is an estimate."""
    deployment = job.candidates[0].deployment
    return OrphanFacts(
        payer={
            name: None if value is None else str(value)
            for name, value in (
                ("tenant_id", job.payer.tenant_id),
                ("principal_kind", job.payer.principal_kind),
                ("membership_id", job.payer.membership_id),
                ("api_key_id", job.payer.api_key_id),
                ("subject_kind", job.payer.subject_kind),
                ("subject_id", job.payer.subject_id),
            )
        },
        request_id=str(job.request_id),
        alias=job.request.model,
        provider=deployment.provider,
        connection=deployment.connection,
        model=deployment.model,
        platform=deployment.platform,
        rates={
            meter: (str(rate.price_id), rate.cost_nano_per_mtok, rate.sell_nano_per_mtok)
            for meter, rate in deployment.tariff.rates.items()
        },
        input_tokens=input_tokens,
        started_at=datetime.now(tz=UTC).isoformat(),
    )


async def record_orphan(facts: OrphanFacts, *, output_tokens: int) -> UsageEvent:
    """Bill an attempt whose process died, by estimate: what was sent, and what had come of the answer. Idempotent."""
    event = orphan_event(facts, output_tokens=output_tokens)
    await record_usage(event)
    return event


def orphan_event(facts: OrphanFacts, *, output_tokens: int) -> UsageEvent:
    """The usage event of an attempt whose process died."""
    tariff = Tariff(
        model=facts.model,
        rates={meter: Rate(uuid.UUID(price), cost, sell) for meter, (price, cost, sell) in facts.rates.items()},
    )
    tokens = Tokens(input=facts.input_tokens, output=output_tokens)
    started_at = datetime.fromisoformat(facts.started_at)
    now = datetime.now(tz=UTC)
    return UsageEvent(
        payer=_payer(facts.payer),
        request_id=uuid.UUID(facts.request_id),
        attempt=1,
        kind=KIND,
        at=now,
        status="interrupted",
        alias=facts.alias,
        provider=facts.provider,
        connection=facts.connection,
        model=facts.model,
        platform_paid=facts.platform,
        tokens=tokens,
        charge=charge(tokens, tariff),
        estimated=True,
        streamed=True,
        latency_ms=max(0, round((now - started_at).total_seconds() * 1000)),
        ttft_ms=None,
        finish_reason=None,
        error_code="process_died",
        provider_usage=None,
    )


def _event(job: Job, attempt: AttemptOutcome) -> UsageEvent:
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
        tokens=_tokens(attempt),
        charge=_charge(attempt),
        estimated=attempt.estimated,
        streamed=job.request.stream,
        cache=job.report.cache,
        latency_ms=attempt.latency_ms,
        ttft_ms=attempt.ttft_ms,
        finish_reason=attempt.finish_reason,
        error_code=attempt.error.code if attempt.error else None,
        provider_usage=_reported(attempt.usage),
    )


def _tokens(attempt: AttemptOutcome) -> Tokens:
    usage = attempt.usage
    return Tokens(usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)


def _charge(attempt: AttemptOutcome) -> Charge:
    return charge(_tokens(attempt), attempt.candidate.deployment.tariff)


def _reported(usage: Usage) -> dict[str, Any] | None:
    return msgspec.to_builtins(usage) if usage.reported else None


def _payer(stored: dict[str, str | None]) -> Payer:
    return Payer(
        tenant_id=uuid.UUID(stored["tenant_id"]),
        principal_kind=stored["principal_kind"] or "member",
        membership_id=uuid.UUID(stored["membership_id"]),
        api_key_id=uuid.UUID(stored["api_key_id"]) if stored["api_key_id"] else None,
        subject_kind=stored["subject_kind"],
        subject_id=uuid.UUID(stored["subject_id"]) if stored["subject_id"] else None,
    )
