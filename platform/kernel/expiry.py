"""Rows whose time is over and that have bytes in the storage, whosever they are: both are deleted, the bytes first, so that
none are left that nobody knows of."""

import uuid
from collections.abc import Callable

import structlog
from django.db import connections

from kernel.errors import Unavailable

log = structlog.get_logger(__name__)

PAGE = 100
PAGES_MAX = 100


def delete_expired_objects(table: str, remove: Callable[[uuid.UUID, uuid.UUID], None]) -> int:
    """Delete the rows of `table` whose `expires_at` has come, after `remove(tenant_id, id)` deleted their bytes. How many.

    As `parley_platform`, which a named policy lets read and delete just these.
    """
    deleted, after = 0, uuid.UUID(int=0)
    with connections["platform"].cursor() as cursor:
        for _ in range(PAGES_MAX):
            cursor.execute(
                f"SELECT tenant_id, id FROM {table} WHERE expires_at <= now() AND id > %s ORDER BY id LIMIT %s",  # noqa: S608
                [after, PAGE],
            )
            page = cursor.fetchall()
            for tenant_id, row_id in page:
                after = row_id
                try:
                    remove(tenant_id, row_id)
                except (OSError, Unavailable) as error:
                    # It stays on the list.
                    log.warning("object_not_deleted", table=table, id=str(row_id), error=repr(error))
                    continue
                cursor.execute(f"DELETE FROM {table} WHERE id = %s AND expires_at <= now()", [row_id])  # noqa: S608
                deleted += cursor.rowcount
            if len(page) < PAGE:
                break
    return deleted
