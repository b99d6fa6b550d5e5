"""Holds whose process is gone: each is resolved by what is known of its request.

One that was never sent is given back; of one that was sent the estimate of its input is billed; of one that had begun to
answer also what had come of it by its last checkpoint. All that is flagged as an estimate."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from django.utils import timezone

from billing.models import Hold
from billing.orphans import OrphanFacts, settle_orphan
from kernel.errors import ParleyError
from kernel.loop import on_loop

log = structlog.get_logger(__name__)

MAX_HOLDS = 1_000
"""At a time; the rest the next time."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of stale holds, by count."""

    given_back: int = 0
    billed: int = 0
    failed: int = 0


def reap_holds(*, now: datetime | None = None) -> Reaped:
    """Resolve the holds that have expired. One that can't be is logged, and tried again the next time."""
    stale = (
        Hold.objects.using("platform").filter(expires_at__lt=now or timezone.now()).order_by("expires_at")[:MAX_HOLDS]
    )
    known: list[tuple[Hold, OrphanFacts]] = []
    failed = 0
    for hold in stale:
        try:
            known.append((hold, msgspec.convert(hold.facts, OrphanFacts)))
        except msgspec.ValidationError:
            log.exception("hold_not_reaped", tenant=str(hold.tenant_id), request=str(hold.request_id))
            failed += 1
    given_back = billed = 0
    for (hold, _), problem in zip(known, on_loop(_settle(known)), strict=True):
        told = log.bind(tenant=str(hold.tenant_id), request=str(hold.request_id), state=hold.state)
        if problem is not None:
            told.error("hold_not_reaped", exc_info=problem)
            failed += 1
            continue
        told.warning("hold_reaped")
        given_back += not _was_asked(hold)
        billed += _was_asked(hold)
    return Reaped(given_back, billed, failed)


def _was_asked(hold: Hold) -> bool:
    return hold.state != "reserved"


async def _settle(holds: list[tuple[Hold, OrphanFacts]]) -> list[ParleyError | None]:
    """Settle them together; what went wrong with each."""

    async def settle_one(hold: Hold, facts: OrphanFacts) -> ParleyError | None:
        try:
            await settle_orphan(facts, output_tokens=hold.checkpoint_output, was_asked=_was_asked(hold))
        except ParleyError as error:
            return error
        return None

    return await asyncio.gather(*(settle_one(hold, facts) for hold, facts in holds))
