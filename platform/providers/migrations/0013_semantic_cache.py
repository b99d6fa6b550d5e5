"""The semantic tier of the cache: its settings, and what it keeps. The index is made where the extension is."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
import kernel.ids
import providers.cache.semantic.models
from kernel.migrations import AddConstraint, IsolateByTenant, PlatformJob
from providers.cache.semantic.index import CREATE_INDEX, DROP_INDEX


def _id() -> tuple[str, models.UUIDField]:
    return "id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)


def _tenant() -> tuple[str, models.ForeignKey]:
    key = models.ForeignKey(
        db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="tenants.tenant"
    )
    return "tenant", key


SETTINGS = {
    "semantic": models.BooleanField(default=False),
    "semantic_audit_share": models.FloatField(default=0.02),
    "semantic_calibration": models.CharField(blank=True, default="", max_length=100),
    "semantic_embedder": models.CharField(default="all-MiniLM-L6-v2-int8", max_length=300),
    "semantic_max_entries": models.PositiveIntegerField(default=10000),
    "semantic_problem": models.CharField(blank=True, default="", max_length=300),
    "semantic_rate": models.FloatField(default=0.01),
    "semantic_since": models.FloatField(default=0.0),
    "semantic_tightened": models.PositiveSmallIntegerField(default=0),
    "semantic_ttl_s": models.PositiveIntegerField(default=86400),
}


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0012_route_caps"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        *(migrations.AddField("cachenamespace", name, field) for name, field in SETTINGS.items()),
        AddConstraint(
            model_name="cachenamespace",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("semantic_audit_share__gte", 0),
                    ("semantic_audit_share__lte", 1),
                    ("semantic_max_entries__gte", 100),
                    ("semantic_max_entries__lte", 200000),
                    ("semantic_rate__gte", 0.001),
                    ("semantic_rate__lte", 0.1),
                    ("semantic_ttl_s__gte", 1),
                    ("semantic_ttl_s__lte", 2592000),
                ),
                name="cache_namespace_semantic",
            ),
        ),
        migrations.CreateModel(
            name="SemanticEntry",
            fields=[
                _id(),
                ("scope", models.BinaryField(max_length=32)),
                ("digest", models.BinaryField(max_length=16)),
                ("exact_key", models.BinaryField(max_length=32)),
                ("alias", models.CharField(max_length=200)),
                ("membership_id", models.UUIDField()),
                ("confirmed", models.BooleanField(default=False)),
                ("embedder", models.CharField(max_length=300)),
                ("calibration", models.CharField(max_length=100)),
                ("dimensions", models.PositiveSmallIntegerField()),
                ("embedding", providers.cache.semantic.models.RealsField()),
                ("answer_embedding", providers.cache.semantic.models.RealsField()),
                ("cluster", models.UUIDField()),
                ("question", models.BinaryField(help_text="encrypted")),
                ("body", models.BinaryField(help_text="encrypted")),
                ("size", models.PositiveIntegerField()),
                ("input_tokens", models.PositiveBigIntegerField()),
                ("output_tokens", models.PositiveBigIntegerField()),
                ("cost_nano", models.BigIntegerField(help_text="what the answer was sold at")),
                ("wrong", models.PositiveIntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                _tenant(),
            ],
            options={
                "indexes": [models.Index(fields=["expires_at"], name="semantic_entry_expires")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="semantic_entry_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "scope", "digest"), name="semantic_entry_question"),
                    models.CheckConstraint(
                        condition=models.Q(("dimensions__gte", 1), ("dimensions__lte", 4096)),
                        name="semantic_entry_dimensions",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SemanticUse",
            fields=[
                _id(),
                ("hits", models.PositiveBigIntegerField()),
                ("used_at", models.DateTimeField()),
                (
                    "entry",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="providers.semanticentry",
                    ),
                ),
                _tenant(),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="semantic_use_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "entry"), name="semantic_use_entry"),
                    kernel.constraints.TenantForeignKey(
                        field="entry", name="semantic_use_entry_fk", on_delete="CASCADE"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SemanticAudit",
            fields=[
                _id(),
                ("entry", models.UUIDField(help_text="which may be gone")),
                ("alias", models.CharField(max_length=200)),
                ("agreed", models.BooleanField()),
                ("score", models.FloatField()),
                ("cosine", models.FloatField()),
                ("embedder", models.CharField(max_length=300)),
                ("calibration", models.CharField(max_length=100)),
                ("seen", models.BinaryField(help_text="encrypted")),
                ("at", models.DateTimeField()),
                _tenant(),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="semantic_audit_at")],
                "constraints": [models.UniqueConstraint(fields=("tenant", "id"), name="semantic_audit_tenant_id_key")],
            },
        ),
        migrations.CreateModel(
            name="SemanticCalibration",
            fields=[
                _id(),
                ("version", models.CharField(max_length=100)),
                ("embedder", models.CharField(max_length=300)),
                ("body", models.JSONField()),
                ("source", models.CharField(max_length=16)),
                ("pairs", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                _tenant(),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="semantic_calibration_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=("tenant", "embedder", "version"), name="semantic_calibration_version"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source__in", ["pairs", "audits"])), name="semantic_calibration_source"
                    ),
                ],
            },
        ),
        IsolateByTenant("providers_semanticentry"),
        IsolateByTenant("providers_semanticuse"),
        IsolateByTenant("providers_semanticaudit", grants=("SELECT", "INSERT", "DELETE")),
        IsolateByTenant("providers_semanticcalibration"),
        PlatformJob("providers_semanticentry", "expire_cache", "SELECT", columns="id, expires_at"),
        PlatformJob("providers_semanticentry", "expire_cache", "DELETE"),
        PlatformJob("providers_semanticaudit", "expire_cache", "SELECT", columns="id, at"),
        PlatformJob("providers_semanticaudit", "expire_cache", "DELETE"),
        # A vector stays beside its row, where a scan of a scope finds it without a look elsewhere for each.
        migrations.RunSQL(
            [
                "ALTER TABLE providers_semanticentry ALTER COLUMN embedding SET STORAGE MAIN",
                "ALTER TABLE providers_semanticentry ALTER COLUMN answer_embedding SET STORAGE EXTERNAL",
            ],
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(CREATE_INDEX, DROP_INDEX),
    ]
