"""Who is in a room, and what they are told of each other."""

from tests.conformance.server import Server, check


@check
async def typing_presence_and_invitations_reach_the_other(server: Server) -> None:
    async with server.hello(server.target.other, notes=2**52) as other, server.hello() as socket:
        room = await server.room(shared=True)
        await other.command("room.join", room)
        await socket.command("room.join", room)
        await socket.command("typing", room)
        told = await other.hear(lambda frame: frame["op"] == "typing")
        assert told["room"] == room
        await other.command("presence.set", state="away")
        who = {"who": server.target.other_membership, "state": "away"}
        await socket.hear(lambda frame: frame["op"] == "presence" and who.items() <= frame.items())
    async with server.hello(server.target.other) as other:
        note = await other.hear(lambda frame: frame["op"] == "note" and frame["body"].get("room") == room)
        assert note["type"] == "invited"
    async with server.hello(server.target.other, notes=note["seq"]) as other:
        await other.say({"op": "ping"})
        await other.hear(lambda frame: frame["op"] == "pong")
        assert not [frame for frame in other.frames if frame["op"] == "note" and frame["type"] == "invited"]


@check
async def what_was_seen_counts(server: Server) -> None:
    room = await server.room(shared=True)
    async with server.hello() as socket, server.hello(server.target.other) as other:
        ack = await socket.command("message.send", room, text="Read me.", generate=False)
        assert (await server.rest("GET", f"rooms/{room}", server.target.other))["unread"] == 1
        await other.say({"op": "seen", "room": room, "seq": ack["seq"]})
        await other.command("room.join", room)
        assert (await server.rest("GET", f"rooms/{room}", server.target.other))["unread"] == 0


@check
async def a_changed_room_is_told_without_what_is_a_readers_own(server: Server) -> None:
    async with server.both() as (room, _, other):
        await server.rest("PATCH", f"rooms/{room}", title="Renamed")
        told = (await other.hear_or_had(lambda frame: frame.get("type") == "room.updated"))["body"]["room"]
        assert (told["id"], told["title"]) == (room, "Renamed")
        assert not {"role", "seen_seq", "pinned", "muted", "folder", "unread"} & told.keys()


@check
async def who_is_taken_out_hears_no_more_until_they_are_let_in(server: Server) -> None:
    who = server.target.other_membership
    async with server.both() as (room, socket, other):
        places = (await server.rest("GET", f"rooms/{room}/members"))["data"]
        [place] = [place["id"] for place in places if place["member"]["id"] == who]
        await server.rest("DELETE", f"rooms/{room}/members/{place}")
        for one in (socket, other):
            left = await one.hear_or_had(lambda frame: frame.get("type") == "member.left")
            assert left["body"]["member"]["member"]["id"] == who
        said = await socket.command("message.send", room, text="Without them.", generate=False)
        await socket.event(said["seq"])
        refused = await other.command("room.join", room)
        assert (refused["op"], refused["code"]) == ("err", "not_found")
        await server.rest("POST", f"rooms/{room}/members", member=who)
        joined = await socket.hear_or_had(lambda frame: frame.get("type") == "member.joined")
        assert joined["body"]["member"]["member"]["id"] == who
        assert (await other.command("room.join", room))["op"] == "ack"
        last = await socket.command("message.send", room, text="With them.", generate=False)
        await other.event(last["seq"])
        heard = [frame["seq"] for frame in other.frames if frame["op"] == "ev" and frame["seq"] > left["seq"]]
    assert [seq for seq in heard if seq != joined["seq"]] == [last["seq"]]
