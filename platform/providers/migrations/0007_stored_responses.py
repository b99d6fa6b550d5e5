"""Responses that callers may go on from."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob

TABLE = "providers_storedresponse"


class Migration(migrations.Migration):
    dependencies = [("providers", "0006_policies")]

    operations = [
        migrations.CreateModel(
            name="StoredResponse",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("principal_id", models.UUIDField()),
                ("previous_id", models.UUIDField(null=True)),
                ("content", models.BinaryField(help_text="encrypted")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
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
                "indexes": [models.Index(fields=["expires_at"], name="stored_response_expires")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="stored_response_tenant_id_key"),
                ],
            },
        ),
        IsolateByTenant(TABLE, grants=("SELECT", "INSERT", "DELETE")),
        PlatformJob(TABLE, "expire_responses", "SELECT", columns="id, expires_at"),
        PlatformJob(TABLE, "expire_responses", "DELETE"),
    ]
