"""Files and batches whose time is over, whosever they are; and files of those who have gone, whom nobody can delete them for."""

import uuid

import structlog
from django.db import Error, connection, connections, transaction

from kernel.expiry import PAGE, PAGES_MAX, delete_expired_objects
from kernel.tenancy import tenant_scope
from providers.batches import objects
from providers.batches.bounds import BATCHES_KEPT, LEFT_KEPT

log = structlog.get_logger(__name__)

_OLD = """
    DELETE FROM providers_batch WHERE id IN (
        SELECT id FROM providers_batch WHERE created_at < now() - make_interval(days => %s) LIMIT %s
    )
"""
_TENANTS = "SELECT DISTINCT tenant_id FROM providers_file"
_LEFT = """
    UPDATE providers_file f SET expires_at = now() + make_interval(days => %(days)s)
    WHERE f.state = 'stored' AND (f.expires_at IS NULL OR f.expires_at > now() + make_interval(days => %(days)s))
        AND NOT EXISTS (SELECT 1 FROM tenants_membership m WHERE m.id = f.principal_id AND m.status = 'active')
        AND NOT EXISTS (
            SELECT 1 FROM tenants_apikey k
            WHERE f.principal_id IN (k.id, k.line) AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
        )
"""


def delete_expired_files() -> int:
    """Delete files, and old batches. How many files."""
    with connections["platform"].cursor() as cursor:
        cursor.execute(_TENANTS)
        tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
    for tenant_id in tenants:
        _expire_what_was_left(tenant_id)
    deleted = delete_expired_objects("providers_file", objects.remove)
    with connections["platform"].cursor() as cursor:
        cursor.execute(_OLD, [BATCHES_KEPT.days, PAGE * PAGES_MAX])
    return deleted


def _expire_what_was_left(tenant_id: uuid.UUID) -> None:
    """Have the tenant's files expire that belong to keys that have ended and to members who were removed."""
    try:
        with tenant_scope(tenant_id), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LEFT, {"days": LEFT_KEPT.days})
    except Error:
        # Of one tenant; the next run tries again.
        log.exception("files_not_expired", tenant_id=str(tenant_id))
