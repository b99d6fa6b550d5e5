"""Exports and imports."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0007_history"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="Transfer",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=8)),
                ("format", models.CharField(db_default="", default="", max_length=16)),
                ("name", models.CharField(help_text="of the file", max_length=255)),
                ("state", models.CharField(max_length=16)),
                (
                    "total",
                    models.IntegerField(
                        help_text="messages of an export, conversations of an import, once known", null=True
                    ),
                ),
                ("done", models.IntegerField(db_default=0, default=0)),
                ("failed", models.IntegerField(db_default=0, default=0)),
                ("problems", models.JSONField(default=list, help_text="what could not be taken over, and why")),
                ("place", models.JSONField(default=dict)),
                ("error_code", models.CharField(db_default="", default="", max_length=64)),
                ("error_message", models.CharField(db_default="", default="", max_length=1000)),
                ("size", models.BigIntegerField(db_default=0, default=0, help_text="bytes")),
                ("turns", models.IntegerField(db_default=0, default=0)),
                ("lease_owner", models.UUIDField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("turn_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
                (
                    "membership",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "room",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.room",
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
            options={
                "indexes": [
                    models.Index(fields=["tenant", "membership", "kind", "id"], name="transfers_of_member"),
                    models.Index(
                        condition=models.Q(("room__isnull", False)), fields=["tenant", "room"], name="exports_of_room"
                    ),
                    models.Index(
                        condition=models.Q(("state__in", ("queued", "running"))),
                        fields=["turn_at"],
                        name="transfer_due",
                    ),
                    models.Index(fields=["expires_at"], name="transfer_expires"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="transfer_tenant_id_key"),
                    kernel.constraints.TenantForeignKey(
                        field="membership", name="transfer_membership_fk", on_delete="RESTRICT"
                    ),
                    kernel.constraints.TenantForeignKey(field="room", name="transfer_room_fk", on_delete="SET NULL"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ("export", "import"))), name="transfer_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ("storing", "queued", "running", "complete", "failed"))),
                        name="transfer_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("format__in", ("", "markdown", "json", "pdf"))), name="transfer_format"
                    ),
                ],
            },
        ),
        IsolateByTenant("chat_transfer"),
        PlatformJob(
            "chat_transfer", "transfers", "SELECT", columns="id, tenant_id, state, lease_until, turn_at, expires_at"
        ),
        PlatformJob("chat_transfer", "transfers", "DELETE"),
    ]
