"""The outbox, and who may touch it."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob

SEEN = "id, tenant_id, topic, status, created_at, due_at, claims, claimed_until, attempts, problem, ended_at"


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("topic", models.CharField(max_length=64)),
                ("payload", models.JSONField(db_default={})),
                (
                    "once_key",
                    models.CharField(
                        db_default="",
                        help_text="a second message of the topic with the same one is none; empty: no matter",
                        max_length=200,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("done", "Done"), ("dead", "Dead")],
                        db_default="waiting",
                        max_length=16,
                    ),
                ),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "due_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        help_text="not before this, and while claimed not before that ends",
                    ),
                ),
                (
                    "claims",
                    models.PositiveIntegerField(
                        db_default=0, help_text="rises with every claim: an older one counts no more"
                    ),
                ),
                ("claimed_until", models.DateTimeField(null=True)),
                ("attempts", models.PositiveIntegerField(db_default=0)),
                ("problem", models.CharField(db_default="", help_text="why the last attempt failed", max_length=500)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="OutboxReceipt",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("consumer", models.CharField(max_length=64)),
                (
                    "message",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="receipts",
                        to="kernel.outboxmessage",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("status", "waiting")), fields=["tenant", "due_at", "id"], name="outbox_waiting"
            ),
        ),
        AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("claimed_until__isnull", False), ("status", "waiting")),
                fields=["claimed_until"],
                name="outbox_claimed",
            ),
        ),
        AddIndex(
            model_name="outboxmessage",
            index=models.Index(
                condition=models.Q(("status", "waiting"), _negated=True),
                fields=["status", "ended_at"],
                name="outbox_ended",
            ),
        ),
        AddConstraint(
            model_name="outboxmessage",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="outbox_message_tenant_id_key"),
        ),
        AddConstraint(
            model_name="outboxmessage",
            constraint=models.UniqueConstraint(
                condition=models.Q(("once_key", ""), _negated=True),
                fields=("tenant", "topic", "once_key"),
                name="outbox_message_once_key",
            ),
        ),
        AddConstraint(
            model_name="outboxmessage",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["waiting", "done", "dead"])), name="outbox_message_status"
            ),
        ),
        AddConstraint(
            model_name="outboxreceipt",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="outbox_receipt_tenant_id_key"),
        ),
        AddConstraint(
            model_name="outboxreceipt",
            constraint=models.UniqueConstraint(fields=("tenant", "message", "consumer"), name="outbox_receipt_key"),
        ),
        AddConstraint(
            model_name="outboxreceipt",
            constraint=kernel.constraints.TenantForeignKey(
                field="message", name="outbox_receipt_message_fk", on_delete="CASCADE"
            ),
        ),
        IsolateByTenant("kernel_outboxmessage", grants=("SELECT", "INSERT", "UPDATE")),
        IsolateByTenant("kernel_outboxreceipt", grants=("SELECT", "INSERT")),
        # The relay goes across tenants, and needs to know nothing of what messages say.
        PlatformJob("kernel_outboxmessage", "outbox", "SELECT", columns=SEEN),
        PlatformJob(
            "kernel_outboxmessage",
            "outbox",
            "UPDATE",
            columns="status, due_at, claims, claimed_until, attempts, ended_at",
        ),
        PlatformJob("kernel_outboxmessage", "outbox", "DELETE"),
    ]
