"""Resume: whatever is cut, flushed or missed, a client ends with every event and every character, once."""

import asyncio
import random
import uuid
from functools import partial
from typing import Any

import msgspec
import pytest

from chat.generations.runs import runs
from chat.realtime import places, socket, streams
from chat.realtime.hub import hub
from chat.realtime.outbox import Outbox
from chat.services.messages import send_message
from chat.snapshots import snapshot
from kernel.redis import async_redis
from kernel.redis_line import Script
from tests.support.answers import FakeAnswering, ScriptedAnswer
from tests.support.cast import Company
from tests.support.ws_client import Client, RoomState

ALPHABET = ["a", "é", "e\u0301", "👩‍👩‍👧", "𝒳", "\n", " ", "漢字", "🏳️‍🌈", '"\\', "\u2028"]


async def begin(company: Company, room_id: uuid.UUID, answering: FakeAnswering) -> tuple[str, ScriptedAnswer]:
    """A question asked, its answer waiting to be written."""
    sent = await send_message(member=company.alice.principal, room_id=room_id, text="Go on.")
    assert sent.generation is not None
    return str(sent.generation.id), await answering.answer_of(sent.generation.id)


async def begun_at(company: Company, room_id: uuid.UUID) -> dict[str, Any]:
    """A snapshot, as JSON."""
    shown: dict[str, Any] = msgspec.to_builtins(await snapshot(member=company.alice.principal, room_id=room_id))
    return shown


async def test_a_cut_stream_continues_where_it_was(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    gid, answer = await begin(company, room.id, answering)
    answer.say("0123456789")
    await client.until(lambda: state.texts.get(gid) == "0123456789")
    await client.cut()
    answer.say("while you were away 👩‍👩‍👧 ")
    await client.hello()
    await client.until(lambda: state.texts[gid].endswith("👩‍👩‍👧 "))
    answer.say("and on")
    answer.end()
    await client.until(lambda: gid in state.ended)
    assert state.streamed[gid] == state.ended[gid] == "0123456789while you were away 👩‍👩‍👧 and on"
    assert (state.gaps, state.overlaps, state.resets) == ([], 0, [])
    await client.close()


async def test_an_answer_that_ended_meanwhile_is_told(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    gid, answer = await begin(company, room.id, answering)
    await client.until(lambda: gid in state.texts)
    await client.cut()
    answer.say("all of it")
    answer.end()
    await runs().idle()
    await client.hello()
    await client.until(lambda: state.ended.get(gid) == "all of it")
    assert state.gaps == []
    await client.close()


@pytest.mark.parametrize("lost", ["nothing", "stream", "everything"])
async def test_rooms_resume_from_the_stream_or_from_postgres(
    server: str, company: Company, make_room: Any, lost: str
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    await client.command("message.send", room.id, text="1", generate=False)
    await client.until(lambda: state.seq == 1)
    await client.cut()
    for number in range(2, 8):
        await send_message(member=company.alice.principal, room_id=room.id, text=str(number), generate=False)
    if lost == "stream":
        await async_redis().delete(streams.stream_key(company.id, room.id))
    elif lost == "everything":
        await async_redis().flushdb()
    await client.hello()
    await client.until(lambda: state.seq == 7)
    assert [event["body"]["message"]["text"] for event in state.events] == list("1234567")
    assert (state.gaps, state.resets) == ([], [])
    await client.command("message.send", room.id, text="8", generate=False)
    await client.until(lambda: state.seq == 8)
    await client.close()


async def test_a_long_replay_is_more_than_the_outbox_holds(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "Outbox", partial(Outbox, frames_max=40))
    room = await make_room()
    client = Client(server, company.alice.access_token())
    state = client.follow(room.id)
    state.load(await begun_at(company, room.id))
    for number in range(70):
        await send_message(member=company.alice.principal, room_id=room.id, text=f"{number}", generate=False)
    await client.hello()
    await client.until(lambda: state.seq == 70)
    assert (state.gaps, state.resets) == ([], [])
    await client.close()


async def test_too_far_behind_is_a_reset(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "REPLAY_EVENTS_MAX", 3)
    room = await make_room()
    client = Client(server, company.alice.access_token())
    state = client.follow(room.id)
    state.load(await begun_at(company, room.id))
    for number in range(5):
        await send_message(member=company.alice.principal, room_id=room.id, text=f"{number}", generate=False)
    await async_redis().flushdb()
    await client.hello()
    await client.until(lambda: state.resets)
    assert state.resets[0]["reason"] == "too_far"
    assert state.resets[0]["snapshot"] == f"/api/v1/rooms/{room.id}/snapshot"
    assert state.events == []
    await client.close()


@pytest.mark.parametrize(
    ("seq", "epoch", "reason"), [(None, None, "fresh"), (0, None, "fresh"), (99, "1", "ahead"), (99, "7", "ahead")]
)
async def test_positions_that_are_none_are_reset(
    server: str, company: Company, make_room: Any, seq: int | None, epoch: str | None, reason: str
) -> None:
    room = await make_room()
    client = Client(server, company.alice.access_token())
    state = client.follow(room.id)
    state.seq, state.epoch = seq, epoch
    await client.hello()
    await client.until(lambda: state.resets)
    assert state.resets[0]["reason"] == reason
    state.load(await begun_at(company, room.id))
    await client.command("message.send", room.id, text="1", generate=False)
    await client.until(lambda: state.seq == 1)
    await client.close()


async def test_a_client_that_holds_more_than_the_server_is_reset(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    gid, answer = await begin(company, room.id, answering)
    client = Client(server, company.alice.access_token())
    state = client.follow(room.id)
    state.load(await begun_at(company, room.id))
    state.texts[gid] = "more than there is"
    await client.hello()
    await client.until(lambda: state.resets)
    assert state.resets[0]["reason"] == "behind"
    answer.end()
    await client.close()


async def test_a_flushed_redis_loses_no_character_of_a_stream(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    gid, answer = await begin(company, room.id, answering)
    answer.say("before ")
    await client.until(lambda: state.texts.get(gid) == "before ")
    await async_redis().flushdb()
    answer.say("after ")
    await client.until(lambda: state.texts.get(gid) == "before after ")
    other = Client(server, company.alice.access_token())
    other.follow(room.id).load(await begun_at(company, room.id))
    await other.hello()
    await other.command("room.join", room.id)
    answer.say("all")
    answer.end()
    for one, held in ((client, state), (other, other.rooms[str(room.id)])):
        await one.until(lambda held=held: held.ended.get(gid) == "before after all")
        assert held.streamed[gid] == "before after all"
        assert held.gaps == []
        await one.close()


async def test_what_was_missed_shows_at_the_gap_check(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    monkeypatch.setattr(streams, "_APPEND", Script("return redis.error_reply('away')"))
    await client.command("message.send", room.id, text="1", generate=False)
    assert state.events == []
    monkeypatch.undo()
    # Redis is behind PostgreSQL, and would say so only when somebody publishes.
    await hub()._check_gaps()
    await client.until(lambda: state.seq == 1)
    await client.command("message.send", room.id, text="2", generate=False)
    await client.until(lambda: state.seq == 2)
    assert [event["body"]["message"]["text"] for event in state.events] == ["1", "2"]
    await client.close()


async def test_a_command_goes_on_when_its_socket_is_cut(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was committed: everybody else has to hear of it."""
    room = await make_room()
    sender = await Client(server, company.alice.access_token()).hello()
    await sender.join(room.id)
    other = await Client(server, company.alice.access_token()).hello()
    state = await other.join(room.id)
    committed, go_on = asyncio.Event(), asyncio.Event()
    publish = streams.publish

    async def slow(*arguments: Any, **options: Any) -> None:
        committed.set()
        await go_on.wait()
        await publish(*arguments, **options)

    monkeypatch.setattr(streams, "publish", slow)
    body = {"text": "said", "generate": False}
    await sender.send({"op": "cmd", "cid": "1", "type": "message.send", "room": str(room.id), "body": body})
    await committed.wait()
    await sender.cut()
    await other.until(lambda: len(hub().sockets) == 1)
    go_on.set()
    await other.until(lambda: state.seq == 1)
    assert [event["body"]["message"]["text"] for event in state.events] == ["said"]
    await other.close()


async def test_a_feed_out_of_turn_waits_for_what_is_missing(server: str, company: Company, make_room: Any) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    for number in range(4):
        await send_message(member=company.alice.principal, room_id=room.id, text=f"{number}", generate=False)
    await client.until(lambda: state.seq == 4)
    feed = hub()._feeds[(company.id, room.id)]
    held = await streams.read_after(company.id, room.id, seq=0)
    assert held is not None
    (place,) = feed.attached
    feed.head = place.seq = state.seq = 1  # type: ignore[attr-defined]
    state.events.clear()
    feed.on_payload(held.payloads[3])
    feed.on_payload(held.payloads[2])
    await client.until(lambda: state.seq == 4)
    assert [event["seq"] for event in state.events] == [2, 3, 4]
    await client.close()


@pytest.mark.parametrize("seed", range(6))
async def test_random_cuts_and_flushes_lose_and_repeat_nothing(
    server: str, company: Company, make_room: Any, answering: FakeAnswering, seed: int
) -> None:
    chance = random.Random(seed)
    room = await make_room("shared")
    gid, answer = await begin(company, room.id, answering)
    said: list[str] = []
    clients = [Client(server, actor.access_token()) for actor in (company.alice, company.bob, company.alice)]
    states: list[RoomState] = [client.follow(room.id) for client in clients]
    for client, state in zip(clients, states, strict=True):
        state.load(await begun_at(company, room.id))
        await client.hello()
    for _ in range(80):
        piece = "".join(chance.choices(ALPHABET, k=chance.randint(1, 12)))
        said.append(piece)
        answer.say(piece)
        victim = chance.randrange(len(clients))
        match chance.randrange(12):
            case 0:
                await clients[victim].cut()
                await clients[victim].hello()
            case 1:
                await clients[victim].close()
                await clients[victim].hello()
            case 2:
                await async_redis().flushdb()
            case 3:
                await send_message(member=company.bob.principal, room_id=room.id, text=f"[{piece}]", generate=False)
            case 4:
                await asyncio.sleep(chance.random() * 0.06)
            case _:
                await asyncio.sleep(0)
        for client, state in zip(clients, states, strict=True):
            await heal(client, company, room.id)
            assert "".join(said).startswith(state.texts.get(gid, ""))
    whole = "".join(said)
    await until_shown(clients, company, room.id, gid, whole)
    answer.end()
    await runs().idle()
    for client, state in zip(clients, states, strict=True):
        while gid not in state.ended:
            await client.until(lambda state=state: gid in state.ended or state.gaps or state.resets)
            await heal(client, company, room.id)
        assert state.ended[gid] == whole
        assert state.streamed.get(gid, whole) == whole
        await client.close()


async def until_shown(clients: list[Client], company: Company, room_id: uuid.UUID, gid: str, text: str) -> None:
    """Until the deltas that each client got make up the text."""
    for client in clients:
        state = client.rooms[str(room_id)]
        while state.texts.get(gid) != text:
            await client.until(lambda state=state: state.texts.get(gid) == text or state.gaps or state.resets)
            await heal(client, company, room_id)


async def heal(client: Client, company: Company, room_id: uuid.UUID) -> None:
    """As the browser does: load the snapshot after a reset; come back by a new socket after a gap."""
    state = client.rooms[str(room_id)]
    if state.resets:
        state.resets.clear()
        state.load(await begun_at(company, room_id))
    elif not state.gaps:
        return
    state.gaps.clear()
    await client.cut()
    await client.hello()
