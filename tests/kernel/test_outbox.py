"""The outbox: what a transaction tells is told once it has committed, at least once, and nothing is skipped."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from kernel import adb, outbox
from kernel.ids import uuid7
from kernel.loop import on_loop
from kernel.models import OutboxMessage
from kernel.outbox import consuming, relay, topics, upkeep
from kernel.outbox.relay import Claimed
from kernel.tenancy import tenant_scope
from tests.isolation.roles import PLATFORM_ROLE, administrator, connect
from tests.support.cast import Company


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Topics of the test's own; nothing waits that another test wrote."""
    before = dict(topics._topics)
    with administrator() as admin:
        admin.execute("DELETE FROM kernel_outboxmessage")
    yield
    topics._topics.clear()
    topics._topics.update(before)


@pytest.fixture
def said() -> list[outbox.Message]:
    """What the topic `test.said` brought to its consumer."""
    found: list[outbox.Message] = []
    outbox.consumed_by("test.said", "listener", found.append)
    return found


def write(company: Company, text: str = "hello", **options: Any) -> uuid.UUID | None:
    with company.scope(), transaction.atomic():
        return outbox.send(topic="test.said", payload={"text": text}, **options)


def work(claimed: list[Claimed]) -> None:
    """What workers do with what the relay sends them."""
    for one in claimed:
        with tenant_scope(one.tenant_id):
            begun = consuming.consume(message_id=one.message_id, claim=one.claim, topic=one.topic)
        if begun is not None:
            begun.result(10)


def relayed() -> list[Claimed]:
    claimed = relay.claim_due()
    work(claimed)
    return claimed


def row(company: Company, message_id: uuid.UUID | None) -> OutboxMessage:
    with company.scope(), transaction.atomic():
        return OutboxMessage.objects.get(id=message_id)


def make_due(company: Company) -> None:
    """Let the time pass for which what failed, or was claimed, waits."""
    with administrator() as admin:
        admin.execute(
            "UPDATE kernel_outboxmessage SET due_at = now() WHERE tenant_id = %s AND status = 'waiting'", (company.id,)
        )


def test_what_is_written_is_consumed_once(company: Company, said: list[outbox.Message]) -> None:
    written = write(company)
    assert [one.message_id for one in relayed()] == [written]
    assert [(one.id, one.payload, one.attempt) for one in said] == [(written, {"text": "hello"}, 1)]
    assert row(company, written).status == "done"
    assert relayed() == []


def test_what_is_rolled_back_was_never_written(company: Company, said: list[outbox.Message]) -> None:
    with pytest.raises(RuntimeError), company.scope(), transaction.atomic():
        outbox.send(topic="test.said", payload={})
        raise RuntimeError
    assert relayed() == []
    assert said == []


def test_async_code_writes_messages_too(company: Company, said: list[outbox.Message]) -> None:
    async def write_one() -> None:
        async with adb.transaction(company.id) as opened:
            await outbox.send_on(opened, tenant_id=company.id, topic="test.said", payload={"text": "async"})

    on_loop(write_one())
    relayed()
    assert [one.payload["text"] for one in said] == ["async"]


def test_a_function_of_the_database_needs_only_id_tenant_topic_and_payload(
    company: Company, said: list[outbox.Message]
) -> None:
    with administrator() as admin:
        admin.execute(
            "INSERT INTO kernel_outboxmessage (id, tenant_id, topic, payload) VALUES (%s, %s, 'test.said', %s)",
            (uuid7(), company.id, '{"text": "sql"}'),
        )
    relayed()
    assert [one.payload["text"] for one in said] == ["sql"]


def test_a_slow_transactions_message_is_not_skipped(company: Company, said: list[outbox.Message]) -> None:
    with administrator() as slow:
        insert = "INSERT INTO kernel_outboxmessage (id, tenant_id, topic, payload) VALUES (%s, %s, 'test.said', '{}')"
        early = uuid7()
        slow.execute(insert, (early, company.id))
        later = write(company)
        assert [one.message_id for one in relayed()] == [later]
        slow.commit()
    assert [one.message_id for one in relayed()] == [early]
    assert [one.id for one in said] == [later, early]


def test_a_second_message_of_a_once_key_is_none(
    company: Company, neighbour: Company, said: list[outbox.Message]
) -> None:
    assert write(company, once_key="april") is not None
    assert write(company, once_key="april") is None
    assert write(neighbour, once_key="april") is not None
    assert write(company) is not None
    assert write(company) is not None
    assert len(relayed()) == len(said) == 4


def test_a_message_waits_for_its_time(company: Company, said: list[outbox.Message]) -> None:
    write(company, after_s=3600)
    assert relayed() == []
    make_due(company)
    relayed()
    assert len(said) == 1


def test_a_relay_that_dies_after_claiming_loses_nothing(company: Company, said: list[outbox.Message]) -> None:
    write(company)
    lost = relay.claim_due()
    assert len(lost) == 1
    assert relay.claim_due() == []  # claimed
    make_due(company)
    relayed()
    work(lost)  # the broker had it after all
    assert len(said) == 1


def test_a_message_that_the_broker_brings_twice_is_consumed_once(company: Company, said: list[outbox.Message]) -> None:
    write(company)
    claimed = relay.claim_due()
    work(claimed)
    work(claimed)
    assert len(said) == 1


def test_a_consumer_that_dies_after_its_transaction_is_not_repeated(company: Company) -> None:
    """Its receipt was written with its effect; only the end of the message was not."""
    calls: list[str] = []
    outbox.consumed_by("test.said", "first", lambda message: calls.append("first"))

    def dies(message: outbox.Message) -> None:
        if "second" not in calls:
            calls.append("second")
            raise SystemExit
        calls.append("second again")

    outbox.consumed_by("test.said", "second", dies)
    written = write(company)
    with pytest.raises(SystemExit):
        relayed()
    assert row(company, written).status == "waiting"
    make_due(company)
    relayed()
    assert calls == ["first", "second", "second again"]
    assert row(company, written).status == "done"


def test_one_consumer_that_fails_is_tried_again_alone(company: Company) -> None:
    calls: list[str] = []

    def fails_once(message: outbox.Message) -> None:
        calls.append(f"b{message.attempt}")
        if message.attempt == 1:
            raise ValueError("a secret")

    outbox.consumed_by("test.said", "a", lambda message: calls.append("a"))
    outbox.consumed_by("test.said", "b", fails_once)
    written = write(company)
    relayed()
    found = row(company, written)
    assert (found.status, found.attempts, found.problem) == ("waiting", 1, "b: ValueError")
    assert relayed() == []  # not before its time
    make_due(company)
    relayed()
    assert calls == ["a", "b1", "b2"]
    assert row(company, written).status == "done"


def test_what_fails_too_often_is_dead_seen_by_operators_and_replayed(company: Company, capsys: Any) -> None:
    fine: list[int] = []

    def consumer(message: outbox.Message) -> None:
        if not fine:
            raise outbox.Failed("the other side is away")

    outbox.consumed_by("test.said", "listener", consumer)
    written = write(company)
    for _ in range(topics.USUAL.attempts):
        assert row(company, written).status == "waiting"
        make_due(company)
        relayed()
    assert row(company, written).status == "dead"
    make_due(company)
    assert relayed() == []
    state = upkeep.state()
    assert (state.dead, state.waiting) == (1, 0)
    call_command("outbox", "dead")
    told = capsys.readouterr().out
    assert str(written) in told
    assert "the other side is away" in told
    fine.append(1)
    call_command("outbox", "replay", "--id", str(written))
    relayed()
    assert row(company, written).status == "done"
    with pytest.raises(CommandError):
        call_command("outbox", "replay", "--id", str(written))


def test_a_topic_that_this_version_does_not_have_waits_for_one_that_has(company: Company) -> None:
    with administrator() as admin:
        written = uuid7()
        admin.execute(
            "INSERT INTO kernel_outboxmessage (id, tenant_id, topic) VALUES (%s, %s, 'test.of_tomorrow')",
            (written, company.id),
        )
    relayed()
    assert (row(company, written).status, row(company, written).attempts) == ("waiting", 1)


def test_a_topic_that_nobody_has_is_refused_where_it_is_written(company: Company) -> None:
    with company.scope(), transaction.atomic(), pytest.raises(LookupError):
        outbox.send(topic="test.no_such", payload={})


def test_tenants_take_turns(company: Company, neighbour: Company, said: list[outbox.Message]) -> None:
    for _ in range(30):
        write(company)
    write(neighbour)
    first = relay.claim_due(batch=4)
    assert neighbour.id in {one.tenant_id for one in first}
    assert len(first) == 4


def test_what_is_under_way_is_bounded(company: Company, said: list[outbox.Message], monkeypatch: Any) -> None:
    monkeypatch.setattr(relay, "IN_FLIGHT_MAX", 5)
    for _ in range(8):
        write(company)
    assert len(relay.claim_due()) == 5
    assert relay.claim_due() == []


def test_what_one_tenant_has_under_way_is_bounded(
    company: Company, neighbour: Company, said: list[outbox.Message], monkeypatch: Any
) -> None:
    monkeypatch.setattr(relay, "OF_TENANT_MAX", 3)
    for _ in range(5):
        write(company)
    first = relay.claim_due()
    assert len(first) == 3
    assert relay.claim_due() == []
    write(neighbour)
    assert [one.tenant_id for one in relay.claim_due()] == [neighbour.id]
    work(first)
    assert len(relay.claim_due()) == 2


def test_two_relays_never_claim_the_same(company: Company, said: list[outbox.Message]) -> None:
    for _ in range(10):
        write(company)
    with administrator() as other:
        other.execute("SELECT id FROM kernel_outboxmessage WHERE tenant_id = %s LIMIT 4 FOR UPDATE", (company.id,))
        assert len(relay.claim_due()) == 6


def sender(calls: list[outbox.Message], then: Callable[[outbox.Message], None]) -> Callable[[outbox.Message], Any]:
    async def send(message: outbox.Message) -> None:
        calls.append(message)
        then(message)

    return send


def test_a_sender_is_tried_again_by_its_schedule(company: Company) -> None:
    calls: list[outbox.Message] = []

    def then(message: outbox.Message) -> None:
        if not message.is_last:
            raise outbox.Failed("no answer", again_after_s=7200)

    outbox.sent_by("test.said", sender(calls, then), schedule=outbox.Schedule((1, 1)))
    written = write(company)
    for _ in range(3):
        relayed()
        make_due(company)
    assert [(one.attempt, one.is_last) for one in calls] == [(1, False), (2, False), (3, True)]
    assert row(company, written).status == "done"


def test_later_is_no_attempt_and_giving_up_ends_it(company: Company) -> None:
    calls: list[outbox.Message] = []

    def then(message: outbox.Message) -> None:
        if len(calls) == 1:
            raise outbox.Later(after_s=3600)
        raise outbox.GiveUp("it is refused")

    outbox.sent_by("test.said", sender(calls, then))
    written = write(company)
    relayed()
    found = row(company, written)
    assert (found.status, found.attempts) == ("waiting", 0)
    assert relayed() == []
    make_due(company)
    relayed()
    found = row(company, written)
    assert (found.status, found.attempts, found.problem) == ("dead", 1, "it is refused")


def test_a_sender_that_hangs_is_cut_off_and_one_that_is_busy_waits(company: Company, monkeypatch: Any) -> None:
    monkeypatch.setattr(consuming, "SEND_MAX_S", 0.05)
    started: list[uuid.UUID] = []

    async def hangs(message: outbox.Message) -> None:
        started.append(message.id)
        await asyncio.Event().wait()

    outbox.sent_by("test.said", hangs, at_once_of_tenant=1)
    first, second = write(company), write(company)
    claimed = relay.claim_due()
    futures = []
    for one in claimed:
        with tenant_scope(one.tenant_id):
            futures.append(consuming.consume(message_id=one.message_id, claim=one.claim, topic=one.topic))
    for future in futures:
        if future is not None:
            future.result(10)
    assert len(started) == 1
    busy = second if started[0] == first else first
    assert row(company, started[0]).problem == "TimeoutError"
    assert (row(company, busy).attempts, row(company, busy).problem) == (0, "busy")


def test_old_messages_are_deleted(company: Company, said: list[outbox.Message]) -> None:
    old, new = write(company), write(company)
    relayed()
    with administrator() as admin:
        admin.execute("UPDATE kernel_outboxmessage SET ended_at = now() - interval '8 days' WHERE id = %s", (old,))
    assert upkeep.delete_old() == 1
    with company.scope(), transaction.atomic():
        assert list(OutboxMessage.objects.values_list("id", flat=True)) == [new]


def test_the_platform_reads_no_payload(company: Company, said: list[outbox.Message]) -> None:
    write(company, "for nobody else")
    with connect(PLATFORM_ROLE) as platform, pytest.raises(psycopg.errors.InsufficientPrivilege):
        platform.execute("SELECT payload FROM kernel_outboxmessage")
