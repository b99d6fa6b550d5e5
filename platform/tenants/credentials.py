"""From a credential to a `Principal`: the rules, and the two ways (event loop and threads) to ask the stores.

A key's record is kept per process for `KEY_RECORD_TTL_S`, under the digest of the key; its epochs are compared at every
request, so a revoked key is refused within a second. Who has a round trip to Redis ahead of it anyway takes the record at
its word (`confirmed=False`), reads the epochs in that round trip, and says `confirm`.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import cast

from django.conf import settings
from django.db import transaction
from psycopg.rows import args_row, tuple_row

from kernel import adb, net
from kernel.errors import NotAuthenticated, PermissionDenied
from kernel.kept import Kept
from kernel.tenancy import tenant_scope
from tenants.epochs import (
    Epochs,
    Subject,
    current_epochs,
    current_epochs_sync,
    epochs_without_redis,
    read_epochs,
)
from tenants.keys import PREFIX, digest, lookup_id
from tenants.last_used import is_due, note_use, note_use_sync
from tenants.models import GroupMember, Membership
from tenants.permissions import effective_permissions
from tenants.principals import Principal, Priority, Unconfirmed
from tenants.selectors import GROUPS_SQL, KEY_SQL, KEY_TIES_SQL, KeyRow, key_by_digest, with_ties
from tenants.tokens import AccessClaims, read_access

_MAX_CREDENTIAL_CHARS = 4096
_MAX_RECORDS = 10_000
_BAD_KEY = "The API key is not valid."
_CHANGED = "The session's rights have changed. Refresh it."


@dataclass(frozen=True, slots=True)
class _Record:
    principal: Principal
    unconfirmed: Principal
    subject: Subject
    epochs: Epochs
    allowed_networks: tuple[str, ...] | None
    expires_at: datetime | None
    suspended: bool


_records: Kept[bytes, _Record] = Kept(ttl_s=lambda: settings.KEY_RECORD_TTL_S, max_keys=_MAX_RECORDS)
_members: "OrderedDict[tuple[uuid.UUID, Epochs], Principal]" = OrderedDict()


async def authenticate(credential: str, *, address: str, confirmed: bool = True) -> Principal:
    """The caller of an access token or API key. Raises `NotAuthenticated`, or `PermissionDenied` for a suspended
    tenant or an address that the key isn't for.

    With `confirmed` False, one that this process knows may come back with `Principal.unconfirmed`: nothing may be done for
    them before `confirm`.
    """
    if not credential.startswith(PREFIX):
        claims = read_access(_bounded(credential))
        return (None if confirmed else _unconfirmed_member(claims)) or await member_of_claims(claims)
    hashed = _key_digest(credential)
    read = partial(_read_credential, credential, hashed)
    record = _records.look(hashed, read)
    # Of one that was refused it is asked again whether it still is: there, nothing would be done that could confirm it.
    if record is not None and not confirmed and not record.suspended:
        principal = _admitted(record, address, record.unconfirmed)
    else:
        record = record or await _records.get(hashed, read)
        if await current_epochs(record.subject) != record.epochs:
            record = await _records.newer(hashed, read, than_s=time.monotonic())
        principal = _admitted(record, address, record.principal)
    if is_due(principal):
        await note_use(principal)
    return principal


async def confirm(principal: Principal, epochs: Epochs | None) -> Principal:
    """The caller as of now, given the epochs in force: the same, if nothing has changed, else as its credential is found
    anew. `epochs` is None when Redis couldn't be asked, and empty when it lacked one. Raises `NotAuthenticated` and
    `PermissionDenied`.
    """
    taken = principal.unconfirmed
    if taken is None or epochs == taken.epochs:
        return principal
    if not epochs:
        epochs = await (epochs_without_redis(taken.subject) if epochs is None else read_epochs(taken.subject))
        if epochs == taken.epochs:
            return principal
    if taken.digest is None:
        raise NotAuthenticated(_CHANGED)
    read = partial(_read_key, taken.lookup_id or "", taken.digest)
    record = await _records.newer(taken.digest, read, than_s=time.monotonic())
    if record.expires_at is not None and record.expires_at <= datetime.now(tz=UTC):
        raise NotAuthenticated("The API key has expired.")
    if record.suspended:
        raise PermissionDenied("This tenant is suspended.", details={"reason": "suspended"})
    return record.principal


async def confirm_now(principal: Principal) -> Principal:
    """The caller as of now, with a round trip of its own. Raises as `confirm` does."""
    taken = principal.unconfirmed
    return principal if taken is None else await confirm(principal, await current_epochs(taken.subject))


def authenticate_sync(credential: str, *, address: str) -> Principal:
    """The same, for threads."""
    if not credential.startswith(PREFIX):
        claims = read_access(_bounded(credential))
        _check_epochs(claims, current_epochs_sync(claims.subject))
        if (known := _members.get((claims.subject.membership_id, claims.epochs))) is not None:
            return known
        with tenant_scope(claims.subject.tenant_id):
            return _remember_member(claims, _member_sync(claims))
    hashed = _key_digest(credential)
    record = _records.peek(hashed)
    if record is None or current_epochs_sync(record.subject) != record.epochs:
        record = _read_key_sync(lookup_id(credential) or "", hashed)
    principal = _admitted(record, address, record.principal)
    note_use_sync(principal)
    return principal


async def member_of_claims(claims: AccessClaims) -> Principal:
    """The member that an access token names, if its epochs are still in force."""
    _check_epochs(claims, await current_epochs(claims.subject))
    if (known := _members.get((claims.subject.membership_id, claims.epochs))) is not None:
        return known
    async with adb.transaction(claims.subject.tenant_id) as connection:
        cursor = await connection.execute(
            "SELECT m.role, t.status FROM tenants_membership m JOIN tenants_tenant t ON t.id = m.tenant_id "
            "WHERE m.id = %s AND m.person_id = %s AND m.status = 'active'",
            (claims.subject.membership_id, claims.person_id),
        )
        row = await cursor.fetchone()
        groups = await connection.execute(GROUPS_SQL, (claims.subject.membership_id,))
        found = [each["group_id"] for each in await groups.fetchall()]
    return _remember_member(claims, (row["role"], row["status"], found) if row else None)


_Member = tuple[str, str, Sequence[uuid.UUID]]
"""A member's role, the tenant's status, and the groups."""


def _member_sync(claims: AccessClaims) -> _Member | None:
    with transaction.atomic():
        rows = Membership.objects.filter(
            id=claims.subject.membership_id, person=claims.person_id, status=Membership.Status.ACTIVE
        )
        found = rows.values_list("role", "tenant__status").first()
        groups = GroupMember.objects.filter(membership=claims.subject.membership_id).values_list("group_id", flat=True)
        return (*found, list(groups)) if found else None


def _remember_member(claims: AccessClaims, found: _Member | None) -> Principal:
    """Keep the member under its epochs: any change of role, groups or tenant gives it others."""
    if found is None:
        raise NotAuthenticated(_CHANGED)
    role, tenant_status, groups = found
    if tenant_status == "suspended":
        raise PermissionDenied("This tenant is suspended.", details={"reason": "suspended"})
    principal = Principal(
        kind="member",
        tenant_id=claims.subject.tenant_id,
        membership_id=claims.subject.membership_id,
        person_id=claims.person_id,
        role=role,
        permissions=effective_permissions(role),
        groups=frozenset(groups),
        priority="interactive",
    )
    _members[(claims.subject.membership_id, claims.epochs)] = principal
    while len(_members) > _MAX_RECORDS:
        _members.popitem(last=False)
    return principal


def _check_epochs(claims: AccessClaims, epochs: Epochs) -> None:
    if epochs != claims.epochs:
        raise NotAuthenticated(_CHANGED)


def _bounded(credential: str) -> str:
    if len(credential) > _MAX_CREDENTIAL_CHARS:
        raise NotAuthenticated("The access token is not valid, or has expired.")
    return credential


def _key_digest(credential: str) -> bytes:
    """The digest of a key's text; its form was looked at when its record was made."""
    if len(credential) > _MAX_CREDENTIAL_CHARS or not credential.isascii():
        raise NotAuthenticated(_BAD_KEY)
    hashed = digest(credential)
    if hashed not in _records and lookup_id(credential) is None:
        raise NotAuthenticated(_BAD_KEY)
    return hashed


async def _find_key(public_id: str, hashed: bytes) -> KeyRow | None:
    async with adb.tenantless() as connection, connection.cursor(row_factory=args_row(KeyRow)) as cursor:
        await cursor.execute(KEY_SQL, (public_id, hashed))
        row = await cursor.fetchone()
    if row is None:
        return None
    async with adb.transaction(row.tenant_id) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(KEY_TIES_SQL, (row.id,))
        return with_ties(row, await cursor.fetchone())


async def _read_credential(credential: str, hashed: bytes) -> _Record:
    return await _read_key(lookup_id(credential) or "", hashed)


async def _read_key(public_id: str, hashed: bytes) -> _Record:
    return _record_of(await _find_key(public_id, hashed), hashed)


def _read_key_sync(public_id: str, hashed: bytes) -> _Record:
    began_s = time.monotonic()
    try:
        record = _record_of(key_by_digest(public_id, hashed), hashed)
    except NotAuthenticated:
        _records.forget(hashed)
        raise
    _records.keep(hashed, record, began_s=began_s)
    return record


def _record_of(row: KeyRow | None, hashed: bytes) -> _Record:
    if row is None:
        raise NotAuthenticated(_BAD_KEY)
    principal = Principal(
        kind="api_key",
        tenant_id=row.tenant_id,
        membership_id=row.membership_id,
        person_id=row.person_id,
        role=row.role,
        permissions=effective_permissions(row.role, scopes=frozenset(row.scopes)),
        api_key_id=row.id,
        allowed_models=frozenset(row.allowed_models) if row.allowed_models is not None else None,
        priority=cast("Priority", row.max_priority),
        pace_tokens_per_s=row.pace_tokens_per_s,
        groups=frozenset(row.groups),
        bound_by=frozenset(row.bound_by),
        line=row.line,
    )
    subject = Subject(tenant_id=row.tenant_id, membership_id=row.membership_id, api_key_id=row.id)
    epochs = (row.tenant_epoch, row.membership_epoch, row.key_epoch)
    return _Record(
        principal=principal,
        unconfirmed=replace(principal, unconfirmed=Unconfirmed(subject, epochs, row.lookup_id, hashed)),
        subject=subject,
        epochs=epochs,
        allowed_networks=tuple(row.allowed_networks) if row.allowed_networks is not None else None,
        expires_at=row.expires_at,
        suspended=row.tenant_suspended,
    )


def _unconfirmed_member(claims: AccessClaims) -> Principal | None:
    known = _members.get((claims.subject.membership_id, claims.epochs))
    return known and replace(known, unconfirmed=Unconfirmed(claims.subject, claims.epochs))


def _admitted(record: _Record, address: str, principal: Principal) -> Principal:
    if record.expires_at is not None and record.expires_at <= datetime.now(tz=UTC):
        raise NotAuthenticated("The API key has expired.")
    if record.suspended:
        raise PermissionDenied("This tenant is suspended.", details={"reason": "suspended"})
    if record.allowed_networks is not None and not net.address_in(address, record.allowed_networks):
        raise PermissionDenied("The API key is not allowed from this address.")
    return principal
