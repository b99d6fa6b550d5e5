"""Keeping the table of stored responses small."""

from django.db import connections, transaction

BATCH = 1_000
MAX_BATCHES = 1_000

_EXPIRED = """
    DELETE FROM providers_storedresponse WHERE id IN (
        SELECT id FROM providers_storedresponse WHERE expires_at <= now() LIMIT %s
    )
"""


def delete_expired_responses() -> int:
    """Delete responses, whosever they are, whose time is over; in batches, so that nobody waits for long. How many."""
    deleted = 0
    for _ in range(MAX_BATCHES):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute(_EXPIRED, [BATCH])
            deleted += cursor.rowcount
            if cursor.rowcount < BATCH:
                break
    return deleted
