"""Who somebody is now, for whom something is done later than they asked for it: their rights as they are at that time."""

from dataclasses import replace
from typing import Any, cast

from kernel import adb
from kernel.errors import NotAuthenticated, PermissionDenied
from tenants.epochs import Subject
from tenants.permissions import effective_permissions
from tenants.principals import Principal, Priority, Unconfirmed
from tenants.selectors import GROUPS_SQL

_QUERY = """
    SELECT m.person_id, m.role, m.epoch AS membership_epoch, t.epoch AS tenant_epoch, t.status = 'suspended' AS suspended,
        k.id AS key_id, k.scopes, k.allowed_models, k.max_priority, k.pace_tokens_per_s, k.bound_by, k.line,
        k.epoch AS key_epoch
    FROM tenants_membership m
    JOIN tenants_person p ON p.id = m.person_id AND p.is_active
    JOIN tenants_tenant t ON t.id = m.tenant_id
    LEFT JOIN LATERAL (
        SELECT * FROM tenants_apikey live
        WHERE live.membership_id = m.id AND live.revoked_at IS NULL AND (live.expires_at IS NULL OR live.expires_at > now())
            AND (live.id = %(key)s OR live.line = (
                SELECT coalesce(line, id) FROM tenants_apikey
                WHERE id = %(key)s AND revoked_at IS NULL AND replaced_by_id IS NOT NULL
            ))
        ORDER BY live.id = %(key)s DESC, live.created_at DESC LIMIT 1
    ) k ON true
    WHERE m.id = %(membership)s AND m.status = 'active'
"""


async def acting_principal(subject: Subject) -> Principal:
    """The caller as of now; it is `unconfirmed`, so that whatever is done for it notices a change. For a key whose time is over
    since it was rotated that is its successor. The networks that a key is for don't count: it was there when it was used.

    Raises `NotAuthenticated` when the key was revoked or has expired, or the member is gone, and `PermissionDenied`
    for a suspended tenant."""
    async with adb.transaction(subject.tenant_id) as connection:
        asked = {"key": subject.api_key_id, "membership": subject.membership_id}
        row = await (await connection.execute(_QUERY, asked)).fetchone()
        groups = await (await connection.execute(GROUPS_SQL, (subject.membership_id,))).fetchall()
    if row is None or (subject.api_key_id is not None and row["key_id"] is None):
        raise NotAuthenticated("Whoever asked for this may not do so any more.")
    subject = replace(subject, api_key_id=row["key_id"])
    if row["suspended"]:
        raise PermissionDenied("This tenant is suspended.", details={"reason": "suspended"})
    return _principal(subject, row, frozenset(group["group_id"] for group in groups))


def _principal(subject: Subject, row: dict[str, Any], groups: frozenset[Any]) -> Principal:
    is_key = subject.api_key_id is not None
    epochs = (row["tenant_epoch"], row["membership_epoch"], *((row["key_epoch"],) if is_key else ()))
    scopes = frozenset(row["scopes"]) if is_key else None
    return Principal(
        kind="api_key" if is_key else "member",
        tenant_id=subject.tenant_id,
        membership_id=subject.membership_id,
        person_id=row["person_id"],
        role=row["role"],
        permissions=effective_permissions(row["role"], scopes=scopes),
        api_key_id=subject.api_key_id,
        allowed_models=frozenset(row["allowed_models"]) if row["allowed_models"] is not None else None,
        groups=groups,
        bound_by=frozenset(row["bound_by"]) if is_key else frozenset(),
        line=row["line"],
        priority=cast("Priority", row["max_priority"]) if is_key else "interactive",
        unconfirmed=Unconfirmed(subject, epochs),
    )
