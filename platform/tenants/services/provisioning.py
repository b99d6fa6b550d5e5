"""What an operator does: make tenants and people, suspend and resume. Runs as `parley_platform`."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connections, transaction
from django.utils import timezone

from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants import epochs
from tenants.models import BuiltinRole, Credential, Membership, Person, Tenant
from tenants.passwords import check_password_rules, generate_password, hash_password
from tenants.services.api_keys import issue_key
from tenants.services.audit import record

PLATFORM = "platform"
UTC_NAME = "UTC"
on_limit: list[Callable[[uuid.UUID, int | None], None]] = []
"""What is told of a new monthly limit (nano-USD; None: lifted), in the transaction that sets it. Apps above add themselves."""
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class NewMember:
    """A membership just made; `password` is given only for a person made with it, and shown once."""

    membership: Membership
    person: Person
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant just made, with its owner and a first API key, shown once."""

    tenant: Tenant
    owner: NewMember
    api_key: str = field(repr=False)


def create_tenant(
    *, slug: str, owner_email: str, name: str = "", password: str | None = None, time_zone: str = UTC_NAME
) -> NewTenant:
    """Make a tenant with an owner and an API key. An existing person keeps name and password.

    Raises `InvalidRequest` for a bad slug, address or time zone and `Conflict` for a slug that is taken.
    """
    if not _SLUG.fullmatch(slug):
        raise InvalidRequest("A slug is 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end.")
    with transaction.atomic(using=PLATFORM):
        defaults = {"name": name or slug, "timezone": _known_zone(time_zone)}
        tenant, is_new = Tenant.objects.using(PLATFORM).get_or_create(slug=slug, defaults=defaults)
        if not is_new:
            raise Conflict(f"There is a tenant {slug!r} already.")
        with tenant_scope(tenant.id):
            owner = _join(tenant=tenant, email=owner_email, role="owner", password=password)
            key = issue_key(membership=owner.membership, name="first key", using=PLATFORM)
            record(action="tenant.created", subject_kind="tenant", subject_id=tenant.id, using=PLATFORM)
    return NewTenant(tenant=tenant, owner=owner, api_key=key.text)


def add_member(*, slug: str, email: str, role: str, name: str = "", password: str | None = None) -> NewMember:
    """Give a person a membership; make the person if the address is new. Raises `Conflict` for a present member."""
    with transaction.atomic(using=PLATFORM):
        tenant = tenant_by_slug(slug)
        with tenant_scope(tenant.id):
            member = _join(tenant=tenant, email=email, role=role, name=name, password=password)
            record(
                action="member.added",
                subject_kind="membership",
                subject_id=member.membership.id,
                data={"role": role},
                using=PLATFORM,
            )
    return member


def tenant_by_slug(slug: str) -> Tenant:
    """The tenant of that slug, as the platform sees it. Raises `NotFound`."""
    tenant = Tenant.objects.using(PLATFORM).filter(slug=slug).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {slug!r}.")
    return tenant


def set_tenant_status(*, slug: str, status: Tenant.Status) -> Tenant:
    """Suspend or resume a tenant. Its sessions and keys see it within a second."""
    with transaction.atomic(using=PLATFORM):
        tenant = _locked(slug)
        if tenant.status != status:
            tenant.status = status
            tenant.epoch += 1
            tenant.save(using=PLATFORM, update_fields=["status", "epoch"])
            _note(tenant, f"tenant.{'suspended' if status == Tenant.Status.SUSPENDED else 'resumed'}")
            epochs.announce(tenant.id, {"t": tenant.epoch})
    return tenant


def limit_tenant(*, slug: str, monthly_usd: str | None) -> Tenant:
    """Set what a tenant may spend a month, in US dollars as a decimal string; None lifts the limit."""
    with transaction.atomic(using=PLATFORM):
        tenant = _locked(slug)
        tenant.monthly_limit_nano = None if monthly_usd is None else usd_to_nano(monthly_usd)
        tenant.epoch += 1
        tenant.save(using=PLATFORM, update_fields=["monthly_limit_nano", "epoch"])
        _note(tenant, "tenant.limited", {"monthly_limit_nano": tenant.monthly_limit_nano})
        for told in on_limit:
            told(tenant.id, tenant.monthly_limit_nano)
        epochs.announce(tenant.id, {"t": tenant.epoch})
    return tenant


def set_time_zone(*, slug: str, time_zone: str) -> Tenant:
    """Have a tenant's days, months and billing periods begin at another midnight; the period under way ends as it was to.
    Raises `InvalidRequest` for a time zone that isn't one."""
    with transaction.atomic(using=PLATFORM):
        tenant = _locked(slug)
        was, tenant.timezone = tenant.timezone, _known_zone(time_zone)
        tenant.save(using=PLATFORM, update_fields=["timezone"])
        _note(tenant, "tenant.time_zone", {"time_zone": tenant.timezone, "was": was})
    return tenant


def usd_to_nano(text: str) -> int:
    """Whole nano-dollars of a decimal like `12.5`; at most nine places. Raises `InvalidRequest`."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise InvalidRequest("An amount in US dollars is needed, like 12.50, with at most nine decimal places.")
    whole, _, part = text.partition(".")
    return int(whole) * _NANO_PER_USD + int(part.ljust(9, "0") or "0")


def _known_zone(name: str) -> str:
    """A time zone by its name, which both Python and the database must know."""
    if name == UTC_NAME:
        return name
    with connections[PLATFORM].cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = %s)", [name[:64]])
        if name not in available_timezones() or not cursor.fetchone()[0]:
            raise InvalidRequest(f"{name[:64]!r} is no time zone, like Europe/Berlin.")
    return name


def _join(*, tenant: Tenant, email: str, role: str, name: str = "", password: str | None = None) -> NewMember:
    if not BuiltinRole.objects.using(PLATFORM).filter(slug=role).exists():
        raise InvalidRequest(f"There is no role {role!r}.")
    person, new_password = _ensure_person(email=email, name=name, password=password)
    membership = Membership.objects.using(PLATFORM).filter(person=person).first()
    if membership is None:
        membership = Membership.objects.using(PLATFORM).create(id=uuid7(), tenant=tenant, person=person, role_id=role)
    elif membership.status == Membership.Status.ACTIVE:
        raise Conflict(f"{email} is a member already.")
    else:
        membership.status, membership.role_id, membership.removed_at = Membership.Status.ACTIVE, role, None
        membership.epoch += 1
        membership.save(using=PLATFORM, update_fields=["status", "role", "removed_at", "epoch"])
        epochs.announce(tenant.id, {f"m:{membership.id}": membership.epoch})
    return NewMember(membership=membership, person=person, password=new_password)


def _ensure_person(*, email: str, name: str, password: str | None) -> tuple[Person, str | None]:
    email = email.strip()
    try:
        validate_email(email)
    except ValidationError as error:
        raise InvalidRequest(f"{email!r} is no e-mail address.") from error
    known = Person.objects.using(PLATFORM).filter(email__iexact=email).first()
    if known is not None:
        return known, None
    if password is not None:
        check_password_rules(password)
    chosen = password or generate_password()
    person = Person.objects.using(PLATFORM).create(
        email=email, name=name or email.partition("@")[0], email_verified_at=timezone.now()
    )
    Credential.objects.using(PLATFORM).create(person=person, password_hash=hash_password(chosen))
    return person, chosen


def _locked(slug: str) -> Tenant:
    tenant = Tenant.objects.using(PLATFORM).select_for_update().filter(slug=slug).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {slug!r}.")
    return tenant


def _note(tenant: Tenant, action: str, data: dict[str, object] | None = None) -> None:
    with tenant_scope(tenant.id):
        record(action=action, subject_kind="tenant", subject_id=tenant.id, data=data, using=PLATFORM)


def all_tenants() -> Iterator[Tenant]:
    """Every tenant by slug, for the operator; each is told in its audit that it was listed."""
    for tenant in Tenant.objects.using(PLATFORM).order_by("slug"):
        audit_use(slug=tenant.slug, action="tenant.listed")
        yield tenant


def audit_use(*, slug: str, action: str) -> None:
    """Write into the tenant's audit that an operator looked at it."""
    with transaction.atomic(using=PLATFORM):
        _note(tenant_by_slug(slug), action)


def owner_of(tenant_id: uuid.UUID) -> Membership:
    """The oldest active owner of a tenant. Raises `NotFound`."""
    with tenant_scope(tenant_id), transaction.atomic(using=PLATFORM):
        owners = Membership.objects.using(PLATFORM).filter(role="owner", status=Membership.Status.ACTIVE)
        owner = owners.order_by("id").first()
    if owner is None:
        raise NotFound("This tenant has no owner.")
    return owner
