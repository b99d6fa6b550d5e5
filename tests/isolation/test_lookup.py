"""Global tables and the definer functions: what the web role can learn of people, with SQL of its own choosing."""

import hashlib
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from tenants.keys import digest, lookup_id
from tests.isolation.probes import undone
from tests.isolation.roles import APP_ROLE, Connection, connect, enter
from tests.isolation.rules import rules
from tests.support.cast import Company


@pytest.fixture(scope="module")
def web(database: str) -> Iterator[Connection]:
    with connect(APP_ROLE) as connection:
        yield connection


def people(web: Connection) -> set[object]:
    return {row[0] for row in web.execute("SELECT id FROM tenants_person")}


def test_people_are_seen_through_a_shared_tenant_or_as_oneself(web: Connection, acme: Company, evil: Company) -> None:
    with undone(web, acme.id):
        assert people(web) == {acme.alice.person_id, acme.bob.person_id, acme.vera.person_id}
    with undone(web):
        enter(web, None, acme.bob.person_id)
        found = web.execute("SELECT id FROM tenants_person WHERE id = %s", (acme.bob.person_id,)).fetchall()
        assert found == [(acme.bob.person_id,)]
    with undone(web), pytest.raises((errors.UndefinedObject, errors.InvalidTextRepresentation)):
        people(web)
    with undone(web, acme.id):
        mallory = web.execute("SELECT FROM tenants_person WHERE email = %s", (evil.alice.email,)).fetchall()
        assert mallory == []


def test_nobody_changes_anybody_but_themselves(web: Connection, acme: Company) -> None:
    with undone(web, acme.id):
        enter(web, None, acme.bob.person_id)
        changed = web.execute("UPDATE tenants_person SET name = 'x'").rowcount
        assert changed == 1
        assert web.execute("UPDATE tenants_person SET name = 'x' WHERE id = %s", (acme.alice.person_id,)).rowcount == 0
    for column in ("email", "is_active", "id", "email_verified_at"):
        with undone(web, acme.id), pytest.raises(errors.InsufficientPrivilege):
            web.execute(f"UPDATE tenants_person SET {column} = {column}".encode())


@pytest.mark.parametrize("table", ["tenants_credential", "tenants_refreshtoken"])
def test_secrets_cant_be_read_at_all(web: Connection, acme: Company, table: str) -> None:
    with undone(web, acme.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute(f"SELECT count(*) FROM {table}".encode())


def test_a_key_is_found_by_its_whole_digest_alone(web: Connection, acme: Company) -> None:
    known, right = lookup_id(acme.api_key), digest(acme.api_key)
    ask = "SELECT tenant_id FROM lookup.api_key(%s, %s)"
    assert web.execute(ask, (known, right)).fetchall() == [(acme.id,)]
    for wrong in (right[:31], right[:31] + bytes([right[31] ^ 1]), b"", b"%", hashlib.sha256(b"").digest(), None):
        assert web.execute(ask, (known, wrong)).fetchall() == []
    assert web.execute(ask, ("%", right)).fetchall() == []


def test_memberships_are_those_of_the_person_in_force(web: Connection, acme: Company, evil: Company) -> None:
    assert web.execute("SELECT * FROM lookup.my_memberships()").fetchall() == []
    with undone(web):
        enter(web, None, acme.bob.person_id)
        found = web.execute("SELECT tenant_id FROM lookup.my_memberships()").fetchall()
    assert found == [(acme.id,)]


def test_sessions_are_ended_in_ones_own_tenant_alone(web: Connection, acme: Company, evil: Company) -> None:
    token = uuid.uuid4().bytes * 2
    start = "SELECT lookup.session_start(%s, %s, %s, %s, now() + interval '1 h')"
    rotate = "SELECT outcome FROM lookup.session_rotate(%s, %s, %s, now() + interval '1 h', interval '10 s')"
    with undone(web):
        web.execute(start, (uuid.uuid4(), token, acme.bob.person_id, acme.id))
        with pytest.raises((errors.UndefinedObject, errors.InvalidTextRepresentation)), web.transaction():
            web.execute("SELECT lookup.sessions_end(%s)", (acme.bob.membership_id,))
        enter(web, evil.id)
        web.execute("SELECT lookup.sessions_end(%s)", (acme.bob.membership_id,))
        assert web.execute(rotate, (token, uuid.uuid4(), b"c" * 32)).fetchall() == [("minted",)]
        enter(web, acme.id)
        web.execute("SELECT lookup.sessions_end(%s)", (acme.bob.membership_id,))
        assert web.execute(rotate, (b"c" * 32, uuid.uuid4(), b"d" * 32)).fetchall() == [("ended",)]


def test_no_role_of_ours_becomes_another(web: Connection) -> None:
    for role in ("parley_owner", "parley_lookup", "parley_platform", "parley_backup"):
        with pytest.raises(errors.InsufficientPrivilege):
            web.execute(f"SET ROLE {role}".encode())
    with connect("parley_platform") as platform, pytest.raises(errors.InsufficientPrivilege):
        platform.execute("SET ROLE parley_owner")


def test_the_web_role_makes_nothing(web: Connection) -> None:
    for statement in (
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION lookup.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE tenants_apikey DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation ON tenants_apikey",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE EXTENSION dblink",
    ):
        with pytest.raises(psycopg.Error) as refused:
            web.execute(statement.encode())
        assert refused.value.sqlstate == "42501", statement


def test_row_security_cant_be_switched_off_by_the_session(web: Connection, acme: Company) -> None:
    with undone(web, acme.id):
        web.execute("SET LOCAL row_security = off")
        with pytest.raises(errors.InsufficientPrivilege):
            web.execute("SELECT count(*) FROM tenants_apikey")


def test_the_platforms_jobs_reach_no_further_than_listed(acme: Company, evil: Company) -> None:
    """Within a tenant where their policy says so; and nothing at all of tables that no job names."""
    named = {grant.table for grant in rules().grants if grant.role == "parley_platform"}
    with connect("parley_platform") as platform:
        with undone(platform, acme.id):
            found = platform.execute("SELECT DISTINCT tenant_id FROM tenants_membership").fetchall()
            assert found == [(acme.id,)]
        with undone(platform), pytest.raises((errors.UndefinedObject, errors.InvalidTextRepresentation)):
            platform.execute("SELECT count(*) FROM tenants_membership")
        assert "tenants_refreshtoken" not in named
        with pytest.raises(errors.InsufficientPrivilege):
            platform.execute("SELECT count(*) FROM tenants_refreshtoken")
