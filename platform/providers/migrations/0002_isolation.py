"""Who may touch connections, deployments and routes."""

from django.db import migrations

from kernel.migrations import IsolateByTenant, PlatformJob

PLATFORM_TABLES = (
    "providers_platformconnection",
    "providers_platformdeployment",
    "providers_platformroute",
    "providers_platformroutetarget",
)
TENANT_TABLES = ("providers_connection", "providers_deployment", "providers_route", "providers_routetarget")


class Migration(migrations.Migration):
    dependencies = [("providers", "0001_initial"), ("tenants", "0002_isolation")]

    operations = [
        *(
            migrations.RunSQL(
                [
                    f"GRANT SELECT ON {table} TO parley_app",
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO parley_platform",
                ]
            )
            for table in PLATFORM_TABLES
        ),
        *(IsolateByTenant(table) for table in TENANT_TABLES),
        *(
            PlatformJob(table, "ops", command, within_tenant="tenant_id")
            for table in TENANT_TABLES
            for command in ("SELECT", "INSERT", "UPDATE")
        ),
    ]
