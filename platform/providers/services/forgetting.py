"""Forget what was kept of requests whose texts were deleted where they came from, such as a room."""

import uuid
from collections.abc import Sequence

from django.db.models import F, Q

from kernel.tenancy import current_tenant_id
from providers.cache.forgotten import forget_what_was_asked
from providers.cache.models import CacheEntry
from providers.cache.semantic.models import SemanticAudit, SemanticEntry
from providers.models import RequestLog
from providers.services.cache import evict


def forget_content(request_ids: Sequence[uuid.UUID]) -> int:
    """Delete what was captured of the tenant's requests; that they were made is still known. How many."""
    captured = RequestLog.objects.filter(id__in=request_ids, content__isnull=False)
    return captured.update(content=None, content_until=F("at"))


def forget_answers(subject_id: uuid.UUID) -> int:
    """Delete every answer that was kept of requests for a subject, wherever it is kept, and keep none of those that are under
    way. How many PostgreSQL held. Raises redis-py's errors."""
    forget_what_was_asked(current_tenant_id(), subject_id)
    keys = [bytes(key) for key in CacheEntry.objects.filter(subject_id=subject_id).values_list("key", flat=True)]
    # Entries of the semantic cache live longer than those of the exact one.
    alike = list(SemanticEntry.objects.filter(subject_id=subject_id).values_list("id", flat=True))
    SemanticAudit.objects.filter(Q(entry__in=alike) | Q(subject_id=subject_id)).delete()
    SemanticEntry.objects.filter(id__in=alike).delete()
    if not keys:
        return 0
    evict(keys)
    return len(keys)
