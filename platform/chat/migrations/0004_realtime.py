"""Answers in parts and answers begun anew; notes of members."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0003_isolation"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.AddField(
            model_name="generation",
            name="checkpoint_parts",
            field=models.JSONField(help_text="kind and length of each part; null: all is text", null=True),
        ),
        migrations.AddField(
            model_name="generation",
            name="requested_key_id",
            field=models.UUIDField(help_text="the API key that asked, if one did", null=True),
        ),
        migrations.AddField(
            model_name="generation",
            name="restarted_at",
            field=models.DateTimeField(help_text="begun anew, once, because its process died before a word", null=True),
        ),
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField()),
                ("type", models.CharField(max_length=32)),
                ("body", models.JSONField(default=dict)),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "membership",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "room",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="chat.room",
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
                "indexes": [models.Index(fields=["tenant", "room"], name="notes_of_room")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="note_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "membership", "seq"), name="note_number"),
                    models.UniqueConstraint(
                        condition=models.Q(("type", "unread")),
                        fields=("tenant", "membership", "room"),
                        name="note_unread_once",
                    ),
                    kernel.constraints.TenantForeignKey(
                        field="membership", name="note_membership_fk", on_delete="RESTRICT"
                    ),
                    kernel.constraints.TenantForeignKey(field="room", name="note_room_fk", on_delete="CASCADE"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("type", "unread"), _negated=True), ("room__isnull", False), _connector="OR"
                        ),
                        name="note_unread_of_room",
                    ),
                ],
            },
        ),
        IsolateByTenant("chat_note"),
    ]
