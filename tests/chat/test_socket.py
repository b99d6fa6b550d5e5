"""The socket: opening, commands, streams, and its ends."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.realtime.feeds import Feed
from chat.realtime.hub import Hub, hub
from chat.services.members import add_member, remove_member
from chat.services.messages import send_message
from chat.snapshots import snapshot
from kernel.errors import NotFound
from tenants.services.tickets import issue_ticket
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.ws_client import Client


async def test_a_stream_reaches_everybody_in_the_room(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    alice = await Client(server, company.alice.access_token()).hello()
    bob = await Client(server, company.bob.access_token()).hello()
    states = [await client.join(room.id) for client in (alice, bob)]
    ack = await alice.command("message.send", room.id, text="What is up?")
    assert ack["op"] == "ack"
    assert ack["seq"] == 2
    await bob.until(lambda: len(states[1].events) == 2)
    gid = states[1].events[1]["body"]["generation"]["id"]
    answer = await answering.answer_of(__import__("uuid").UUID(gid))
    answer.say("The ", "sky")
    await bob.until(lambda: states[1].texts[gid] == "The sky")
    answer.say(" is 🌤️ up.")
    answer.end()
    for client, state in zip((alice, bob), states, strict=True):
        await client.until(lambda state=state: state.ended.get(gid) == "The sky is 🌤️ up.")
        assert [event["type"] for event in state.events] == [
            "message.created",
            "generation.started",
            "generation.finished",
        ]
        assert state.gaps == []
        assert state.overlaps == 0
    finished = states[0].events[-1]["body"]
    assert finished["generation"]["status"] == "complete"
    assert finished["generation"]["usage"]["output"] == 5
    assert finished["generation"]["cost_nano"] == 13
    await alice.close()
    await bob.close()


async def test_welcome_tells_the_limits(server: str, company: Company) -> None:
    client = await Client(server, company.alice.access_token()).hello()
    assert client.welcome is not None
    assert client.welcome["hb"] == 30
    assert set(client.welcome["limits"]) == {"frame_bytes", "inflight", "rooms"}
    await client.close()


async def test_a_ticket_opens_a_socket_once(server: str, company: Company) -> None:
    ticket = await sync_to_async(issue_ticket)(credential=company.alice.access_token())
    client = Client(server, "")
    await client.open()
    await client.send({"op": "hello", "v": 1, "ticket": ticket})
    await client.until(lambda: client.welcome)
    await client.close()
    await client.open()
    await client.send({"op": "hello", "v": 1, "ticket": ticket})
    assert await client.closed() == 4401


async def test_an_api_key_opens_a_socket(server: str, company: Company) -> None:
    client = await Client(server, company.api_key).hello()
    assert client.welcome is not None
    await client.close()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("not json", 4400),
        (b"\x00\x01", 4400),
        ("{}", 4400),
        ('{"op":"nonsense"}', 4400),
        ('{"op":"ping"}', None),
        ('{"op":"cmd","cid":"1","type":"room.join"}', 4400),
        ('{"op":"hello","v":2,"token":"x"}', 4400),
        ('{"op":"hello","v":1}', 4401),
        ('{"op":"hello","v":1,"token":"x"}', 4401),
        ('{"op":"hello","v":1,"ticket":"x"}', 4401),
        ('{"op":"hello","v":1,"token":"x","resume":[{"room":"no-uuid"}]}', 4400),
        ("[" * 100_000, 4400),
        ('{"op":"ping","t":' + "[" * 1000 + "]" * 1000 + "}", 4400),
        ('"' + "x" * 600_000 + '"', 4413),
    ],
)
async def test_what_is_no_frame_closes(server: str, frame: str | bytes, code: int | None) -> None:
    client = await Client(server, "").open()
    await client.send(frame)
    if code is None:
        await client.frame(lambda answer: answer["op"] == "pong")
        await client.close()
    else:
        assert await client.closed() == code


async def test_a_foreign_page_is_refused(server: str, company: Company) -> None:
    client = await Client(server, company.alice.access_token()).open(origin="https://evil.example")
    assert await client.closed() == 4403


async def test_the_own_page_is_let_in(server: str, company: Company) -> None:
    origin = server.replace("ws://", "http://").removesuffix("/ws")
    client = await Client(server, company.alice.access_token()).open(origin=origin)
    await client.send({"op": "hello", "v": 1, "token": company.alice.access_token()})
    await client.until(lambda: client.welcome)
    await client.close()


async def test_an_unspoken_subprotocol_is_refused(server: str) -> None:
    client = await Client(server, "").open(subprotocol=None)
    assert await client.closed() == 4400


async def test_errors_in_commands_leave_the_socket_open(
    server: str, company: Company, evil: Company, make_room: Any
) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    mallory = await Client(server, evil.alice.access_token()).hello()
    unknown = "0190a000-0000-7000-8000-000000000000"
    for type_, room_id, body, code in (
        ("room.join", None, {}, "invalid_request"),
        ("room.join", unknown, {}, "not_found"),
        ("message.send", room.id, {}, "invalid_request"),
        ("message.send", room.id, {"text": "nul\x00"}, "invalid_request"),
        ("message.send", room.id, {"text": "x", "model": "no such"}, "not_found"),
        ("message.send", unknown, {"text": "x"}, "not_found"),
        ("message.frame", room.id, {}, "not_supported"),
        ("generation.stop", None, {"gid": unknown}, "not_found"),
        ("generation.stop", None, {"gid": 7}, "invalid_request"),
    ):
        answer = await client.command(type_, room_id, **body)
        assert (answer["op"], answer["code"]) == ("err", code), (type_, answer)
    nul = await client.command("message.send", room.id, cid="nul\x00", text="x", generate=False)
    assert (nul["op"], nul["code"]) == ("err", "invalid_request")
    for type_, body in (("room.join", {}), ("message.send", {"text": "hi"}), ("typing", {})):
        theirs = await mallory.command(type_, room.id, **body)
        nothing = await mallory.command(type_, unknown, **body)
        assert {**theirs, "cid": ""} == {**nothing, "cid": ""}
        assert theirs["op"] == "err"
    await client.close()
    await mallory.close()


async def test_a_room_that_is_not_ones_own_is_reset_on_resume(
    server: str, evil: Company, company: Company, make_room: Any
) -> None:
    room = await make_room()
    mallory = Client(server, evil.alice.access_token())
    state = mallory.follow(room.id)
    state.seq, state.epoch = 0, "1"
    await mallory.hello()
    await mallory.until(lambda: state.resets)
    assert state.resets[0]["reason"] == "not_found"
    await mallory.close()


async def test_a_member_who_is_removed_hears_nothing_more(server: str, company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    bob = await Client(server, company.bob.access_token()).hello()
    state = await bob.join(room.id)
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    place = next(one for one in shown.members if one.member.id == company.bob.membership_id)
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
    await bob.until(lambda: state.events)
    assert state.events[0]["type"] == "member.left"
    await send_message(member=company.alice.principal, room_id=room.id, text="secret", generate=False)
    assert (await bob.command("room.join", room.id))["code"] == "not_found"
    assert [event["type"] for event in state.events] == ["member.left"]
    await bob.close()


@pytest.mark.parametrize("how", ["join", "resume"])
async def test_a_member_who_is_removed_while_they_are_let_in_is_not(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    room = await make_room("shared")
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    place = next(one for one in shown.members if one.member.id == company.bob.membership_id)
    opening = Hub.feed

    async def slow(self: Hub, tenant_id: Any, room_id: Any) -> Feed:
        monkeypatch.undo()
        await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
        return await opening(self, tenant_id, room_id)

    bob = Client(server, company.bob.access_token())
    state = bob.follow(room.id)
    monkeypatch.setattr(Hub, "feed", slow)
    if how == "join":
        await bob.hello(resume=[])
        assert (await bob.command("room.join", room.id))["code"] == "not_found"
    else:
        await bob.hello(resume=[{"room": str(room.id), "epoch": "1", "seq": 1}])
        await bob.until(lambda: state.resets)
        assert state.resets[0]["reason"] == "not_found"
    await send_message(member=company.alice.principal, room_id=room.id, text="secret", generate=False)
    await bob.send({"op": "ping", "t": 1})
    await bob.frame(lambda frame: frame["op"] == "pong")
    assert not [frame for frame in bob.frames if frame["op"] == "ev"]
    await bob.close()


async def test_who_leaves_while_they_take_their_place_gets_none(server: str, company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    place = next(one for one in shown.members if one.member.id == company.bob.membership_id)
    alice = await Client(server, company.alice.access_token()).hello()
    state = await alice.join(room.id)
    feed = await hub().feed_for(company.bob.principal, room.id)
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
    await alice.until(lambda: state.events)
    with pytest.raises(NotFound):
        feed.admit(company.bob.membership_id)
    await add_member(member=company.alice.principal, room_id=room.id, membership_id=company.bob.membership_id)
    await alice.until(lambda: len(state.events) == 2)
    feed.admit(company.bob.membership_id)
    await alice.close()


async def test_a_deleted_room_is_reset(server: str, company: Company, make_room: Any) -> None:
    from chat.services.rooms import delete_room

    room = await make_room("shared")
    bob = await Client(server, company.bob.access_token()).hello()
    state = await bob.join(room.id)
    await delete_room(member=company.alice.principal, room_id=room.id)
    await bob.until(lambda: state.resets)
    assert (await bob.command("room.join", room.id))["code"] == "not_found"
    await bob.close()


async def test_draining_closes_sockets_and_refuses_new_ones(server: str, company: Company) -> None:
    client = await Client(server, company.alice.access_token()).hello()
    await hub().drain(1.0)
    assert await client.closed() == 4503
    late = await Client(server, company.alice.access_token()).open()
    assert await late.closed() == 4503


async def test_auth_renews_and_anothers_token_is_refused(server: str, company: Company) -> None:
    client = await Client(server, company.alice.access_token()).hello()
    await client.send({"op": "auth", "token": company.alice.access_token()})
    await client.send({"op": "ping", "t": 1})
    await client.frame(lambda frame: frame["op"] == "pong")
    await client.send({"op": "auth", "token": company.bob.access_token()})
    assert await client.closed() == 4403


async def test_typing_is_told_to_the_others(server: str, company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    alice = await Client(server, company.alice.access_token()).hello()
    bob = await Client(server, company.bob.access_token()).hello()
    await alice.join(room.id)
    await bob.join(room.id)
    assert (await alice.command("typing", room.id))["op"] == "ack"
    told = await bob.frame(lambda frame: frame["op"] == "typing")
    assert told["who"] == str(company.alice.membership_id)
    await alice.close()
    await bob.close()


async def test_too_many_frames_close(server: str, company: Company) -> None:
    client = await Client(server, company.alice.access_token()).hello()
    for number in range(300):
        await client.send({"op": "ping", "t": number})
    assert await client.closed() == 4429


async def test_what_was_seen_is_kept(server: str, company: Company, make_room: Any) -> None:
    from chat.services.messages import send_message

    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    await client.join(room.id)
    await send_message(member=company.alice.principal, room_id=room.id, text="1", generate=False)
    for seq in (1, 99, 0):
        await client.send({"op": "seen", "room": str(room.id), "seq": seq})
    await client.command("room.leave", room.id)
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert shown.room.seen_seq == 1
    await client.close()
