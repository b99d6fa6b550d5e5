"""Transactions of rooms: `kernel.adb`, with the database's passing troubles said as what they mean to callers."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg.rows import DictRow

from kernel import adb
from kernel.adb import PASSING, Connection, Parameters
from kernel.errors import Unavailable

__all__ = ["Connection", "every", "first", "read", "transaction"]


@asynccontextmanager
async def transaction(tenant_id: uuid.UUID, *, person_id: uuid.UUID | None = None) -> AsyncIterator[Connection]:
    """A transaction as a tenant (and a person of it). Raises `Unavailable` when the database is away, busy or too slow, or
    takes no writes."""
    try:
        async with adb.transaction(tenant_id, person_id=person_id) as connection:
            yield connection
    except PASSING as error:
        raise Unavailable("The database can't do this at the moment.") from error


async def read(tenant_id: uuid.UUID, sql: str, parameters: Parameters) -> list[DictRow]:
    """All rows of one statement that only reads, in a transaction of its own. Raises `Unavailable` as `transaction` does."""
    return await adb.read(sql, parameters, tenant_id=tenant_id)


async def first(connection: Connection, sql: str, parameters: Parameters) -> DictRow | None:
    """The first row, or None."""
    cursor = await connection.execute(sql.encode(), parameters)
    return await cursor.fetchone()


async def every(connection: Connection, sql: str, parameters: Parameters) -> list[DictRow]:
    """All rows."""
    cursor = await connection.execute(sql.encode(), parameters)
    return await cursor.fetchall()
