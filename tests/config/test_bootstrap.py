"""The roles and the database, prepared by an administrator or by an operator beforehand."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from config.bootstrap import DatabaseNotPrepared, holds_parley, prepare_database
from config.databases import APP_ROLE, DatabaseUrls, as_role, django_databases, parse, role_password
from tests.support.servers import database_url, with_database

_DATABASES = {"conn_max_age_s": 60}


@pytest.fixture
def url() -> Iterator[str]:
    """A database that does not exist yet, dropped afterwards."""
    name = f"test_boot_{uuid.uuid4().hex[:8]}"
    yield with_database(database_url("test_parley"), name)
    with psycopg.connect(with_database(database_url("test_parley"), "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_missing_database_is_made_and_preparing_twice_changes_nothing(url: str) -> None:
    prepare_database(url)
    prepare_database(url)
    with psycopg.connect(url) as admin:
        schemas = admin.execute(
            "SELECT nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname !~ '^(pg_|inf)'"
        )
        assert set(schemas) == {("public", "parley_owner"), ("lookup", "parley_owner")}


def test_a_database_is_known_to_be_in_use_or_not(url: str) -> None:
    assert not holds_parley(url)
    prepare_database(url)
    assert not holds_parley(url), "nothing has been migrated yet"
    with pytest.raises(DatabaseNotPrepared, match="can't be reached"):
        holds_parley("postgresql://nobody:secret@127.0.0.1:9/nowhere")


def test_each_role_enters_with_the_password_that_follows_from_the_administrators(url: str) -> None:
    prepare_database(url)
    for role in ("parley_app", "parley_platform"):
        with psycopg.connect(make_conninfo("", **as_role(parse(url), role))) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
            shown = connection.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            assert shown.fetchone() == ("5s", "2s")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE public.mine (x int)")
    assert role_password("a", APP_ROLE) != role_password("b", APP_ROLE) != role_password("b", "parley_platform")


@pytest.mark.parametrize("role", ["parley_owner", "parley_lookup", "parley_backup"])
def test_the_other_roles_cant_log_in(url: str, role: str) -> None:
    prepare_database(url)
    with psycopg.connect(url) as admin:
        row = admin.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    assert row == (False,)


def test_an_app_role_url_means_that_an_operator_prepared_it(url: str) -> None:
    prepare_database(make_conninfo("", **as_role(parse(url), APP_ROLE)))
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_who_may_not_prepare_is_told_what_is_missing(url: str) -> None:
    prepare_database(url)
    with pytest.raises(DatabaseNotPrepared, match="CREATEROLE"):
        prepare_database(make_conninfo("", **as_role(parse(url), "parley_platform")))


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(DatabaseNotPrepared) as refused:
        prepare_database("postgresql://u:hunter2@127.0.0.1:1/d")
    assert "can't be reached" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.no_database
def test_one_url_of_an_administrator_makes_three_connections() -> None:
    found: Any = django_databases(DatabaseUrls("postgresql://admin:pw@h:5/d"), **_DATABASES)
    assert {alias: one["USER"] for alias, one in found.items()} == {
        "default": "parley_app",
        "platform": "parley_platform",
        "owner": "admin",
    }
    assert found["owner"]["OPTIONS"]["assume_role"] == "parley_owner"
    assert found["default"]["PASSWORD"] == role_password("pw", APP_ROLE)


@pytest.mark.no_database
def test_three_urls_are_taken_as_they_are() -> None:
    urls = DatabaseUrls(
        "postgresql://parley_app:a@h/d?sslmode=require", "postgresql://boss:b@h/d", "postgresql://parley_platform:c@h/d"
    )
    found: Any = django_databases(urls, **_DATABASES)
    assert [found[alias]["PASSWORD"] for alias in ("default", "owner", "platform")] == ["a", "b", "c"]
    assert found["default"]["OPTIONS"]["sslmode"] == "require"


@pytest.mark.no_database
def test_a_url_that_is_none_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="no PostgreSQL connection string") as refused:
        parse("postgresql://u:hunter2@h/d?nonsense=1")
    assert "hunter2" not in str(refused.value)
    assert conninfo_to_dict(database_url("test_parley"))["dbname"].startswith("test_")
