"""PostgreSQL for asyncio code, under the same rule as the Django backend: the tenant is set per transaction.

Django's own async ORM runs each query in one shared thread; this is a psycopg pool on the event loop. There is one pool
per process and event loop, opened at first use (daphne has no lifespan to open it in) and bounded in size and waiting.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from django.conf import settings
from django.db import connections
from psycopg import AsyncClientCursor, AsyncConnection, Error, OperationalError
from psycopg.errors import InFailedSqlTransaction, ReadOnlySqlTransaction
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from kernel import kept
from kernel.errors import Unavailable
from kernel.per_loop import PerLoop
from kernel.pg_line import PgLine
from kernel.tenancy import NoTenant, Scope, current_scope, settings_sql

Connection = AsyncConnection[DictRow]
Parameters = Sequence[Any] | Mapping[str, Any]

PASSING = (OperationalError, ReadOnlySqlTransaction)
"""What passes by itself: the database is away, busy or too slow; or it takes no writes, as a standby before it takes over, or a
server whose disk is full."""
CONNECTION_ATTEMPTS = 20
"""How many connections of a pool may turn out to be dead before that is an error: more than a pool holds."""


class _LoopEnds(BaseException):
    """The event loop ends while a connection is being made."""


class _Pool(AsyncConnectionPool[Connection]):
    """psycopg's pool takes a cancelled attempt to connect for a failed one, and its worker goes on: a loop that ends just then
    would wait for it for ever."""

    async def _connect(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - the pool's own signature
        try:
            return await super()._connect(timeout)
        except asyncio.CancelledError as error:
            raise _LoopEnds from error


class _Pools:
    """One event loop's pools, by database alias."""

    def __init__(self) -> None:
        self.opened: dict[str, AsyncConnectionPool[Connection]] = {}
        self.lines: dict[tuple[str, str], PgLine] = {}
        self.opening = asyncio.Lock()


_pools = PerLoop(_Pools)


@asynccontextmanager
async def transaction(
    tenant_id: uuid.UUID | None = None, *, person_id: uuid.UUID | None = None, alias: str = "default"
) -> AsyncIterator[Connection]:
    """A transaction as a tenant; without `tenant_id`, as the scope in force. Rows come as dicts.

    Commits when the block ends, rolls back when it raises. Raises `NoTenant` when there is no tenant at all, and
    `Unavailable` when no connection comes free within the pool's waiting time.
    """
    scope = Scope(tenant_id=tenant_id, person_id=person_id) if tenant_id else current_scope()
    if scope.tenant_id is None:
        raise NoTenant("no tenant is in scope")
    async with _begun(scope, alias) as connection:
        yield connection


async def read(
    statement: str,
    parameters: Parameters,
    *,
    before: str = "",
    tenant_id: uuid.UUID | None = None,
    alias: str = "default",
) -> list[DictRow]:
    """All rows of one statement that only reads, as a tenant, in a transaction of its own: one round trip in all, where
    `transaction` takes three. `before` is a statement that sets something for it.

    Raises as `transaction` does, and `psycopg.errors.ReadOnlySqlTransaction` for a statement that writes.
    """
    scope = Scope(tenant_id=tenant_id) if tenant_id else current_scope()
    if scope.tenant_id is None:
        raise NoTenant("no tenant is in scope")
    pool = await _pool(alias)
    opening = ["BEGIN READ ONLY", settings_sql(scope), *([before] if before else [])]
    whole = "; ".join([*opening, statement, "COMMIT"]).encode()
    try:
        for attempt in range(1, CONNECTION_ATTEMPTS + 1):
            connection = await _checked_out(pool)
            try:
                # Parameters are written into the text: all go out as one message.
                cursor = AsyncClientCursor(connection, row_factory=dict_row)
                await cursor.execute(whole, parameters)
                for _ in opening:
                    cursor.nextset()
                return await cursor.fetchall()
            except OperationalError:
                if not connection.broken or attempt == CONNECTION_ATTEMPTS:
                    raise
            finally:
                await _put_back(pool, connection)
    except OperationalError as error:
        raise Unavailable("The database can't be reached.") from error
    raise AssertionError("unreachable")


@asynccontextmanager
async def tenantless(*, alias: str = "default") -> AsyncIterator[Connection]:
    """A transaction as nobody: for the definer functions in schema `lookup`, and for the platform's named jobs."""
    async with _begun(Scope(), alias) as connection:
        yield connection


def line(name: str, *, alias: str = "default") -> PgLine:
    """One of this event loop's connections for one statement at a time, as nobody: for functions that take care of the
    tenant themselves, and run very often. Lines of different names run side by side."""
    lines = _pools().lines
    found = lines.get((alias, name))
    if found is None:
        found = lines[alias, name] = PgLine(lambda: AsyncConnection.connect(**_connect_kwargs(alias)))
    return found


async def _checked_out(pool: "AsyncConnectionPool[Connection]") -> Connection:
    try:
        return await pool.getconn()
    except (PoolTimeout, OperationalError) as error:
        raise Unavailable("The database has no connection free.") from error


async def _begin(pool: "AsyncConnectionPool[Connection]", opening: bytes) -> Connection:
    """A connection in a new transaction. One that died in the pool is found out here, where nothing is lost yet."""
    for attempt in range(1, CONNECTION_ATTEMPTS + 1):
        connection = await _checked_out(pool)
        try:
            await connection.execute(opening)
        except BaseException as error:
            broken = connection.broken
            if not broken:
                await connection.close()
            await pool.putconn(connection)
            if isinstance(error, OperationalError) and broken and attempt < CONNECTION_ATTEMPTS:
                continue
            raise
        return connection
    raise AssertionError("unreachable")


async def _put_back(pool: "AsyncConnectionPool[Connection]", connection: Connection) -> None:
    """Give a connection back that is in no transaction: one whose statement failed or was given up is left to nobody."""
    try:
        if not connection.broken and connection.info.transaction_status == TransactionStatus.INERROR:
            await connection.rollback()
        elif connection.info.transaction_status != TransactionStatus.IDLE:
            await connection.close()
    finally:
        await pool.putconn(connection)


@asynccontextmanager
async def _begun(scope: Scope, alias: str) -> AsyncIterator[Connection]:
    pool = await _pool(alias)
    try:
        connection = await _begin(pool, f"BEGIN; {settings_sql(scope)}".encode())
    except OperationalError as error:
        raise Unavailable("The database can't be reached.") from error
    try:
        yield connection
        if connection.info.transaction_status == TransactionStatus.INERROR:
            # A COMMIT would be taken for a ROLLBACK, without a word.
            raise InFailedSqlTransaction("a statement failed in this transaction, and its error was swallowed")
        await connection.commit()
    except BaseException:
        try:
            await connection.rollback()
        except Error:
            await connection.close()
        raise
    finally:
        await pool.putconn(connection)


async def _pool(alias: str) -> "AsyncConnectionPool[Connection]":
    pools = _pools()
    if (pool := pools.opened.get(alias)) is not None:
        return pool
    async with pools.opening:
        if (pool := pools.opened.get(alias)) is not None:
            return pool
        pool = _Pool(
            kwargs=_connect_kwargs(alias),
            connection_class=AsyncConnection[DictRow],
            min_size=1,
            max_size=settings.ADB_POOL_MAX_SIZE,
            timeout=settings.ADB_POOL_WAIT_S,
            max_waiting=settings.ADB_POOL_MAX_WAITING,
            max_idle=60,
            open=False,
            name=f"adb-{alias}",
        )
        await pool.open()
        pools.opened[alias] = pool
        return pool


def _connect_kwargs(alias: str) -> dict[str, Any]:
    # Read from the live connection's settings: in tests these name the test database.
    target = connections[alias].settings_dict
    kwargs: dict[str, Any] = {
        "dbname": target["NAME"],
        "user": target["USER"],
        "password": target["PASSWORD"],
        "host": target["HOST"],
        "port": target["PORT"],
        "connect_timeout": settings.DATABASE_CONNECT_TIMEOUT_S,
    }
    # What else the URL says, above all how the server has to prove itself (sslmode, sslrootcert), holds here too.
    kwargs = {name: value for name, value in kwargs.items() if value} | target["OPTIONS"]
    return kwargs | {"autocommit": True, "prepare_threshold": None, "row_factory": dict_row}


async def close() -> None:
    """Close this event loop's pools and lines."""
    await kept.close()
    pools = _pools.pop()
    if pools is None:
        return
    for each in pools.lines.values():
        await each.close()
    for pool in pools.opened.values():
        await pool.close()
