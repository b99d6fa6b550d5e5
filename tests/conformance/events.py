"""Durable events: once, without gaps, and again after an absence."""

import uuid

from tests.conformance.server import NOTHING, Server, check
from tests.support.sse_client import listening


@check
async def a_command_is_carried_out_once_on_whatever_socket(server: Server) -> None:
    room, cid, acks = await server.room(), uuid.uuid4().hex, []
    for _ in range(2):
        async with server.hello() as socket:
            acks.append(await socket.command("message.send", room, cid=cid, text="Once.", generate=False))
    assert acks[0] == acks[1]
    said = await server.rest("GET", f"rooms/{room}/messages")
    assert len(said["data"]) == 1


@check
async def events_are_numbered_without_gaps_and_replayed_after_a_position(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        joined = await socket.command("room.join", room)
        for number in range(5):
            ack = await socket.command("message.send", room, text=str(number), generate=False)
        await socket.hear_or_had(lambda frame: frame["op"] == "ev" and frame["seq"] == ack["seq"])
        live = [frame for frame in socket.frames if frame["op"] == "ev"]
    assert [event["seq"] for event in live] == list(range(joined["seq"] + 1, joined["seq"] + 6))
    position = {"room": room, "epoch": live[1]["epoch"], "seq": live[1]["seq"]}
    async with server.hello(resume=[position]) as socket:
        await socket.hear(lambda frame: frame["op"] == "ev" and frame["seq"] == live[-1]["seq"])
        assert [frame for frame in socket.frames if frame["op"] == "ev"] == live[2:]


@check
async def events_are_replayed_with_what_is_left_of_them(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        joined = await socket.command("room.join", room)
        edited, deleted = [
            (await socket.command("message.send", room, text=text, generate=False))["id"] for text in ("Old.", "Gone.")
        ]
        await socket.command("message.edit", room, message=edited, text="New.")
        last = await socket.command("message.delete", room, message=deleted)
        epoch = (await socket.event(last["seq"]))["epoch"]
    async with server.hello(resume=[{"room": room, "epoch": epoch, "seq": joined["seq"]}]) as socket:
        await socket.event(last["seq"])
        replayed = [(frame["type"], frame["body"]["message"]["text"]) for frame in socket.frames if frame["op"] == "ev"]
    assert replayed == [
        ("message.created", "New."),
        ("message.created", ""),
        ("message.edited", "New."),
        ("message.deleted", ""),
    ]


@check
async def what_cannot_be_resumed_is_reset(server: Server) -> None:
    room = await server.room()
    resume = [{"room": room, "epoch": "1", "seq": 10_000}, {"room": NOTHING, "epoch": "1", "seq": 1}]
    async with server.hello(resume=resume) as socket:
        for named in (room, NOTHING):
            told = await socket.hear(lambda frame, named=named: frame["op"] == "reset" and frame["room"] == named)
            assert told["snapshot"] == f"/api/v1/rooms/{named}/snapshot"
            assert told["reason"]


@check
async def a_room_that_was_left_is_heard_no_more(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket, server.hello() as second:
        for one in (socket, second):
            await one.command("room.join", room)
        heard = await second.command("message.send", room, text="Heard.", generate=False)
        await socket.event(heard["seq"])
        assert (await socket.command("room.leave", room))["op"] == "ack"
        missed = await second.command("message.send", room, text="Not heard.", generate=False)
        await second.event(missed["seq"])
        again = await socket.command("room.join", room)
        last = await second.command("message.send", room, text="Heard again.", generate=False)
        await socket.event(last["seq"])
        seqs = [frame["seq"] for frame in socket.frames if frame["op"] == "ev"]
    assert seqs == [heard["seq"], *range(again["seq"] + 1, last["seq"] + 1)]


@check
async def events_carry_the_same_bodies(server: Server) -> None:
    room = await server.room()
    url = f"{server.target.url}/api/v1/rooms/{room}/events"
    async with listening(url, server.target.token) as events, server.hello() as socket:
        await events.until(lambda: events.frames)
        await socket.command("room.join", room)
        await socket.command("message.send", room, text="Both ways.", generate=False)
        await socket.hear_or_had(lambda frame: frame["op"] == "ev")
        live = [frame for frame in socket.frames if frame["op"] == "ev"]
        await events.until(lambda: [frame for frame in events.frames if frame["op"] == "ev"])
        assert [frame for frame in events.frames if frame["op"] == "ev"] == live
        assert events.last_id == f"{live[0]['epoch']}:{live[0]['seq']}"
