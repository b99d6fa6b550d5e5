"""Keeping the table of answers small."""

from django.db import connections, transaction

BATCH = 5_000
MAX_BATCHES = 100

_EXPIRED = """
    DELETE FROM providers_cacheentry WHERE id IN (
        SELECT id FROM providers_cacheentry WHERE expires_at < now() LIMIT %s
    )
"""


def delete_expired() -> int:
    """Delete answers, whosever they are, whose time to live is over; in batches, so that nobody waits for long. How
    many."""
    deleted = 0
    for _ in range(MAX_BATCHES):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute(_EXPIRED, [BATCH])
            deleted += cursor.rowcount
            if cursor.rowcount < BATCH:
                break
    return deleted
