"""Holds whose process is gone: each is resolved by what is known of its request.

One that was never sent is given back; of one that was sent the estimate of its input is billed; of one that had begun to
answer also what had come of it by its last checkpoint. All that is flagged as an estimate."""

import asyncio
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from billing.holds import ALLOWANCE
from billing.models import Hold
from billing.orphans import OrphanFacts, give_back, settle_orphan
from kernel.errors import ParleyError
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope

log = structlog.get_logger(__name__)

PLATFORM = "platform"
MAX_HOLDS = 1_000
"""At a time; the rest the next time."""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of stale holds, by count."""

    given_back: int = 0
    billed: int = 0
    failed: int = 0


def reap_holds(*, now: datetime | None = None, at_most: int = MAX_HOLDS) -> Reaped:
    """Resolve the holds that have expired, at most so many. One that can't be is logged, and tried again later: others come
    first, and with its age it is tried less often."""
    stale = Hold.objects.using(PLATFORM).filter(expires_at__lt=now or timezone.now()).order_by("expires_at")[:at_most]
    known: list[tuple[Hold, OrphanFacts | None]] = []
    failed: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for hold in stale:
        try:
            known.append((hold, None if hold.state == ALLOWANCE else msgspec.convert(hold.facts, OrphanFacts)))
        except msgspec.ValidationError:
            log.exception("hold_not_reaped", tenant=str(hold.tenant_id), request=str(hold.request_id))
            failed[hold.tenant_id].append(hold.request_id)
    given_back = billed = 0
    for (hold, _), problem in zip(known, on_loop(_settle(known)), strict=True):
        told = log.bind(tenant=str(hold.tenant_id), request=str(hold.request_id), state=hold.state)
        if problem is not None:
            told.error("hold_not_reaped", exc_info=problem)
            failed[hold.tenant_id].append(hold.request_id)
            continue
        told.warning("hold_reaped")
        given_back += not _was_asked(hold)
        billed += _was_asked(hold)
    for tenant_id, requests in failed.items():
        _put_off(tenant_id, requests)
    return Reaped(given_back, billed, sum(map(len, failed.values())))


def _put_off(tenant_id: uuid.UUID, requests: list[uuid.UUID]) -> None:
    """Let them expire again by and by."""
    try:
        with tenant_scope(tenant_id), transaction.atomic(using=PLATFORM), connections[PLATFORM].cursor() as cursor:
            cursor.execute("SELECT lookup.holds_put_off(%s, %s)", [tenant_id, requests])
    except DatabaseError:
        log.exception("holds_not_put_off", tenant=str(tenant_id), holds=len(requests))


def _was_asked(hold: Hold) -> bool:
    return hold.state not in ("reserved", ALLOWANCE)


async def _settle(holds: list[tuple[Hold, OrphanFacts | None]]) -> list[ParleyError | None]:
    """Settle them together; what went wrong with each."""

    async def settle_one(hold: Hold, facts: OrphanFacts | None) -> ParleyError | None:
        try:
            if facts is None:
                await give_back(hold.tenant_id, hold.request_id)
            else:
                await settle_orphan(facts, output_tokens=hold.checkpoint_output, was_asked=_was_asked(hold))
        except ParleyError as error:
            return error
        return None

    return await asyncio.gather(*(settle_one(hold, facts) for hold, facts in holds))
