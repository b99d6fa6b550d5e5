"""Recording usage: durable, once, by tenant; append-only; unique for ever."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import Error, ProgrammingError, connections, transaction

from billing.models import UsageRecord
from billing.tasks import make_partitions
from billing.types import Tokens
from billing.usage_writer import UsageNotRecorded, record_usage
from kernel import adb
from kernel.ids import uuid7_floor
from kernel.tenancy import tenant_scope
from tests.billing.events import usage_event
from tests.support.cast import Company


async def recorded(company: Company) -> list[dict[str, object]]:
    async with adb.transaction(company.id) as connection:
        cursor = await connection.execute("SELECT * FROM billing_usagerecord ORDER BY id")
        return await cursor.fetchall()


async def test_an_event_is_there_once_it_is_recorded(company: Company) -> None:
    event = usage_event(company.alice, tokens=Tokens(1, 2, 3, 4, 5))
    await record_usage(event)
    (row,) = await recorded(company)
    assert (row["request_id"], row["membership_id"]) == (event.request_id, company.alice.membership_id)
    assert [row[meter] for meter in ("input", "cache_read", "cache_write", "output", "reasoning")] == [1, 2, 3, 4, 5]
    assert (row["cost_nano"], row["sell_nano"], row["charge_lines"]) == (10, 20, list(event.charge.lines))


async def test_the_same_event_twice_is_one(company: Company) -> None:
    event = usage_event(company.alice)
    await asyncio.gather(record_usage(event), record_usage(event))
    await record_usage(event)
    assert len(await recorded(company)) == 1


async def test_a_batch_of_several_tenants_lands_where_it_belongs(company: Company, neighbour: Company) -> None:
    companies = (company, neighbour)
    events = [usage_event(companies[i % 2].alice) for i in range(60)]
    await asyncio.gather(*map(record_usage, events))
    for position, owner in enumerate(companies):
        found = {row["request_id"] for row in await recorded(owner)}
        assert found == {event.request_id for event in events[position::2]}


async def test_a_bad_event_fails_alone(company: Company, neighbour: Company) -> None:
    one, two = company, neighbour
    good = [usage_event(one.alice), usage_event(two.alice), usage_event(one.alice)]
    bad = [usage_event(one.alice, status="bogus"), usage_event(one.alice, tokens=Tokens(input=-1))]
    results = await asyncio.gather(
        *(record_usage(event) for event in (good[0], bad[0], good[1], bad[1], good[2])), return_exceptions=True
    )
    assert [isinstance(result, UsageNotRecorded) for result in results] == [False, True, False, True, False]
    assert {row["request_id"] for row in await recorded(one)} == {good[0].request_id, good[2].request_id}
    assert {row["request_id"] for row in await recorded(two)} == {good[1].request_id}


async def test_an_event_of_a_cancelled_caller_is_still_written(company: Company) -> None:
    task = asyncio.create_task(record_usage(usage_event(company.alice)))
    await asyncio.sleep(0)
    task.cancel()
    await record_usage(usage_event(company.alice))
    assert len(await recorded(company)) == 2


@pytest.mark.parametrize(
    "statement", ["UPDATE billing_usagerecord SET cost_nano = 0", "DELETE FROM billing_usagerecord"]
)
def test_a_record_cannot_be_changed_or_deleted(company: Company, statement: str) -> None:
    asyncio.run(_record_one(company))
    with pytest.raises(ProgrammingError, match="permission denied"), tenant_scope(company.id), transaction.atomic():
        connections["default"].cursor().execute(statement)
    with tenant_scope(company.id), transaction.atomic(using="owner"):
        cursor = connections["owner"].cursor()
        # Not even whoever owns the table, with a policy of their own making, gets past the trigger.
        cursor.execute("CREATE POLICY all_rows ON billing_usagerecord TO parley_owner USING (true)")
        with pytest.raises(Error, match="append-only"), transaction.atomic(using="owner"):
            cursor.execute(statement)
        transaction.set_rollback(True, using="owner")


async def _record_one(company: Company) -> None:
    await record_usage(usage_event(company.alice))
    await adb.close()


async def test_a_replay_is_refused_however_old(company: Company) -> None:
    old = datetime.now(tz=UTC) - timedelta(days=400)
    request_id = uuid.UUID(int=uuid7_floor(int(old.timestamp() * 1000)).int + (7 << 76) + 12345)
    event = usage_event(company.alice, request_id=request_id, at=old)
    await record_usage(event)
    await record_usage(event)
    assert len(await recorded(company)) == 1


def test_months_ahead_have_their_partition(database: str) -> None:
    assert make_partitions() == 0
    with psycopg.connect(database) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'billing_usagerecord'::regclass"
            )
        ]
    now = datetime.now(tz=UTC)
    assert f"billing_usagerecord_{now:%Y%m}" in names
    assert "billing_usagerecord_default" in names
    assert len(names) >= 14


def test_one_sees_ones_own_usage_and_with_the_permission_everybodys(company: Company) -> None:
    asyncio.run(_record_both(company))
    mine = company.bob.client.get("/api/v1/usage").json()["data"]
    assert {record["member"] for record in mine} == {str(company.bob.membership_id)}
    everybodys = company.alice.client.get("/api/v1/usage").json()["data"]
    assert {record["member"] for record in everybodys} == {
        str(company.alice.membership_id),
        str(company.bob.membership_id),
    }
    assert everybodys[0]["cost_nano"] == 20


async def _record_both(company: Company) -> None:
    await record_usage(usage_event(company.alice))
    await record_usage(usage_event(company.bob))
    await adb.close()


def test_the_list_of_usage_is_paged_without_loss(company: Company) -> None:
    asyncio.run(_record_many(company, 7))
    seen, cursor = [], ""
    while True:
        page = company.alice.client.get(
            "/api/v1/usage", {"limit": "3", **({"cursor": cursor} if cursor else {})}
        ).json()
        seen += [record["id"] for record in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert seen == sorted(seen, reverse=True)
    with tenant_scope(company.id), transaction.atomic():
        assert UsageRecord.objects.count() == 7


async def _record_many(company: Company, count: int) -> None:
    await asyncio.gather(*(record_usage(usage_event(company.alice)) for _ in range(count)))
    await adb.close()


async def test_without_the_database_the_answer_is_not_finished(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = connections["default"].settings_dict
    monkeypatch.setitem(target, "HOST", "/nowhere")
    monkeypatch.setattr(settings, "ADB_POOL_WAIT_S", 0.1)
    monkeypatch.setattr("kernel.group_commit.RETRY_AFTER_S", 0.01)
    with pytest.raises(UsageNotRecorded):
        await record_usage(usage_event(company.alice))
