"""The Python client: it heals whatever a server does to it, and knows what can't be healed."""

import asyncio
import itertools
import json
import random
import time
import uuid
from typing import Any

import pytest

from chat import client as clients
from chat.client import Client, Closed, CommandFailed
from chat.client_state import Gap, Room
from chat.client_wire import read
from tests.support.answers import FakeAnswering
from tests.support.bad_server import FAULTS, GEN, ROOM, BadServer, event, message
from tests.support.cast import Company

TEXT = "naïve 🎈 e\u0301 👩‍👩‍👧 𝒳 " * 30
QUICK_S = 0.001


async def heard(server: BadServer, **options: Any) -> Client:
    """A client that has heard the whole answer from a server."""
    async with Client(server.url, "token", first_wait_s=QUICK_S, **options) as client:
        client.rooms[ROOM] = room = Room(ROOM, 10)
        await client.until(lambda: GEN in room.answers and room.answers[GEN].ended, wait_s=20)
        answer = room.answers[GEN]
        assert answer.text == TEXT[: len(answer.text)]
        assert answer.final_text == TEXT
        assert room.seq == 3
        return client


@pytest.mark.no_database
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_healed(fault: str) -> None:
    async with BadServer(TEXT, [fault]).running() as server:
        client = await heard(server)
        assert client.connections == len(server.hellos)
        assert server.faults == []
        assert client.rooms[ROOM].answers[GEN].text == TEXT


@pytest.mark.no_database
async def test_one_fault_after_another_is_healed() -> None:
    chance = random.Random(3)
    faults = [chance.choice(FAULTS) for _ in range(40)]
    async with BadServer(TEXT, faults).running() as server:
        client = await heard(server)
        assert client.rooms[ROOM].answers[GEN].text == TEXT
        # It never forgets what it has: each hello names at least as much as the one before.
        held = [int(hello["resume"][0].get("gens", {}).get(GEN, {}).get("0", 0)) for hello in server.hellos]
        assert all(one <= other for one, other in itertools.pairwise(held) if other)


@pytest.mark.no_database
async def test_a_close_that_is_cancelled_leaves_nothing_open() -> None:
    async with BadServer(TEXT, []).running() as server:
        client = Client(server.url, "token", first_wait_s=QUICK_S)
        await client.start()
        await client.until(lambda: client.welcome is not None)
        transport = client.transport
        assert transport is not None
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        assert transport.is_closing()
        with pytest.raises(RuntimeError, match="closed"):
            await client._http.get(server.url)


@pytest.mark.no_database
async def test_silence_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "SILENCE_AFTER_PING_S", 0.1)
    monkeypatch.setattr(clients, "OPEN_S", 0.2)
    async with BadServer(TEXT, ["silence", "no welcome"]).running() as server:
        began = time.monotonic()
        await heard(server)
        assert time.monotonic() - began < 10


@pytest.mark.no_database
@pytest.mark.parametrize("code", [4400, 4403, 4404, 4409, 4413])
async def test_what_is_final_ends_it(code: int) -> None:
    async with BadServer(TEXT, [str(code)]).running() as server:
        async with Client(server.url, "token", first_wait_s=QUICK_S) as client:
            with pytest.raises(Closed) as ended:
                await client.command("message.send", room=ROOM, text="Hello?")
            assert ended.value.code == code
            with pytest.raises(Closed):
                await client.follow(ROOM)
        assert len(server.hellos) == 1


@pytest.mark.no_database
async def test_a_fresh_token_is_used_at_once_and_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    numbers = itertools.count(1)

    async def token() -> str:
        return f"token-{next(numbers)}"

    def uniform(least: float, most: float) -> float:
        waits.append(most)
        return 0.0

    monkeypatch.setattr(clients.random, "uniform", uniform)
    async with BadServer(TEXT, ["4401", "4401", *["4503"] * 8, "4429"]).running() as server:
        async with Client(server.url, token) as client:
            await client.until(lambda: client.welcome)
        assert server.tokens[:2] == ["token-1", "token-2"]
    # None after the first 4401; then up to 0.5 s, doubled with each failure up to 30 s.
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-3:] == [30.0] * 3
    assert len(waits) == 10


@pytest.mark.no_database
async def test_a_token_that_cannot_be_had_now_is_asked_for_again() -> None:
    tries = itertools.count(1)

    async def token() -> str:
        number = next(tries)
        # Of the second connection's: a token, then none for the snapshot.
        if number in (1, 3):
            raise KeyError("no session")
        return f"token-{number}"

    async with BadServer(TEXT, []).running() as server:
        async with Client(server.url, token, first_wait_s=QUICK_S) as client:
            room = await client.follow(ROOM, wait_s=5)
            assert room.seq is not None
        assert server.tokens[0] == "token-2"


@pytest.mark.no_database
async def test_what_a_callers_own_function_raises_is_told_to_who_waits() -> None:
    def broken(frame: object) -> None:
        raise LookupError("a bug of the caller's")

    async with BadServer(TEXT, []).running() as server, Client(server.url, "token", first_wait_s=QUICK_S) as client:
        client.on_frame = broken
        with pytest.raises(LookupError):
            await client.follow(ROOM, wait_s=5)


@pytest.mark.no_database
async def test_a_command_is_said_again_under_its_own_id() -> None:
    async with BadServer("", ["no ack", "no ack"]).running() as server:
        async with Client(server.url, "token", first_wait_s=QUICK_S) as client:
            client.rooms[ROOM] = Room(ROOM, 10)
            await client.command("message.send", room=ROOM, text="Hello?")
        assert len({frame["cid"] for frame in server.commands}) == 1


async def test_a_conversation_as_a_program_has_it(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    url = server.replace("ws://", "http://").removesuffix("/ws")
    # REST is answered by the tests' own process here, without a server that could be asked: `resume` names the position.
    async with Client(url, company.alice.access_token(), first_wait_s=QUICK_S) as client:
        held = client.rooms[str(room.id)] = Room(str(room.id), 10)
        held.epoch, held.seq = "1", 0
        sent = await client.command("message.send", room=room.id, text="What is up?")
        await client.until(lambda: held.answers)
        gid = next(iter(held.answers))
        answer = await answering.answer_of(uuid.UUID(gid))
        answer.say("Hm.", kind="reasoning")
        answer.say("The 🌤️")
        await client.until(lambda: held.answers[gid].text == "The 🌤️")
        await client.drop()
        answer.say(" sky.")
        answer.end()
        await client.until(lambda: held.answers[gid].ended)
        assert held.answers[gid].text == held.answers[gid].final_text == "The 🌤️ sky."
        assert held.answers[gid].parts[0] == "Hm."
        assert client.connections == 2
        assert str(sent.id) in held.messages
        with pytest.raises(CommandFailed) as refused:
            await client.command("generation.stop", gid=str(uuid.uuid4()))
        assert refused.value.code == "not_found"
        await asyncio.gather(*(client.command("typing", room=room.id) for _ in range(40)))


@pytest.mark.no_database
def test_a_room_takes_what_came_while_its_snapshot_was_loading() -> None:
    room = Room(ROOM, 10)
    frames = [read(json.dumps(event(seq, "message.created", {"message": message(str(seq), "x")}))) for seq in (1, 2, 4)]
    room.take(frames[0])
    room.take(frames[1])
    snapshot = {"room": {}, "epoch": "1", "seq": 1, "messages": [], "generations": []}
    room.place(snapshot)
    assert (room.seq, list(room.messages)) == (2, ["2"])
    with pytest.raises(Gap):
        room.take(frames[2])


async def test_a_room_followed_between_hello_and_welcome_is_joined(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    url = server.replace("ws://", "http://").removesuffix("/ws")
    welcomed = Client._welcomed

    async def late(self: Client, *args: Any) -> None:
        # The hello named no room.
        self.rooms[str(room.id)] = Room(str(room.id), 10)
        await welcomed(self, *args)

    async def snapshot(self: Client, room_id: str) -> dict[str, Any]:
        return {"room": {}, "epoch": "1", "seq": 0, "messages": [], "generations": []}

    monkeypatch.setattr(Client, "_welcomed", late)
    monkeypatch.setattr(Client, "_snapshot", snapshot)
    async with Client(url, company.alice.access_token(), first_wait_s=QUICK_S) as client:
        await client.until(lambda: client.welcome)
        held = await client.follow(room.id)
        await client.command("message.send", room=room.id, text="Heard?", generate=False)
        await client.until(lambda: held.messages)


@pytest.mark.no_database
def test_an_older_message_that_changes_is_no_new_one() -> None:
    room = Room(ROOM, 10)
    room.place({"room": {}, "epoch": "1", "seq": 1, "messages": [message("b", "held")], "generations": []})
    for seq, (type_, id_) in enumerate((("message.edited", "a"), ("message.created", "c"), ("message.edited", "b")), 2):
        room.take(read(json.dumps(event(seq, type_, {"message": message(id_, "changed")}))))
    assert [(id_, held["text"]) for id_, held in room.messages.items()] == [("b", "changed"), ("c", "changed")]
