"""The ledger's own connection: what it sends arrives whole, and it outlives what it runs on."""

import asyncio

import psycopg
import pytest

from kernel import adb
from tests.isolation.roles import administrator

_PID = b"SELECT pg_backend_pid()"


async def _pid() -> int:
    ((pid,),) = await adb.line("test").run(_PID, ())
    return int(pid or 0)


async def test_rows_come_as_postgresql_writes_them() -> None:
    rows = await adb.line("test").run(b"SELECT n, NULL, n > 1 FROM generate_series(1, $1::int) n", (b"2",))

    assert rows == [(b"1", None, b"f"), (b"2", None, b"t")]


async def test_it_keeps_its_connection() -> None:
    assert await _pid() == await _pid()


async def test_what_is_larger_than_any_buffer_arrives_whole() -> None:
    ((length,),) = await adb.line("test").run(b"SELECT length($1)", (b"x" * 20_000_000,))

    assert length == b"20000000"


async def test_a_statement_that_fails_says_so_and_leaves_the_line_usable() -> None:
    before = await _pid()

    with pytest.raises(psycopg.errors.DivisionByZero):
        await adb.line("test").run(b"SELECT 1 / $1::int", (b"0",))

    assert await _pid() == before


async def test_a_lost_connection_is_opened_anew() -> None:
    before = await _pid()
    with administrator() as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))

    assert await _pid() != before


async def test_who_leaves_in_mid_statement_leaves_no_answer_to_the_next() -> None:
    before = await _pid()
    asking = asyncio.create_task(adb.line("test").run(b"SELECT 'late', pg_sleep(30)", ()))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert await _pid() not in (0, before)


async def test_statements_at_once_take_turns() -> None:
    lines = await asyncio.gather(*(adb.line("test").run(b"SELECT $1", (b"%d" % number,)) for number in range(50)))

    assert [rows[0][0] for rows in lines] == [b"%d" % number for number in range(50)]


async def test_behind_a_pooler_that_forgets_what_was_prepared_it_prepares_no_more() -> None:
    line = adb.line("test")
    await _pid()
    for _ in range(2):
        # As if the server's connection were another now. This statement has no rows, which it takes for an error.
        with pytest.raises(psycopg.Error):
            await line.run(b"DEALLOCATE ALL", ())
        assert await _pid() > 0


async def test_what_a_statement_calls_may_change() -> None:
    with administrator() as connection:
        connection.autocommit = True
        connection.execute("CREATE FUNCTION public.line_test() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        try:
            assert await adb.line("test").run(b"SELECT public.line_test()", ()) == [(b"1",)]
            connection.execute("DROP FUNCTION public.line_test()")
            connection.execute("CREATE FUNCTION public.line_test() RETURNS text LANGUAGE sql AS $$SELECT 'one'$$")
            assert await adb.line("test").run(b"SELECT public.line_test()", ()) == [(b"one",)]
        finally:
            connection.execute("DROP FUNCTION IF EXISTS public.line_test()")
