"""What members write once and use again: presets and prompts."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant


def _fields(**own: models.Field) -> list[tuple[str, models.Field]]:
    """What both tables have, and what is a table's own."""
    now = django.db.models.functions.datetime.Now
    return [
        ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
        ("name", models.CharField(max_length=100)),
        (
            "visibility",
            models.CharField(choices=[("personal", "Personal"), ("shared", "Shared")], max_length=16),
        ),
        *own.items(),
        ("version", models.PositiveIntegerField(db_default=1, default=1)),
        ("created_at", models.DateTimeField(db_default=now())),
        ("updated_at", models.DateTimeField(db_default=now())),
        (
            "owner",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="tenants.membership",
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
    ]


def _options(noun: str) -> dict[str, list[object]]:
    return {
        "indexes": [
            models.Index(fields=["tenant", "owner", "id"], name=f"{noun}s_of_member"),
            models.Index(fields=["tenant", "visibility", "id"], name=f"{noun}s_seen"),
        ],
        "constraints": [
            models.UniqueConstraint(fields=("tenant", "id"), name=f"{noun}_tenant_id_key"),
            models.CheckConstraint(
                condition=models.Q(visibility__in=["personal", "shared"]), name=f"{noun}_visibility"
            ),
            kernel.constraints.TenantForeignKey(field="owner", name=f"{noun}_owner_fk"),
        ],
    }


class Migration(migrations.Migration):
    dependencies = [("chat", "0012_titles")]

    operations = [
        migrations.CreateModel(
            name="Preset",
            fields=_fields(
                model=models.CharField(help_text="alias; null: the default", max_length=200, null=True),
                instructions=models.TextField(),
                parameters=models.JSONField(),
            ),
            options=_options("preset"),
        ),
        migrations.CreateModel(
            name="Prompt",
            fields=_fields(text=models.TextField(), variables=models.JSONField()),
            options=_options("prompt"),
        ),
        IsolateByTenant("chat_preset"),
        IsolateByTenant("chat_prompt"),
    ]
