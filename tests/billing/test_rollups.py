"""Rollups: each record exactly once, whoever writes meanwhile, whatever is late, whoever dies."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import Sum

from billing import rollups
from billing.models import UsageRecord, UsageRollup
from billing.rollups import roll_up, roll_up_all, sold_since
from billing.types import Tokens
from billing.usage_writer import record_usage
from billing.verification.recount import check_rollups
from billing.verification.values import Findings, Window
from kernel.loop import on_loop
from kernel.snapshots import snapshot_of
from kernel.tenancy import tenant_scope
from tests.billing.events import usage_event
from tests.billing.marks import others_ended
from tests.isolation.roles import administrator
from tests.support.cast import Company


def use(company: Company, **changes: Any) -> None:
    on_loop(record_usage(usage_event(company.alice, **changes)))


def catch_up(company: Company) -> None:
    """Roll up all that is recorded."""
    others_ended()
    roll_up(tenant_id=company.id)


def rolled(company: Company) -> tuple[int, int]:
    """Attempts and money in the rollups."""
    with tenant_scope(company.id), transaction.atomic():
        rows = list(UsageRollup.objects.all())
    return sum(row.attempts for row in rows), sum(row.sell_nano for row in rows)


def is_recount(company: Company) -> bool:
    """Whether the rollups are what a recount of what the mark has passed gives."""
    findings = Findings()
    with snapshot_of(company.id) as snapshot:
        check_rollups(snapshot, Window(None, None), findings)
    return not findings.differences


@contextmanager
def late(company: Company, nano: int) -> Iterator[psycopg.Connection[Any]]:
    """A record that is written, and not committed until the block ends."""
    with administrator() as slow:
        slow.execute(
            "INSERT INTO billing_usagerecord (tenant_id, request_id, attempt, kind, id, at, status, principal_kind, "
            "membership_id, alias, provider, connection, model, platform_paid, input, cache_read, cache_write, output, "
            "reasoning, cost_nano, sell_nano, charge_lines, estimated, streamed, latency_ms) "
            "VALUES (%s, gen_random_uuid(), 1, 'completion', gen_random_uuid(), now(), 'complete', 'member', %s, 'm', "
            "'fake', 'c', 'm', true, 1, 0, 0, 1, 0, 0, %s, '[]', false, false, 1)",
            (company.id, company.alice.membership_id, nano),
        )
        yield slow


def test_usage_is_summed_by_the_quarter_of_an_hour_and_who_and_what(company: Company) -> None:
    at = datetime(2026, 3, 1, 10, 44, 59, tzinfo=UTC)
    for changes in ({}, {}, {"alias": "other"}, {"at": at.replace(minute=45)}, {"status": "failed", "attempt": 2}):
        use(company, **{"at": at, "tokens": Tokens(1, 2, 3, 4, 5), **changes})
    catch_up(company)
    with tenant_scope(company.id), transaction.atomic():
        rows = list(UsageRollup.objects.order_by("bucket", "alias", "status"))
    assert [(row.bucket.minute, row.alias, row.status, row.attempts, row.requests) for row in rows] == [
        (30, "m", "complete", 2, 2),
        (30, "m", "failed", 1, 0),
        (30, "other", "complete", 1, 1),
        (45, "m", "complete", 1, 1),
    ]
    assert (rows[0].input, rows[0].reasoning, rows[0].cost_nano, rows[0].sell_nano) == (2, 10, 20, 40)
    assert is_recount(company)


def test_again_adds_nothing_and_what_is_new_is_added(company: Company) -> None:
    use(company)
    for _ in range(3):
        catch_up(company)
    assert rolled(company) == (1, 20)
    use(company)
    catch_up(company)
    assert rolled(company) == (2, 40)


def test_a_transaction_that_commits_late_is_not_passed_by(company: Company) -> None:
    with late(company, 5):
        use(company)
        roll_up(tenant_id=company.id)
        # The one that committed began after the one that is open: it has to wait.
        assert rolled(company) == (0, 0)
    catch_up(company)
    assert rolled(company) == (2, 25)
    with late(company, 7) as given_up:
        given_up.rollback()
    catch_up(company)
    assert rolled(company) == (2, 25)
    assert is_recount(company)


def test_a_crash_between_leaves_neither_sums_nor_mark(company: Company) -> None:
    use(company)
    others_ended()
    with pytest.raises(RuntimeError), tenant_scope(company.id), transaction.atomic():
        rollups._step(company.id)
        assert UsageRollup.objects.exists()
        # Whoever did this dies before its transaction commits.
        raise RuntimeError
    assert rolled(company) == (0, 0)
    catch_up(company)
    assert rolled(company) == (1, 20)
    assert is_recount(company)


async def test_writers_and_rollups_at_once_count_each_record_once(company: Company) -> None:
    async def write() -> None:
        for _ in range(15):
            await record_usage(usage_event(company.alice))

    async def sum_up() -> None:
        for _ in range(8):
            assert await sync_to_async(_roll_up_and_recount, thread_sensitive=False)(company)

    await asyncio.gather(*(write() for _ in range(4)), sum_up(), sum_up())
    await sync_to_async(catch_up)(company)
    assert await sync_to_async(rolled)(company) == (60, 1_200)
    assert await sync_to_async(is_recount)(company)


def _roll_up_and_recount(company: Company) -> bool:
    """In a thread of its own, as a worker does."""
    try:
        roll_up(tenant_id=company.id)
        return is_recount(company)
    finally:
        connections.close_all()


def test_a_backlog_is_added_in_steps(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        use(company)
    others_ended()
    monkeypatch.setattr(rollups, "_NEXT", rollups._NEXT.replace(str(rollups.RECORDS_PER_STEP), "3"))
    with tenant_scope(company.id), transaction.atomic():
        assert rollups._step(company.id)
    assert rolled(company)[0] == 3
    catch_up(company)
    assert rolled(company) == (7, 140)
    assert is_recount(company)


def test_every_tenant_with_something_new_is_found(company: Company, neighbour: Company) -> None:
    use(company)
    use(neighbour)
    others_ended()
    assert roll_up_all() >= 2
    assert rolled(company) == rolled(neighbour) == (1, 20)
    assert company.id not in _due()
    use(company)
    others_ended()
    assert company.id in _due()


def test_a_tenant_that_fails_doesnt_stop_others(company: Company, neighbour: Company) -> None:
    at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    for one in (company, neighbour):
        use(one, at=at)
        catch_up(one)
    with administrator() as admin:
        # What is added to that, no column holds.
        admin.execute(
            "UPDATE billing_usagerollup SET sell_nano = 2::numeric ^ 63 - 1 WHERE tenant_id = %s", (company.id,)
        )
    for one in (company, neighbour):
        use(one, at=at)
    others_ended()
    looked_at: list[uuid.UUID] = []
    roll_up_all(then=looked_at.append)
    assert (company.id in looked_at, neighbour.id in looked_at) == (False, True)
    assert rolled(neighbour) == (2, 40)
    with administrator() as admin:
        admin.execute("DELETE FROM billing_usagerollup WHERE tenant_id = %s", (company.id,))
    catch_up(company)
    assert rolled(company) == (1, 20)


def _due() -> set[uuid.UUID]:
    with administrator() as admin:
        return {row[0] for row in admin.execute(rollups._DUE.encode(), (1000,))}  # type: ignore[misc]


def test_rollups_are_counted_anew(company: Company) -> None:
    use(company)
    catch_up(company)
    with tenant_scope(company.id), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE billing_usagerollup SET sell_nano = 1")
    assert not is_recount(company)
    call_command("billing_rollup", company.tenant.slug)
    assert rolled(company) == (1, 20)
    assert is_recount(company)


def test_what_was_sold_this_month_is_the_same_by_rollups_and_records(company: Company) -> None:
    month = datetime(2026, 3, 1, tzinfo=UTC)
    before, first, later = (month + timedelta(seconds=seconds) for seconds in (-1, 0, 86_400))

    def sold() -> int:
        with tenant_scope(company.id), transaction.atomic():
            by_records = UsageRecord.objects.filter(at__gte=month).aggregate(sold=Sum("sell_nano"))["sold"] or 0
            assert sold_since(month) == by_records
            return int(by_records)

    assert sold() == 0
    for at in (before, first, later):
        use(company, at=at)
    assert sold() == 40
    catch_up(company)
    assert sold() == 40
    use(company, at=later)
    with late(company, 5) as slow:
        use(company, at=before)
        assert sold() == 60
        roll_up(tenant_id=company.id)
        assert sold() == 60
        slow.commit()
    assert sold() == 65
    catch_up(company)
    assert sold() == 65
    with tenant_scope(company.id), transaction.atomic(), pytest.raises(ValueError, match="finer"):
        sold_since(before)
