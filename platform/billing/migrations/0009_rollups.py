"""Rollups of usage, what verifications found, and when a budget was last made tighter."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.ids
from kernel.migrations import IsolateByTenant, PlatformJob

# A budget whose limit was lowered may be over it, by what was used before.
TIGHTENING = """
CREATE FUNCTION billing_note_tightening() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.tightened_at := now();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION billing_note_tightening() FROM PUBLIC;
CREATE TRIGGER tightening BEFORE UPDATE ON billing_budget FOR EACH ROW
WHEN (
    NEW.limit_amount < OLD.limit_amount OR (NEW.active AND NOT OLD.active)
    OR (NEW.mode = 'hard' AND OLD.mode <> 'hard')
)
EXECUTE FUNCTION billing_note_tightening();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0008_plans"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name="budget",
            name="tightened_at",
            field=models.DateTimeField(
                help_text="when its limit was last lowered, or began to bind: written by a trigger", null=True
            ),
        ),
        migrations.CreateModel(
            name="RollupMark",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=32)),
                ("below_tx", models.BigIntegerField(default=0, help_text="PostgreSQL's transaction id, 64 bits")),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="rollup_mark_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "name"), name="rollup_mark_key"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UsageRollup",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("bucket", models.DateTimeField(help_text="begins the quarter of an hour in which the attempts ended")),
                ("alias", models.CharField(max_length=200)),
                ("model", models.CharField(max_length=200)),
                ("provider", models.CharField(max_length=64)),
                ("connection", models.CharField(max_length=120)),
                ("platform_paid", models.BooleanField()),
                ("membership_id", models.UUIDField()),
                ("api_key_id", models.UUIDField(null=True)),
                ("subject_kind", models.CharField(max_length=32, null=True)),
                ("subject_id", models.UUIDField(null=True)),
                ("cache", models.CharField(max_length=16)),
                ("status", models.CharField(max_length=16)),
                ("attempts", models.BigIntegerField()),
                ("requests", models.BigIntegerField(help_text="those whose first attempt is among these")),
                (
                    "estimated",
                    models.BigIntegerField(help_text="attempts of which the provider did not say what was used"),
                ),
                ("input", models.BigIntegerField()),
                ("cache_read", models.BigIntegerField()),
                ("cache_write", models.BigIntegerField()),
                ("output", models.BigIntegerField()),
                ("reasoning", models.BigIntegerField()),
                ("cost_nano", models.BigIntegerField()),
                ("sell_nano", models.BigIntegerField()),
                ("loss_nano", models.BigIntegerField()),
                ("latency_ms", models.BigIntegerField()),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="usage_rollup_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=(
                            "tenant",
                            "bucket",
                            "alias",
                            "model",
                            "provider",
                            "connection",
                            "platform_paid",
                            "membership_id",
                            "api_key_id",
                            "subject_kind",
                            "subject_id",
                            "cache",
                            "status",
                        ),
                        name="usage_rollup_key",
                        nulls_distinct=False,
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("took_ms", models.IntegerField()),
                ("checked", models.JSONField(default=dict, help_text="how many rows each check looked at")),
                (
                    "differences",
                    models.JSONField(default=list, help_text="the first ones; empty when the books are right"),
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
                "indexes": [models.Index(fields=["tenant", "at"], name="verification_by_time")],
                "constraints": [models.UniqueConstraint(fields=("tenant", "id"), name="verification_tenant_id_key")],
            },
        ),
        migrations.RunSQL(TIGHTENING),
        *(IsolateByTenant(table) for table in ("billing_usagerollup", "billing_rollupmark")),
        IsolateByTenant("billing_verification", grants=("SELECT", "INSERT", "DELETE")),
        PlatformJob("billing_usagerecord", "rollups", "SELECT", columns="tenant_id, tx"),
        PlatformJob("billing_rollupmark", "rollups", "SELECT"),
        PlatformJob("billing_verification", "verify", "SELECT"),
    ]
