"""Long conversations are walked step by step: twice as many messages take twice as long, not four times."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from chat import selectors, tree
from chat.services.messages import send_message
from chat.store import Connection, every, transaction
from kernel.ids import uuid7s
from tests.support.cast import Company

LENGTH = 1_200


async def _rows_read(connection: Connection, statement: str, parameters: dict[str, Any]) -> float:
    """How many rows a statement takes in its hands, by PostgreSQL's own count."""
    [row] = await every(connection, f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    [plan] = next(iter(row.values()))
    return _counted(plan["Plan"])


def _counted(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
    own: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return own + sum(_counted(child) for child in node.get("Plans", ()))


@pytest.mark.parametrize(
    "statement", [tree._PATH, tree._LEAF_BELOW, selectors.SUMMARY_ON_PATH], ids=["path", "leaf", "summary"]
)
async def test_a_step_reads_one_message(
    company: Company, make_room: Callable[..., Any], database: str, statement: str
) -> None:
    room = await make_room()
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="first", generate=False)
    ids = [sent.message.id, *uuid7s(LENGTH, after=sent.message.id)]
    async with transaction(company.id) as connection:
        await connection.execute(
            "INSERT INTO chat_message (tenant_id, id, room_id, parent_id, author_kind, author_membership_id, text, parts, "
            "created_at, model) "
            "SELECT m.tenant_id, next.id, m.room_id, next.parent, m.author_kind, m.author_membership_id, 'more', m.parts, "
            "now(), '' "
            "FROM chat_message m, unnest(%s::uuid[], %s::uuid[]) next (id, parent) WHERE m.id = %s",
            (ids[1:], ids[:-1], ids[0]),
        )
        await connection.execute(
            "INSERT INTO chat_summary (tenant_id, id, room_id, until_id, text, covers, model, request_id) "
            "VALUES (%s, %s, %s, %s, 'In short.', 1, 'fake', %s)",
            (company.id, ids[0], room.id, ids[0], ids[0]),
        )
    with psycopg.connect(database, autocommit=True) as administrator:
        # Autovacuum would do it within a minute.
        administrator.execute("ANALYZE chat_message")
    parameters = {"room": room.id, "leaf": ids[-1], "limit": LENGTH + 1, "from": ids[0], "deep": LENGTH + 1}
    async with transaction(company.id) as connection:
        path = await tree.path_to(connection, room_id=room.id, leaf=ids[-1])
        assert path.ids == ids
        assert await tree.newest_leaf(connection, room_id=room.id, below=ids[0]) == ids[-1]
        kept = await selectors.summary_on_path(connection, room_id=room.id, leaf=ids[-1])
        assert kept is not None
        assert (kept.summary.until, kept.length) == (ids[0], len(ids))
        assert await _rows_read(connection, statement, parameters) < 30 * LENGTH
