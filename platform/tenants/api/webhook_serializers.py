"""What the routes of webhooks take and answer."""

import json
from typing import Any

from rest_framework import serializers

from kernel.api.serializers import StrictSerializer, list_of
from tenants.webhooks.endpoints import ALL, OVERLAP_MAX_S, URL_CHARS_MAX, MadeEndpoint
from tenants.webhooks.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

STATUSES = ("pending", "delivered", "failed")
_TYPES_MAX = 100


def _types(**options: Any) -> serializers.ListField:
    child = serializers.CharField(max_length=64)
    return serializers.ListField(child=child, min_length=1, max_length=_TYPES_MAX, **options)


class WebhookInput(StrictSerializer):
    """A new endpoint."""

    url = serializers.CharField(max_length=URL_CHARS_MAX, help_text="https, at a public address.")
    description = serializers.CharField(max_length=200, default="", allow_blank=True)
    event_types = _types(default=lambda: [ALL], help_text="`*` is all of them, also those to come.")
    enabled = serializers.BooleanField(default=True)


class WebhookChangesInput(StrictSerializer):
    """What is changed of an endpoint; what isn't named stays."""

    url = serializers.CharField(max_length=URL_CHARS_MAX, required=False)
    description = serializers.CharField(max_length=200, allow_blank=True, required=False)
    event_types = _types(required=False)
    enabled = serializers.BooleanField(required=False)


class RotateSecretInput(StrictSerializer):
    """For how long requests are signed with the old secret as well."""

    overlap_s = serializers.IntegerField(min_value=0, max_value=OVERLAP_MAX_S, default=24 * 3600)


class WebhookOutput(serializers.Serializer[Any]):
    """An endpoint, without its secret."""

    id = serializers.UUIDField()
    url = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    event_types = serializers.ListField(child=serializers.CharField())
    enabled = serializers.BooleanField()
    disabled_reason = serializers.ChoiceField(
        ["failing", "gone"], allow_null=True, help_text="Why it was turned off, if no member did."
    )
    failing_since = serializers.DateTimeField(allow_null=True, help_text="No attempt was taken since.")
    previous_secret_until = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class IssuedWebhookOutput(serializers.Serializer[Any]):
    """An endpoint with a new secret. `secret` is shown this once."""

    webhook = WebhookOutput()
    secret = serializers.CharField()


class EventTypeOutput(serializers.Serializer[Any]):
    """A type of event."""

    name = serializers.CharField()
    meaning = serializers.CharField()


EventTypesOutput = list_of(EventTypeOutput(many=True), "EventTypes")


class DeliveryOutput(serializers.Serializer[Any]):
    """An event for an endpoint."""

    id = serializers.UUIDField()
    event_id = serializers.UUIDField(help_text="The same each time it is sent.")
    event_type = serializers.CharField()
    status = serializers.ChoiceField(STATUSES)
    problem = serializers.CharField(allow_blank=True, help_text="Why the last attempt failed; empty if it did not.")
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class WebhookAttemptOutput(serializers.Serializer[Any]):
    """One request."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    status_code = serializers.IntegerField(allow_null=True, help_text="Null where none came.")
    latency_ms = serializers.IntegerField()
    problem = serializers.CharField(allow_blank=True)
    excerpt = serializers.CharField(allow_blank=True, help_text="How the answer begins.")


class WholeDeliveryOutput(DeliveryOutput):
    """An event for an endpoint, with what is sent and the last attempts."""

    event = serializers.JSONField()
    log = WebhookAttemptOutput(many=True, help_text="The latest first; 100 at most.")


def webhook_body(row: WebhookEndpoint) -> dict[str, Any]:
    """`WebhookOutput`."""
    return {
        "id": str(row.id),
        "url": row.url,
        "description": row.description,
        "event_types": row.event_types,
        "enabled": row.enabled,
        "disabled_reason": row.disabled_reason or None,
        "failing_since": row.failing_since,
        "previous_secret_until": row.previous_until,
        "created_at": row.created_at,
    }


def issued_body(made: MadeEndpoint) -> dict[str, Any]:
    """`IssuedWebhookOutput`."""
    return {"webhook": webhook_body(made.row), "secret": made.secret}


def delivery_body(row: WebhookDelivery) -> dict[str, Any]:
    """`DeliveryOutput`."""
    names = ("event_type", "status", "problem", "attempts", "next_attempt_at", "created_at", "ended_at")
    return {"id": str(row.id), "event_id": str(row.event_id), **{name: getattr(row, name) for name in names}}


def whole_delivery_body(row: WebhookDelivery, log: list[WebhookAttempt]) -> dict[str, Any]:
    """`WholeDeliveryOutput`."""
    names = ("number", "at", "status_code", "latency_ms", "problem", "excerpt")
    said = [{name: getattr(one, name) for name in names} for one in log]
    return delivery_body(row) | {"event": json.loads(row.body), "log": said}
