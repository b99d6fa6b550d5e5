"""A tenant's endpoints: make, change, rotate their secret, test, delete; and its deliveries: look, replay."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from kernel import egress
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from tenants.notifications.event_types import EVENT_TYPES
from tenants.principals import Principal
from tenants.services.audit import record
from tenants.webhooks import signing
from tenants.webhooks.fan_out import add_delivery, event_body, queue
from tenants.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

ALL = "*"
URL_CHARS_MAX = 500
OVERLAP_MAX_S = 7 * 24 * 3600
TEST = "webhook.test"
LOGGED_MAX = 100


@dataclass(frozen=True, slots=True)
class MadeEndpoint:
    """An endpoint and its new secret, to be shown once."""

    row: WebhookEndpoint
    secret: str = field(repr=False)


class EndpointChanges(msgspec.Struct, frozen=True):
    """What to change of an endpoint; None leaves it."""

    url: str | None = None
    description: str | None = None
    event_types: Sequence[str] | None = None
    enabled: bool | None = None


def create_endpoint(
    *, caller: Principal, url: str, event_types: Sequence[str], description: str = "", enabled: bool = True
) -> MadeEndpoint:
    """Add an endpoint. Raises `InvalidRequest` for a URL that may not be called or an event type that isn't, and `Conflict`
    for one endpoint too many."""
    if WebhookEndpoint.objects.count() >= settings.WEBHOOKS_PER_TENANT_MAX:
        raise Conflict(f"This tenant has {settings.WEBHOOKS_PER_TENANT_MAX} endpoints; delete some first.")
    endpoint_id, secret = uuid7(), signing.new_secret()
    row = WebhookEndpoint.objects.create(
        id=endpoint_id,
        tenant_id=current_tenant_id(),
        url=_url(url),
        description=_line(description),
        event_types=_types(event_types),
        enabled=enabled,
        secret=_sealed(secret, endpoint_id, "secret"),
    )
    _record("created", row, caller, {"url": row.url, "event_types": row.event_types})
    return MadeEndpoint(row, signing.shown(secret))


def access_endpoint(*, endpoint_id: uuid.UUID, lock: bool = False) -> WebhookEndpoint:
    """An endpoint of the tenant in scope. Raises `NotFound`."""
    rows = WebhookEndpoint.objects.select_for_update() if lock else WebhookEndpoint.objects.all()
    found = rows.filter(id=endpoint_id).first()
    if found is None:
        raise NotFound
    return found


def update_endpoint(*, caller: Principal, endpoint_id: uuid.UUID, changes: EndpointChanges) -> WebhookEndpoint:
    """Change an endpoint. Turned on again it has a clean record; what waited for one that is off has failed."""
    row = access_endpoint(endpoint_id=endpoint_id, lock=True)
    if changes.url is not None:
        row.url = _url(changes.url)
    if changes.description is not None:
        row.description = _line(changes.description)
    if changes.event_types is not None:
        row.event_types = _types(changes.event_types)
    if changes.enabled is not None and changes.enabled != row.enabled:
        row.enabled, row.disabled_reason, row.failing_since = changes.enabled, "", None
    row.save()
    _record("updated", row, caller, {"url": row.url, "event_types": row.event_types, "enabled": row.enabled})
    return row


def rotate_secret(*, caller: Principal, endpoint_id: uuid.UUID, overlap_s: int) -> MadeEndpoint:
    """Give an endpoint a new secret. For `overlap_s` seconds requests are signed with the old one as well."""
    if not 0 <= overlap_s <= OVERLAP_MAX_S:
        raise InvalidRequest(f"overlap_s: from 0 to {OVERLAP_MAX_S} seconds.", details={"param": "overlap_s"})
    row = access_endpoint(endpoint_id=endpoint_id, lock=True)
    old, new = _unsealed(row), signing.new_secret()
    row.secret = _sealed(new, row.id, "secret")
    row.previous_secret = _sealed(old, row.id, "previous_secret") if overlap_s else None
    row.previous_until = timezone.now() + timedelta(seconds=overlap_s) if overlap_s else None
    row.save(update_fields=["secret", "previous_secret", "previous_until"])
    _record("secret_rotated", row, caller, {"overlap_s": overlap_s})
    return MadeEndpoint(row, signing.shown(new))


def delete_endpoint(*, caller: Principal, endpoint_id: uuid.UUID) -> None:
    """Delete an endpoint with the log of what was delivered to it."""
    row = access_endpoint(endpoint_id=endpoint_id, lock=True)
    _record("deleted", row, caller, {"url": row.url})
    row.delete()


def send_test(*, caller: Principal, endpoint_id: uuid.UUID) -> WebhookDelivery:
    """Have an endpoint sent a test event. Raises `Conflict` for one that is off."""
    row = access_endpoint(endpoint_id=endpoint_id)
    if not row.enabled:
        raise Conflict("This endpoint is off; turn it on first.")
    event_id = uuid7()
    body = event_body(
        event_id=event_id,
        event_type=TEST,
        at=timezone.now(),
        data={"asked_by": str(caller.id)},
        subject="A test",
        text="Somebody asked for this event, to see whether the endpoint is reached.",
        link="",
    )
    delivery = add_delivery(row, event_id=event_id, event_type=TEST, body=body)
    if delivery is None:
        raise Conflict("Another test of this endpoint has that id.")
    _record("tested", row, caller, {})
    return delivery


def deliveries_of(*, endpoint_id: uuid.UUID) -> QuerySet[WebhookDelivery]:
    """What was, is being, or could not be delivered to an endpoint. Raises `NotFound`."""
    access_endpoint(endpoint_id=endpoint_id)
    return WebhookDelivery.objects.filter(endpoint=endpoint_id)


def access_delivery(*, endpoint_id: uuid.UUID, delivery_id: uuid.UUID, lock: bool = False) -> WebhookDelivery:
    """A delivery to an endpoint. Raises `NotFound`."""
    rows = deliveries_of(endpoint_id=endpoint_id)
    found = (rows.select_for_update() if lock else rows).filter(id=delivery_id).first()
    if found is None:
        raise NotFound
    return found


def log_of(delivery: WebhookDelivery) -> list[WebhookAttempt]:
    """The latest attempts at a delivery, newest first."""
    return list(WebhookAttempt.objects.filter(delivery=delivery).order_by("-number")[:LOGGED_MAX])


def replay_delivery(*, caller: Principal, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Have an event sent again, under the same id. Raises `Conflict` while it is still being tried, or the endpoint is off."""
    endpoint = access_endpoint(endpoint_id=endpoint_id)
    row = access_delivery(endpoint_id=endpoint_id, delivery_id=delivery_id, lock=True)
    if row.status == WebhookDelivery.Status.PENDING:
        raise Conflict("This delivery is still being tried.")
    if not endpoint.enabled:
        raise Conflict("This endpoint is off; turn it on first.")
    row.status, row.problem, row.ended_at, row.next_attempt_at = (
        WebhookDelivery.Status.PENDING,
        "",
        None,
        timezone.now(),
    )
    row.save(update_fields=["status", "problem", "ended_at", "next_attempt_at"])
    queue(row)
    _record("delivery_replayed", endpoint, caller, {"delivery": str(row.id)})
    return row


def _url(text: str) -> str:
    if len(text) > URL_CHARS_MAX or "#" in text:
        raise InvalidRequest("url: a short URL without `#` is needed.", details={"param": "url"})
    try:
        egress.client().check(text)
    except egress.URLRefused as error:
        raise InvalidRequest(f"url: {error.message}", details={"param": "url"}) from error
    return text


def _line(text: str) -> str:
    if not text.isprintable():
        raise InvalidRequest("description: printable characters are needed.", details={"param": "description"})
    return text


def _types(names: Sequence[str]) -> list[str]:
    if unknown := sorted(set(names) - EVENT_TYPES.keys() - {ALL}):
        known = ", ".join([ALL, *sorted(EVENT_TYPES)])
        raise InvalidRequest(
            f"event_types: {', '.join(unknown)[:200]} not among {known}.", details={"param": "event_types"}
        )
    if not names:
        raise InvalidRequest("event_types: at least one is needed.", details={"param": "event_types"})
    return sorted(set(names))


def _sealed(secret: bytes, endpoint_id: uuid.UUID, column: str) -> bytes:
    return signing.seal(secret, tenant_id=current_tenant_id(), endpoint_id=endpoint_id, column=column)


def _unsealed(row: WebhookEndpoint) -> bytes:
    return signing.unseal(bytes(row.secret), tenant_id=row.tenant_id, endpoint_id=row.id, column="secret")


def _record(what: str, row: WebhookEndpoint, caller: Principal, data: dict[str, object]) -> None:
    record(action=f"webhook.{what}", subject_kind="webhook", subject_id=row.id, actor=caller, data=data)
