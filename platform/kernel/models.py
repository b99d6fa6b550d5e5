"""What every tenant's table has in common, and the tables that every app writes: what is to be told to others, and what
was asked once."""

import uuid
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from kernel.constraints import TenantForeignKey
from kernel.ids import uuid7


class TenantModel(models.Model):
    """A row of one tenant: UUIDv7 `id`, the owning `tenant`, and `(tenant_id, id)` for composite foreign keys to point at.

    The table's migration adds `kernel.migrations.IsolateByTenant`; the catalogue test fails without it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.DO_NOTHING, db_index=False, related_name="+")

    tenant_id: uuid.UUID

    class Meta:
        abstract = True


def unique_in_tenant(table: str) -> models.UniqueConstraint:
    """The constraint that composite foreign keys to `table` refer to."""
    return models.UniqueConstraint(fields=["tenant", "id"], name=f"{table}_tenant_id_key")


def within_tenant(target: str, **options: Any) -> Any:
    """A pointer to another tenant table. The composite constraint beside it, a `TenantForeignKey`, is the real foreign key."""
    return models.ForeignKey(
        target, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+", **options
    )


class OutboxMessage(TenantModel):
    """Something to be done because of a transaction, written in it (`kernel.outbox`). All but the id, the tenant and the
    topic has a default in the database, so that functions there can write messages too."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        DEAD = "dead"

    topic = models.CharField(max_length=64)
    payload = models.JSONField(db_default={})
    once_key = models.CharField(
        max_length=200,
        db_default="",
        help_text="a second message of the topic with the same one is none; empty: no matter",
    )
    status = models.CharField(max_length=16, choices=Status, db_default=Status.WAITING)
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now(), help_text="not before this, and while claimed not before that ends")
    claims = models.PositiveIntegerField(db_default=0, help_text="rises with every claim: an older one counts no more")
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(db_default=0)
    problem = models.CharField(max_length=500, db_default="", help_text="why the last attempt failed")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("outbox_message"),
            models.UniqueConstraint(
                fields=["tenant", "topic", "once_key"], name="outbox_message_once_key", condition=~models.Q(once_key="")
            ),
            models.CheckConstraint(
                name="outbox_message_status", condition=models.Q(status__in=["waiting", "done", "dead"])
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(
                fields=["tenant", "due_at", "id"], name="outbox_waiting", condition=models.Q(status="waiting")
            ),
            models.Index(
                fields=["claimed_until"],
                name="outbox_claimed",
                condition=models.Q(status="waiting", claimed_until__isnull=False),
            ),
            models.Index(fields=["status", "ended_at"], name="outbox_ended", condition=~models.Q(status="waiting")),
        ]


class OutboxReceipt(TenantModel):
    """Says that one consumer of a message has done its part: written in the transaction in which it did."""

    message = models.ForeignKey(
        OutboxMessage, on_delete=models.DO_NOTHING, db_constraint=False, related_name="receipts", db_index=False
    )
    consumer = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("outbox_receipt"),
            models.UniqueConstraint(fields=["tenant", "message", "consumer"], name="outbox_receipt_key"),
            TenantForeignKey(name="outbox_receipt_message_fk", field="message", on_delete="CASCADE"),
        ]


class IdempotencyKey(TenantModel):
    """A POST that said how to know it again (`kernel.idempotency`), and what it was answered; null while it is under way."""

    principal_id = models.UUIDField()
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=1_000)
    key = models.CharField(max_length=255)
    request_digest = models.BinaryField(max_length=32)
    status = models.SmallIntegerField(null=True)
    body = models.TextField(db_default="", help_text="JSON; empty for none")
    withheld = ArrayField(
        models.CharField(max_length=64), db_default=[], help_text="what the body held and is not kept"
    )
    claimed_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("idempotency_key"),
            models.UniqueConstraint(
                fields=["tenant", "principal_id", "method", "path", "key"], name="idempotency_key_once"
            ),
        ]
