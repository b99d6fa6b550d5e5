"""Every tenant table, tried with every verb, in no tenant, in the wrong one and in the right one.

All of it as `parley_app`, over a plain connection. A verb that the role was not granted must be refused in every tenant.
"""

from typing import Any

import pytest

from tests.isolation import probes
from tests.isolation.conftest import World
from tests.isolation.models import TENANT_TABLES
from tests.isolation.probes import DENIED, FOREIGN_KEY, NO_TENANT, outcome, undone
from tests.isolation.roles import Connection, enter
from tests.isolation.rows import ForeignKey, Row, insert, pointing
from tests.isolation.rules import rules

tables = pytest.mark.parametrize("table", TENANT_TABLES)


def test_every_tenant_table_is_fuzzed(world: World) -> None:
    assert world.tables == TENANT_TABLES


def in_no_tenant(app: Connection, statement: Any, *arguments: Any) -> None:
    """Neither before any tenant was set on this connection's transactions, nor after."""
    with undone(app):
        assert outcome(app, statement, *arguments) in NO_TENANT


@tables
def test_select(world: World, app: Connection, table: str) -> None:
    key = world.key(table)
    in_no_tenant(app, probes.select, table, world.our(table))
    in_no_tenant(app, probes.select_others, table, key, world.theirs)
    with undone(app, world.theirs):
        assert outcome(app, probes.select, table, world.our(table)) == 0
        assert outcome(app, probes.select_others, table, key, world.theirs) == 0
    with undone(app, world.ours):
        assert outcome(app, probes.select, table, world.our(table)) == 1


@tables
def test_insert(world: World, app: Connection, table: str) -> None:
    row = world.fresh(table, world.ours)
    if not probes.may(app, table, "INSERT"):
        with undone(app, world.ours):
            assert outcome(app, insert, table, row) == DENIED
        return
    in_no_tenant(app, insert, table, row)
    with undone(app, world.theirs):
        assert outcome(app, insert, table, row) == "RLS"
    with undone(app, world.ours):
        assert outcome(app, insert, table, row) == 1
        assert outcome(app, probes.select, table, row) == 1


@tables
def test_update(world: World, app: Connection, table: str) -> None:
    row = world.our(table)
    column = probes.changeable(app, table, row)
    if column is None:
        with undone(app, world.ours):
            assert outcome(app, probes.update, table, row, next(iter(row)), row[next(iter(row))]) == DENIED
        return
    in_no_tenant(app, probes.update, table, row, column, row[column])
    with undone(app, world.theirs):
        assert outcome(app, probes.update, table, row, column, row[column]) == 0
    with undone(app, world.ours):
        assert outcome(app, probes.update, table, row, column, row[column]) == 1


@tables
def test_no_row_is_given_to_another_tenant(world: World, app: Connection, table: str) -> None:
    key, row = world.key(table), world.our(table)
    expected = "RLS" if probes.may(app, table, "UPDATE", key) else DENIED
    with undone(app, world.ours):
        assert outcome(app, probes.update, table, row, key, world.theirs) == expected


@tables
def test_delete(world: World, app: Connection, table: str) -> None:
    row = world.our(table)
    if not probes.may(app, table, "DELETE"):
        with undone(app, world.ours):
            assert outcome(app, probes.delete, table, row) == DENIED
        return
    in_no_tenant(app, probes.delete, table, row)
    with undone(app, world.theirs):
        assert outcome(app, probes.delete, table, row) == 0
    fresh = world.fresh(table, world.ours)
    with undone(app, world.ours):
        assert insert(app, table, fresh) == 1
        assert outcome(app, probes.delete, table, fresh) == 1


@tables
def test_upsert(world: World, app: Connection, table: str) -> None:
    """Theirs, under the id of ours: it may neither change our row nor tell what is in it."""
    column = probes.changeable(app, table, world.our(table))
    ours = world.our(table)
    attack = world.fresh(table, world.theirs) | {name: ours[name] for name in _id_columns(world, app, table)}
    if column is None or not probes.may(app, table, "INSERT"):
        with undone(app, world.ours):
            assert outcome(app, probes.upsert, table, ours, column or next(iter(ours))) == DENIED
        return
    in_no_tenant(app, probes.upsert, table, ours, column)
    with undone(app, world.theirs):
        assert outcome(app, probes.upsert, table, ours, column) == "RLS"
        assert outcome(app, probes.upsert, table, attack, column) == "RLS"
    with undone(app, world.ours):
        assert outcome(app, probes.upsert, table, ours, column) == 1


def _id_columns(world: World, app: Connection, table: str) -> list[str]:
    return [name for name in probes.primary_key(app, table) if name != world.key(table)]


@tables
def test_foreign_keys(world: World, app: Connection, table: str) -> None:
    for key in world.factory.foreign_keys(table):
        if key.target not in world.factory.tenant_keys or key.target == "tenants_tenant":
            continue
        # Whoever writes: what the web role may not insert is tried as the administrator, whom no policy binds.
        writer = app if probes.may(app, table, "INSERT") else world.admin
        with undone(writer, world.ours):
            assert outcome(writer, insert, table, _pointing(world, table, key, world.their(key.target))) == FOREIGN_KEY
        with undone(writer, world.ours):
            assert outcome(writer, insert, table, _pointing(world, table, key, world.our(key.target))) == 1
        if writer is app:
            row = _pointing(world, table, key, world.our(key.target))
            in_no_tenant(app, insert, table, row)


def _pointing(world: World, table: str, key: ForeignKey, target: Row) -> Row:
    """A row of ours that points to `target`."""
    row = world.fresh(table, world.ours) | dict(pointing().get(key.name, {}))
    for column, aimed in zip(key.columns, key.targets, strict=True):
        if column != world.key(table):
            row[column] = target[aimed]
    return row


@tables
def test_a_tenant_ends_with_its_transaction(world: World, app: Connection, table: str) -> None:
    with undone(app, world.ours):
        assert probes.select(app, table, world.our(table)) == 1
    in_no_tenant(app, probes.select, table, world.our(table))
    with app.transaction():
        enter(app, world.ours)
    in_no_tenant(app, probes.select, table, world.our(table))


def test_what_is_global_is_denied_but_for_what_is_listed(world: World, app: Connection) -> None:
    verbs = {"INSERT": insert, "DELETE": probes.delete}
    for table, listed in rules().global_tables.items():
        row = world.factory.values(table, world.ours)
        with undone(app, world.ours):
            for verb, statement in verbs.items():
                expected = {DENIED} if verb not in listed.app else {0, 1, "RLS"}
                assert outcome(app, statement, table, row) in expected, (table, verb)
            if "SELECT" not in listed.app:
                assert outcome(app, probes.select, table, row) == DENIED, table
            for column in row:
                if not {"UPDATE", f"UPDATE({column})"} & listed.app:
                    assert outcome(app, probes.update, table, row, column, row[column]) == DENIED, (table, column)
            assert outcome(app, _truncate, table) == DENIED


def _truncate(connection: Connection, table: str) -> int:
    return connection.execute(f'TRUNCATE "{table}"'.encode()).rowcount
