"""What if a protection were missing? Each is taken away, in a transaction that is rolled back, and data must then leak: that
shows that the probes see, and that the protection is what stops it. Without the mutation the same probes find nothing.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kernel.ids import uuid7
from tests.isolation import probes
from tests.isolation.conftest import World
from tests.isolation.models import TENANT_TABLES
from tests.isolation.probes import outcome
from tests.isolation.roles import APP_ROLE, OWNER_ROLE, Connection, act_as
from tests.isolation.rows import ForeignKey, insert, pointing

TEST = "{key} = (SELECT current_setting('app.tenant_id')::uuid)"
POLICY = "ALTER POLICY tenant_isolation ON {table}"

MUTANTS = {
    "row-level security disabled": ["ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"],
    "security not forced": ["ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"],
    "USING (true)": [POLICY + " USING (true)"],
    "WITH CHECK (true)": [POLICY + " WITH CHECK (true)"],
}
CAUGHT_BY = {
    "row-level security disabled": {"read", "insert", "change", "delete", "move", "owner"},
    "security not forced": {"owner"},
    "USING (true)": {"read", "delete"},
    "WITH CHECK (true)": {"insert", "move"},
}
tables = pytest.mark.parametrize("table", TENANT_TABLES)


def hold(connection: Connection, *names: str) -> None:
    """Lock tables to the end of the transaction, before anything is done to them. An `ANALYZE` of PostgreSQL's own holds its
    table and waits for who has granted something on it; if they then want to alter the table, both wait for ever."""
    connection.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE".encode())


@contextmanager
def mutated(world: World, table: str, statements: list[str]) -> Iterator[None]:
    """The table without a protection. Verbs are granted and triggers off, so that row-level security alone decides."""
    with world.admin.transaction(force_rollback=True):
        hold(world.admin, table)
        world.admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP_ROLE}".encode())
        world.admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for statement in statements:
            world.admin.execute(statement.format(table=table, key=world.key(table)).encode())
        yield


def leaks(world: World, table: str) -> set[str]:
    """By which ways data passes between tenants, tried with rows."""
    found, connection, key = set(), world.admin, world.key(table)
    ours = world.our(table)
    fresh = world.factory.values(table, world.ours)
    if table == "tenants_tenant":
        fresh["id"] = uuid7()
    with act_as(connection, APP_ROLE, world.theirs):
        if outcome(connection, probes.select, table, ours) == 1:
            found.add("read")
        if outcome(connection, insert, table, fresh) == 1:
            found.add("insert")
        if outcome(connection, probes.update, table, ours, _plain(world, table), ours[_plain(world, table)]) == 1:
            found.add("change")
        if _reached(outcome(connection, probes.delete, table, ours)):
            found.add("delete")
        if _reached(outcome(connection, _give_away, table, key, world.ours)):
            found.add("move")
    with act_as(connection, OWNER_ROLE):
        if outcome(connection, probes.update, table, ours, _plain(world, table), ours[_plain(world, table)]) == 1:
            found.add("owner")
    return found


def _reached(came_of_it: int | str) -> bool:
    """Rows were touched; that others point to one, or its key is taken, is another protection's word."""
    return came_of_it in (probes.FOREIGN_KEY, "23505") or (isinstance(came_of_it, int) and came_of_it > 0)


def _give_away(connection: Connection, table: str, key: str, tenant_id: uuid.UUID) -> int:
    # No column is read: what a statement reads, it must also be allowed to see afterwards.
    return connection.execute(f'UPDATE "{table}" SET "{key}" = %s'.encode(), (tenant_id,)).rowcount


def _plain(world: World, table: str) -> str:
    """A column that is neither the tenant nor in the primary key."""
    taken = {world.key(table), *probes.primary_key(world.admin, table)}
    return next(name for name in world.our(table) if name not in taken)


@tables
def test_nothing_leaks_as_things_are(world: World, table: str) -> None:
    with mutated(world, table, []):
        assert leaks(world, table) == set()
        # The same probes, rightly used, do find rows.
        with act_as(world.admin, APP_ROLE, world.ours):
            row = world.our(table)
            assert outcome(world.admin, probes.select, table, row) == 1
            assert outcome(world.admin, probes.update, table, row, _plain(world, table), row[_plain(world, table)]) == 1


@tables
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_missing_protection_leaks_data(world: World, table: str, mutant: str) -> None:
    with mutated(world, table, MUTANTS[mutant]):
        found = leaks(world, table)
    assert found == CAUGHT_BY[mutant]


@tables
def test_a_foreign_key_without_the_tenant_reaches_another_tenants_row(world: World, table: str) -> None:
    for key in world.factory.foreign_keys(table):
        if key.target not in world.factory.tenant_keys or key.target == "tenants_tenant":
            continue
        with world.admin.transaction(force_rollback=True):
            hold(world.admin, table, key.target)
            assert not reaches(world, table, key), key.name
            pairs = [
                (column, aimed) for column, aimed in zip(key.columns, key.targets, strict=True) if aimed != "tenant_id"
            ]
            single = ", ".join(column for column, _ in pairs)
            aimed = ", ".join(aimed for _, aimed in pairs)
            for statement in (
                # Rows just made are checked now: a table with checks still to do can't be altered.
                "SET CONSTRAINTS ALL IMMEDIATE",
                f"GRANT INSERT ON {table} TO {APP_ROLE}",
                f"ALTER TABLE {table} DROP CONSTRAINT {key.name}",
                f"CREATE UNIQUE INDEX single_key ON {key.target} ({aimed})",
                # Other tests may have left rows that point nowhere: what counts is what is written from now on.
                f"ALTER TABLE {table} ADD FOREIGN KEY ({single}) REFERENCES {key.target} ({aimed}) NOT VALID",
            ):
                world.admin.execute(statement.encode())
            assert reaches(world, table, key), key.name


def reaches(world: World, table: str, key: ForeignKey) -> bool:
    """Whether a row of ours can point to a row of theirs."""
    row = world.factory.values(table, world.ours) | dict(pointing().get(key.name, {}))
    target = world.their(key.target)
    row |= {c: target[t] for c, t in zip(key.columns, key.targets, strict=True) if c != world.key(table)}
    with act_as(world.admin, APP_ROLE, world.ours):
        return outcome(world.admin, insert, table, row) == 1


@tables
@pytest.mark.parametrize("invoker", [True, False])
def test_a_view_without_security_invoker_leaks(world: World, table: str, invoker: bool) -> None:
    """As made by an administrator: what the owner's view shows is what the owner sees, nothing."""
    option = "WITH (security_invoker = true)" if invoker else ""
    with world.admin.transaction(force_rollback=True):
        world.admin.execute(f"CREATE VIEW seen_through {option} AS SELECT * FROM {table}".encode())
        world.admin.execute(f"GRANT SELECT ON seen_through TO {APP_ROLE}".encode())
        key, ours = world.key(table), world.our(table)
        with act_as(world.admin, APP_ROLE, world.theirs):
            theirs_sees = outcome(world.admin, probes.select_others, "seen_through", key, world.theirs)
        with act_as(world.admin, APP_ROLE, world.ours):
            ours_sees = outcome(world.admin, probes.select_others, "seen_through", key, world.theirs)
    assert ours_sees >= 1, ours
    assert theirs_sees == 0 if invoker else theirs_sees >= 1  # type: ignore[operator]
