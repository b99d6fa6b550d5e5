"""Whom routes are for."""

import django.db.models.deletion
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import IsolateByTenant


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0004_cache"),
        ("tenants", "0004_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="RouteAccess",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.apikey",
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.group",
                    ),
                ),
                (
                    "membership",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.membership",
                    ),
                ),
                (
                    "platform_route",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="providers.platformroute",
                    ),
                ),
                (
                    "role",
                    models.ForeignKey(
                        db_column="role",
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.builtinrole",
                    ),
                ),
                (
                    "route",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="access",
                        to="providers.route",
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
                "indexes": [models.Index(fields=["tenant", "platform_route"], name="route_access_of_platform")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="route_access_tenant_id_key"),
                    kernel.constraints.TenantForeignKey(
                        field="route", name="route_access_route_fk", on_delete="CASCADE"
                    ),
                    kernel.constraints.TenantForeignKey(
                        field="group", name="route_access_group_fk", on_delete="CASCADE"
                    ),
                    kernel.constraints.TenantForeignKey(
                        field="membership", name="route_access_membership_fk", on_delete="CASCADE"
                    ),
                    kernel.constraints.TenantForeignKey(
                        field="api_key", name="route_access_api_key_fk", on_delete="CASCADE"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("platform_route__isnull", False), ("route", None)),
                            models.Q(("platform_route", None), ("route__isnull", False)),
                            _connector="OR",
                        ),
                        name="route_access_one_route",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("api_key__isnull", True), ("group__isnull", True), ("membership__isnull", True)),
                            models.Q(("api_key__isnull", True), ("membership__isnull", True), ("role__isnull", True)),
                            models.Q(("api_key__isnull", True), ("group__isnull", True), ("role__isnull", True)),
                            models.Q(("group__isnull", True), ("membership__isnull", True), ("role__isnull", True)),
                            _connector="OR",
                        ),
                        name="route_access_one_subject",
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "route", "platform_route", "role", "group", "membership", "api_key"),
                        name="route_access_key",
                        nulls_distinct=False,
                    ),
                ],
            },
        ),
        IsolateByTenant("providers_routeaccess", grants=("SELECT", "INSERT", "DELETE")),
    ]
