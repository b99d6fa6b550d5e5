"""The tenant of every statement is the one in scope, through Django and through `kernel.adb`, however code is nested."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.db.utils import DataError, ProgrammingError

from kernel import adb
from kernel.errors import Unavailable
from kernel.tenancy import NoTenant, Scope, current_scope, current_tenant_id, person_scope, tenant_scope
from tenants.models import AuditEvent, Person, Tenant
from tenants.services.audit import record
from tests.isolation.conftest import World
from tests.support.cast import Company

NO_TENANT = (DataError, ProgrammingError)


def seen() -> set[uuid.UUID]:
    """Whose audit can be read now."""
    return set(AuditEvent.objects.values_list("tenant_id", flat=True))


class Boom(Exception):
    pass


def test_outside_a_scope_every_query_raises(acme: Company) -> None:
    with pytest.raises(NO_TENANT):
        seen()
    with pytest.raises(NO_TENANT), transaction.atomic():
        seen()
    with pytest.raises(NoTenant):
        current_tenant_id()


def test_a_scope_without_a_transaction_raises(acme: Company) -> None:
    """The settings are a transaction's; nothing reaches a session."""
    with tenant_scope(acme.id), pytest.raises(NO_TENANT):
        seen()


def test_a_connection_keeps_nothing_of_a_tenant(acme: Company) -> None:
    with tenant_scope(acme.id), transaction.atomic():
        assert seen() == {acme.id}
    with pytest.raises(NO_TENANT), transaction.atomic():
        seen()
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.tenant_id', true)")
        assert cursor.fetchone() in {("",), (None,)}


def test_nested_scopes_take_turns_in_one_transaction(acme: Company, evil: Company) -> None:
    with tenant_scope(acme.id), transaction.atomic():
        assert seen() == {acme.id}
        with tenant_scope(evil.id):
            assert seen() == {evil.id}
            with transaction.atomic():
                assert seen() == {evil.id}
        assert seen() == {acme.id}
        with person_scope(acme.alice.person_id):
            assert Person.objects.get(id=acme.alice.person_id).name
            with pytest.raises(NO_TENANT), transaction.atomic():
                seen()
        assert seen() == {acme.id}


def test_a_savepoint_rolled_back_restores_the_scope(acme: Company, evil: Company) -> None:
    with tenant_scope(acme.id), transaction.atomic():
        with pytest.raises(Boom), tenant_scope(evil.id), transaction.atomic():
            assert seen() == {evil.id}
            raise Boom
        assert seen() == {acme.id}
        with tenant_scope(evil.id):
            with pytest.raises(Boom), transaction.atomic():
                assert seen() == {evil.id}
                raise Boom
            assert seen() == {evil.id}
        assert seen() == {acme.id}


def test_a_savepoint_begun_outside_and_rolled_back_inside_a_scope(acme: Company, evil: Company) -> None:
    """PostgreSQL undoes a setting with the savepoint; the backend must not believe that it is still there."""
    with tenant_scope(acme.id), transaction.atomic():
        sid = transaction.savepoint()
        with tenant_scope(evil.id):
            assert seen() == {evil.id}
            transaction.savepoint_rollback(sid)
            assert seen() == {evil.id}
        assert seen() == {acme.id}


def test_a_database_error_leaves_the_outer_tenant_in_force(acme: Company, evil: Company) -> None:
    with tenant_scope(acme.id), transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(), tenant_scope(evil.id):
            record(action="a" * 65, subject_kind="tenant", subject_id=None)
        assert seen() == {acme.id}
    with tenant_scope(evil.id), transaction.atomic():
        assert not AuditEvent.objects.filter(action__startswith="aaaa").exists()


def test_a_row_for_another_tenant_is_refused(acme: Company, evil: Company) -> None:
    with tenant_scope(evil.id), pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        AuditEvent.objects.create(tenant_id=acme.id, actor_kind="member", action="forged", subject_kind="tenant")


def test_a_raised_error_leaves_no_scope_behind(acme: Company) -> None:
    with pytest.raises(Boom), tenant_scope(acme.id), transaction.atomic():
        raise Boom
    assert current_scope() == Scope()
    with pytest.raises(NO_TENANT), transaction.atomic():
        seen()


def test_durable_blocks_and_on_commit_keep_their_tenant(acme: Company) -> None:
    told: list[uuid.UUID] = []
    with tenant_scope(acme.id), transaction.atomic(durable=True):
        transaction.on_commit(lambda: told.append(current_tenant_id()))
        assert seen() == {acme.id}
    assert told == [acme.id]


def test_threads_see_their_own_tenants(world: World) -> None:
    """A thread has its own connection and starts in no scope; many of them, with the same pool of two tenants."""
    barrier = threading.Barrier(4, timeout=10)

    def look(number: int) -> bool:
        assert current_scope() == Scope()
        mine = (world.ours, world.theirs)[number % 2]
        try:
            barrier.wait()
            for _ in range(10):
                with tenant_scope(mine), transaction.atomic():
                    if seen() != {mine}:
                        return False
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(look, range(4)))


async def seen_by_adb(tenant_id: uuid.UUID | None = None) -> set[uuid.UUID]:
    async with adb.transaction(tenant_id) as conn:
        cursor = await conn.execute("SELECT tenant_id FROM tenants_auditevent")
        return {row["tenant_id"] for row in await cursor.fetchall()}


async def test_adb_without_a_tenant_raises(world: World) -> None:
    with pytest.raises(NoTenant):
        await seen_by_adb()
    with pytest.raises(NoTenant), person_scope(uuid.uuid4()):
        await seen_by_adb()
    with pytest.raises(psycopg.Error):
        async with adb.tenantless() as conn:
            await conn.execute("SELECT count(*) FROM tenants_auditevent")


async def test_adb_takes_the_scope_in_force_and_an_explicit_tenant_goes_first(world: World) -> None:
    with tenant_scope(world.ours):
        assert await seen_by_adb() == {world.ours}
        assert await seen_by_adb(world.theirs) == {world.theirs}
        assert await seen_by_adb() == {world.ours}


async def test_a_pooled_connection_carries_no_tenant(world: World) -> None:
    assert await seen_by_adb(world.ours) == {world.ours}
    async with adb.tenantless() as conn:
        cursor = await conn.execute("SELECT current_setting('app.tenant_id') AS tenant, pg_backend_pid() AS pid")
        assert (row := await cursor.fetchone())
        assert row["tenant"] == ""
        with pytest.raises(psycopg.Error):
            await conn.execute("SELECT count(*) FROM tenants_auditevent")
        # What failed is rolled back, and the connection goes back to the pool sound.
        await conn.rollback()
    assert await seen_by_adb(world.theirs) == {world.theirs}


async def test_one_statement_reads_in_one_round_trip_and_writes_nothing(world: World, settings: object) -> None:
    settings.ADB_POOL_MAX_SIZE = 1  # type: ignore[attr-defined]
    whose = "SELECT DISTINCT tenant_id, %s::text AS said FROM tenants_auditevent"
    for tenant_id in (world.ours, world.theirs):
        assert await adb.read(whose, ("it's; 'so' %",), tenant_id=tenant_id) == [
            {"tenant_id": tenant_id, "said": "it's; 'so' %"}
        ]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await adb.read("DELETE FROM tenants_auditevent RETURNING id", (), tenant_id=tenant_id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await adb.read("SELECT pg_sleep(5)", (), tenant_id=tenant_id)
    with pytest.raises(NoTenant):
        await adb.read(whose, ("",))
    with tenant_scope(world.ours):
        assert [row["tenant_id"] for row in await adb.read(whose, ("",))] == [world.ours]
    # The pool's one connection went back sound each time, and as nobody's.
    async with adb.tenantless() as conn:
        cursor = await conn.execute("SELECT current_setting('app.tenant_id') AS tenant, pg_backend_pid() AS pid")
        row = await cursor.fetchone()
        assert row is not None
        assert row["tenant"] == ""
    with psycopg.connect(conn.info.dsn, password=conn.info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (row["pid"],))
    assert [row["tenant_id"] for row in await adb.read(whose, ("",), tenant_id=world.ours)] == [world.ours]


async def test_adb_commits_at_the_end_and_rolls_back_what_raised(company: Company) -> None:
    insert = (
        "INSERT INTO tenants_auditevent (id, tenant_id, at, actor_kind, action, subject_kind, data) "
        "VALUES (gen_random_uuid(), %s, now(), 'member', %s, 'tenant', '{}')"
    )
    async with adb.transaction(company.id) as conn:
        await conn.execute(insert, (company.id, "kept"))
    with pytest.raises(Boom):
        async with adb.transaction(company.id) as conn:
            await conn.execute(insert, (company.id, "lost"))
            raise Boom
    with pytest.raises(asyncio.CancelledError):
        async with adb.transaction(company.id) as conn:
            await conn.execute(insert, (company.id, "lost"))
            raise asyncio.CancelledError
    async with adb.transaction(company.id) as conn:
        cursor = await conn.execute("SELECT action FROM tenants_auditevent WHERE action IN ('kept', 'lost')")
        assert [row["action"] for row in await cursor.fetchall()] == ["kept"]


async def test_a_connection_that_breaks_is_replaced(world: World) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with adb.transaction(world.ours) as conn:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await seen_by_adb(world.ours) == {world.ours}


async def test_when_no_connection_comes_free_the_answer_is_unavailable(world: World, settings: object) -> None:
    settings.ADB_POOL_MAX_SIZE, settings.ADB_POOL_WAIT_S = 1, 0.05  # type: ignore[attr-defined]
    async with adb.transaction(world.ours):
        with pytest.raises(Unavailable):
            await seen_by_adb(world.ours)
    assert await seen_by_adb(world.ours) == {world.ours}


async def test_200_tasks_of_20_tenants_each_see_their_own(world: World, make_tenants: list[uuid.UUID]) -> None:
    async def look(number: int) -> bool:
        mine = make_tenants[number % len(make_tenants)]
        with tenant_scope(mine):
            await asyncio.sleep(0)
            async with adb.transaction() as conn:
                for _ in range(3):
                    cursor = await conn.execute("SELECT id FROM tenants_tenant")
                    if {row["id"] for row in await cursor.fetchall()} != {mine}:
                        return False
                    await asyncio.sleep(0)
            return current_tenant_id() == mine

    assert all(await asyncio.gather(*map(look, range(200))))
    assert current_scope() == Scope()


@pytest.fixture(scope="module")
def make_tenants(world: World) -> list[uuid.UUID]:
    """Twenty tenants."""
    return [world.factory.standing("tenants_tenant", world.factory.add_tenant())["id"] for _ in range(20)]


def test_a_tenant_reads_itself_alone(acme: Company) -> None:
    with tenant_scope(acme.id), transaction.atomic():
        assert [tenant.id for tenant in Tenant.objects.all()] == [acme.id]
