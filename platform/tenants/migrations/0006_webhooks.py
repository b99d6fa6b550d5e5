"""Webhooks, and who may touch them."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_notices"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("url", models.CharField(max_length=500)),
                ("description", models.CharField(max_length=200)),
                (
                    "event_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), help_text="`*` is all of them", size=None
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "disabled_reason",
                    models.CharField(default="", help_text="failing or gone; empty: by a member", max_length=16),
                ),
                ("secret", models.BinaryField()),
                ("previous_secret", models.BinaryField(null=True)),
                ("previous_until", models.DateTimeField(help_text="until then both secrets sign", null=True)),
                ("failing_since", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
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
            name="WebhookDelivery",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("event_id", models.UUIDField()),
                ("event_type", models.CharField(max_length=64)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("delivered", "Delivered"), ("failed", "Failed")],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("problem", models.CharField(default="", max_length=100)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
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
                (
                    "endpoint",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.webhookendpoint",
                    ),
                ),
            ],
        ),
        AddConstraint(
            model_name="webhookendpoint",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="webhook_endpoint_tenant_id_key"),
        ),
        AddIndex(
            model_name="webhookdelivery",
            index=models.Index(fields=["tenant", "endpoint", "id"], name="webhook_deliveries_of"),
        ),
        AddIndex(
            model_name="webhookdelivery",
            index=models.Index(condition=models.Q(("status", "pending")), fields=["tenant"], name="webhook_pending"),
        ),
        AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="webhook_delivery_tenant_id_key"),
        ),
        AddConstraint(
            model_name="webhookdelivery",
            constraint=models.UniqueConstraint(fields=("tenant", "endpoint", "event_id"), name="webhook_delivery_key"),
        ),
        AddConstraint(
            model_name="webhookdelivery",
            constraint=kernel.constraints.TenantForeignKey(
                field="endpoint", name="webhook_delivery_endpoint_fk", on_delete="CASCADE"
            ),
        ),
        AddConstraint(
            model_name="webhookdelivery",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["pending", "delivered", "failed"])), name="webhook_delivery_status"
            ),
        ),
        migrations.CreateModel(
            name="WebhookAttempt",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("status_code", models.SmallIntegerField(help_text="null: no answer", null=True)),
                ("latency_ms", models.PositiveIntegerField()),
                ("problem", models.CharField(default="", max_length=100)),
                ("excerpt", models.CharField(default="", help_text="how the answer begins", max_length=500)),
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
                    "delivery",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="log",
                        to="tenants.webhookdelivery",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="webhook_attempt_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "delivery", "number"), name="webhook_attempt_key"),
                    kernel.constraints.TenantForeignKey(
                        field="delivery", name="webhook_attempt_delivery_fk", on_delete="CASCADE"
                    ),
                ],
            },
        ),
        IsolateByTenant("tenants_webhookendpoint"),
        IsolateByTenant("tenants_webhookdelivery", grants=("SELECT", "INSERT", "UPDATE")),
        IsolateByTenant("tenants_webhookattempt", grants=("SELECT", "INSERT")),
        PlatformJob("tenants_webhookdelivery", "expire_deliveries", "SELECT", columns="id"),
        PlatformJob("tenants_webhookdelivery", "expire_deliveries", "DELETE"),
    ]
