"""History as a tree: who reads on from where, what was asked again, reactions, summaries of old turns, feedback."""

from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant


def to(target: str, *, db_constraint: bool = False, **options: Any) -> Any:
    """A pointer; between tenants' tables the composite constraint beside it is the foreign key."""
    return models.ForeignKey(
        db_constraint=db_constraint,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=target,
        **options,
    )


class Migration(migrations.Migration):
    dependencies = [("chat", "0006_search"), ("tenants", "0006_webhooks")]

    operations = [
        migrations.CreateModel(
            name="Reaction",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("room", to("chat.room")),
                ("message", to("chat.message")),
                ("membership", to("tenants.membership")),
                ("emoji", models.CharField(max_length=16)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("tenant", to("tenants.tenant", db_constraint=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="reaction_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "message", "membership", "emoji"), name="reaction_key"),
                    kernel.constraints.TenantForeignKey(name="reaction_room_fk", field="room", on_delete="RESTRICT"),
                    kernel.constraints.TenantForeignKey(
                        name="reaction_message_fk", field="message", on_delete="RESTRICT"
                    ),
                    kernel.constraints.TenantForeignKey(
                        name="reaction_membership_fk", field="membership", on_delete="RESTRICT"
                    ),
                ]
            },
        ),
        migrations.CreateModel(
            name="Summary",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("room", to("chat.room")),
                ("until", to("chat.message")),
                ("text", models.TextField()),
                ("covers", models.IntegerField()),
                ("model", models.CharField(help_text="alias", max_length=200)),
                ("request_id", models.UUIDField()),
                ("cost_nano", models.BigIntegerField(null=True)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("tenant", to("tenants.tenant", db_constraint=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="summary_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "room", "until"), name="summary_key"),
                    kernel.constraints.TenantForeignKey(name="summary_room_fk", field="room", on_delete="RESTRICT"),
                    kernel.constraints.TenantForeignKey(name="summary_until_fk", field="until", on_delete="RESTRICT"),
                    models.CheckConstraint(condition=models.Q(("covers__gt", 0)), name="summary_covers_something"),
                ]
            },
        ),
        migrations.CreateModel(
            name="Feedback",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("room", to("chat.room")),
                ("message", to("chat.message")),
                ("membership", to("tenants.membership")),
                ("model", models.CharField(help_text="alias that answered", max_length=200)),
                ("rating", models.CharField(choices=[("up", "Up"), ("down", "Down")], max_length=8)),
                ("comment", models.CharField(db_default="", default="", max_length=2000)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("tenant", to("tenants.tenant", db_constraint=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="feedback_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "message", "membership"), name="feedback_key"),
                    kernel.constraints.TenantForeignKey(name="feedback_room_fk", field="room", on_delete="RESTRICT"),
                    kernel.constraints.TenantForeignKey(
                        name="feedback_message_fk", field="message", on_delete="RESTRICT"
                    ),
                    kernel.constraints.TenantForeignKey(
                        name="feedback_membership_fk", field="membership", on_delete="RESTRICT"
                    ),
                    models.CheckConstraint(condition=models.Q(("rating__in", ["up", "down"])), name="feedback_rating"),
                ]
            },
        ),
        migrations.AddField(
            model_name="generation",
            name="anew",
            field=models.BooleanField(db_default=False, default=False, help_text="asked again: never from a cache"),
        ),
        migrations.AddField(
            model_name="generation",
            name="context",
            field=models.JSONField(help_text="what of the branch the model was told: summary, left_out", null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="mentions",
            field=models.JSONField(
                db_default=models.Value([], models.JSONField()),
                default=list,
                help_text="ids of the memberships that are named in it",
            ),
        ),
        migrations.AddField(
            model_name="roommember",
            name="branch",
            field=to("chat.message", help_text="what is read on from; null: the newest", null=True),
        ),
        AddConstraint(
            model_name="roommember",
            constraint=kernel.constraints.TenantForeignKey(
                name="room_member_branch_fk", field="branch", on_delete="RESTRICT"
            ),
        ),
        AddIndex(
            model_name="message",
            index=models.Index(fields=["tenant", "room", "parent", "id"], name="messages_by_parent"),
        ),
        IsolateByTenant("chat_reaction"),
        IsolateByTenant("chat_summary"),
        IsolateByTenant("chat_feedback"),
    ]
