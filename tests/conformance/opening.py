"""How a socket opens, what it bears, and what closes it."""

from tests.conformance.server import NOTHING, Server, check


@check
async def what_is_no_frame_is_closed_with_4400(server: Server) -> None:
    for frame in ("no json", "[]", '{"op":"nonsense"}', b"\x00", '{"op":"cmd","cid":"1","type":"typing"}', "[" * 5000):
        async with server.open() as socket:
            await socket.say(frame)
            assert await socket.closed() == 4400, frame


@check
async def an_opening_that_is_not_right_is_closed_with_its_code(server: Server) -> None:
    for hello, code in (({"v": 1}, 4401), ({"v": 1, "token": "x"}, 4401), ({"v": 7, "token": "x"}, 4400)):
        async with server.open() as socket:
            await socket.say({"op": "hello", **hello})
            assert await socket.closed() == code, hello
    async with server.open(origin="https://evil.example") as socket:
        assert await socket.closed() == 4403
    async with server.open(protocols=()) as socket:
        assert await socket.closed() == 4400
    async with server.hello() as socket:
        await socket.say({"op": "hello", "v": 1, "token": server.target.token})
        assert await socket.closed() == 4400


@check
async def a_ticket_opens_once(server: Server) -> None:
    ticket = (await server.rest("POST", "auth/ws-ticket"))["ticket"]
    for code in (None, 4401):
        async with server.open() as socket:
            await socket.say({"op": "hello", "v": 1, "ticket": ticket})
            if code is None:
                assert (await socket.hear(lambda frame: True))["op"] == "welcome"
            else:
                assert await socket.closed() == code


@check
async def welcome_tells_heartbeat_and_limits_and_they_hold(server: Server) -> None:
    async with server.open() as socket:
        await socket.say({"op": "hello", "v": 1, "token": server.target.token})
        welcome = await socket.hear(lambda frame: frame["op"] == "welcome")
        assert welcome["hb"] == 30
        assert welcome["sid"]
        assert {"frame_bytes", "inflight", "rooms"} <= welcome["limits"].keys()
        await socket.say({"op": "ping", "t": 17})
        assert (await socket.hear(lambda frame: frame["op"] == "pong"))["t"] == 17
        await socket.say('"' + "x" * welcome["limits"]["frame_bytes"] + '"')
        assert await socket.closed() == 4413


@check
async def a_pong_is_taken_without_a_word(server: Server) -> None:
    async with server.hello() as socket:
        await socket.say({"op": "pong", "t": 1})
        await socket.say({"op": "ping", "t": 2})
        assert (await socket.hear(lambda frame: frame["op"] == "pong"))["t"] == 2


@check
async def an_error_in_a_command_leaves_the_socket_open(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket, server.hello(server.target.stranger) as stranger:
        for type_, named, body, code in (
            ("nonsense", None, {}, "not_supported"),
            ("room.join", NOTHING, {}, "not_found"),
            ("room.join", None, {}, "invalid_request"),
            ("message.send", room, {"text": 7}, "invalid_request"),
            ("generation.stop", None, {"gid": NOTHING}, "not_found"),
        ):
            answer = await socket.command(type_, named, **body)
            assert (answer["op"], answer["code"]) == ("err", code), (type_, answer)
        theirs = await stranger.command("room.join", room, cid="a")
        assert theirs == await stranger.command("room.join", NOTHING, cid="a")
        assert (await socket.command("room.join", room))["op"] == "ack"


@check
async def a_fresh_token_renews_and_anothers_does_not(server: Server) -> None:
    async with server.hello() as socket:
        await socket.say({"op": "auth", "token": server.target.token})
        await socket.say({"op": "ping"})
        await socket.hear(lambda frame: frame["op"] == "pong")
        await socket.say({"op": "auth", "token": server.target.other})
        assert await socket.closed() == 4403


@check
async def too_many_frames_are_closed_with_4429(server: Server) -> None:
    async with server.hello() as socket:
        for number in range(server.target.frames_per_s * 3):
            await socket.say({"op": "ping", "t": number})
        assert await socket.closed() == 4429
