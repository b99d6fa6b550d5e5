"""Frames at random: huge, cut short, binary, nested a thousand deep, unknown, of another tenant's room. Each gets the close code
or the error that the protocol has for it, and nobody else notices.

`PARLEY_RANDOM_FRAMES` says how many; the long run is 10,000.
"""

import json
import os
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from chat.realtime.hub import hub
from tests.support.cast import Company
from tests.support.ws_client import Client, RoomState

FRAMES = int(os.environ.get("PARLEY_RANDOM_FRAMES", "300"))
Frame = str | bytes
BAD, LARGE = 4400, 4413
Outcome = int | None
"""The code that it closes with; None when the socket stays open."""


def valid(chance: random.Random, room: str) -> dict[str, Any]:
    """A frame that says something, to somebody who isn't in the room."""
    return chance.choice(
        [
            {"op": "ping", "t": chance.random()},
            {"op": "pong"},
            {"op": "seen", "room": room, "seq": chance.randint(0, 2**53)},
            {"op": "cmd", "cid": uuid.uuid4().hex, "type": "message.send", "room": room, "body": {"text": "Mine!"}},
            {"op": "cmd", "cid": uuid.uuid4().hex, "type": "room.join", "room": room},
            {"op": "cmd", "cid": uuid.uuid4().hex, "type": "generation.stop", "body": {"gid": room}},
            {"op": "cmd", "cid": uuid.uuid4().hex, "type": "typing", "room": room, "body": {"deep": [[[]]]}},
            {"op": "cmd", "cid": uuid.uuid4().hex, "type": "n" * 60, "body": chance.random()},
        ]
    )


def a_valid_one(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return json.dumps(valid(chance, room) | {"more": [1, {"two": None}]}), None


def cut_short(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    whole = json.dumps(valid(chance, room))
    return whole[: chance.randrange(len(whole))], BAD


def binary(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return chance.randbytes(chance.randrange(1, 200)), BAD


def deep(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    opening, closing = chance.choice([("[", "]"), ('{"a":', "}")])
    depth = chance.choice([1000, 5000, 50_000])
    nested = opening * depth + "1" + closing * depth
    return chance.choice([nested, '{"op":"ping","t":' + nested + "}"]), BAD


def deep_in_a_body(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    nested = "[" * 5000 + "]" * 5000
    return '{"op":"cmd","cid":"d","type":"message.send","room":"' + room + '","body":' + nested + "}", BAD


def huge(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return '{"op":"ping","t":"' + chance.choice("aé𝒳") * 600_000 + '"}', LARGE


def unknown(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return json.dumps(valid(chance, room) | {"op": chance.choice(["", "Cmd", "ev", "welcome", 7, None, ["cmd"]])}), BAD


def wrongly_typed(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return (
        json.dumps(
            chance.choice(
                [
                    {"op": "cmd", "cid": 7, "type": "typing"},
                    {"op": "cmd", "cid": "", "type": "typing"},
                    {"op": "cmd", "cid": "x" * 65, "type": "typing"},
                    {"op": "cmd", "cid": "1"},
                    {"op": "seen", "room": room, "seq": -1},
                    {"op": "seen", "room": room, "seq": 2**70},
                    {"op": "seen", "room": "r", "seq": 1},
                    {"op": "auth", "token": ["x"]},
                    {"op": "hello", "v": 1, "token": "x"},
                ]
            )
        ),
        BAD,
    )


def noise(chance: random.Random, room: str) -> tuple[Frame, Outcome]:
    return "".join(chance.choice('{}[]":,\\u0op cmd1e9\x00é𝒳\n') for _ in range(chance.randrange(0, 60))), BAD


KINDS: tuple[Callable[[random.Random, str], tuple[Frame, Outcome]], ...] = (
    a_valid_one,
    cut_short,
    binary,
    deep,
    deep_in_a_body,
    huge,
    unknown,
    wrongly_typed,
    noise,
)


@pytest.mark.timeout(60 + FRAMES // 20)
async def test_frames_at_random_get_their_due_and_disturb_nobody(
    server: str, company: Company, evil: Company, make_room: Any
) -> None:
    chance = random.Random(20261121)
    room = await make_room()
    alice = await Client(server, company.alice.access_token()).hello()
    mine: RoomState = await alice.join(room.id)
    mallory = Client(server, evil.alice.access_token())
    welcomed = False
    for number in range(FRAMES):
        if number % 200 == 0:
            await alice.send({"op": "ping", "t": number})
            await alice.frame(lambda said, number=number: said == {"op": "pong", "t": number})
        if not welcomed:
            await mallory.hello()
            welcomed, mallory.frames = True, []
        frame, code = chance.choices(KINDS, weights=(6, 2, 1, 1, 1, 0.1, 2, 2, 2))[0](chance, str(room.id))
        await mallory.send(frame)
        if code is not None:
            assert await mallory.closed() == code, (number, frame[:200])
            welcomed = False
            continue
        await mallory.send({"op": "ping", "t": f"after {number}"})
        await mallory.frame(lambda said, number=number: said == {"op": "pong", "t": f"after {number}"})
        assert {said["op"] for said in mallory.frames} <= {"welcome", "pong", "err", "note"}
        if number % 50 == 0:
            await mallory.close()
            welcomed = False
    if welcomed:
        await mallory.close()
    ack = await alice.command("message.send", room.id, text="Still here.", generate=False)
    await alice.until(lambda: mine.events)
    assert (ack["seq"], [event["seq"] for event in mine.events], mine.gaps) == (1, [1], [])
    await alice.close()
    assert not {socket for socket in hub().sockets if not socket.closing}
