"""API keys: make, rotate with an overlap, revoke."""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from kernel import net
from kernel.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, PermissionDenied
from kernel.tenancy import current_tenant_id
from tenants import epochs
from tenants.keys import make_key
from tenants.models import ApiKey, Membership
from tenants.permissions import DEFAULT_SCOPES, PERMISSIONS
from tenants.principals import PRIORITIES, Principal, Priority
from tenants.services.audit import record

MAX_OVERLAP_S = 7 * 24 * 3600
on_rotation: list[Callable[[ApiKey, ApiKey], None]] = []
"""What is told of a rotated key and its successor, in the transaction that makes it. Apps above add themselves."""
limited: list[Callable[[Collection[uuid.UUID]], set[uuid.UUID]]] = []
"""What says which of some keys have budgets or limits of their own. Apps above add themselves."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key's row, and its text, to be shown once."""

    row: ApiKey
    text: str = field(repr=False)


def issue_key(
    *,
    membership: Membership,
    name: str,
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    allowed_models: Sequence[str] | None = None,
    allowed_networks: Sequence[str] | None = None,
    max_priority: Priority = "normal",
    pace_tokens_per_s: int | None = None,
    bound_by: Collection[uuid.UUID] = (),
    line: uuid.UUID | None = None,
    using: str = "default",
) -> IssuedKey:
    """Make a key for a membership of the tenant in scope. What it may do is never more than the membership may. The budgets
    and limits of the keys `bound_by` hold for it too: it uses them up together with those. `line` is the first of the keys that
    it replaces."""
    if live_keys(using=using).count() >= settings.API_KEYS_PER_TENANT_MAX:
        raise Conflict(f"This tenant has {settings.API_KEYS_PER_TENANT_MAX} keys; revoke some first.")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest("expires_at: this time has passed.", details={"param": "expires_at"})
    new = make_key()
    row = ApiKey.objects.using(using).create(
        tenant_id=current_tenant_id(),
        membership=membership,
        name=name,
        lookup_id=new.lookup_id,
        digest=new.digest,
        hint=new.hint,
        scopes=_known_scopes(scopes),
        expires_at=expires_at,
        allowed_models=list(allowed_models) if allowed_models is not None else None,
        allowed_networks=_networks(allowed_networks),
        max_priority=max_priority,
        pace_tokens_per_s=pace_tokens_per_s,
        bound_by=_still_binding(bound_by) if bound_by else [],
        line=line,
    )
    return IssuedKey(row=row, text=new.text)


def create_api_key(
    *,
    caller: Principal,
    name: str,
    scopes: Sequence[str] | None,
    expires_at: datetime | None,
    allowed_models: Sequence[str] | None,
    allowed_networks: Sequence[str] | None,
    max_priority: Priority = "normal",
    pace_tokens_per_s: int | None = None,
) -> IssuedKey:
    """Make a key for the caller. Raises `PermissionDenied` for a scope the caller lacks, and, when the caller is a key itself,
    for a life, models or addresses beyond its own. A key's budgets and limits hold for what it makes as well.
    """
    member = _present_member(caller)
    wanted = frozenset(scopes) if scopes is not None else DEFAULT_SCOPES & caller.permissions
    if lacking := sorted((wanted & PERMISSIONS) - caller.permissions):
        raise PermissionDenied("Nobody gives a key what they lack.", details={"scopes": lacking})
    if caller.allowed_models is not None and (allowed_models is None or not all(map(caller.may_use, allowed_models))):
        raise PermissionDenied("Nobody gives a key what they lack.", details={"param": "allowed_models"})
    _check_within_key(caller, expires_at=expires_at, networks=_networks(allowed_networks))
    _check_terms(caller, max_priority=max_priority, pace_tokens_per_s=pace_tokens_per_s, before="normal")
    issued = issue_key(
        membership=member,
        name=name,
        scopes=sorted(wanted),
        expires_at=expires_at,
        allowed_models=allowed_models,
        allowed_networks=allowed_networks,
        max_priority=max_priority,
        pace_tokens_per_s=pace_tokens_per_s,
        bound_by=_bounds_of(caller),
    )
    record(action="api_key.created", subject_kind="api_key", subject_id=issued.row.id, actor=caller)
    return issued


def access_key(*, caller: Principal, key_id: uuid.UUID, lock: bool = False) -> ApiKey:
    """One's own key, or with `api_keys.manage` anybody's. Raises `NotFound`."""
    rows = ApiKey.objects.select_for_update(of=("self",)) if lock else ApiKey.objects.all()
    if not caller.may("api_keys.manage"):
        rows = rows.filter(membership=caller.membership_id)
    key = rows.select_related("membership__person").filter(id=key_id).first()
    if key is None:
        raise NotFound
    return key


def rotate_api_key(*, caller: Principal, key_id: uuid.UUID, overlap_s: int) -> IssuedKey:
    """Make a successor with the same rights; the old key goes on working for `overlap_s` seconds. What budgets and limits there
    are for the old one, they have in common, and its files, batches and stored responses.

    Raises `Conflict` for a key that is revoked, expired or rotated already.
    """
    if not 0 <= overlap_s <= MAX_OVERLAP_S:
        raise InvalidRequest(f"overlap_s: from 0 to {MAX_OVERLAP_S} seconds.", details={"param": "overlap_s"})
    _present_member(caller)
    old = access_key(caller=caller, key_id=key_id, lock=True)
    now = timezone.now()
    if old.membership_id != caller.membership_id:
        raise PermissionDenied("Only its owner rotates a key: the new one is shown to whoever rotates it.")
    _check_successor_within_key(caller, old)
    if not is_live(old, now) or old.replaced_by_id is not None:
        raise Conflict("This key is revoked, expired or rotated already.")
    issued = issue_key(
        membership=old.membership,
        name=old.name,
        scopes=old.scopes,
        expires_at=old.expires_at,
        allowed_models=old.allowed_models,
        allowed_networks=old.allowed_networks,
        max_priority=cast("Priority", old.max_priority),
        pace_tokens_per_s=old.pace_tokens_per_s,
        bound_by={old.id, *old.bound_by, *_bounds_of(caller)},
        line=old.line or old.id,
    )
    end = now + timedelta(seconds=overlap_s)
    old.expires_at = min(old.expires_at, end) if old.expires_at else end
    old.replaced_by = issued.row
    old.epoch += 1
    old.save(update_fields=["expires_at", "replaced_by", "epoch"])
    for told in on_rotation:
        told(old, issued.row)
    epochs.announce(old.tenant_id, {f"k:{old.id}": old.epoch})
    record(
        action="api_key.rotated",
        subject_kind="api_key",
        subject_id=old.id,
        actor=caller,
        data={"successor": str(issued.row.id), "overlap_s": overlap_s},
    )
    return issued


def change_api_key(
    *, caller: Principal, key_id: uuid.UUID, max_priority: Priority, pace_tokens_per_s: int | None
) -> ApiKey:
    """Change the priority that a key may ask for, and the pace of what is streamed to it. Raises `PermissionDenied` for one who
    would give it more than they may.
    """
    key = access_key(caller=caller, key_id=key_id, lock=True)
    before = cast("Priority", key.max_priority)
    _check_terms(caller, max_priority=max_priority, pace_tokens_per_s=pace_tokens_per_s, before=before)
    if (key.max_priority, key.pace_tokens_per_s) == (max_priority, pace_tokens_per_s):
        return key
    if key.pace_tokens_per_s is not None and not caller.may("api_keys.manage"):
        _refuse_quicker(key.pace_tokens_per_s, pace_tokens_per_s)
    key.max_priority, key.pace_tokens_per_s = max_priority, pace_tokens_per_s
    key.epoch += 1
    key.save(update_fields=["max_priority", "pace_tokens_per_s", "epoch"])
    epochs.announce(key.tenant_id, {f"k:{key.id}": key.epoch})
    record(
        action="api_key.changed",
        subject_kind="api_key",
        subject_id=key.id,
        actor=caller,
        data={"max_priority": max_priority, "pace_tokens_per_s": pace_tokens_per_s},
    )
    return key


def revoke_api_key(*, caller: Principal, key_id: uuid.UUID) -> ApiKey:
    """End a key now. Revoking a revoked key changes nothing."""
    key = access_key(caller=caller, key_id=key_id, lock=True)
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.epoch += 1
        key.save(update_fields=["revoked_at", "epoch"])
        epochs.announce(key.tenant_id, {f"k:{key.id}": key.epoch})
        record(action="api_key.revoked", subject_kind="api_key", subject_id=key.id, actor=caller)
    return key


def _check_within_key(caller: Principal, *, expires_at: datetime | None, networks: list[str] | None) -> None:
    """What a key makes ends with it, and is used from no address that it isn't used from itself."""
    if caller.api_key_id is None:
        return
    own = ApiKey.objects.get(id=caller.api_key_id)
    lacking = None
    if own.expires_at is not None and (expires_at is None or expires_at > own.expires_at):
        lacking = "expires_at"
    elif own.allowed_networks is not None and not net.networks_within(networks, own.allowed_networks):
        lacking = "allowed_ips"
    if lacking:
        raise PermissionDenied("Nobody gives a key what they lack.", details={"param": lacking})


def _check_successor_within_key(caller: Principal, old: ApiKey) -> None:
    """A key is shown no successor of one that may do more than itself."""
    if caller.api_key_id is None or caller.api_key_id == old.id:
        return
    own = ApiKey.objects.get(id=caller.api_key_id)
    narrower = set(old.scopes) <= set(own.scopes) and (
        caller.allowed_models is None
        or (old.allowed_models is not None and all(map(caller.may_use, old.allowed_models)))
    )
    if not narrower:
        raise PermissionDenied("Nobody gives a key what they lack.", details={"param": "scopes"})
    _check_within_key(caller, expires_at=old.expires_at, networks=old.allowed_networks)
    priority = cast("Priority", old.max_priority)
    _check_terms(caller, max_priority=priority, pace_tokens_per_s=old.pace_tokens_per_s, before=priority)


def _check_terms(caller: Principal, *, max_priority: Priority, pace_tokens_per_s: int | None, before: Priority) -> None:
    """Who manages keys raises their priority; and no key gives more than it has itself."""
    rank = PRIORITIES.index(max_priority)
    if rank < PRIORITIES.index(before) and not caller.may("api_keys.manage"):
        raise PermissionDenied("Who manages keys raises their priority.", details={"param": "max_priority"})
    if caller.api_key_id is None:
        return
    if rank < PRIORITIES.index(caller.priority):
        raise PermissionDenied("Nobody gives a key what they lack.", details={"param": "max_priority"})
    if caller.pace_tokens_per_s is not None:
        _refuse_quicker(caller.pace_tokens_per_s, pace_tokens_per_s)


def _refuse_quicker(pace: int, wanted: int | None) -> None:
    if wanted is None or wanted > pace:
        raise PermissionDenied("Nobody gives a key what they lack.", details={"param": "pace_tokens_per_s"})


def _present_member(caller: Principal) -> Membership:
    """Whose key it will be. Whoever removes members has the tenant's row locked (`tenants.services.members`): until this
    transaction ends, nobody is removed, and leaves a key that nobody revokes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM tenants_tenant WHERE id = %s FOR KEY SHARE", [caller.tenant_id])
    member = Membership.objects.filter(id=caller.membership_id, status=Membership.Status.ACTIVE).first()
    if member is None:
        raise NotAuthenticated
    return member


def _bounds_of(caller: Principal) -> set[uuid.UUID]:
    return {caller.api_key_id, *caller.bound_by} if caller.api_key_id is not None else set()


def _still_binding(keys: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Without keys that have ended and were never limited: nobody limits those any more."""
    binding = set(live_keys().filter(id__in=keys).values_list("id", flat=True))
    for tell in limited:
        binding |= tell(keys)
    return sorted(binding)


def live_keys(*, using: str = "default") -> QuerySet[ApiKey]:
    """The keys of the tenant in scope that are neither revoked nor expired."""
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return ApiKey.objects.using(using).filter(unexpired, revoked_at=None)


def is_live(key: ApiKey, now: datetime) -> bool:
    """Whether a key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _known_scopes(scopes: Sequence[str] | None) -> list[str]:
    chosen = DEFAULT_SCOPES if scopes is None else frozenset(scopes)
    if unknown := sorted(chosen - PERMISSIONS):
        raise InvalidRequest("scopes: there is no such scope.", details={"param": "scopes", "unknown": unknown})
    return sorted(chosen)


def _networks(networks: Sequence[str] | None) -> list[str] | None:
    if networks is None:
        return None
    try:
        return [str(net.parse_network(text)) for text in networks]
    except ValueError as error:
        raise InvalidRequest(
            "allowed_ips: addresses or CIDR blocks are needed.", details={"param": "allowed_ips"}
        ) from error
