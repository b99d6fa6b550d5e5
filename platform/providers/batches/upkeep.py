"""Files and batches whose time is over, whosever they are."""

import uuid

import structlog
from django.db import connections

from providers.batches import objects
from providers.batches.bounds import BATCHES_KEPT

log = structlog.get_logger(__name__)

PAGE = 100
PAGES_MAX = 100
_EXPIRED = "SELECT tenant_id, id FROM providers_file WHERE expires_at <= now() AND id > %s ORDER BY id LIMIT %s"
_DELETE = "DELETE FROM providers_file WHERE id = %s AND expires_at <= now()"
_OLD = """
    DELETE FROM providers_batch WHERE id IN (
        SELECT id FROM providers_batch WHERE created_at < now() - make_interval(days => %s) LIMIT %s
    )
"""


def delete_expired_files() -> int:
    """Delete files, bytes first, so that none are left that nobody knows of; and old batches. How many files."""
    deleted, after = 0, uuid.UUID(int=0)
    with connections["platform"].cursor() as cursor:
        for _ in range(PAGES_MAX):
            cursor.execute(_EXPIRED, [after, PAGE])
            page = cursor.fetchall()
            for tenant_id, file_id in page:
                after = file_id
                try:
                    objects.remove(tenant_id, file_id)
                except OSError as error:
                    # It stays on the list.
                    log.warning("file_not_deleted", file_id=str(file_id), error=repr(error))
                    continue
                cursor.execute(_DELETE, [file_id])
                deleted += cursor.rowcount
            if len(page) < PAGE:
                break
        cursor.execute(_OLD, [BATCHES_KEPT.days, PAGE * PAGES_MAX])
    return deleted
