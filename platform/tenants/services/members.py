"""Members: change a role, remove."""

import uuid

from django.db import connection
from django.db.models import F
from django.utils import timezone

from kernel import outbox
from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from tenants import epochs
from tenants.models import ApiKey, GroupMember, Membership, Tenant
from tenants.permissions import BUILTIN_ROLES
from tenants.principals import Principal
from tenants.services.audit import record

REMOVED = "tenants.member_removed"
"""The topic of what follows when somebody was removed; the payload names the `membership`, and `by` whose."""


def access_member(*, member_id: uuid.UUID, lock: bool = False) -> Membership:
    """An active membership of the tenant in scope. Raises `NotFound`."""
    rows = Membership.objects.select_for_update(of=("self",)) if lock else Membership.objects.all()
    member = rows.select_related("person").filter(id=member_id, status=Membership.Status.ACTIVE).first()
    if member is None:
        raise NotFound
    return member


def change_role(*, caller: Principal, member_id: uuid.UUID, role: str) -> Membership:
    """Give a member another role. Nobody grants a role, or touches a member, whose permissions exceed their own.

    Raises `Conflict` when it would leave the tenant without an owner.
    """
    if role not in BUILTIN_ROLES:
        raise InvalidRequest(f"role: one of {', '.join(BUILTIN_ROLES)}.", details={"param": "role"})
    _lock_owners(caller.tenant_id)
    member = access_member(member_id=member_id, lock=True)
    _check_within(caller, BUILTIN_ROLES[member.role_id] | BUILTIN_ROLES[role])
    if member.role_id == role:
        return member
    _check_not_last_owner(member)
    data = {"from": member.role_id, "to": role}
    member.role_id = role
    _changed(member, ["role"])
    record(action="member.role_changed", subject_kind="membership", subject_id=member.id, actor=caller, data=data)
    return member


def remove_member(*, caller: Principal, member_id: uuid.UUID) -> Membership:
    """End a membership: its sessions and keys stop working within a second, and don't come back with a new membership. The
    row stays as a name on what was written.
    """
    _lock_owners(caller.tenant_id)
    member = access_member(member_id=member_id, lock=True)
    _check_within(caller, BUILTIN_ROLES[member.role_id])
    _check_not_last_owner(member)
    member.status, member.removed_at = Membership.Status.REMOVED, timezone.now()
    _changed(member, ["status", "removed_at"])
    _end_credentials(member)
    GroupMember.objects.filter(membership=member).delete()
    record(action="member.removed", subject_kind="membership", subject_id=member.id, actor=caller)
    outbox.send(topic=REMOVED, payload={"membership": str(member.id), "by": str(caller.membership_id)})
    return member


def _end_credentials(member: Membership) -> None:
    """Revoke a member's keys and end their sessions in this tenant."""
    keys = ApiKey.objects.filter(membership=member, revoked_at=None)
    keys.update(revoked_at=timezone.now(), epoch=F("epoch") + 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT lookup.sessions_end(%s)", [member.id])


def _lock_owners(tenant_id: uuid.UUID) -> None:
    """Two owners who demote each other at the same moment take turns: the tenant's row is the lock."""
    Tenant.objects.select_for_update().get(id=tenant_id)


def _check_within(caller: Principal, permissions: frozenset[str]) -> None:
    if not permissions <= caller.permissions:
        raise PermissionDenied("Nobody grants, or takes from others, what they lack themselves.")


def _check_not_last_owner(member: Membership) -> None:
    if member.role_id != "owner":
        return
    others = Membership.objects.filter(role="owner", status=Membership.Status.ACTIVE).exclude(id=member.id)
    if not others.exists():
        raise Conflict("The last owner can't leave. Make somebody else owner first.")


def _changed(member: Membership, fields: list[str]) -> None:
    member.epoch += 1
    member.save(update_fields=[*fields, "epoch"])
    epochs.announce(member.tenant_id, {f"m:{member.id}": member.epoch})
