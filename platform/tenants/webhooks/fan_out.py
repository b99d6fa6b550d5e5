"""From a notice to deliveries: one for each endpoint that is subscribed to its type."""

import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec
from django.db.models import Q
from django.utils import timezone

from kernel import outbox
from kernel.ids import uuid7
from tenants.notifications.inbox import notice_of
from tenants.webhooks.models import WebhookDelivery, WebhookEndpoint

TOPIC = "tenants.webhook"
PENDING_MAX = 10_000
"""Deliveries of a tenant that wait at once; further ones have failed, and may be replayed."""
CROWDED = "too many deliveries are pending"


class DeliveryPayload(msgspec.Struct, frozen=True):
    """What the outbox says of a delivery."""

    delivery_id: uuid.UUID


def fan_out(message: outbox.Message) -> None:
    """Consumer: write a delivery of the notice for each endpoint that wants it."""
    notice = notice_of(message)
    if notice is None:
        return
    wanted = Q(event_types__contains=[notice.topic]) | Q(event_types__contains=["*"])
    body = event_body(
        event_id=notice.id,
        event_type=notice.topic,
        at=notice.created_at,
        data=notice.data,
        subject=notice.subject,
        text=notice.text,
        link=notice.link,
    )
    for endpoint in WebhookEndpoint.objects.filter(wanted, enabled=True).order_by("id"):
        add_delivery(endpoint, event_id=notice.id, event_type=notice.topic, body=body)


def event_body(
    *,
    event_id: uuid.UUID,
    event_type: str,
    at: datetime,
    data: Mapping[str, object],
    subject: str,
    text: str,
    link: str,
) -> str:
    """What an endpoint is sent: `type`, `timestamp` and `data` of the convention, and what people are told."""
    told = {"subject": subject, "text": text, "link": link}
    event = {"id": str(event_id), "type": event_type, "timestamp": at, "data": data, "message": told}
    return msgspec.json.encode(event).decode()


def add_delivery(
    endpoint: WebhookEndpoint, *, event_id: uuid.UUID, event_type: str, body: str
) -> WebhookDelivery | None:
    """Write a delivery and have it sent once this transaction has committed. None if the endpoint has that event."""
    crowded = WebhookDelivery.objects.filter(status="pending")[:PENDING_MAX].count() >= PENDING_MAX
    now = timezone.now()
    delivery, is_new = WebhookDelivery.objects.get_or_create(
        tenant_id=endpoint.tenant_id,
        endpoint=endpoint,
        event_id=event_id,
        defaults={
            "id": uuid7(),
            "event_type": event_type,
            "body": body,
            "status": "failed" if crowded else "pending",
            "problem": CROWDED if crowded else "",
            "next_attempt_at": None if crowded else now,
            "ended_at": now if crowded else None,
        },
    )
    if not is_new:
        return None
    if not crowded:
        queue(delivery)
    return delivery


def queue(delivery: WebhookDelivery) -> None:
    """Have a pending delivery sent once this transaction has committed."""
    outbox.send(topic=TOPIC, payload={"delivery_id": str(delivery.id)})
