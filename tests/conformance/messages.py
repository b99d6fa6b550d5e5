"""What was said, and is changed, taken away or reacted to."""

from tests.conformance.server import Server, check


@check
async def an_edited_message_has_its_new_text_for_all(server: Server) -> None:
    async with server.both() as (room, socket, other):
        said = await socket.command("message.send", room, text="As it was.", generate=False)
        edited = await socket.command("message.edit", room, message=said["id"], text="As it is.")
        assert edited["id"] == said["id"]
        event = await other.event(edited["seq"])
        message = event["body"]["message"]
        assert (event["type"], message["id"], message["text"]) == ("message.edited", said["id"], "As it is.")
        assert message["edited_at"]
        theirs = await other.command("message.edit", room, message=said["id"], text="As they want it.")
        assert (theirs["op"], theirs["code"]) == ("err", "permission_denied")


@check
async def a_branch_is_another_message_beside_the_first(server: Server) -> None:
    async with server.both() as (room, socket, other):
        before = await socket.command("message.send", room, text="Before.", generate=False)
        first = await socket.command("message.send", room, text="One.", generate=False)
        beside = await socket.command(
            "message.edit", room, message=first["id"], text="Another.", branch=True, generate=False
        )
        assert beside["id"] != first["id"]
        event = await other.event(beside["seq"])
        message = event["body"]["message"]
        assert (event["type"], message["id"], message["text"]) == ("message.created", beside["id"], "Another.")
        assert message["parent"] == before["id"]


@check
async def a_deleted_message_keeps_its_place_alone(server: Server) -> None:
    async with server.both() as (room, socket, other):
        said = await socket.command("message.send", room, text="Take this away.", generate=False)
        theirs = await other.command("message.delete", room, message=said["id"])
        assert (theirs["op"], theirs["code"]) == ("err", "permission_denied")
        deleted = await socket.command("message.delete", room, message=said["id"])
        event = await other.event(deleted["seq"])
        message = event["body"]["message"]
        assert (event["type"], message["id"], message["deleted"]) == ("message.deleted", said["id"], True)
        assert (message["text"], message["parts"]) == ("", [])
    shown = (await server.rest("GET", f"rooms/{room}/messages"))["data"]
    assert [(one["id"], one["text"]) for one in shown] == [(said["id"], "")]


@check
async def reactions_are_counted_once_a_member_and_taken_back(server: Server) -> None:
    async with server.both() as (room, socket, other):
        said = await socket.command("message.send", room, text="Like this?", generate=False)
        chosen = {"message": said["id"], "emoji": "👍"}
        for _ in range(2):
            assert (await socket.command("message.react", room, **chosen))["id"] == said["id"]
        for more, count in (({}, 2), ({"remove": True}, 1)):
            ack = await other.command("message.react", room, **chosen, **more)
            event = await socket.event(ack["seq"])
            [reaction] = event["body"]["message"]["reactions"]
            assert (event["type"], reaction["emoji"], reaction["count"]) == ("message.reacted", "👍", count)
        wrong = await other.command("message.react", room, message=said["id"], emoji="no")
        assert (wrong["op"], wrong["code"]) == ("err", "invalid_request")
