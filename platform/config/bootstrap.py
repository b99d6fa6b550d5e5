"""The roles and the database, made before the first migration. Safe to repeat.

| role            | is                                                            |
| --------------- | ------------------------------------------------------------- |
| parley_owner    | NOLOGIN, owns the schema; migrations act as it                |
| parley_app      | web and worker; no rights but those granted per table         |
| parley_platform | named cross-tenant jobs                                       |
| parley_lookup   | NOLOGIN, owns the definer functions                           |
| parley_backup   | NOLOGIN until a password is given it; BYPASSRLS, backups only |
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from config.databases import (
    APP_ROLE,
    BACKUP_ROLE,
    LOOKUP_ROLE,
    OWNER_ROLE,
    PLATFORM_ROLE,
    parse,
    role_password,
)
from providers.cache.semantic.index import CREATE_EXTENSION, CREATE_INDEX

_PLAIN = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
_MAINTENANCE = "postgres"
_ADVISORY_LOCK = 0x7061_726C_6579
_TIMEOUTS = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}


class DatabaseNotPrepared(SystemExit):
    """The database can't be made ready with the connection given."""


def prepare_database(admin_url: str) -> None:
    """Make Parley's roles, the database and its schemas, or bring them up to date.

    A URL of `parley_app` means that an operator has prepared the database: nothing is done. Raises
    `DatabaseNotPrepared` with what is missing.
    """
    target = parse(admin_url)
    if target.get("user") == APP_ROLE:
        return
    name = str(target.get("dbname", "parley"))
    try:
        with _one_at_a_time(target) as maintenance:
            _ensure_database(maintenance, name)
            with psycopg.connect(make_conninfo("", **target), autocommit=True) as connection:
                ensure_roles(connection, administrator_password=str(target.get("password", "")))
                ensure_schemas(connection)
                ensure_vectors(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseNotPrepared(
            f"DATABASE_URL's user may not prepare the database ({error.diag.message_primary}). Give it CREATEROLE and "
            f"ownership of the database, or prepare it as docs/operating.md says and use the role {APP_ROLE}."
        ) from error
    except psycopg.OperationalError as error:
        raise DatabaseNotPrepared(f"The database can't be reached: {error}") from error


def holds_parley(url: str) -> bool:
    """Whether the database that the URL names is there and was prepared by Parley. Raises `DatabaseNotPrepared` when it can't
    be asked."""
    target = parse(url)
    try:
        if not _is_there(target):
            return False
        with psycopg.connect(make_conninfo("", **target), autocommit=True) as connection:
            row = connection.execute("SELECT to_regclass('public.django_migrations') IS NOT NULL").fetchone()
            return bool(row and row[0])
    except psycopg.OperationalError as error:
        raise DatabaseNotPrepared(f"The database can't be reached: {error}") from error


def _is_there(target: dict[str, Any]) -> bool:
    """Whether there is such a database; who may not look elsewhere is taken to know that there is."""
    try:
        with psycopg.connect(make_conninfo("", **(target | {"dbname": _MAINTENANCE}))) as maintenance:
            found = maintenance.execute("SELECT FROM pg_database WHERE datname = %s", (target.get("dbname", "parley"),))
            return found.fetchone() is not None
    except psycopg.OperationalError:
        return True


@contextmanager
def _one_at_a_time(target: dict[str, Any]) -> Iterator[psycopg.Connection[tuple[object, ...]] | None]:
    """Roles belong to the whole cluster, and an advisory lock to one database: so it is taken in the one all clusters have.

    Gives a connection to that one, or None where it can't be had: then two that prepare at the same moment may fail.
    """
    try:
        maintenance = psycopg.connect(make_conninfo("", **(target | {"dbname": _MAINTENANCE})), autocommit=True)
    except psycopg.OperationalError:
        yield None
        return
    with maintenance as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
        yield connection


def _ensure_database(maintenance: psycopg.Connection[tuple[object, ...]] | None, name: str) -> None:
    """Make the database if it is missing. Without a connection beside it, it has to be there."""
    if maintenance is None:
        return
    if maintenance.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        statement = sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0")
        maintenance.execute(statement.format(sql.Identifier(name)))


def ensure_roles(connection: psycopg.Connection[tuple[object, ...]], *, administrator_password: str) -> None:
    """Make the five roles, with exactly the attributes they should have."""
    wanted = {
        OWNER_ROLE: "NOLOGIN NOINHERIT NOBYPASSRLS",
        LOOKUP_ROLE: "NOLOGIN NOINHERIT NOBYPASSRLS",
        APP_ROLE: "LOGIN NOINHERIT NOBYPASSRLS",
        PLATFORM_ROLE: "LOGIN NOINHERIT NOBYPASSRLS",
        BACKUP_ROLE: "NOINHERIT BYPASSRLS",
    }
    present = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolname ^@ 'parley_'")}
    for role, attributes in wanted.items():
        statement = "ALTER ROLE {} " if role in present else "CREATE ROLE {} "
        # BYPASSRLS and the like are a superuser's to give; only say them where they change something.
        plain = _PLAIN if _is_superuser(connection) else ""
        connection.execute(sql.SQL(statement + f"{attributes} {plain}").format(sql.Identifier(role)))
    for role in (APP_ROLE, PLATFORM_ROLE):
        password = sql.Literal(role_password(administrator_password, role))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password))
        for setting, value in _TIMEOUTS.items():
            statement_ = sql.SQL("ALTER ROLE {} SET {} = {}")
            connection.execute(statement_.format(sql.Identifier(role), sql.Identifier(setting), sql.Literal(value)))
    for role in (APP_ROLE, LOOKUP_ROLE):
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(OWNER_ROLE)))
    connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER_ROLE)))


def ensure_schemas(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Give the owner its schemas in the connected database, and take from everybody what isn't theirs."""
    row = connection.execute("SELECT current_database()").fetchone()
    database = sql.Identifier(str(row[0] if row else ""))
    owner, lookup = sql.Identifier(OWNER_ROLE), sql.Identifier(LOOKUP_ROLE)
    roles = sql.SQL(", ").join(map(sql.Identifier, (APP_ROLE, PLATFORM_ROLE, LOOKUP_ROLE, BACKUP_ROLE)))
    for statement in (
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}").format(database, owner, roles),
        sql.SQL("GRANT CREATE, TEMPORARY ON DATABASE {} TO {}").format(database, owner),
        sql.SQL("ALTER SCHEMA public OWNER TO {}").format(owner),
        sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(roles),
        sql.SQL("CREATE SCHEMA IF NOT EXISTS lookup AUTHORIZATION {}").format(owner),
        sql.SQL("GRANT USAGE ON SCHEMA lookup TO {}").format(roles),
        sql.SQL("GRANT CREATE ON SCHEMA lookup TO {}").format(lookup),
    ):
        connection.execute(statement)


def ensure_vectors(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Make the extension for vectors where the server has it and this connection may, and its index where the table is there
    already. The semantic cache alone needs them; it is off without."""
    if _is_superuser(connection):
        connection.execute(CREATE_EXTENSION)
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER_ROLE)))
        connection.execute(CREATE_INDEX)


def _is_superuser(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return bool(row and row[0])
