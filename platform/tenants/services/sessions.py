"""Sessions: log in, refresh, switch, log out.

A session is a family of refresh tokens. Presenting one claims it and mints its child in one statement of the database;
presenting a spent one again ends the whole family, except within ten seconds and before the child was used: then the
answer is the same child (`tenants.tokens`).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, connections, transaction
from django.utils import timezone

from kernel.errors import NotAuthenticated, PermissionDenied
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants import throttle
from tenants.epochs import Subject
from tenants.models import Person
from tenants.passwords import password_matches
from tenants.selectors import TenantOfPerson, login_by_email, tenants_of_person
from tenants.tokens import child_of, mint_access, new_refresh, refresh_digest

log = structlog.get_logger(__name__)

_BATCH = 5_000
_BATCHES_MAX = 1_000
_ENDED = "The session has ended. Sign in again."


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in to one of their tenants."""

    person: Person
    current: TenantOfPerson
    memberships: Sequence[TenantOfPerson]
    access: str = field(repr=False)
    refresh: str = field(repr=False)


def log_in(*, email: str, password: str, tenant_slug: str | None, address: str) -> Session:
    """Start a session. Raises `NotAuthenticated`, the same for an unknown address and a wrong password, `RateLimited`
    after too many tries, and `PermissionDenied` for somebody without a membership to sign in to.
    """
    attempt = throttle.begin(email=email, address=address)
    known = login_by_email(email)
    if not password_matches(password, known.password_hash if known else None) or known is None:
        raise NotAuthenticated("The address or the password is wrong.")
    throttle.succeeded(attempt)
    memberships = tenants_of_person(known.person_id)
    current = _choose(memberships, tenant_slug)
    return _start(person_id=known.person_id, current=current, memberships=memberships)


def refresh_session(*, refresh: str) -> Session:
    """Go on with a session. Raises `NotAuthenticated` when it has ended."""
    child = child_of(refresh)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT outcome, person_id, tenant_ref FROM lookup.session_rotate(%s, %s, %s, %s, make_interval(secs => %s))",
            [
                refresh_digest(refresh),
                uuid7(),
                refresh_digest(child),
                _expiry(),
                settings.REFRESH_REPLAY_GRACE_S,
            ],
        )
        row = cursor.fetchone()
    if row is None:
        raise NotAuthenticated(_ENDED)
    outcome, person_id, tenant_id = row
    if outcome == "reused":
        log.warning("refresh_token_reused", person_id=str(person_id))
    if outcome not in ("minted", "replayed"):
        raise NotAuthenticated(_ENDED)
    memberships = tenants_of_person(person_id)
    current = next((item for item in memberships if item.tenant_id == tenant_id and not item.suspended), None)
    if current is None:
        raise NotAuthenticated(_ENDED)
    return _session(person_id=person_id, current=current, memberships=memberships, refresh=child)


def switch_tenant(*, person_id: uuid.UUID, tenant_slug: str, old_refresh: str | None) -> Session:
    """A new session of the same person in another of their tenants; the old one ends.

    Raises `PermissionDenied` for a tenant they don't belong to, or that doesn't exist: the two look alike.
    """
    memberships = tenants_of_person(person_id)
    session = _start(person_id=person_id, current=_choose(memberships, tenant_slug), memberships=memberships)
    if old_refresh:
        log_out(refresh=old_refresh)
    return session


def log_out(*, refresh: str) -> None:
    """End a session. An unknown token ends nothing, and says nothing."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT lookup.session_end(%s)", [refresh_digest(refresh)])


def delete_expired() -> int:
    """Delete refresh tokens, whosever they are, whose time is over; in batches, so that nobody waits for long. How many.

    One that is shown afterwards is unknown, where it had ended before."""
    deleted = 0
    for _ in range(_BATCHES_MAX):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            cursor.execute("SELECT lookup.sessions_expire(%s)", [_BATCH])
            found: int = cursor.fetchone()[0]
        deleted += found
        if found < _BATCH:
            break
    return deleted


def _start(*, person_id: uuid.UUID, current: TenantOfPerson, memberships: Sequence[TenantOfPerson]) -> Session:
    refresh = new_refresh()
    family = uuid7()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT lookup.session_start(%s, %s, %s, %s, %s)",
            [family, refresh_digest(refresh), person_id, current.tenant_id, _expiry()],
        )
    return _session(person_id=person_id, current=current, memberships=memberships, refresh=refresh)


def _session(
    *, person_id: uuid.UUID, current: TenantOfPerson, memberships: Sequence[TenantOfPerson], refresh: str
) -> Session:
    with tenant_scope(current.tenant_id, person_id=person_id), transaction.atomic():
        person = Person.objects.get(id=person_id)
    access = mint_access(
        person_id=person_id,
        subject=Subject(tenant_id=current.tenant_id, membership_id=current.membership_id),
        epochs=(current.tenant_epoch, current.membership_epoch),
    )
    return Session(person=person, current=current, memberships=memberships, access=access, refresh=refresh)


def _choose(memberships: Sequence[TenantOfPerson], slug: str | None) -> TenantOfPerson:
    wanted = [item for item in memberships if slug is None or item.slug == slug]
    for item in wanted:
        if not item.suspended:
            return item
    if wanted:
        raise PermissionDenied("This tenant is suspended.")
    raise PermissionDenied("You are no member of this tenant." if slug else "You are no member of any tenant.")


def _expiry() -> datetime:
    return timezone.now() + timedelta(seconds=settings.REFRESH_TOKEN_S)
