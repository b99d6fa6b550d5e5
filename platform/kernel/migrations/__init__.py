"""Migration operations for row-level isolation.

Tables are made by `parley_owner`, which sees no tenant's rows (row-level security is forced on the owner too). What others
may do is said here, per table, and checked in the suite by a test that reads PostgreSQL's catalogue:

* `IsolateByTenant` a tenant's table: security forced, the one policy for `parley_app`, and its grants;
* `PlatformJob`     a named policy for `parley_platform`, the role of cross-tenant jobs;
* `LookupReads`     a named policy for `parley_lookup`, whose definer functions find a row before a tenant is known;
* `Definer`         such a function;
* `DefinersWrite`   a policy for those functions, bound to the tenant in force, on what they alone may write;
* `for_each_tenant` the only way to change tenants' data in a migration.

`AddConstraint` and `AddIndex` are Django's, at a fraction of their time.
"""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState

from kernel.tenancy import tenant_scope

APP, PLATFORM, LOOKUP, OWNER = "parley_app", "parley_platform", "parley_lookup", "parley_owner"

CURRENT_TENANT = "(SELECT current_setting('app.tenant_id')::uuid)"
"""Raises outside a tenant's transaction: the setting is missing, or empty and no UUID."""

CURRENT_PERSON = "(SELECT NULLIF(current_setting('app.person_id', true), '')::uuid)"


class AddConstraint(migrations.AddConstraint):
    """Django's, but for what it does to the state of models: see `_add_option`."""

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        _add_option(state, (app_label, self.model_name_lower), "constraints", self.constraint)


class AddIndex(migrations.AddIndex):
    """Django's, but for what it does to the state of models: see `_add_option`."""

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        _add_option(state, (app_label, self.model_name_lower), "indexes", self.index)


def _add_option(state: ProjectState, key: tuple[str, str], name: str, added: Any) -> None:
    """Put a constraint or index into a model's state, and into its class where the state has made classes.

    Django makes the class anew, and those of all models that are related to a related one: here nearly all, each time. No
    class depends on another's constraints or indexes.
    """
    options = state.models[key].options
    options[name] = [*options.get(name, ()), added]
    if "apps" in state.__dict__:
        setattr(state.apps.get_model(*key)._meta, name, options[name])


class _Sql(migrations.RunSQL):
    """SQL that is undone by its reverse."""

    def __init__(self, forwards: Sequence[str], backwards: Sequence[str]) -> None:
        super().__init__(sql=list(forwards), reverse_sql=list(backwards))

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (self.__class__.__name__, [], {"forwards": self.sql, "backwards": self.reverse_sql})


class IsolateByTenant(_Sql):
    """Force row-level security on `table` and let `parley_app` do `grants` to the rows of the tenant in force.

    `key` is the column that holds the tenant. An append-only table is granted `("SELECT", "INSERT")`.
    """

    def __init__(
        self,
        table: str,
        *,
        grants: Sequence[str] = ("SELECT", "INSERT", "UPDATE", "DELETE"),
        key: str = "tenant_id",
    ) -> None:
        test = f"{key} = {CURRENT_TENANT}"
        super().__init__(
            [
                *force_row_security(table),
                f"CREATE POLICY tenant_isolation ON {table} FOR ALL TO {APP} USING ({test}) WITH CHECK ({test})",
                f"GRANT {', '.join(grants)} ON {table} TO {APP}",
            ],
            [
                f"REVOKE ALL ON {table} FROM {APP}",
                f"DROP POLICY tenant_isolation ON {table}",
                f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            ],
        )


class PlatformJob(_Sql):
    """A named policy for one cross-tenant job. `within_tenant` binds even that to the tenant in force."""

    def __init__(
        self, table: str, job: str, command: str, *, within_tenant: str | None = None, columns: str = ""
    ) -> None:
        test = "true" if within_tenant is None else f"{within_tenant} = {CURRENT_TENANT}"
        using = "" if command == "INSERT" else f" USING ({test})"
        check = "" if command in ("SELECT", "DELETE") else f" WITH CHECK ({test})"
        name = f"{job}_{command.lower()}"
        granted = f"{command} ({columns})" if columns else command
        super().__init__(
            [
                f"CREATE POLICY {name} ON {table} FOR {command} TO {PLATFORM}{using}{check}",
                f"GRANT {granted} ON {table} TO {PLATFORM}",
            ],
            [f"REVOKE {granted} ON {table} FROM {PLATFORM}", f"DROP POLICY {name} ON {table}"],
        )


class LookupReads(_Sql):
    """Let the definer functions read the named columns of `table`."""

    def __init__(self, table: str, columns: str) -> None:
        super().__init__(
            [
                f"CREATE POLICY lookup_reads ON {table} FOR SELECT TO {LOOKUP} USING (true)",
                f"GRANT SELECT ({columns}) ON {table} TO {LOOKUP}",
            ],
            [f"REVOKE SELECT ({columns}) ON {table} FROM {LOOKUP}", f"DROP POLICY lookup_reads ON {table}"],
        )


class DefinersWrite(_Sql):
    """Let the definer functions do `grants` to the rows of the tenant in force, and nobody else write them."""

    def __init__(self, table: str, grants: Sequence[str]) -> None:
        test = f"tenant_id = {CURRENT_TENANT}"
        super().__init__(
            [
                f"CREATE POLICY definers_write ON {table} FOR ALL TO {LOOKUP} USING ({test}) WITH CHECK ({test})",
                f"GRANT {', '.join(grants)} ON {table} TO {LOOKUP}",
            ],
            [f"REVOKE ALL ON {table} FROM {LOOKUP}", f"DROP POLICY definers_write ON {table}"],
        )


class Definer(_Sql):
    """A SECURITY DEFINER function `lookup.<name>(<arguments>)`, owned by `parley_lookup`, for `parley_app` to execute.

    The body names every table with its schema: the search path holds nothing that others could shadow.
    """

    def __init__(
        self,
        name: str,
        arguments: str,
        returns: str,
        body: str,
        *,
        volatility: str = "STABLE",
        language: str = "sql",
        caller: str = APP,
        settings: Sequence[str] = (),
    ) -> None:
        self.name = name
        signature = f"lookup.{name}({arguments})"
        put = " ".join(f"SET {setting}" for setting in ("search_path = pg_catalog, pg_temp", *settings))
        super().__init__(
            [
                f"CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE {language} {volatility} SECURITY DEFINER "
                f"{put} AS $definer${body}$definer$",
                f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC",
                f"ALTER FUNCTION {signature} OWNER TO {LOOKUP}",
                # The new owner gives the right on; the one who made the function no longer can.
                f"SET LOCAL ROLE {LOOKUP}",
                f"GRANT EXECUTE ON FUNCTION {signature} TO {caller}",
                f"REVOKE ALL ON FUNCTION {signature} FROM {OWNER}",
                f"SET LOCAL ROLE {OWNER}",
            ],
            [f"SET LOCAL ROLE {LOOKUP}", f"DROP FUNCTION {signature}", f"SET LOCAL ROLE {OWNER}"],
        )


class DefinersGone(_Sql):
    """The definer functions of these names are taken away, with whatever arguments a version that was out made them. Undone,
    `before` makes its own again."""

    def __init__(self, before: Sequence[Definer], names: Sequence[str]) -> None:
        named = ", ".join(f"'{name}'" for name in names)
        super().__init__(
            [
                f"SET LOCAL ROLE {LOOKUP}",
                f"""DO $gone$
                DECLARE
                    function regprocedure;
                BEGIN
                    FOR function IN
                        SELECT p.oid FROM pg_proc p
                        WHERE p.pronamespace = 'lookup'::regnamespace AND p.proname IN ({named})
                    LOOP
                        EXECUTE format('DROP FUNCTION %s', function);
                    END LOOP;
                END
                $gone$""",
                f"SET LOCAL ROLE {OWNER}",
            ],
            [statement for operation in before for statement in operation.sql],
        )


def force_row_security(table: str) -> list[str]:
    """Enable row-level security, for the table's owner too."""
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
    ]


def for_each_tenant(change: Callable[[Any, str, uuid.UUID], None]) -> migrations.RunPython:
    """An operation that runs `change(apps, database_alias, tenant_id)` once per tenant, as `parley_app` in its scope."""

    def forwards(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM tenants_tenant ORDER BY id")
            tenant_ids = [row[0] for row in cursor.fetchall()]
            for tenant_id in tenant_ids:
                with tenant_scope(tenant_id):
                    cursor.execute(f"SET LOCAL ROLE {APP}")
                    change(apps, connection.alias, tenant_id)
                    cursor.execute(f"SET LOCAL ROLE {OWNER}")

    return migrations.RunPython(forwards, migrations.RunPython.noop)
