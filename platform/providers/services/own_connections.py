"""A tenant's own connections: accounts at providers that it brings itself.

A secret goes in and never comes out. It belongs to an address: who changes that, or the kind of provider, gives the secret
again, so that nobody can have it sent elsewhere who doesn't know it.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from kernel import egress
from kernel.crypto import DecryptionFailed
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from providers import registry
from providers.models import Connection, Deployment, Route, RouteTarget
from providers.secrets import seal, unseal
from providers.services.access import leave_access
from providers.services.terms import check_region
from tenants.principals import Principal
from tenants.services.audit import record

MAX_SECRET_CHARS = 4_096
MAX_ADDRESS_CHARS = 500
_FIELD_VALUE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HINT_CHARS = 4
_HINTED_CHARS = 12
"""A shorter secret shows nothing of itself."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change of a connection; None leaves it. An empty `secret` takes the secret away."""

    name: str | None = None
    kind: str | None = None
    base_url: str | None = None
    secret: str | None = field(default=None, repr=False)
    region: str | None = None


def create_connection(
    *,
    caller: Principal,
    name: str,
    kind: str,
    base_url: str | None = None,
    secret: str | None = None,
    region: str = "",
) -> Connection:
    """Add an account. Without `base_url` it is at the provider's usual address.

    Raises `InvalidRequest` for a kind or region that isn't, an address that may not be called or a secret that is missing, and
    `Conflict` for a name that is taken or one connection too many.
    """
    if Connection.objects.count() >= settings.CONNECTIONS_PER_TENANT_MAX:
        raise Conflict(f"This tenant has {settings.CONNECTIONS_PER_TENANT_MAX} connections; delete some first.")
    spec = _spec(kind)
    connection_id = uuid7()
    row = Connection(
        id=connection_id,
        tenant_id=current_tenant_id(),
        name=_free(_name(name)),
        kind=kind,
        base_url=_address(spec, base_url or spec.base_url or ""),
        secret=_sealed(_secret(secret or ""), connection_id),
        region=check_region(region),
    )
    _check_secret(spec, row)
    row.save(force_insert=True)
    record(action="connection.created", subject_kind="connection", subject_id=row.id, actor=caller, data=_said(row))
    return row


def access_connection(*, connection_id: uuid.UUID, lock: bool = False) -> Connection:
    """A connection of the tenant in scope. Raises `NotFound`."""
    rows = Connection.objects.select_for_update() if lock else Connection.objects.all()
    found = rows.filter(id=connection_id).first()
    if found is None:
        raise NotFound
    return found


def update_connection(*, caller: Principal, connection_id: uuid.UUID, changes: Changes) -> Connection:
    """Change a connection. Raises as `create_connection` does, and `InvalidRequest` for another address or kind without the
    secret."""
    row = access_connection(connection_id=connection_id, lock=True)
    before = _said(row)
    spec = _spec(changes.kind or row.kind)
    if changes.name is not None and _name(changes.name) != row.name:
        row.name = _free(_name(changes.name))
    row.kind = spec.name
    if changes.base_url is not None:
        row.base_url = _address(spec, changes.base_url or spec.base_url or "")
    elif spec.name != before["kind"] and "?" in row.base_url:
        row.base_url = _address(spec, row.base_url)
    moved = (row.kind, row.base_url) != (before["kind"], before["base_url"])
    if moved:
        # An operator vouched for the address that was, and the models were those of that.
        row.vouched = False
        row.published_models = row.published_at = row.models_asked_at = None
    if changes.secret is not None:
        row.secret = _sealed(_secret(changes.secret), row.id)
    elif moved and row.secret is not None:
        raise InvalidRequest(
            "secret: it must be given again when the address or the kind changes.", details={"param": "secret"}
        )
    if changes.region is not None:
        row.region = check_region(changes.region)
    _check_secret(spec, row)
    row.save()
    data: dict[str, Any] = {name: [before[name], now] for name, now in _said(row).items() if before[name] != now}
    if changes.secret is not None:
        data["new_secret"] = True
    record(action="connection.updated", subject_kind="connection", subject_id=row.id, actor=caller, data=data)
    return row


def delete_connection(*, caller: Principal, connection_id: uuid.UUID) -> None:
    """Delete a connection with its deployments, and the routes that only they served."""
    row = access_connection(connection_id=connection_id, lock=True)
    served = routes_served_by(deployments=Deployment.objects.filter(connection=row).values_list("id", flat=True))
    data = {"name": row.name}
    row.delete()
    delete_idle_routes(route_ids=served)
    record(action="connection.deleted", subject_kind="connection", subject_id=connection_id, actor=caller, data=data)


def routes_served_by(*, deployments: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """The routes of the tenant that lead to any of these."""
    return list(RouteTarget.objects.filter(deployment__in=deployments).values_list("route_id", flat=True).distinct())


def delete_idle_routes(*, route_ids: Iterable[uuid.UUID]) -> None:
    """Delete those of the routes that lead nowhere any more: they would hide the platform's of the same alias."""
    idle = Route.objects.filter(id__in=route_ids, targets=None, fallbacks=[])
    for route in idle:
        leave_access(route=route)
    idle.delete()


def secret_of(row: Connection) -> str | None:
    """The secret in the clear, for a call to its address alone."""
    stored = None if row.secret is None else bytes(row.secret)
    return unseal(stored, connection_id=row.id, tenant_id=row.tenant_id)


def secret_hint(row: Connection) -> str | None:
    """The secret's last characters, to tell it from others; empty for a short one, None where there is none."""
    try:
        secret = secret_of(row)
    except DecryptionFailed:
        return ""
    if secret is None:
        return None
    return secret[-_HINT_CHARS:] if len(secret) >= _HINTED_CHARS else ""


def _said(row: Connection) -> dict[str, str]:
    """What the audit says of a connection."""
    return {"name": row.name, "kind": row.kind, "base_url": row.base_url, "region": row.region}


def _spec(kind: str) -> registry.ProviderSpec:
    try:
        return registry.get(kind)
    except registry.UnknownProvider as error:
        known = ", ".join(registry.names())
        raise InvalidRequest(f"kind: one of {known}.", details={"param": "kind"}) from error


def _name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise InvalidRequest("name: printable characters are needed.", details={"param": "name"})
    return name


def _free(name: str) -> str:
    if Connection.objects.filter(name=name).exists():
        raise Conflict(f"There is a connection {name!r} already.")
    return name


def _address(spec: registry.ProviderSpec, text: str) -> str:
    """The address without a slash at its end. A provider's usual one needs no look."""
    place, mark, query = text.partition("?")
    address = place.rstrip("/")
    if not address:
        raise InvalidRequest(f"base_url: {spec.title} has no usual address; give one.", details={"param": "base_url"})
    if text.rstrip("/") == (spec.base_url or "").rstrip("/"):
        return address
    field, _, value = query.partition("=")
    allowed = not mark or (field == spec.url_field and _FIELD_VALUE.fullmatch(value))
    if not allowed or "#" in text or len(text) > MAX_ADDRESS_CHARS:
        raise InvalidRequest("base_url: a short URL without `?` and `#` is needed.", details={"param": "base_url"})
    try:
        egress.client().check(address)
    except egress.URLRefused as error:
        raise InvalidRequest(f"base_url: {error.message}", details={"param": "base_url"}) from error
    return address + mark + query


def _secret(text: str) -> str:
    if len(text) > MAX_SECRET_CHARS or not (text.isascii() and text.isprintable()) or " " in text:
        raise InvalidRequest("secret: ASCII without spaces is needed.", details={"param": "secret"})
    return text


def _sealed(secret: str, connection_id: uuid.UUID) -> bytes | None:
    return seal(secret, connection_id=connection_id, tenant_id=current_tenant_id()) if secret else None


def _check_secret(spec: registry.ProviderSpec, row: Connection) -> None:
    if spec.needs_key and row.secret is None:
        raise InvalidRequest(f"secret: {spec.title} needs one.", details={"param": "secret"})
