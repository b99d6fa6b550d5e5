"""Files in rooms."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0004_realtime"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="Attachment",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=16)),
                ("name", models.CharField(max_length=255)),
                ("media_type", models.CharField(max_length=64)),
                ("size", models.BigIntegerField(help_text="bytes")),
                ("content_size", models.BigIntegerField(help_text="bytes")),
                ("width", models.IntegerField(help_text="pixels", null=True)),
                ("height", models.IntegerField(help_text="pixels", null=True)),
                ("pages", models.IntegerField(null=True)),
                ("text_chars", models.IntegerField(null=True)),
                ("has_model", models.BooleanField(default=False, help_text="there is a smaller one for models")),
                ("has_preview", models.BooleanField(default=False)),
                ("state", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField(null=True)),
                (
                    "message",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.message",
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
                (
                    "uploader",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("room__isnull", False)),
                        fields=["tenant", "room"],
                        name="attachments_of_room",
                    ),
                    models.Index(
                        condition=models.Q(("message__isnull", False)),
                        fields=["tenant", "message"],
                        name="attachments_of_message",
                    ),
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False)),
                        fields=["tenant", "uploader"],
                        name="unclaimed_attachments",
                    ),
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False)),
                        fields=["expires_at"],
                        name="attachment_expires",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="attachment_tenant_id_key"),
                    kernel.constraints.TenantForeignKey(
                        field="uploader", name="attachment_uploader_fk", on_delete="RESTRICT"
                    ),
                    kernel.constraints.TenantForeignKey(field="room", name="attachment_room_fk", on_delete="RESTRICT"),
                    kernel.constraints.TenantForeignKey(
                        field="message", name="attachment_message_fk", on_delete="RESTRICT"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ("image", "pdf", "text"))), name="attachment_kind"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ("storing", "stored"))), name="attachment_state"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("content_size__gte", 0), ("size__gte", 0)), name="attachment_sizes"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("expires_at__isnull", False), ("room__isnull", True)),
                            models.Q(("expires_at__isnull", True), ("room__isnull", False)),
                            _connector="OR",
                        ),
                        name="attachment_claimed_or_expires",
                    ),
                ],
            },
        ),
        IsolateByTenant("chat_attachment"),
        PlatformJob("chat_attachment", "expire_attachments", "SELECT", columns="id, tenant_id, expires_at"),
        PlatformJob("chat_attachment", "expire_attachments", "DELETE"),
    ]
