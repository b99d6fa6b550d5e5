"""Files and batches whose time is over, whosever they are."""

from django.db import connections

from kernel.expiry import PAGE, PAGES_MAX, delete_expired_objects
from providers.batches import objects
from providers.batches.bounds import BATCHES_KEPT

_OLD = """
    DELETE FROM providers_batch WHERE id IN (
        SELECT id FROM providers_batch WHERE created_at < now() - make_interval(days => %s) LIMIT %s
    )
"""


def delete_expired_files() -> int:
    """Delete files, and old batches. How many files."""
    deleted = delete_expired_objects("providers_file", objects.remove)
    with connections["platform"].cursor() as cursor:
        cursor.execute(_OLD, [BATCHES_KEPT.days, PAGE * PAGES_MAX])
    return deleted
