"""The same matrix for the socket: each command with alice's ids, as mallory, gets the answer for ids of nothing."""

import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import transaction

from chat import lifecycle
from chat.models import RoomMember
from chat.realtime.commands import known_commands
from config.asgi import application
from kernel.ids import uuid7
from tests.isolation.calls_chat_history import ended_generation_of, message_of
from tests.isolation.conftest import Cast
from tests.isolation.made_chat import generation_of, message_in, room_of
from tests.support.cast import Company

WAIT_S = 30


@dataclass(frozen=True, slots=True)
class SocketCall:
    """One command. `make` makes what it names; `frame` writes it. A `silent` one answers the same to everybody."""

    type: str
    make: Callable[[Company], uuid.UUID]
    frame: Callable[[uuid.UUID], dict[str, Any]]
    joins_first: bool = False
    silent: bool = False


def in_room(room_id: uuid.UUID) -> dict[str, Any]:
    return {"room": str(room_id)}


def _at(message_id: uuid.UUID, **body: Any) -> dict[str, Any]:
    return {"body": {"message": str(message_id)} | body}


SOCKET_CALLS = (
    SocketCall("room.join", room_of, in_room),
    SocketCall("room.leave", room_of, in_room, silent=True),
    SocketCall(
        "message.send", room_of, lambda room_id: in_room(room_id) | {"body": {"text": "hello", "generate": False}}
    ),
    SocketCall("message.edit", message_of, lambda message_id: _at(message_id, text="other")),
    SocketCall("message.delete", message_of, _at),
    SocketCall("message.react", message_of, lambda message_id: _at(message_id, emoji="👍")),
    SocketCall("generation.start", message_of, lambda message_id: {"body": {"message": str(message_id)}}),
    SocketCall("generation.regenerate", ended_generation_of, lambda gid: {"body": {"gid": str(gid)}}),
    SocketCall("generation.stop", generation_of, lambda gid: {"body": {"gid": str(gid)}}),
    SocketCall("presence.set", room_of, lambda _: {"body": {"state": "away"}}, silent=True),
    SocketCall("typing", room_of, in_room, joins_first=True),
)
every_command = pytest.mark.parametrize("call", SOCKET_CALLS, ids=lambda call: call.type)


@pytest_asyncio.fixture(autouse=True)
async def _no_rooms_left(_no_pools_left: None) -> AsyncIterator[None]:
    """Close what the test's event loop holds for rooms, before its pools."""
    yield
    await lifecycle.close()


class Client:
    """A socket, spoken to in frames."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self._communicator = communicator

    async def say(self, frame: dict[str, Any]) -> None:
        await self._communicator.send_to(text_data=json.dumps(frame))

    async def hear(self, *ops: str) -> dict[str, Any]:
        """The next frame of one of these kinds."""
        while True:
            message = await self._communicator.receive_output(WAIT_S)
            if message["type"] == "websocket.close":
                return {"op": "closed", "code": message["code"]}
            frame: dict[str, Any] = json.loads(message["text"])
            if frame["op"] in ops:
                return frame

    async def command(self, type_: str, frame: dict[str, Any]) -> dict[str, Any]:
        """Its answer, without the id that pairs the two."""
        await self.say({"op": "cmd", "cid": str(uuid7()), "type": type_} | frame)
        answer = await self.hear("ack", "err")
        answer.pop("cid", None)
        return answer


@asynccontextmanager
async def socket(token: str | None, **hello: Any) -> AsyncIterator[Client]:
    communicator = WebsocketCommunicator(
        application, "/ws", headers=[(b"host", b"testserver")], subprotocols=["parley.v1"]
    )
    connected, _ = await communicator.connect(WAIT_S)
    assert connected
    client = Client(communicator)
    if token is not None:
        await client.say({"op": "hello", "v": 1, "token": token} | hello)
    try:
        yield client
    finally:
        await communicator.disconnect(timeout=WAIT_S)


def test_every_command_has_an_example_call() -> None:
    assert sorted(call.type for call in SOCKET_CALLS) == known_commands()


@every_command
async def test_mallory_finds_nothing_where_alice_succeeds(cast: Cast, call: SocketCall) -> None:
    named = await sync_to_async(call.make)(cast.ours)
    for token in (cast.theirs.owner.access_token(), cast.their_key):
        async with socket(token) as mallory:
            assert (await mallory.hear("welcome"))["op"] == "welcome"
            refused = await mallory.command(call.type, call.frame(named))
            nothing = uuid7()
            unknown = await mallory.command(call.type, call.frame(nothing))
        assert json.dumps(refused).replace(str(named), "ID") == json.dumps(unknown).replace(str(nothing), "ID")
        assert refused["op"] == ("ack" if call.silent else "err")
    async with socket(cast.ours.owner.access_token()) as alice:
        if call.joins_first:
            await alice.command("room.join", in_room(named))
        assert (await alice.command(call.type, call.frame(named)))["op"] == "ack"


async def test_resuming_anothers_room_is_as_resuming_none(cast: Cast) -> None:
    named, nothing = await sync_to_async(room_of)(cast.ours), uuid7()
    resume = [{"room": str(room)} for room in (named, nothing)]
    async with socket(cast.theirs.owner.access_token(), resume=resume) as mallory:
        first, second = await mallory.hear("reset"), await mallory.hear("reset")
    assert json.dumps(first).replace(str(named), "ID") == json.dumps(second).replace(str(nothing), "ID")
    assert str(named) in json.dumps(first)
    assert "not_found" in json.dumps(first)


async def test_nothing_of_a_room_reaches_who_is_not_in_it(cast: Cast) -> None:
    """Mallory resumed it, joined it and typed in it; then something happens there."""
    named = await sync_to_async(room_of)(cast.ours)
    async with socket(cast.theirs.owner.access_token(), resume=[{"room": str(named)}]) as mallory:
        await mallory.hear("reset")
        await mallory.command("room.join", in_room(named))
        async with socket(cast.ours.owner.access_token(), resume=[{"room": str(named)}]) as alice:
            await alice.hear("welcome")
            await alice.command("room.join", in_room(named))
            await sync_to_async(message_in)(cast.ours, named)
            assert (await alice.hear("ev"))["op"] == "ev"
        # What was published before reaches a socket before the answer to its next ping.
        await mallory.say({"op": "ping", "t": 7})
        assert (await mallory.hear("ev", "pong"))["op"] == "pong"


async def test_nobody_reads_for_another(cast: Cast) -> None:
    named = await sync_to_async(room_of)(cast.ours)
    await sync_to_async(message_in)(cast.ours, named)
    async with socket(cast.theirs.owner.access_token()) as mallory:
        await mallory.hear("welcome")
        await mallory.say({"op": "seen", "room": str(named), "seq": 1})
        await mallory.say({"op": "ping"})
        await mallory.hear("pong")

    def seen() -> list[int]:
        with cast.ours.scope(), transaction.atomic():
            return list(RoomMember.objects.filter(room_id=named).values_list("seen_seq", flat=True))

    assert await sync_to_async(seen)() == [0]


@pytest.mark.parametrize("token", ["x.y.z", "sk-parley-" + "0" * 12 + "_" + "0" * 38])
async def test_nobody_gets_in(cast: Cast, token: str) -> None:
    async with socket(token) as nobody:
        assert await nobody.hear("welcome") == {"op": "closed", "code": 4401}


async def test_a_command_before_hello_ends_it(cast: Cast) -> None:
    async with socket(None) as nobody:
        assert (await nobody.command("room.join", in_room(uuid7())))["op"] == "closed"


async def test_a_socket_is_not_handed_to_another_member(cast: Cast) -> None:
    async with socket(cast.ours.owner.access_token()) as alice:
        await alice.hear("welcome")
        await alice.say({"op": "auth", "token": cast.theirs.owner.access_token()})
        assert await alice.hear("ev") == {"op": "closed", "code": 4403}
