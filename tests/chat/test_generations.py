"""Generations: leased, checkpointed, stopped, reaped; whoever dies, the text kept is a prefix of what was said."""

import asyncio
import uuid
import weakref
from typing import Any

import psycopg
import pytest

from chat.events import events_after
from chat.generations import leases, runner
from chat.generations.ending import Outcome, end_generation
from chat.generations.reaper import reap_generations
from chat.generations.runs import Runs, control_channel, runs
from chat.message_parts import part_shapes
from chat.parts import Part, text_only
from chat.realtime import texts
from chat.services.members import change_role
from chat.services.messages import Sent, send_message
from chat.services.rooms import RoomChange, update_room
from chat.services.stops import stop_generation
from chat.snapshots import generation, snapshot
from chat.store import first, transaction
from kernel.errors import NotFound, PermissionDenied, Unavailable
from kernel.ids import uuid7
from kernel.redis import async_redis
from tests.support.answers import FakeAnswering, ScriptedAnswer
from tests.support.cast import Company
from tests.support.patience import soon

AT_FIRST = texts.Place(part=0, kind="text", offset=0, before=0)


async def ask(company: Company, room_id: uuid.UUID) -> Sent:
    """Alice asks."""
    return await send_message(member=company.alice.principal, room_id=room_id, text="Go on.")


async def answer_to(sent: Sent, answering: FakeAnswering) -> ScriptedAnswer:
    """The answer, begun."""
    assert sent.generation is not None
    return await answering.answer_of(sent.generation.id)


async def row(company: Company, generation_id: uuid.UUID) -> dict[str, Any]:
    """The generation's row."""
    async with transaction(company.id) as connection:
        found = await first(connection, "SELECT * FROM chat_generation WHERE id = %s", (generation_id,))
    assert found is not None
    return found


async def change(company: Company, generation_id: uuid.UUID, sql: str) -> None:
    """Change the generation's row."""
    async with transaction(company.id) as connection:
        await connection.execute(f"UPDATE chat_generation SET {sql} WHERE id = %s".encode(), (generation_id,))


async def until(condition: Any) -> None:
    """Until an awaitable condition holds."""
    async with soon():
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _nobody_elses(database: str) -> None:
    """The reaper looks at all tenants: end what earlier tests left unfinished."""
    with psycopg.connect(database) as administrator:
        administrator.execute(
            "UPDATE chat_generation SET status = 'interrupted', finished_at = now(), lease_owner = NULL, lease_until = NULL "
            "WHERE status IN ('queued', 'streaming')"
        )


@pytest.fixture
def dead(nothing_late: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody begins what is asked: as if the process died right after its commit."""

    async def start(self: Runs, **_: Any) -> None:
        return

    monkeypatch.setattr(Runs, "start", start)


async def test_an_answer_is_let_go_when_it_has_ended_though_its_lease_was_being_renewed(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg's pool keeps the error of who is cancelled while waiting for a connection, the error its frames, and so on."""
    errors, renewing = [], asyncio.Event()

    async def renew(*_: Any, **__: Any) -> None:
        renewing.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            errors.append(error)
            raise

    monkeypatch.setattr(runner, "LEASE_RENEW_S", 0.01)
    monkeypatch.setattr(leases, "renew", renew)
    sent = await ask(company, (await make_room()).id)
    answer = await answer_to(sent, answering)
    await renewing.wait()
    left = weakref.ref(answer)
    answer.end()
    answering.answers.clear()
    del answer
    async with soon():
        while left() is not None:
            await asyncio.sleep(0.01)
    assert errors


async def test_the_checkpoint_follows_the_text(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_RENEW_S", 0.05)
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("so far 𝒳")
    assert sent.generation is not None
    gid = sent.generation.id

    async def kept() -> bool:
        return bool((await row(company, gid))["checkpoint"] == "so far 𝒳")

    await until(kept)
    held = await row(company, gid)
    assert held["checkpoint_length"] == 8
    assert held["lease_owner"] == runs().owner
    assert held["attempt"] == {"request": str(held["request_id"])}
    answer.end()
    await runs().idle()
    assert (await row(company, gid))["checkpoint"] == ""


@pytest.mark.parametrize("letter", ["x", "漢", "🎈"])
async def test_four_kibibytes_are_checkpointed_before_the_second_is_over(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    monkeypatch.setattr(runner, "LEASE_RENEW_S", 60.0)
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    length = 4096 // len(letter.encode()) + 1
    answer.say(letter * length)
    assert sent.generation is not None
    gid = sent.generation.id

    async def kept() -> bool:
        return bool((await row(company, gid))["checkpoint_length"] == length)

    await until(kept)
    answer.end()
    await runs().idle()


@pytest.mark.parametrize("how", ["here", "by channel", "by row"])
async def test_stop_keeps_what_was_said(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(runner, "LEASE_RENEW_S", 0.05 if how == "by row" else 60.0)
    room = await make_room("shared")
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("half an ans")
    assert sent.generation is not None
    gid = sent.generation.id

    async def shown() -> bool:
        return (await texts.read_parts(company.id, room.id, [gid])) == {gid: text_only("half an ans")}

    await until(shown)
    if how == "here":
        stopped = await stop_generation(member=company.alice.principal, generation_id=gid)
        assert stopped.status == "streaming"
    elif how == "by channel":

        async def heard() -> bool:
            return bool(await async_redis().publish(control_channel(runs().owner), str(gid)))

        await until(heard)
    else:
        await change(company, gid, "stop_requested_at = now()")
    async with soon():
        await runs().idle()
    assert answer.stopped
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("stopped", "half an ans")
    again = await stop_generation(member=company.alice.principal, generation_id=gid)
    assert again.status == "stopped"


async def test_who_may_stop(company: Company, evil: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    sent = await ask(company, room.id)
    assert sent.generation is not None
    with pytest.raises(PermissionDenied):
        await stop_generation(member=company.bob.principal, generation_id=sent.generation.id)
    for stranger in (company.vera, evil.alice):
        with pytest.raises(NotFound):
            await stop_generation(member=stranger.principal, generation_id=sent.generation.id)
    bobs = await send_message(member=company.bob.principal, room_id=room.id, text="And me?")
    assert bobs.generation is not None
    await stop_generation(member=company.alice.principal, generation_id=bobs.generation.id)
    await stop_generation(member=company.alice.principal, generation_id=sent.generation.id)
    await runs().idle()


@pytest.mark.parametrize("meanwhile", ["archived", "reader"])
async def test_what_one_asked_for_one_may_stop_whatever_the_room_became(
    company: Company, make_room: Any, answering: FakeAnswering, meanwhile: str
) -> None:
    room = await make_room("shared")
    sent = await send_message(member=company.bob.principal, room_id=room.id, text="Go on.")
    assert sent.generation is not None
    await answering.answer_of(sent.generation.id)
    if meanwhile == "archived":
        await update_room(member=company.alice.principal, room_id=room.id, change=RoomChange(archived=True))
    else:
        shown = await snapshot(member=company.alice.principal, room_id=room.id)
        place = next(one.id for one in shown.members if one.member.id == company.bob.membership_id)
        await change_role(member=company.alice.principal, room_id=room.id, room_member_id=place, role="reader")
    await stop_generation(member=company.bob.principal, generation_id=sent.generation.id)
    await runs().idle()
    ended = await generation(member=company.bob.principal, generation_id=sent.generation.id)
    assert ended.status == "stopped"


async def test_what_was_stopped_before_it_began_never_begins(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    assert sent.generation is not None
    await stop_generation(member=company.alice.principal, generation_id=sent.generation.id)
    await runs().idle()
    ended = await generation(member=company.alice.principal, generation_id=sent.generation.id)
    assert (ended.status, ended.text, ended.answer) == ("stopped", None, None)


async def test_a_dead_owners_answer_is_ended_billed_and_told(
    dead: None, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    assert sent.generation is not None
    gid = sent.generation.id
    assert await leases.claim(company.id, gid, owner=uuid7()) is not None
    await change(company, gid, """attempt = '{"deployment": "d"}', checkpoint = 'of Postgres'""")
    await texts.append_piece(company.id, room.id, gid, place=AT_FIRST, piece="of Postgres and Redis 𝒳")
    assert await reap_generations() == 0
    await change(company, gid, "lease_until = now() - interval '1 second'")
    assert await asyncio.gather(reap_generations(), reap_generations()) in ([1, 0], [0, 1])
    assert await reap_generations() == 0
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("interrupted", "of Postgres and Redis 𝒳")
    assert ended.error is not None
    assert ended.cost_nano == 7
    assert {orphan.request_id for orphan in answering.settled} == {(await row(company, gid))["request_id"]}
    assert answering.settled[0].attempt == {"deployment": "d"}
    _, events = await events_after(company.id, room.id, seq=2, limit=10)
    assert [event.type for event in events] == ["generation.finished"]
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert shown.messages[-1].text == "of Postgres and Redis 𝒳"
    assert shown.generations == ()


async def test_the_checkpoint_counts_when_redis_was_flushed(dead: None, company: Company, make_room: Any) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    assert sent.generation is not None
    gid = sent.generation.id
    await leases.claim(company.id, gid, owner=uuid7())
    await change(company, gid, "checkpoint = 'kept', lease_until = now() - interval '1 second'")
    assert await reap_generations() == 1
    assert (await generation(member=company.alice.principal, generation_id=gid)).text == "kept"


async def test_what_nobody_begins_is_ended(
    dead: None, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    assert sent.generation is not None
    gid = sent.generation.id
    assert await reap_generations() == 0
    await change(company, gid, "started_at = now() - interval '11 seconds'")
    assert await reap_generations() == 1
    assert (await row(company, gid))["status"] == "queued"
    await change(company, gid, "started_at = now() - interval '11 seconds'")
    assert await reap_generations() == 1
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text, ended.answer) == ("interrupted", None, None)
    assert answering.settled == []


async def test_one_whose_room_goes_at_that_moment_is_not_ended(
    dead: None, company: Company, make_room: Any, database: str
) -> None:
    sent = await ask(company, (await make_room()).id)
    assert sent.generation is not None
    owner = uuid7()
    assert await leases.claim(company.id, sent.generation.id, owner=owner) is not None
    async with await psycopg.AsyncConnection.connect(database) as deleting:
        await deleting.execute("SET LOCAL session_replication_role = replica")
        await deleting.execute("DELETE FROM chat_room WHERE id = %s", (sent.generation.room,))
        outcome = Outcome(status="complete", parts=(Part("text", "Too late."),))
        ending = asyncio.create_task(end_generation(company.id, sent.generation.id, outcome, owner=owner))
        done, _ = await asyncio.wait([ending], timeout=0.3)
        assert not done
        await deleting.execute("DELETE FROM chat_generation WHERE id = %s", (sent.generation.id,))
    assert await ending is False


async def test_one_that_was_stopped_is_not_begun_anew(dead: None, company: Company, make_room: Any) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    assert sent.generation is not None
    gid = sent.generation.id
    await stop_generation(member=company.alice.principal, generation_id=gid)
    await change(company, gid, "started_at = now() - interval '11 seconds'")
    assert await reap_generations() == 1
    assert (await generation(member=company.alice.principal, generation_id=gid)).status == "interrupted"


async def test_reasoning_is_a_part_of_its_own_and_stays_with_the_message(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    assert sent.generation is not None
    gid = sent.generation.id
    answer.say("Hm", ", 𝒳", kind="reasoning")
    answer.say("It ", "is.")
    answer.say("More?", kind="reasoning")
    parts = (Part("reasoning", "Hm, 𝒳"), Part("text", "It is."), Part("reasoning", "More?"))

    async def shown() -> bool:
        return await texts.read_parts(company.id, room.id, [gid]) == {gid: parts}

    await until(shown)
    live = await generation(member=company.alice.principal, generation_id=gid)
    assert (live.text, live.parts) == ("It is.", part_shapes(parts))
    answer.end()
    await runs().idle()
    shape = (await snapshot(member=company.alice.principal, room_id=room.id)).messages[-1]
    assert (shape.text, shape.parts) == ("It is.", part_shapes(parts))


async def test_a_slow_owner_that_lost_its_lease_writes_nothing(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_RENEW_S", 0.05)
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("half")
    assert sent.generation is not None
    gid = sent.generation.id

    async def shown() -> bool:
        return bool(await texts.read_parts(company.id, room.id, [gid]))

    await until(shown)
    stolen = Outcome(status="interrupted", parts=text_only("ha"))
    assert await end_generation(company.id, gid, stolen, owner=runs().owner)
    answer.say(" and half")
    await runs().idle()
    assert answer.interrupted
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("interrupted", "ha")
    assert (await snapshot(member=company.alice.principal, room_id=room.id)).seq == 3


async def test_one_that_is_being_written_is_not_claimed_again(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    assert sent.generation is not None
    assert await leases.claim(company.id, sent.generation.id, owner=uuid7()) is None
    assert await leases.renew(company.id, sent.generation.id, owner=uuid7(), checkpoint=text_only("x")) is None
    answer.end()
    await runs().idle()


async def test_an_end_that_the_database_refused_is_tried_again(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "END_RETRY_S", 0.01)
    tries: list[int] = []

    async def end(*args: Any, **options: Any) -> bool:
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable
        return await end_generation(*args, **options)

    monkeypatch.setattr(runner, "end_generation", end)
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("whole")
    answer.end()
    await runs().idle()
    assert sent.generation is not None
    ended = await generation(member=company.alice.principal, generation_id=sent.generation.id)
    assert (ended.status, ended.text, len(tries)) == ("complete", "whole", 3)


async def test_draining_ends_what_is_left_as_interrupted(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("half")
    assert sent.generation is not None
    gid = sent.generation.id

    async def shown() -> bool:
        return bool(await texts.read_parts(company.id, room.id, [gid]))

    await until(shown)
    await runs().drain(2.0)
    ended = await generation(member=company.alice.principal, generation_id=gid)
    assert (ended.status, ended.text) == ("interrupted", "half")
    later = await ask(company, room.id)
    assert later.generation is not None
    # Whoever else listens for what is offered may begin it.
    assert later.generation.id not in runs()._runs


async def test_redis_away_still_ends_whole(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "APPEND", "return redis.error_reply('away')")
    monkeypatch.setattr(runner, "REDIS_RETRY_S", 0.01)
    room = await make_room()
    sent = await ask(company, room.id)
    answer = await answer_to(sent, answering)
    answer.say("all ", "of ", "it")
    answer.end()
    await runs().idle()
    assert sent.generation is not None
    ended = await generation(member=company.alice.principal, generation_id=sent.generation.id)
    assert (ended.status, ended.text) == ("complete", "all of it")
