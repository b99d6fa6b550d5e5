"""Answers that another process begins: what died before a word, and what was asked of a process that is going down."""

import asyncio
import uuid
from typing import Any

import pytest

from chat.events import events_after
from chat.generations import leases
from chat.generations import runs as runs_module
from chat.generations.reaper import reap_generations
from chat.generations.runs import Runs, close, runs
from chat.snapshots import generation
from kernel import loop
from kernel.ids import uuid7
from tests.chat.test_generations import ask, change, row
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.patience import PATIENCE_S, soon


async def test_one_that_died_before_a_word_is_begun_anew_once(
    nothing_late: None, company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    gid = await asked_of_nobody(company, room.id, monkeypatch)
    assert await leases.claim(company.id, gid, owner=uuid7()) is not None
    first_request = (await row(company, gid))["request_id"]
    await change(company, gid, """attempt = '{"deployment": "d"}', lease_until = now() - interval '1 second'""")
    await alone(monkeypatch)
    assert await reap_generations() == 1
    answer = await answering.answer_of(gid)
    assert [orphan.request_id for orphan in answering.settled] == [first_request]
    assert answer.question.request_id == (await row(company, gid))["request_id"] != first_request
    assert answer.question.principal.membership_id == company.alice.membership_id
    answer.say("At last.")
    answer.end()
    await runs().idle()
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("complete", "At last.")
    _, events = await events_after(company.id, room.id, seq=0, limit=10)
    assert [event.type for event in events] == ["message.created", "generation.started", "generation.finished"]


async def test_what_is_asked_of_a_process_that_is_going_down_another_answers_at_once(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    gid = await asked_of_nobody(company, room.id, monkeypatch)
    await alone(monkeypatch)
    leaving = Runs()
    await leaving.drain(0.0)
    await leaving.start(principal=company.alice.principal, generation_id=gid)
    answer = await answering.answer_of(gid)
    answer.say("Here.")
    answer.end()
    await runs().idle()
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("complete", "Here.")
    assert len(leaving) == 0


@pytest.mark.parametrize("trouble", ["none", "stopped", "twice"])
async def test_what_a_process_that_goes_down_has_no_word_of_another_begins_anew_once(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    room = await make_room()
    gid = await asked_of_nobody(company, room.id, monkeypatch)
    if trouble == "twice":
        await change(company, gid, "restarted_at = now()")
    leaving = Runs()
    await leaving.start(principal=company.alice.principal, generation_id=gid)
    first = await answering.answer_of(gid)
    await alone(monkeypatch)
    if trouble == "stopped":
        await change(company, gid, "stop_requested_at = now()")
    del answering.answers[gid]
    monkeypatch.setattr(runs_module, "INTERRUPTED_END_S", PATIENCE_S)
    await leaving.drain(PATIENCE_S)
    await leaving.close()
    if trouble == "none":
        second = await answering.answer_of(gid)
        assert second.question.request_id != first.question.request_id
        second.say("From another.")
        second.end()
    await runs().idle()
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == (("complete", "From another.") if trouble == "none" else ("interrupted", None))
    _, events = await events_after(company.id, room.id, seq=0, limit=10)
    assert [event.type for event in events] == ["message.created", "generation.started", "generation.finished"]


async def asked_of_nobody(company: Company, room_id: uuid.UUID, monkeypatch: pytest.MonkeyPatch) -> uuid.UUID:
    """A generation that is queued, and that this process doesn't begin."""
    with monkeypatch.context() as patch:
        patch.setattr(Runs, "start", _never)
        sent = await ask(company, room_id)
    assert sent.generation is not None
    return sent.generation.id


async def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This event loop's hears of offers, from when this returns, and no other of this process: one that served REST may have
    begun to. Redis can't be asked who hears: it counts the listeners of other processes of this run, too."""
    if loop._own:
        await asyncio.to_thread(loop.on_loop, close())
    ours, subscribed = runs(), asyncio.Semaphore(0)
    with monkeypatch.context() as patch:
        patch.setattr(ours, "on_subscribed", subscribed.release)
        await ours.listen()
        async with soon():
            # What it is asked to stop, and what is offered.
            await subscribed.acquire()
            await subscribed.acquire()


async def _never(self: Runs, **_: Any) -> None:
    return
