"""The exact cache: each tenant's settings, and answers that outlive restarts."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0003_rate_limits"),
        ("tenants", "0002_isolation"),
    ]

    operations = [
        migrations.CreateModel(
            name="CacheEntry",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("key", models.BinaryField(max_length=32)),
                ("alias", models.CharField(max_length=200)),
                ("body", models.BinaryField(help_text="encrypted")),
                ("size", models.PositiveIntegerField()),
                ("tokens", models.PositiveBigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
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
                "indexes": [models.Index(fields=["expires_at"], name="cache_entry_expires")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="cache_entry_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "key"), name="cache_entry_key"),
                ],
            },
        ),
        migrations.CreateModel(
            name="CacheNamespace",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(default="default", max_length=64)),
                ("enabled", models.BooleanField(default=True)),
                ("ttl_s", models.PositiveIntegerField(default=3600)),
                (
                    "sharing",
                    models.CharField(
                        choices=[("principal", "Principal"), ("group", "Group"), ("tenant", "Tenant")],
                        default="principal",
                        max_length=16,
                    ),
                ),
                ("max_bytes", models.BigIntegerField(default=268435456)),
                ("opt_in_all", models.BooleanField(default=False)),
                ("max_temperature", models.FloatField(default=0.0)),
                ("generation", models.PositiveIntegerField(default=0)),
                ("model_generations", models.JSONField(default=dict)),
                ("evicted", models.JSONField(default=dict)),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="cache_namespace_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "name"), name="cache_namespace_key"),
                    models.CheckConstraint(
                        condition=models.Q(("sharing__in", ["principal", "group", "tenant"])),
                        name="cache_namespace_sharing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("ttl_s__gte", 1), ("ttl_s__lte", 2592000)), name="cache_namespace_ttl"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("max_bytes__gte", 1048576), ("max_bytes__lte", 17179869184)),
                        name="cache_namespace_bytes",
                    ),
                ],
            },
        ),
        IsolateByTenant("providers_cachenamespace"),
        IsolateByTenant("providers_cacheentry"),
        PlatformJob("providers_cacheentry", "expire_cache", "SELECT", columns="id, expires_at"),
        PlatformJob("providers_cacheentry", "expire_cache", "DELETE"),
    ]
