"""Limits that tenants set for themselves."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0002_isolation"),
        ("tenants", "0003_key_terms"),
    ]

    operations = [
        migrations.CreateModel(
            name="RateLimit",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "subject",
                    models.CharField(
                        choices=[("tenant", "Tenant"), ("api_key", "Api Key"), ("model", "Model")], max_length=16
                    ),
                ),
                (
                    "model",
                    models.CharField(
                        default="", help_text="an alias; empty but for the subject `model`", max_length=200
                    ),
                ),
                ("requests_per_minute", models.PositiveIntegerField(null=True)),
                ("tokens_per_minute", models.PositiveIntegerField(null=True)),
                ("requests_burst_percent", models.PositiveSmallIntegerField(default=100)),
                ("tokens_burst_percent", models.PositiveSmallIntegerField(default=100)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.apikey",
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
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="rate_limit_tenant_id_key"),
                    kernel.constraints.TenantForeignKey(
                        field="api_key", name="rate_limit_api_key_fk", on_delete="CASCADE"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "subject", "api_key", "model"),
                        name="rate_limit_subject_key",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("api_key", None), ("model", ""), ("subject", "tenant")),
                            models.Q(("api_key__isnull", False), ("model", ""), ("subject", "api_key")),
                            models.Q(("api_key", None), ("subject", "model"), models.Q(("model", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="rate_limit_subject",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("requests_per_minute__gte", 1), ("tokens_per_minute__gte", 1), _connector="OR"
                        ),
                        name="rate_limit_says_something",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("requests_burst_percent__range", (1, 1000)), ("tokens_burst_percent__range", (1, 1000))
                        ),
                        name="rate_limit_bursts",
                    ),
                ],
            },
        ),
        IsolateByTenant("providers_ratelimit"),
    ]
