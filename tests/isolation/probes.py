"""Statements that try a table, and what came of them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Error, sql
from psycopg.types.json import Jsonb

from tests.isolation.roles import Connection, enter
from tests.isolation.rows import Row, insert

NO_TENANT = ("42704", "22P02")
"""The setting doesn't exist, or is empty and no UUID."""
DENIED = "42501"
FOREIGN_KEY = "23503"


@contextmanager
def undone(connection: Connection, tenant_id: uuid.UUID | None = None) -> Iterator[None]:
    """A transaction of a tenant that leaves nothing behind."""
    with connection.transaction(force_rollback=True):
        enter(connection, tenant_id)
        yield


def outcome(connection: Connection, statement: Any, *arguments: Any, **more: Any) -> int | str:
    """How many rows a statement touched, or the SQLSTATE with which PostgreSQL refused it (`RLS` for a row policy)."""
    try:
        with connection.transaction():
            touched: int = statement(connection, *arguments, **more)
            # What is checked when the transaction ends shall be checked now.
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            return touched
    except Error as error:
        message = error.diag.message_primary or ""
        return "RLS" if "row-level security" in message else error.sqlstate or "?"


def may(connection: Connection, table: str, privilege: str, column: str | None = None) -> bool:
    """Whether the connection's role was granted a privilege."""
    call = "has_table_privilege(%s, %s)" if column is None else "has_column_privilege(%s, %s, %s)"
    arguments = (table, privilege) if column is None else (table, column, privilege)
    row = connection.execute(f"SELECT {call}".encode(), arguments).fetchone()
    return bool(row and row[0])


def primary_key(connection: Connection, table: str) -> list[str]:
    """The columns of a table's primary key."""
    found = connection.execute(
        "SELECT a.attname FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey) "
        "WHERE x.indrelid = %s::regclass AND x.indisprimary ORDER BY a.attnum",
        (table,),
    )
    return [str(name) for (name,) in found]


def changeable(connection: Connection, table: str, row: Row) -> str | None:
    """A column that the connection's role may update."""
    return next((name for name in row if may(connection, table, "UPDATE", name)), None)


def select(connection: Connection, table: str, row: Row) -> int:
    """Count the row with the primary key of `row`."""
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table), _is(connection, table, row))
    answer = connection.execute(statement).fetchone()
    return int(str(answer[0])) if answer else 0


def select_others(connection: Connection, table: str, key: str, tenant_id: uuid.UUID) -> int:
    """Count the rows of every tenant but one."""
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {} <> {}").format(
        sql.Identifier(table), sql.Identifier(key), sql.Literal(tenant_id)
    )
    answer = connection.execute(statement).fetchone()
    return int(str(answer[0])) if answer else 0


def update(connection: Connection, table: str, row: Row, column: str, value: Any) -> int:
    """Set a column of the row with the primary key of `row`."""
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE {}").format(
        sql.Identifier(table), sql.Identifier(column), _is(connection, table, row)
    )
    return connection.execute(statement, [_adapted(value)]).rowcount


def delete(connection: Connection, table: str, row: Row) -> int:
    """Delete the row with the primary key of `row`."""
    statement = sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(table), _is(connection, table, row))
    return connection.execute(statement).rowcount


def upsert(connection: Connection, table: str, row: Row, column: str) -> int:
    """Insert the row, or, when its primary key is taken, write `column` over the row that is there."""
    key = ", ".join(f'"{name}"' for name in primary_key(connection, table))
    return insert(connection, table, row, suffix=f'ON CONFLICT ({key}) DO UPDATE SET "{column}" = excluded."{column}"')


def _is(connection: Connection, table: str, row: Row) -> sql.Composed:
    tests = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(row.get(name)))
        for name in primary_key(connection, table)
    ]
    return sql.SQL(" AND ").join(tests)


def _adapted(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value
