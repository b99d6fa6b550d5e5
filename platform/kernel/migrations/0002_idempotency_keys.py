"""Keys of POSTs, and who may touch them."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("kernel", "0001_outbox"),
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("principal_id", models.UUIDField()),
                ("method", models.CharField(max_length=8)),
                ("path", models.CharField(max_length=1000)),
                ("key", models.CharField(max_length=255)),
                ("request_digest", models.BinaryField(max_length=32)),
                ("status", models.SmallIntegerField(null=True)),
                ("body", models.TextField(db_default="", help_text="JSON; empty for none")),
                (
                    "withheld",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64),
                        db_default=[],
                        help_text="what the body held and is not kept",
                        size=None,
                    ),
                ),
                ("claimed_until", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="idempotency_key_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=("tenant", "principal_id", "method", "path", "key"), name="idempotency_key_once"
                    ),
                ],
            },
        ),
        IsolateByTenant("kernel_idempotencykey"),
        PlatformJob("kernel_idempotencykey", "expire_keys", "SELECT", columns="id"),
        PlatformJob("kernel_idempotencykey", "expire_keys", "DELETE"),
    ]
