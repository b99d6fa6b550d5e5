"""Transactions of rooms: `kernel.adb`, with the database's passing troubles said as what they mean to callers."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg import OperationalError
from psycopg.rows import DictRow

from kernel import adb
from kernel.adb import Connection
from kernel.errors import Unavailable

__all__ = ["Connection", "every", "first", "transaction"]

Parameters = Sequence[Any] | Mapping[str, Any]


@asynccontextmanager
async def transaction(tenant_id: uuid.UUID, *, person_id: uuid.UUID | None = None) -> AsyncIterator[Connection]:
    """A transaction as a tenant (and a person of it). Raises `Unavailable` when the database is away, busy or too slow."""
    try:
        async with adb.transaction(tenant_id, person_id=person_id) as connection:
            yield connection
    except OperationalError as error:
        raise Unavailable("The database can't do this at the moment.") from error


async def first(connection: Connection, sql: str, parameters: Parameters) -> DictRow | None:
    """The first row, or None."""
    cursor = await connection.execute(sql.encode(), parameters)
    return await cursor.fetchone()


async def every(connection: Connection, sql: str, parameters: Parameters) -> list[DictRow]:
    """All rows."""
    cursor = await connection.execute(sql.encode(), parameters)
    return await cursor.fetchall()
