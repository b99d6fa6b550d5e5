"""Files, and batches of requests."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0009_routes_isolation"),
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("principal_id", models.UUIDField()),
                ("principal_kind", models.CharField(max_length=16)),
                ("membership_id", models.UUIDField()),
                ("api_key_id", models.UUIDField(null=True)),
                ("input_file_id", models.UUIDField()),
                ("output_file_id", models.UUIDField(null=True)),
                ("error_file_id", models.UUIDField(null=True)),
                ("endpoint", models.CharField(max_length=64)),
                ("metadata", models.JSONField(null=True)),
                ("status", models.CharField(default="validating", max_length=16)),
                ("errors", models.JSONField(null=True)),
                ("total", models.PositiveIntegerField(default=0)),
                ("completed", models.PositiveIntegerField(default=0)),
                ("failed", models.PositiveIntegerField(default=0)),
                ("next_number", models.PositiveIntegerField(default=1)),
                ("next_offset", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField()),
                ("in_progress_at", models.DateTimeField(null=True)),
                ("finalizing_at", models.DateTimeField(null=True)),
                ("cancelling_at", models.DateTimeField(null=True)),
                ("completed_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("expired_at", models.DateTimeField(null=True)),
                ("cancelled_at", models.DateTimeField(null=True)),
                ("lease_owner", models.UUIDField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("turn_at", models.DateTimeField(auto_now_add=True, help_text="when a worker last took it up")),
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
            name="BatchLine",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(help_text="from 1")),
                ("failed", models.BooleanField()),
                ("content", models.BinaryField()),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="providers.batch",
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
        migrations.CreateModel(
            name="File",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("principal_id", models.UUIDField()),
                ("purpose", models.CharField(max_length=16)),
                ("name", models.CharField(max_length=255)),
                ("size", models.BigIntegerField()),
                ("state", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(null=True)),
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
            model_name="batch",
            index=models.Index(fields=["tenant", "principal_id", "id"], name="batch_of_principal"),
        ),
        AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("status__in", ("validating", "in_progress", "finalizing", "cancelling"))),
                fields=["turn_at"],
                name="batch_due",
            ),
        ),
        AddIndex(
            model_name="batch",
            index=models.Index(fields=["created_at"], name="batch_made"),
        ),
        AddConstraint(
            model_name="batch",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="batch_tenant_id_key"),
        ),
        AddConstraint(
            model_name="batch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "status__in",
                        (
                            "validating",
                            "in_progress",
                            "finalizing",
                            "cancelling",
                            "completed",
                            "failed",
                            "expired",
                            "cancelled",
                        ),
                    )
                ),
                name="batch_status",
            ),
        ),
        AddConstraint(
            model_name="batchline",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="batch_line_tenant_id_key"),
        ),
        AddConstraint(
            model_name="batchline",
            constraint=models.UniqueConstraint(fields=("tenant", "batch", "number"), name="batch_line_key"),
        ),
        AddConstraint(
            model_name="batchline",
            constraint=kernel.constraints.TenantForeignKey(
                field="batch", name="batch_line_batch_fk", on_delete="CASCADE"
            ),
        ),
        AddIndex(
            model_name="file",
            index=models.Index(fields=["tenant", "principal_id", "id"], name="file_of_principal"),
        ),
        AddIndex(
            model_name="file",
            index=models.Index(
                condition=models.Q(("expires_at__isnull", False)), fields=["expires_at"], name="file_expires"
            ),
        ),
        AddConstraint(
            model_name="file",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="file_tenant_id_key"),
        ),
        AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("purpose__in", ("batch", "batch_output"))), name="file_purpose"
            ),
        ),
        AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ("storing", "stored"))), name="file_state"
            ),
        ),
        AddConstraint(
            model_name="file",
            constraint=models.CheckConstraint(condition=models.Q(("size__gte", 0)), name="file_size"),
        ),
        IsolateByTenant("providers_file"),
        IsolateByTenant("providers_batch", grants=("SELECT", "INSERT", "UPDATE")),
        IsolateByTenant("providers_batchline", grants=("SELECT", "INSERT", "DELETE")),
        PlatformJob("providers_file", "expire_files", "SELECT", columns="id, tenant_id, expires_at"),
        PlatformJob("providers_file", "expire_files", "DELETE"),
        PlatformJob(
            "providers_batch", "batches", "SELECT", columns="id, tenant_id, status, lease_until, turn_at, created_at"
        ),
        PlatformJob("providers_batch", "batches", "DELETE"),
    ]
