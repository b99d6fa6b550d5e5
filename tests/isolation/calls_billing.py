"""Example calls of billing."""

import uuid

from django.db import transaction
from django.utils import timezone

from billing.models import UsageRecord
from kernel.ids import uuid7
from tests.isolation.calls import Call, Made
from tests.support.cast import Company

_COUNTS = ("input", "cache_read", "cache_write", "output", "reasoning", "cost_nano", "sell_nano", "latency_ms")


def _usage(company: Company) -> uuid.UUID:
    """One attempt of the owner's."""
    request_id = uuid7()
    with company.scope(), transaction.atomic():
        UsageRecord.objects.create(
            tenant_id=company.id,
            request_id=request_id,
            attempt=1,
            kind="chat",
            at=timezone.now(),
            status="complete",
            principal_kind="member",
            membership_id=company.owner.membership_id,
            alias="echo",
            provider="fake",
            connection="fake",
            model="echo",
            platform_paid=False,
            estimated=False,
            streamed=False,
            **dict.fromkeys(_COUNTS, 1),
        )
    return request_id


CALLS = (Call("GET", "usage", lambda company: Made(listed=(_usage(company),))),)
