"""Groups: make, rename, delete; bring members in and take them out.

What a group opens is said elsewhere (route access). So whoever puts somebody into a group gives them what it opens: they must
be in it themselves, or be one who says what groups open.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower

from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from kernel.tenancy import current_tenant_id
from tenants import epochs
from tenants.models import Group, GroupMember, Membership
from tenants.principals import Principal
from tenants.services.audit import record
from tenants.services.members import access_member

GRANTS_ACCESS = "access.manage"
"""The permission of those who say what groups open."""


def create_group(*, caller: Principal, name: str) -> Group:
    """Make an empty group. Raises `Conflict` for a name that is taken, in whatever case, and for one group too many."""
    name = _checked(name)
    if Group.objects.count() >= settings.GROUPS_PER_TENANT_MAX:
        raise Conflict(f"This tenant has {settings.GROUPS_PER_TENANT_MAX} groups; delete some first.")
    _check_free(name)
    with _name_taken(name), transaction.atomic():
        group = Group.objects.create(tenant_id=current_tenant_id(), name=name)
    record(action="group.created", subject_kind="group", subject_id=group.id, actor=caller, data={"name": name})
    return group


def access_group(*, group_id: uuid.UUID, lock: bool = False) -> Group:
    """A group of the tenant in scope. Raises `NotFound`."""
    rows = Group.objects.select_for_update() if lock else Group.objects.all()
    group = rows.filter(id=group_id).first()
    if group is None:
        raise NotFound
    return group


def rename_group(*, caller: Principal, group_id: uuid.UUID, name: str) -> Group:
    """Call a group something else. What it opens stays."""
    group = access_group(group_id=group_id, lock=True)
    name = _checked(name)
    if group.name == name:
        return group
    _check_free(name, but=group)
    data = {"from": group.name, "to": name}
    group.name = name
    with _name_taken(name), transaction.atomic():
        group.save(update_fields=["name"])
    record(action="group.renamed", subject_kind="group", subject_id=group.id, actor=caller, data=data)
    return group


def delete_group(*, caller: Principal, group_id: uuid.UUID) -> None:
    """Delete a group: its members lose what it alone opened to them, and nothing is opened to others by it."""
    group = access_group(group_id=group_id, lock=True)
    _check_may_open(caller, group)
    for member in _active(Membership.objects.filter(groups__group=group)).select_for_update(of=("self",)):
        _look_again(member)
    data = {"name": group.name}
    group.delete()
    record(action="group.deleted", subject_kind="group", subject_id=group_id, actor=caller, data=data)


def group_members(*, group_id: uuid.UUID) -> QuerySet[Membership]:
    """The active members of a group."""
    access_group(group_id=group_id)
    return _active(Membership.objects.select_related("person").filter(groups__group=group_id))


def add_member_to_group(*, caller: Principal, group_id: uuid.UUID, member_id: uuid.UUID) -> Membership:
    """Put a member into a group. Doing it again changes nothing.

    Raises `PermissionDenied` to one who neither is in the group nor says what groups open.
    """
    group = access_group(group_id=group_id, lock=True)
    member = access_member(member_id=member_id, lock=True)
    _check_may_open(caller, group)
    if GroupMember.objects.filter(group=group, membership=member).exists():
        return member
    if GroupMember.objects.filter(membership=member).count() >= settings.GROUPS_PER_MEMBER_MAX:
        raise Conflict(f"This member is in {settings.GROUPS_PER_MEMBER_MAX} groups; take them out of some first.")
    GroupMember.objects.create(tenant_id=current_tenant_id(), group=group, membership=member)
    _look_again(member)
    _record_member("group.member_added", caller, group, member)
    return member


def remove_member_from_group(*, caller: Principal, group_id: uuid.UUID, member_id: uuid.UUID) -> None:
    """Take a member out of a group: within a second they lose what it alone opened. Raises `NotFound` if not in it."""
    group = access_group(group_id=group_id, lock=True)
    member = access_member(member_id=member_id, lock=True)
    _check_may_open(caller, group)
    removed, _ = GroupMember.objects.filter(group=group, membership=member).delete()
    if not removed:
        raise NotFound
    _look_again(member)
    _record_member("group.member_removed", caller, group, member)


def _check_may_open(caller: Principal, group: Group) -> None:
    if not caller.may(GRANTS_ACCESS) and group.id not in caller.groups:
        raise PermissionDenied("Nobody grants, or takes from others, what they lack themselves.")


def _checked(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise InvalidRequest("name: printable characters are needed.", details={"param": "name"})
    return name


def _check_free(name: str, *, but: Group | None = None) -> None:
    # In lower case as the database has it, which for some letters isn't as Python has it.
    others = Group.objects.annotate(lower=Lower("name")).filter(lower=Lower(Value(name)))
    if others.filter(~Q(id=but.id) if but else Q()).exists():
        raise _taken(name)


@contextmanager
def _name_taken(name: str) -> Iterator[None]:
    """That somebody took the name at the same moment."""
    try:
        yield
    except IntegrityError as error:
        raise _taken(name) from error


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a group {name!r} already.")


def _active(members: QuerySet[Membership]) -> QuerySet[Membership]:
    return members.filter(status=Membership.Status.ACTIVE)


def _look_again(member: Membership) -> None:
    """Have the member's sessions and keys looked up anew, with their groups."""
    member.epoch += 1
    member.save(update_fields=["epoch"])
    epochs.announce(member.tenant_id, {f"m:{member.id}": member.epoch})


def _record_member(action: str, caller: Principal, group: Group, member: Membership) -> None:
    record(action=action, subject_kind="group", subject_id=group.id, actor=caller, data={"membership": str(member.id)})
