"""Example calls of models and of the cache."""

import os
import uuid
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from kernel.ids import uuid7
from providers.cache.models import CacheEntry
from providers.cache.stored import sealed
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _cache_entry(company: Company) -> uuid.UUID:
    """An answer kept for the owner."""
    entry_id = uuid7()
    now = timezone.now()
    with company.scope(), transaction.atomic():
        CacheEntry.objects.create(
            id=entry_id,
            tenant_id=company.id,
            key=os.urandom(32),
            alias="echo",
            body=sealed(company.id, entry_id, b"kept"),
            size=4,
            tokens=1,
            created_at=now,
            expires_at=now + timedelta(hours=1),
        )
    return entry_id


CALLS = (
    Call("GET", "models"),
    Call("GET", "cache"),
    Call("PATCH", "cache", lambda company: Made(body={"ttl_s": 600})),
    Call("GET", "cache/stats"),
    Call("POST", "cache/stats/reset"),
    Call("POST", "cache/invalidate", lambda company: Made(body={"model": "no-such-model"})),
    Call("POST", "cache/warm-up", lambda company: Made(body={"limit": 10})),
    Call("GET", "cache/entries", lambda company: Made(listed=(_cache_entry(company),))),
    Call(
        "DELETE",
        "cache/entries/<uuid:entry_id>",
        lambda company: Made(ids={"entry_id": _cache_entry(company)}),
        status=204,
    ),
)
