"""Usage records of requests that cost nothing, because another request's answer was given again.

Their callers don't wait for them: they go with the next batch, and a crash loses those of the last second at most."""

from datetime import UTC, datetime

from billing.types import CacheStatus, Charge, Status, Tokens, UsageEvent
from billing.usage_writer import record_soon
from providers.pipeline.record import KIND
from providers.pipeline.values import Job

_NOTHING = Tokens()
_FREE = Charge(cost_nano=0, sell_nano=0, lines=())


def acknowledge(
    job: Job,
    *,
    cache: CacheStatus,
    provider: str,
    model: str,
    status: Status = "complete",
    finish_reason: str | None = None,
) -> None:
    """Record a request that was given another's answer. The tokens this saved were not used, so they aren't counted."""
    request = job.request
    record_soon(
        UsageEvent(
            payer=job.payer,
            request_id=job.request_id,
            attempt=1,
            kind=KIND,
            at=datetime.now(tz=UTC),
            status=status,
            alias=request.model,
            provider=provider,
            connection="",
            model=model,
            platform_paid=False,
            tokens=_NOTHING,
            charge=_FREE,
            estimated=False,
            streamed=request.stream,
            cache=cache,
            latency_ms=0,
            ttft_ms=None,
            finish_reason=finish_reason,
            error_code=None,
            provider_usage=None,
        )
    )
