"""Example calls of webhooks."""

import uuid
from typing import Any

from django.db import transaction

from kernel.ids import uuid7
from tenants.webhooks import endpoints
from tenants.webhooks.fan_out import add_delivery
from tenants.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _endpoint(company: Company) -> WebhookEndpoint:
    """An endpoint, the only one of its company for sure: there may be 20."""
    with company.scope(), transaction.atomic():
        WebhookEndpoint.objects.all().delete()
        return endpoints.create_endpoint(
            caller=company.owner.principal, url="https://hooks.example/parley", event_types=["*"]
        ).row


def _delivery(company: Company) -> WebhookDelivery:
    endpoint = _endpoint(company)
    with company.scope(), transaction.atomic():
        made = add_delivery(endpoint, event_id=uuid7(), event_type="webhook.test", body="{}")
        assert made is not None
        WebhookDelivery.objects.update(status="delivered")
        return made


def _at(company: Company, body: dict[str, Any] | None = None) -> Made:
    return Made(ids={"webhook_id": _endpoint(company).id}, body=body)


def _at_delivery(company: Company) -> Made:
    made = _delivery(company)
    return Made(ids={"webhook_id": made.endpoint_id, "delivery_id": made.id})


def _new(company: Company) -> Made:
    _endpoint(company)
    return Made(body={"url": "https://hooks.example/other", "event_types": ["webhook.disabled"]})


def _listed(company: Company) -> tuple[uuid.UUID, ...]:
    return (_endpoint(company).id,)


CALLS = (
    Call("GET", "webhooks", lambda company: Made(listed=_listed(company))),
    Call("POST", "webhooks", _new, status=201),
    Call("GET", "webhooks/event-types"),
    Call("GET", "webhooks/<uuid:webhook_id>", _at),
    Call("PATCH", "webhooks/<uuid:webhook_id>", lambda company: _at(company, {"description": "ours"})),
    Call("DELETE", "webhooks/<uuid:webhook_id>", _at, status=204),
    Call("POST", "webhooks/<uuid:webhook_id>/rotate-secret", lambda company: _at(company, {"overlap_s": 60})),
    Call("POST", "webhooks/<uuid:webhook_id>/test", _at, status=202),
    Call("GET", "webhooks/<uuid:webhook_id>/deliveries", _at),
    Call("GET", "webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>", _at_delivery),
    Call("POST", "webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/replay", _at_delivery, status=202),
)
