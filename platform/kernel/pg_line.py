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

_NOT_PREPARED = (pg_errors.InvalidSqlStatementName, pg_errors.DuplicatePreparedStatement)
"""What was prepared isn't there, or another's is: a pooler between gives each transaction another of its connections, and
doesn't see to it."""

Row = tuple[bytes | None, ...]


class PgLine:
    """Runs statements one after the other on a connection of its own, made by `connect`. Belongs to one event loop."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._wire: _Wire | None = None
        self._prepares = True
        self._taken = asyncio.Lock()

    async def run(self, query: bytes, parameters: Sequence[bytes | None]) -> list[Row]:
        """Run one statement with its `$1`, `$2` …, in a transaction that is itself. Its rows, as PostgreSQL writes them.

        There are few different ones: each is prepared at its first use on a connection. It must be safe to repeat: when the
        connection turns out to be lost, or what was prepared not to be there, it is run once more on a new one. Raises
        psycopg's errors, and `Unavailable` when there is no connection or no answer within `PATIENCE_S`.
        """
        async with self._taken:
            if self._wire is not None:
                try:
                    return await self._asked(self._wire, query, parameters)
                except (OperationalError, pg_errors.FeatureNotSupported):
                    # Lost, or about to be: the server ends it; or what was prepared has changed. Once more, on a new one.
                    await self.close()
                except _NOT_PREPARED:
                    self._prepares = False
                    await self.close()
            return await self._asked(await self._opened(), query, parameters)

    async def close(self) -> None:
        """End the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    async def _opened(self) -> "_Wire":
        try:
            self._wire = _Wire(await self._connect(), prepares=self._prepares)
        except OperationalError as error:
            raise Unavailable("The database can't be reached.") from error
        return self._wire

    async def _asked(self, wire: "_Wire", query: bytes, parameters: Sequence[bytes | None]) -> list[Row]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                result = await wire.ask(query, parameters)
        except TimeoutError as error:
            await self.close()
            raise Unavailable("The database does not answer.") from error
        except BaseException:
            # The connection is gone, or it was left in mid-exchange: an answer that still came would be taken for another's.
            await self.close()
            raise
        return _rows(result, wire.encoding)


class _Wire:
    """An open connection, and the statement that is under way on it, if one is."""

    def __init__(self, connection: AsyncConnection[Any], *, prepares: bool) -> None:
        self._connection = connection
        self._prepares = prepares
        self._pgconn: PGconn = connection.pgconn
        self._socket = self._pgconn.socket
        self._loop = asyncio.get_running_loop()
        self.encoding: str = connection.info.encoding
        """Python's name of what the server writes its messages in."""
        self._done: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self._prepared: dict[bytes, bytes] = {}
        self._loop.add_reader(self._socket, self._on_readable)

    async def ask(self, query: bytes, parameters: Sequence[bytes | None]) -> PGresult:
        """Send a statement, and wait for its result. Raises `OperationalError` when the connection is lost."""
        if not self._prepares:
            return await self._sent(lambda: self._pgconn.send_query_params(query, parameters))
        name = self._prepared.get(query)
        if name is None:
            name = b"parley_%d" % len(self._prepared)
            prepared = await self._sent(lambda: self._pgconn.send_prepare(name, query))
            if prepared.status != ExecStatus.COMMAND_OK:
                return prepared
            self._prepared[query] = name
        return await self._sent(lambda: self._pgconn.send_query_prepared(name, parameters))

    async def _sent(self, send: Callable[[], None]) -> PGresult:
        done = self._done = self._loop.create_future()
        self._result = None
        send()
        if self._pgconn.flush():
            self._loop.add_writer(self._socket, self._on_writable)
        result: PGresult = await done
        return result

    async def close(self) -> None:
        """End it, whatever it was doing."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._pgconn.finish()
        await self._connection.close()

    def _on_writable(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except OperationalError as error:
            self._lost(error)

    def _on_readable(self) -> None:
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    self._finish()
                    return
                self._result = result
        except OperationalError as error:
            self._lost(error)

    def _finish(self) -> None:
        done, result = self._done, self._result
        if done is not None and result is not None and not done.done():
            done.set_result(result)

    def _lost(self, error: OperationalError) -> None:
        """Also while nothing is asked: then the next statement finds it out."""
        self._loop.remove_reader(self._socket)
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _rows(result: PGresult, encoding: str) -> list[Row]:
    if result.status != ExecStatus.TUPLES_OK:
        raise pg_errors.error_from_result(result, encoding=encoding)
    columns = range(result.nfields)
    return [tuple([result.get_value(row, column) for column in columns]) for row in range(result.ntuples)]
