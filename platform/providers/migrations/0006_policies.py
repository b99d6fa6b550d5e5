"""Each tenant's rules for what goes through its models, and its log of requests."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0005_route_access"),
        ("tenants", "0002_isolation"),
    ]

    operations = [
        migrations.CreateModel(
            name="GatewayPolicy",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(default="default", max_length=64)),
                ("deny", models.JSONField(default=list, help_text="[{name, expression}]")),
                ("allow", models.JSONField(default=list, help_text="[expression]")),
                ("mask_secrets", models.BooleanField(default=False)),
                ("mask_cards", models.BooleanField(default=False)),
                ("mask_input", models.BooleanField(default=False)),
                ("capture", models.BooleanField(default=False)),
                ("capture_days", models.PositiveSmallIntegerField(default=7)),
                ("updated_at", models.DateTimeField(auto_now=True)),
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
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "name"), name="gateway_policy_key"),
                    models.UniqueConstraint(fields=("tenant", "id"), name="gateway_policy_tenant_id_key"),
                    models.CheckConstraint(
                        condition=models.Q(("capture_days__range", (1, 90))), name="gateway_policy_capture_days"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RequestLog",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("surface", models.CharField(max_length=32)),
                ("alias", models.CharField(max_length=200)),
                ("principal_kind", models.CharField(max_length=16)),
                ("membership_id", models.UUIDField()),
                ("api_key_id", models.UUIDField(null=True)),
                ("status", models.PositiveSmallIntegerField(help_text="the HTTP status that was answered")),
                ("error_code", models.CharField(max_length=64, null=True)),
                ("latency_ms", models.PositiveIntegerField()),
                ("content", models.BinaryField(null=True)),
                ("content_until", models.DateTimeField(null=True)),
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
                "constraints": [models.UniqueConstraint(fields=("tenant", "id"), name="request_log_tenant_id_key")],
            },
        ),
        IsolateByTenant("providers_gatewaypolicy"),
        IsolateByTenant("providers_requestlog"),
        PlatformJob("providers_requestlog", "expiry", "SELECT", columns="at, content_until"),
        PlatformJob("providers_requestlog", "expiry", "DELETE"),
    ]
