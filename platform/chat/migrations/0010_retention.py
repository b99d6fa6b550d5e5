"""How long messages are kept, where rooms stand in a member's own list, and more roles in them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob

DAYS = models.Q(
    ("retention_days", None),
    models.Q(("retention_days__gte", 1), ("retention_days__lte", 3650)),
    _connector="OR",
)


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0009_imports"),
        ("tenants", "0006_webhooks"),
    ]

    operations = [
        migrations.CreateModel(
            name="RoomPolicy",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(db_default="default", default="default", max_length=16)),
                (
                    "retention_days",
                    models.PositiveIntegerField(help_text="messages are deleted after so many; null: never", null=True),
                ),
                (
                    "sharing",
                    models.BooleanField(
                        db_default=False, default=False, help_text="whether rooms may be shared by link"
                    ),
                ),
                ("updated_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="room_policy_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "name"), name="room_policy_one"),
                    models.CheckConstraint(condition=DAYS, name="room_policy_retention"),
                ],
            },
        ),
        migrations.RemoveConstraint(
            model_name="roommember",
            name="room_member_role",
        ),
        migrations.AddField(
            model_name="room",
            name="archived_at",
            field=models.DateTimeField(help_text="nothing is said here any more", null=True),
        ),
        migrations.AddField(
            model_name="room",
            name="erased_at",
            field=models.DateTimeField(help_text="when what a deleted room held was deleted", null=True),
        ),
        migrations.AddField(
            model_name="room",
            name="retention_days",
            field=models.PositiveIntegerField(help_text="less than the tenant's; null: as the tenant's", null=True),
        ),
        migrations.AddField(
            model_name="roommember",
            name="folder",
            field=models.CharField(db_default="", default="", max_length=60),
        ),
        migrations.AddField(
            model_name="roommember",
            name="muted",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="roommember",
            name="pinned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="roommember",
            name="role",
            field=models.CharField(
                choices=[("owner", "Owner"), ("moderator", "Moderator"), ("member", "Member"), ("reader", "Reader")],
                max_length=16,
            ),
        ),
        AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", True)),
                fields=["tenant", "created_at"],
                name="messages_by_age",
            ),
        ),
        AddIndex(
            model_name="room",
            index=models.Index(
                condition=models.Q(
                    ("retention_days__isnull", False),
                    models.Q(("deleted_at__isnull", False), ("erased_at__isnull", True)),
                    _connector="OR",
                ),
                fields=["tenant", "id"],
                name="rooms_that_expire",
            ),
        ),
        AddConstraint(
            model_name="room",
            constraint=models.CheckConstraint(condition=DAYS, name="room_retention"),
        ),
        AddConstraint(
            model_name="roommember",
            constraint=models.CheckConstraint(
                condition=models.Q(("role__in", ["owner", "moderator", "member", "reader"])), name="room_member_role"
            ),
        ),
        IsolateByTenant("chat_roompolicy"),
        # The job finds tenants and rooms that keep messages for a time; it deletes as each of them.
        PlatformJob("chat_roompolicy", "expire_messages", "SELECT", columns="tenant_id, retention_days"),
        PlatformJob(
            "chat_room", "expire_messages", "SELECT", columns="tenant_id, retention_days, deleted_at, erased_at"
        ),
    ]
