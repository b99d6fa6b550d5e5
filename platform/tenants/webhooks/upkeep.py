"""Keeping the log of deliveries small."""

from datetime import timedelta

from django.db import connections, transaction
from django.utils import timezone

from kernel.ids import uuid7_floor

KEPT = timedelta(days=30)
BATCH = 1_000
BATCHES_MAX = 1_000

# The ids rise with time: the primary key finds the old ones.
_OLD = """
    DELETE FROM tenants_webhookdelivery WHERE id IN (
        SELECT id FROM tenants_webhookdelivery WHERE id < %s ORDER BY id LIMIT %s
    )
"""


def delete_old_deliveries() -> int:
    """Delete deliveries, whosever they are, that are older than `KEPT`, with the log of their attempts. How many."""
    before = uuid7_floor(int((timezone.now() - KEPT).timestamp() * 1000))
    deleted = 0
    for _ in range(BATCHES_MAX):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute(_OLD, [before, BATCH])
            deleted += cursor.rowcount
            if cursor.rowcount < BATCH:
                break
    return deleted
