"""Answers of models: their text, their beginnings and their ends."""

import uuid

from tests.conformance.server import TEXT, Server, check
from tests.support.sse_client import listening


@check
async def a_stream_is_told_in_code_points_and_resumed_at_any_of_them(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        joined = await socket.command("room.join", room)
        await socket.command("message.send", room, text=server.target.prompt(delay_ms=15))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid, held = started["body"]["generation"]["id"], ""
        while len(held) < 20:
            delta = await socket.hear(lambda frame: frame["op"] == "delta" and frame["gid"] == gid)
            assert delta["off"] == len(held)
            held += delta["text"]
    keep = 9
    position = {"room": room, "epoch": started["epoch"], "seq": started["seq"], "gens": {gid: {"0": keep}}}
    assert joined["seq"] < started["seq"]
    async with server.hello(resume=[position]) as socket:
        finished = await socket.hear(lambda frame: frame.get("type") == "generation.finished")
        said = held[:keep]
        for delta in socket.frames:
            if delta["op"] == "delta":
                assert delta["off"] == len(said), "a hole, or a repetition"
                said += delta["text"]
    assert said == finished["body"]["message"]["text"]
    if server.target.script:
        assert said == TEXT


@check
async def a_client_that_holds_more_than_there_is_is_reset(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        await socket.command("room.join", room)
        await socket.command("message.send", room, text=server.target.prompt(delay_ms=20))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid = started["body"]["generation"]["id"]
        await socket.hear(lambda frame: frame["op"] == "delta")
        position = {"room": room, "epoch": started["epoch"], "seq": started["seq"], "gens": {gid: {"0": 100_000}}}
        async with server.hello(resume=[position]) as second:
            assert (await second.hear(lambda frame: frame["op"] in ("reset", "delta")))["op"] == "reset"
        await socket.command("generation.stop", gid=gid)


@check
async def any_device_stops_and_what_came_stays(server: Server) -> None:
    room = await server.room()
    async with server.hello() as first, server.hello() as second:
        await first.command("room.join", room)
        await first.command("message.send", room, text=server.target.prompt(delay_ms=50))
        started = await first.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid = started["body"]["generation"]["id"]
        await first.hear(lambda frame: frame["op"] == "delta")
        cid = uuid.uuid4().hex
        assert await second.command("generation.stop", gid=gid, cid=cid) == await second.command(
            "generation.stop", gid=gid, cid=cid
        )
        finished = await first.hear(lambda frame: frame.get("type") == "generation.finished")
        assert finished["body"]["generation"]["status"] == "stopped"
        said = "".join(frame["text"] for frame in first.frames if frame["op"] == "delta")
        assert finished["body"]["message"]["text"].startswith(said)


@check
async def a_message_that_waits_is_answered_once_it_is_asked_for(server: Server) -> None:
    room, cid = await server.room(), uuid.uuid4().hex
    async with server.hello() as socket:
        await socket.command("room.join", room)
        said = await socket.command("message.send", room, text=server.target.prompt(delay_ms=1), generate=False)
        ack = await socket.command("generation.start", room, cid=cid, message=said["id"])
        started = await socket.event(ack["seq"])
        begun = started["body"]["generation"]
        assert (started["type"], begun["id"], begun["prompt"]) == ("generation.started", ack["id"], said["id"])
        finished = (await socket.finished(ack["id"]))["body"]
        assert finished["generation"]["status"] == "complete"
        assert finished["message"]["parent"] == said["id"]
        assert await socket.command("generation.start", room, cid=cid, message=said["id"]) == ack


@check
async def an_answer_is_written_anew_beside_the_first(server: Server) -> None:
    room = await server.room()
    async with server.hello() as socket:
        await socket.command("room.join", room)
        said = await socket.command("message.send", room, text=server.target.prompt(delay_ms=1))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        first = (await socket.finished(started["body"]["generation"]["id"]))["body"]
        ack = await socket.command("generation.regenerate", room, gid=first["generation"]["id"])
        assert ack["id"] != first["generation"]["id"]
        anew = await socket.event(ack["seq"])
        assert (anew["type"], anew["body"]["generation"]["id"]) == ("generation.started", ack["id"])
        second = (await socket.finished(ack["id"]))["body"]
    assert second["generation"]["status"] == "complete"
    assert second["message"]["id"] != first["message"]["id"]
    assert first["message"]["parent"] == second["message"]["parent"] == said["id"]
    if server.target.script:
        assert second["message"]["text"] == TEXT


@check
async def a_stream_of_one_answer_goes_to_its_end_from_any_place(server: Server) -> None:
    room, keep = await server.room(), 9
    async with server.hello() as socket:
        await socket.command("room.join", room)
        await socket.command("message.send", room, text=server.target.prompt(delay_ms=15))
        started = await socket.hear_or_had(lambda frame: frame.get("type") == "generation.started")
        gid = started["body"]["generation"]["id"]
        url, token = f"{server.target.url}/api/v1/generations/{gid}/stream", server.target.token
        async with listening(url, token) as whole:
            await whole.until(lambda: len(whole.texts(gid).get(0, "")) >= 20)
            assert whole.last_id == f"0:{whole.frames[-1]['off'] + len(whole.frames[-1]['text'])}"
            async with listening(url, token, last_id=f"0:{keep}") as rest:
                await rest.over()
            await whole.over()
        finished = await socket.finished(gid)
    async with listening(url, token, last_id=f"0:{keep}") as late:
        await late.over()
    for events, held in ((whole, 0), (rest, keep), (late, keep)):
        *deltas, last = events.frames
        said = finished["body"]["message"]["text"][:held]
        for delta in deltas:
            # Overlap is dropped by offset; a hole is one, even if it is filled later.
            assert delta["op"] == "delta"
            assert delta["off"] <= len(said)
            said = said[: delta["off"]] + delta["text"] + said[delta["off"] + len(delta["text"]) :]
        assert said == finished["body"]["message"]["text"]
        assert last == finished
