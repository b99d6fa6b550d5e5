"""Migrations act as the owner, who sees no tenant's rows: data is changed tenant by tenant, or the migration is refused."""

import inspect
import uuid
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.migrations import RunPython, RunSQL
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from kernel.migrations import for_each_tenant
from kernel.tenancy import NoTenant, current_tenant_id
from tenants.models import AuditEvent
from tests.isolation.models import TENANT_TABLES
from tests.isolation.rules import APPS, rules
from tests.support.cast import Company

GLOBAL_DATA = {
    "tenants.0002_isolation.add_roles": "built-in roles are the platform's rows",
}
"""RunPython that isn't `for_each_tenant`: it touches global tables alone."""


def operations() -> list[tuple[str, Any]]:
    loader = MigrationLoader(None)
    return [
        (f"{app}.{name}", operation)
        for (app, name), migration in loader.disk_migrations.items()
        if app in APPS
        for operation in migration.operations
    ]


def test_python_in_migrations_goes_through_for_each_tenant() -> None:
    found = {
        f"{name}.{operation.code.__name__}"
        for name, operation in operations()
        if isinstance(operation, RunPython) and inspect.getmodule(operation.code).__name__ != "kernel.migrations"  # type: ignore[union-attr]
    }
    assert found == GLOBAL_DATA.keys()


def test_sql_in_migrations_changes_no_tenants_rows() -> None:
    for name, operation in operations():
        if not isinstance(operation, RunSQL):
            continue
        parts = operation.sql if isinstance(operation.sql, list | tuple) else [operation.sql]
        for part in parts:
            text = " ".join(str(part).split()).upper()
            if text.startswith(("CREATE FUNCTION", "CREATE POLICY")) or "CREATE FUNCTION" in text:
                continue
            for table in TENANT_TABLES:
                for verb in ("INSERT INTO", "UPDATE", "DELETE FROM", "TRUNCATE"):
                    assert f"{verb} {table.upper()} " not in f"{text} ", f"{name}: {verb} {table}"


def run(operation: RunPython) -> None:
    """As `migrate --database owner` runs it."""
    connection = connections["owner"]
    state = ProjectState()
    with transaction.atomic(using="owner"), connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("tenants", editor, state, state)


def test_for_each_tenant_sees_each_tenants_rows_and_no_others(company: Company, new_company: Any) -> None:
    other = new_company()
    seen: dict[uuid.UUID, set[uuid.UUID]] = {}

    def change(apps: Any, alias: str, tenant_id: uuid.UUID) -> None:
        assert current_tenant_id() == tenant_id
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("parley_app",)
        rows = AuditEvent.objects.using(alias)
        seen[tenant_id] = set(rows.values_list("tenant_id", flat=True))
        AuditEvent.objects.using(alias).create(
            tenant_id=tenant_id, actor_kind="operator", action="test.migrated", subject_kind="tenant"
        )

    run(for_each_tenant(change))
    assert {company.id, other.id} <= seen.keys()
    # Tenants that other tests made may have no row of this table; nobody sees another's.
    assert all(tenants <= {tenant_id} for tenant_id, tenants in seen.items())
    assert [seen[one.id] for one in (company, other)] == [{company.id}, {other.id}]
    for one in (company, other):
        with one.scope(), transaction.atomic():
            assert AuditEvent.objects.filter(action="test.migrated").count() == 1
    with pytest.raises(NoTenant):
        current_tenant_id()


def test_a_tenants_migration_cant_write_into_another(company: Company, acme: Company) -> None:
    def change(apps: Any, alias: str, tenant_id: uuid.UUID) -> None:
        other = acme.id if tenant_id != acme.id else company.id
        AuditEvent.objects.using(alias).create(
            tenant_id=other, actor_kind="operator", action="test.misplaced", subject_kind="tenant"
        )

    with pytest.raises(Exception, match="row-level security"):
        run(for_each_tenant(change))


def test_the_owner_sees_no_tenants_rows(acme: Company) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("parley_owner",)
        for table in ("tenants_membership", "tenants_apikey", "tenants_auditevent"):
            assert table not in rules().global_tables
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (0,)
