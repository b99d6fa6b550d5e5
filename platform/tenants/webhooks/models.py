"""Endpoints, what is delivered to them, and each attempt at that."""

import uuid
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant

EXCERPT_CHARS_MAX = 500
PROBLEM_CHARS_MAX = 100


class WebhookEndpoint(TenantModel):
    """Where a tenant wants to be told of events. Its secrets are encrypted for their cells."""

    url = models.CharField(max_length=500)
    description = models.CharField(max_length=200)
    event_types = ArrayField(models.CharField(max_length=64), help_text="`*` is all of them")
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=16, default="", help_text="failing or gone; empty: by a member")
    secret = models.BinaryField()
    previous_secret = models.BinaryField(null=True)
    previous_until = models.DateTimeField(null=True, help_text="until then both secrets sign")
    failing_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [unique_in_tenant("webhook_endpoint")]


class WebhookDelivery(TenantModel):
    """One event for one endpoint. `body` is what is sent, to the byte, however often."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=64)
    body = models.TextField()
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    problem = models.CharField(max_length=PROBLEM_CHARS_MAX, default="")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    endpoint_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("webhook_delivery"),
            models.UniqueConstraint(fields=["tenant", "endpoint", "event_id"], name="webhook_delivery_key"),
            TenantForeignKey(name="webhook_delivery_endpoint_fk", field="endpoint", on_delete="CASCADE"),
            models.CheckConstraint(
                name="webhook_delivery_status", condition=models.Q(status__in=["pending", "delivered", "failed"])
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "endpoint", "id"], name="webhook_deliveries_of"),
            models.Index(fields=["tenant"], name="webhook_pending", condition=models.Q(status="pending")),
        ]


class WebhookAttempt(TenantModel):
    """One request to an endpoint, and what came of it."""

    delivery = models.ForeignKey(
        WebhookDelivery, on_delete=models.DO_NOTHING, db_constraint=False, related_name="log", db_index=False
    )
    number = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())
    status_code = models.SmallIntegerField(null=True, help_text="null: no answer")
    latency_ms = models.PositiveIntegerField()
    problem = models.CharField(max_length=PROBLEM_CHARS_MAX, default="")
    excerpt = models.CharField(max_length=EXCERPT_CHARS_MAX, default="", help_text="how the answer begins")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("webhook_attempt"),
            models.UniqueConstraint(fields=["tenant", "delivery", "number"], name="webhook_attempt_key"),
            TenantForeignKey(name="webhook_attempt_delivery_fk", field="delivery", on_delete="CASCADE"),
        ]
