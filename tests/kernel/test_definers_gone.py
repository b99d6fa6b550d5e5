"""Definer functions are replaced whatever arguments they were made with by a version that was out."""

from kernel.migrations import LOOKUP, Definer, DefinersGone
from tests.isolation.roles import Connection, administrator

_NAMES = ("gone_test", "gone_test_too", "gone_test_that_never_was")


def _there(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p"
        " WHERE p.pronamespace = 'lookup'::regnamespace AND p.proname LIKE 'gone_test%' ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def _do(connection: Connection, statements: object) -> None:
    assert isinstance(statements, list)
    for statement in statements:
        connection.execute(statement)


def test_whatever_their_arguments_and_back_again() -> None:
    ours = Definer("gone_test", "a uuid", "integer", "SELECT 1", caller=LOOKUP)
    others = [
        Definer("gone_test", "a uuid, b text", "integer", "SELECT 2", caller=LOOKUP),
        Definer("gone_test_too", "OUT a integer", "integer", "SELECT 3", caller=LOOKUP),
    ]
    gone = DefinersGone([ours], _NAMES)
    with administrator() as connection:
        connection.execute("SET LOCAL ROLE parley_owner")
        for other in others:
            _do(connection, other.sql)
        assert len(_there(connection)) == 2
        _do(connection, gone.sql)
        assert _there(connection) == []
        _do(connection, gone.reverse_sql)
        assert _there(connection) == ["lookup.gone_test(uuid)"]
        connection.rollback()
