"""Plain psycopg connections to the suite's database, as the role named: nothing of Parley's own stands between."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import make_conninfo

from config.databases import APP_ROLE, OWNER_ROLE, PLATFORM_ROLE, as_role, parse
from tests.support.servers import database_url

__all__ = ["APP_ROLE", "OWNER_ROLE", "PLATFORM_ROLE", "Connection", "act_as", "administrator", "connect", "enter"]

Connection = psycopg.Connection[tuple[object, ...]]


def administrator() -> Connection:
    """The superuser of the test server: arranges rows that no role of Parley may write, and mutates the schema."""
    return psycopg.connect(database_url("test_parley"))


def connect(role: str) -> Connection:
    """A connection that logged in as `role`; a transaction is one only where the test says so."""
    return psycopg.connect(make_conninfo("", **as_role(parse(database_url("test_parley")), role)), autocommit=True)


def enter(connection: Connection, tenant_id: uuid.UUID | None, person_id: uuid.UUID | None = None) -> None:
    """Write a scope into the transaction; None leaves the setting alone."""
    for name, value in (("app.tenant_id", tenant_id), ("app.person_id", person_id)):
        if value is not None:
            connection.execute("SELECT set_config(%s, %s, true)", (name, str(value)))


@contextmanager
def act_as(connection: Connection, role: str, tenant_id: uuid.UUID | None = None) -> Iterator[None]:
    """Run the block as `role`, in a tenant if one is given, inside the administrator's transaction; undo what it did."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL ROLE {role}")
        enter(connection, tenant_id)
        yield
