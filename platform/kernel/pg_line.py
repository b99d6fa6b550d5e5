"""One connection to PostgreSQL for one writer: a statement at a time, as text, without a pool or a cursor between.

For what runs thousands of times a second (the ledger's batches). It costs this process a tenth of what a pooled cursor
costs; `kernel.adb` is for everything else. The connection is opened at first use, and again after it was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from psycopg import AsyncConnection, OperationalError
from psycopg import errors as pg_errors
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from kernel.errors import Unavailable

PATIENCE_S = 30.0
"""How long one statement may take; then its connection is given up."""

Row = tuple[bytes | None, ...]


class PgLine:
    """Runs statements one after the other on a connection of its own, made by `connect`. Belongs to one event loop."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._connection: AsyncConnection[Any] | None = None
        self._taken = asyncio.Lock()

    async def run(self, query: bytes, parameters: Sequence[bytes]) -> list[Row]:
        """Run one statement with its `$1`, `$2` …, in a transaction that is itself. Its rows, as PostgreSQL writes them.

        It must be safe to repeat: when the connection turns out to be lost, it is run once more on a new one. Raises
        psycopg's errors, and `Unavailable` when there is no connection or no answer within `PATIENCE_S`.
        """
        async with self._taken:
            if self._connection is not None:
                try:
                    return await self._asked(self._connection, query, parameters)
                except OperationalError:
                    # Lost, or about to be: the server ends it. Once more, on a new one.
                    await self._lose()
            return await self._asked(await self._opened(), query, parameters)

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _opened(self) -> AsyncConnection[Any]:
        try:
            self._connection = await self._connect()
        except OperationalError as error:
            raise Unavailable("The database can't be reached.") from error
        return self._connection

    async def _asked(self, connection: AsyncConnection[Any], query: bytes, parameters: Sequence[bytes]) -> list[Row]:
        exchange = _Exchange(connection.pgconn)
        try:
            async with asyncio.timeout(PATIENCE_S):
                result = await exchange.run(query, parameters)
        except TimeoutError as error:
            await self._lose()
            raise Unavailable("The database does not answer.") from error
        except BaseException:
            # The connection is gone, or it was left in mid-exchange: an answer that still came would be taken for another's.
            await self._lose()
            raise
        return _rows(result, connection)

    async def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()
            await connection.close()


class _Exchange:
    """A statement on its way, and its result."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[PGresult] = self._loop.create_future()
        self._result: PGresult | None = None

    async def run(self, query: bytes, parameters: Sequence[bytes]) -> PGresult:
        self._pgconn.send_query_params(query, parameters)
        socket = self._pgconn.socket
        self._loop.add_reader(socket, self._on_readable)
        try:
            if self._pgconn.flush():
                self._loop.add_writer(socket, self._on_writable)
            return await self._done
        finally:
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)

    def _on_writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._pgconn.socket)
        except OperationalError as error:
            self._fail(error)

    def _on_readable(self) -> None:
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    if not self._done.done() and self._result is not None:
                        self._done.set_result(self._result)
                    return
                self._result = result
        except OperationalError as error:
            self._fail(error)

    def _fail(self, error: OperationalError) -> None:
        if not self._done.done():
            self._done.set_exception(error)


def _rows(result: PGresult, connection: AsyncConnection[Any]) -> list[Row]:
    if result.status != ExecStatus.TUPLES_OK:
        raise pg_errors.error_from_result(result, encoding=connection.info.encoding)
    columns = range(result.nfields)
    return [tuple([result.get_value(row, column) for column in columns]) for row in range(result.ntuples)]
