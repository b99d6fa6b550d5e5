"""The log of requests, read: what their usage records say, and what was written beside them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from billing.models import UsageRecord
from providers.models import RequestLog

_IDS = """
    SELECT id FROM (
        (SELECT request_id AS id FROM billing_usagerecord
         WHERE tenant_id = (SELECT current_setting('app.tenant_id')::uuid) AND request_id < %(before)s
               AND (%(alias)s::text IS NULL OR alias = %(alias)s)
         GROUP BY request_id ORDER BY request_id DESC LIMIT %(limit)s)
        UNION
        (SELECT id FROM providers_requestlog
         WHERE tenant_id = (SELECT current_setting('app.tenant_id')::uuid) AND id < %(before)s
               AND (%(alias)s::text IS NULL OR alias = %(alias)s)
         ORDER BY id DESC LIMIT %(limit)s)
    ) known
    ORDER BY id DESC LIMIT %(limit)s
"""
LAST_ID = uuid.UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request: its attempts in order, and its row in the log if it has one. At least one of the two is there."""

    id: uuid.UUID
    attempts: tuple[UsageRecord, ...]
    row: RequestLog | None


def list_requests(*, before: uuid.UUID, limit: int, alias: str | None = None) -> list[LoggedRequest]:
    """At most `limit` requests older than the id `before`, newest first, of the tenant in scope."""
    with connection.cursor() as cursor:
        cursor.execute(_IDS, {"before": before, "alias": alias, "limit": limit})
        ids = [row[0] for row in cursor.fetchall()]
    return _requests(ids)


def find_request(request_id: uuid.UUID) -> LoggedRequest | None:
    """One request of the tenant in scope."""
    found = _requests([request_id])[0]
    return found if found.attempts or found.row else None


def _requests(ids: Sequence[uuid.UUID]) -> list[LoggedRequest]:
    attempts: dict[uuid.UUID, list[UsageRecord]] = {}
    for record in UsageRecord.objects.filter(request_id__in=ids).order_by("request_id", "attempt"):
        attempts.setdefault(record.request_id, []).append(record)
    rows = {row.id: row for row in RequestLog.objects.filter(id__in=ids)}
    return [LoggedRequest(id=known, attempts=tuple(attempts.get(known, ())), row=rows.get(known)) for known in ids]
