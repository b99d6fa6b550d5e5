"""What people are told, and who may touch it."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Notice",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("topic", models.CharField(max_length=64)),
                ("once_key", models.CharField(max_length=200)),
                (
                    "permission",
                    models.CharField(db_default="", help_text="told to all members who have it", max_length=64),
                ),
                (
                    "memberships",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), db_default=[], help_text="told to these members", size=None
                    ),
                ),
                (
                    "addresses",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=254),
                        db_default=[],
                        help_text="sent here by e-mail as well",
                        size=None,
                    ),
                ),
                ("subject", models.CharField(max_length=200)),
                ("text", models.TextField()),
                (
                    "html",
                    models.TextField(db_default="", help_text="the body of the e-mail; empty: made from the text"),
                ),
                ("link", models.CharField(db_default="", help_text="a path of the browser app", max_length=500)),
                ("data", models.JSONField(db_default={}, help_text="for programs")),
                (
                    "attachments",
                    models.JSONField(db_default=[], help_text="files of the e-mail, by the names of their objects"),
                ),
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
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("read_at", models.DateTimeField(null=True)),
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
                    "notice",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="notifications",
                        to="tenants.notice",
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
        AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="notice_tenant_id_key"),
        ),
        AddConstraint(
            model_name="notice",
            constraint=models.UniqueConstraint(fields=("tenant", "once_key"), name="notice_once_key"),
        ),
        AddIndex(
            model_name="notification",
            index=models.Index(fields=["tenant", "membership", "id"], name="notifications_of_member"),
        ),
        AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("read_at", None)), fields=["tenant", "membership"], name="notifications_unread"
            ),
        ),
        AddConstraint(
            model_name="notification",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="notification_tenant_id_key"),
        ),
        AddConstraint(
            model_name="notification",
            constraint=models.UniqueConstraint(fields=("tenant", "notice", "membership"), name="notification_key"),
        ),
        AddConstraint(
            model_name="notification",
            constraint=kernel.constraints.TenantForeignKey(
                field="notice", name="notification_notice_fk", on_delete="CASCADE"
            ),
        ),
        AddConstraint(
            model_name="notification",
            constraint=kernel.constraints.TenantForeignKey(
                field="membership", name="notification_membership_fk", on_delete="CASCADE"
            ),
        ),
        IsolateByTenant("tenants_notice", grants=("SELECT", "INSERT")),
        IsolateByTenant("tenants_notification", grants=("SELECT", "INSERT", "UPDATE")),
        PlatformJob("tenants_notice", "expire_notices", "SELECT", columns="id"),
        PlatformJob("tenants_notice", "expire_notices", "DELETE"),
    ]
