"""Groups of members, and who may touch them."""

import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import AddConstraint, AddIndex, IsolateByTenant


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0003_key_terms"),
    ]

    operations = [
        migrations.CreateModel(
            name="Group",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=120)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
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
            name="GroupMember",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="members",
                        to="tenants.group",
                    ),
                ),
                (
                    "membership",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="groups",
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
            ],
        ),
        AddConstraint(
            model_name="group",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="group_tenant_id_key"),
        ),
        AddConstraint(
            model_name="group",
            constraint=models.UniqueConstraint(
                models.F("tenant"), django.db.models.functions.text.Lower("name"), name="group_name_key"
            ),
        ),
        AddIndex(
            model_name="groupmember",
            index=models.Index(fields=["tenant", "group"], name="group_member_of_group"),
        ),
        AddConstraint(
            model_name="groupmember",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="group_member_tenant_id_key"),
        ),
        AddConstraint(
            model_name="groupmember",
            constraint=kernel.constraints.TenantForeignKey(
                field="group", name="group_member_group_fk", on_delete="CASCADE"
            ),
        ),
        AddConstraint(
            model_name="groupmember",
            constraint=kernel.constraints.TenantForeignKey(
                field="membership", name="group_member_membership_fk", on_delete="CASCADE"
            ),
        ),
        AddConstraint(
            model_name="groupmember",
            constraint=models.UniqueConstraint(fields=("tenant", "membership", "group"), name="group_member_key"),
        ),
        IsolateByTenant("tenants_group"),
        IsolateByTenant("tenants_groupmember", grants=("SELECT", "INSERT", "DELETE")),
    ]
