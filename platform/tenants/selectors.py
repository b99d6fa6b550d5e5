"""Reads about people and keys. What must be found before a tenant is known goes through schema `lookup`."""

import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from kernel.tenancy import person_scope, tenant_scope
from tenants.models import ApiKey, Membership, Tenant
from tenants.principals import Principal


@dataclass(frozen=True, slots=True)
class Login:
    """What a log-in is checked against."""

    person_id: uuid.UUID
    password_hash: str


@dataclass(frozen=True, slots=True)
class TenantOfPerson:
    """One of a person's active memberships, in a tenant that isn't suspended unless `suspended`."""

    membership_id: uuid.UUID
    role: str
    membership_epoch: int
    tenant_id: uuid.UUID
    slug: str
    name: str
    suspended: bool
    tenant_epoch: int


KEY_SQL = "SELECT * FROM lookup.api_key(%s, %s)"
"""Finds a key by its public id and digest; see `KeyRow`."""
GROUPS_SQL = "SELECT group_id FROM tenants_groupmember WHERE membership_id = %s"
"""The groups of a member of the tenant in scope."""
KEY_TIES_SQL = """
    SELECT k.bound_by, k.line, ARRAY(SELECT g.group_id FROM tenants_groupmember g WHERE g.membership_id = k.membership_id)
    FROM tenants_apikey k WHERE k.id = %s
"""
"""Of a key of the tenant in scope: the keys whose budgets and limits hold for it, the first of its line, its owner's groups."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that exists, with all that decides what it may do. Revoked keys and removed members are not found.

    `groups` are its owner's; these, `bound_by` and `line` are read when its tenant is known."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    membership_id: uuid.UUID
    person_id: uuid.UUID
    role: str
    scopes: list[str]
    allowed_models: list[str] | None
    allowed_networks: list[str] | None
    expires_at: datetime | None
    tenant_suspended: bool
    tenant_epoch: int
    membership_epoch: int
    key_epoch: int
    lookup_id: str
    max_priority: str
    pace_tokens_per_s: int | None
    groups: tuple[uuid.UUID, ...] = ()
    bound_by: tuple[uuid.UUID, ...] = ()
    line: uuid.UUID | None = None


def login_by_email(email: str) -> Login | None:
    """The active person of that address, with the password's hash."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT person_id, password_hash FROM lookup.credential(%s)", [email])
        row = cursor.fetchone()
    return Login(*row) if row else None


def key_by_digest(lookup_id: str, digest: bytes) -> KeyRow | None:
    """The key of that id and digest."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(KEY_SQL, [lookup_id, digest])
        row = cursor.fetchone()
    if row is None:
        return None
    key = KeyRow(*row)
    with tenant_scope(key.tenant_id), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(KEY_TIES_SQL, [key.id])
        return with_ties(key, cursor.fetchone())


def with_ties(key: KeyRow, ties: tuple[Any, ...] | None) -> KeyRow:
    """The key with what `KEY_TIES_SQL` found."""
    bound_by, line, groups = ties or ((), None, ())
    return replace(key, groups=tuple(groups), bound_by=tuple(bound_by), line=line)


def tenants_of_person(person_id: uuid.UUID) -> list[TenantOfPerson]:
    """All active memberships of a person, by tenant name. Bounded to the first 100."""
    with person_scope(person_id), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM lookup.my_memberships()")
        return [TenantOfPerson(*row) for row in cursor.fetchall()]


def active_members() -> QuerySet[Membership]:
    """The members of the tenant in scope, with their people."""
    return Membership.objects.select_related("person").filter(status=Membership.Status.ACTIVE)


def visible_keys(caller: Principal) -> QuerySet[ApiKey]:
    """One's own keys, or with `api_keys.manage` everybody's; revoked ones stay listed."""
    keys = ApiKey.objects.select_related("membership__person")
    return keys if caller.may("api_keys.manage") else keys.filter(membership=caller.membership_id)


def this_tenant(tenant_id: uuid.UUID) -> Tenant:
    """The tenant in scope."""
    return Tenant.objects.get(id=tenant_id)
