"""Holds whose process is gone: each is resolved by what is known of its request.

One that was never sent is given back; of one that was sent the estimate of its input is billed; of one that had begun to
answer also what had come of it by its last checkpoint. All that is flagged as an estimate."""

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
    given_back = billed = failed = 0
    for hold in stale:
        was_asked = hold.state != "reserved"
        try:
            facts = msgspec.convert(hold.facts, OrphanFacts)
            on_loop(settle_orphan(facts, output_tokens=hold.checkpoint_output, was_asked=was_asked))
        except (ParleyError, msgspec.ValidationError):
            log.exception("hold_not_reaped", tenant=str(hold.tenant_id), request=str(hold.request_id))
            failed += 1
            continue
        log.warning(
            "hold_reaped", tenant=str(hold.tenant_id), request=str(hold.request_id), state=hold.state, billed=was_asked
        )
        given_back += not was_asked
        billed += was_asked
    return Reaped(given_back, billed, failed)
