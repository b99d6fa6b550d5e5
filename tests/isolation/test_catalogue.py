"""The catalogue breaks no rule, and would be caught if it did."""

import pytest
from django.apps import apps

from tests.isolation.catalogue import tenant_tables
from tests.isolation.catalogue_schema import breaches
from tests.isolation.roles import administrator
from tests.isolation.rules import rules

APP = "SET LOCAL ROLE parley_owner"


def test_the_schema_keeps_every_rule_of_isolation() -> None:
    with administrator() as connection:
        assert breaches(connection, rules()) == []


def test_every_table_of_a_tenant_has_a_model_and_every_model_a_table() -> None:
    modelled = {model._meta.db_table for model in apps.get_models()}
    with administrator() as connection:
        assert set(tenant_tables(connection, rules())) <= modelled
        assert modelled <= {*tenant_tables(connection, rules()), *rules().global_tables}


def test_every_exception_gives_its_reason() -> None:
    listed = rules()
    for mapping in (listed.triggers, listed.indexes, listed.pointers, listed.extensions):
        assert all(len(reason) > 10 for reason in mapping.values())
    assert all(table.reason for table in listed.global_tables.values())
    assert all(function.reason for function in listed.functions)


BREACHES = {
    "security disabled": (
        ["ALTER TABLE tenants_apikey DISABLE ROW LEVEL SECURITY"],
        "table tenants_apikey has row-level security disabled",
    ),
    "security not forced": (
        ["ALTER TABLE tenants_apikey NO FORCE ROW LEVEL SECURITY"],
        "table tenants_apikey does not force row-level security",
    ),
    "a table nobody thought of": (
        ["CREATE TABLE notes (id uuid, text text)"],
        "table notes is neither a tenant's nor listed as global",
    ),
    "a tenant table without policy": (
        ["CREATE TABLE notes (id uuid, tenant_id uuid NOT NULL)"],
        "table notes lacks its policy tenant_isolation",
    ),
    "tenant may be null": (
        ["ALTER TABLE tenants_auditevent ALTER tenant_id DROP NOT NULL"],
        "table tenants_auditevent: tenant_id is not a uuid that is never null",
    ),
    "USING (true)": (
        ["ALTER POLICY tenant_isolation ON tenants_apikey USING (true)"],
        "policy tenant_isolation on tenants_apikey is not the one for tenants' tables",
    ),
    "missing-ok": (
        [
            "ALTER POLICY tenant_isolation ON tenants_apikey "
            "USING (tenant_id = (SELECT current_setting('app.tenant_id', true)::uuid))"
        ],
        "policy tenant_isolation on tenants_apikey is not the one for tenants' tables",
    ),
    "for everybody": (
        ["ALTER POLICY tenant_isolation ON tenants_apikey TO PUBLIC"],
        "policy tenant_isolation on tenants_apikey is not the one for tenants' tables",
    ),
    "one more policy": (
        ["CREATE POLICY support ON tenants_apikey FOR SELECT TO parley_app USING (true)"],
        "policy support on tenants_apikey is not listed",
    ),
    "a job that reaches further": (
        ["ALTER POLICY ops_select ON tenants_apikey USING (true)"],
        "policy ops_select on tenants_apikey is not as listed",
    ),
    "TRUNCATE": (
        ["GRANT TRUNCATE ON tenants_apikey TO parley_app"],
        "grant TRUNCATE on tenants_apikey to parley_app is not listed",
    ),
    "a grant to all": (
        ["GRANT SELECT ON tenants_credential TO PUBLIC"],
        "grant SELECT on tenants_credential to PUBLIC is not listed",
    ),
    "a column too many": (
        ["GRANT UPDATE (email) ON tenants_person TO parley_app"],
        "grant UPDATE(email) on tenants_person to parley_app is not listed",
    ),
    "a partition granted": (
        ["GRANT SELECT ON billing_usagerecord_default TO parley_app"],
        "grant SELECT on billing_usagerecord_default to parley_app: partitions are never granted",
    ),
    "a partition unprotected": (
        ["ALTER TABLE billing_usagerecord_default DISABLE ROW LEVEL SECURITY"],
        "table billing_usagerecord_default has row-level security disabled",
    ),
    "grants in advance": (
        ["ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO parley_app"],
        "something is granted in advance, by default privileges",
    ),
    "a foreign key without the tenant": (
        [
            "ALTER TABLE tenants_apikey ADD CONSTRAINT plain FOREIGN KEY (membership_id) REFERENCES tenants_membership (id)"
        ],
        "foreign key plain from tenants_apikey to tenants_membership does not carry the tenant",
    ),
    "a pointer without a key": (
        ["ALTER TABLE tenants_apikey ADD boss_id uuid"],
        "column tenants_apikey.boss_id points somewhere without a foreign key, and is not listed",
    ),
    "SET NULL of both columns": (
        [
            "ALTER TABLE tenants_apikey ADD CONSTRAINT wide FOREIGN KEY (tenant_id, replaced_by_id) "
            "REFERENCES tenants_apikey (tenant_id, id) ON DELETE SET NULL"
        ],
        "foreign key wide on tenants_apikey clears the tenant when its target goes",
    ),
    "unique across tenants": (
        ["ALTER TABLE tenants_apikey ADD CONSTRAINT one_name UNIQUE (name, id)"],
        "index one_name on tenants_apikey does not begin with the tenant",
    ),
    "a view of its owner": (
        ["CREATE VIEW keys AS SELECT * FROM tenants_apikey"],
        "view keys is not security_invoker",
    ),
    "a materialized view": (
        ["CREATE MATERIALIZED VIEW keys AS SELECT 1 AS one"],
        "materialized view keys has no row-level security",
    ),
    "a function nobody listed": (
        [
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM tenants_apikey'"
        ],
        "function public.peek() is not listed",
    ),
    "EXECUTE for all": (
        ["SET LOCAL ROLE parley_lookup", "GRANT EXECUTE ON FUNCTION lookup.credential(text) TO PUBLIC"],
        "function lookup.credential(text) may be executed by PUBLIC, parley_app",
    ),
    "a search path of the caller's": (
        ["SET LOCAL ROLE parley_lookup", "ALTER FUNCTION lookup.credential(text) RESET search_path"],
        "function lookup.credential(text) does not set its search path",
    ),
    "a trigger": (
        [
            "CREATE TRIGGER spy BEFORE INSERT ON tenants_apikey FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        ],
        "trigger tenants_apikey.spy is not listed",
    ),
    "BYPASSRLS": (["RESET ROLE", "ALTER ROLE parley_app BYPASSRLS"], "role parley_app does not have its attributes"),
    "a membership": (
        ["RESET ROLE", "GRANT parley_backup TO parley_app"],
        "role parley_app is a member of parley_backup",
    ),
    "its own table": (
        ["RESET ROLE", "ALTER TABLE tenants_auditevent OWNER TO parley_app"],
        "table tenants_auditevent belongs to parley_app",
    ),
    "creating in public": (
        ["GRANT CREATE ON SCHEMA public TO parley_app"],
        "schema public is granted otherwise than listed",
    ),
    "temporary tables": (
        [
            "RESET ROLE",
            "DO $$BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO parley_app', current_database()); END$$",
        ],
        "grant TEMPORARY on the database to parley_app",
    ),
    "a lookup gone": (
        ["DROP POLICY lookup_reads ON tenants_apikey"],
        "policy lookup_reads on tenants_apikey is listed",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_reported(name: str) -> None:
    statements, expected = BREACHES[name]
    with administrator() as connection, connection.transaction(force_rollback=True):
        connection.execute(APP)
        for statement in statements:
            connection.execute(statement)
        found = breaches(connection, rules())
    assert any(expected in line for line in found), found
