"""Keeping the table of answers small."""

from django.db import connections, transaction

BATCH = 5_000
MAX_BATCHES = 100

AUDITS_KEPT_DAYS = 90

_EXPIRED = "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {over} LIMIT %s)"
_OVER = {
    "providers_cacheentry": "expires_at < now()",
    "providers_semanticentry": "expires_at < now()",
    "providers_semanticaudit": f"at < now() - interval '{AUDITS_KEPT_DAYS} days'",
}


def delete_expired() -> int:
    """Delete answers, whosever they are, whose time to live is over, and old audits; in batches, so that nobody waits for
    long. How many."""
    return sum(_delete(_EXPIRED.format(table=table, over=over)) for table, over in _OVER.items())


def _delete(statement: str) -> int:
    deleted = 0
    for _ in range(MAX_BATCHES):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute(statement, [BATCH])
            deleted += cursor.rowcount
            if cursor.rowcount < BATCH:
                break
    return deleted
