"""Conversation in many rooms at once: whether everybody ends with the same history, and memory stays where it was.

    python -m bench.rooms --rooms 50 --people 20 --minutes 10

Starts a Parley of its own and a fake upstream. In each room everybody types, says things, and now and then has a model answer. At
the end each client's history of each room is compared, by hash, with what PostgreSQL has. Prints deliveries, differences and what
the web process holds as time goes by; fails on any difference, or if what it holds in the last quarter (its median) is more than
a tenth above the second's. The first is not counted: all sign in then, and each password takes 64 MiB while it is checked.
"""

import argparse
import asyncio
import gc
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from bench.ears import address
from bench.fanout import World, make_world
from chat.client import Client, CommandFailed
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack

MODEL = "fake"
GROWTH_MAX = 1.1
PAUSE_S = (2.0, 10.0)
ANSWERED_ONE_IN = 20
SETTLE_S = 15.0


@dataclass
class Course:
    """What happened."""

    said: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    memory_kib: list[float] = field(default_factory=list)


async def person(client: Client, room: str, course: Course, until_s: float, chance: random.Random) -> None:
    """Somebody who types and says things until it is time."""
    while time.monotonic() < until_s:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        with suppress(CommandFailed):
            await client.command("typing", room=room)
        try:
            await client.command(
                "message.send",
                room=room,
                text=f"{chance.random():.9f} 👩‍👩‍👧 e\u0301",
                generate=not chance.randrange(ANSWERED_ONE_IN),
            )
            course.said += 1
        except CommandFailed as error:
            # So many answers at once are refused, and asked for again later.
            course.refused[error.code] += 1


async def converse(world: World, *, seconds: float, seed: int = 1) -> tuple[Course, list[str]]:
    """Everybody talks for so long; what happened, and which histories differ."""
    course, clients = Course(), []
    sessions = [
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address(number), 0), limit=0))
        for number in range(len(world.tokens))
    ]
    tokens = [world.token_of(number) for number in range(len(world.tokens))]
    try:
        for room in world.rooms:
            for number, token in enumerate(tokens):
                client = Client(world.stack.url, token, session=sessions[number], messages_max=100_000)
                await client.start()
                clients.append((room, client))
        for at in range(0, len(clients), 50):
            await asyncio.gather(*(client.follow(room) for room, client in clients[at : at + 50]))
        until_s = time.monotonic() + seconds
        talking = [
            asyncio.create_task(person(client, room, course, until_s, random.Random(seed + number)))
            for number, (room, client) in enumerate(clients)
        ]
        while time.monotonic() < until_s:
            course.memory_kib.append(world.memory_kib())
            await asyncio.sleep(max(0.5, seconds / 40))
        await asyncio.gather(*talking)
        return course, await differences(world, clients)
    finally:
        await asyncio.gather(*(client.close() for _, client in clients))
        for session in sessions:
            await session.close()


async def differences(world: World, clients: Sequence[tuple[str, Client]]) -> list[str]:
    """Whose history isn't PostgreSQL's, once all answers have ended."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        truth = await asyncio.to_thread(histories, world)
        wrong = [room for room, client in clients if history(client.rooms[room].messages) != truth[room]]
        if not wrong or time.monotonic() > deadline:
            return wrong
        await asyncio.sleep(0.5)


def history(messages: Any) -> str:
    """What was said, in its order, as a hash."""
    said = sorted((message["id"], message["text"]) for message in messages.values())
    return hashlib.sha256(repr(said).encode()).hexdigest()


def histories(world: World) -> dict[str, str]:
    """The same of each room, as PostgreSQL has it."""
    with psycopg.connect(world.database_url) as administrator:
        rows = administrator.execute(
            "SELECT room_id::text, id::text, text FROM chat_message WHERE room_id = ANY(%s)", (world.rooms,)
        ).fetchall()
    said: dict[str, list[tuple[str, str]]] = {room: [] for room in world.rooms}
    for room, id_, text in rows:
        said[room].append((id_, text))
    return {room: hashlib.sha256(repr(sorted(found)).encode()).hexdigest() for room, found in said.items()}


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    # A thousand histories grow here: to look through them for rings again and again would take the server's processor.
    gc.disable()
    most = str(options.rooms * options.people + 100)
    environment = {"PARLEY_SOCKETS_PER_PROCESS": most, "PARLEY_SOCKETS_PER_TENANT": most, "LOG_LEVEL": "ERROR"}
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as folder,
        OpenAIUpstream(api_key="upstream-secret") as upstream,
    ):
        stack = Stack(Path(folder), "--no-local-model", environment=environment).start()
        try:
            stack.add_model(MODEL, upstream.base_url, upstream="fake-model")
            world = make_world(stack, rooms=options.rooms, people=options.people, model=MODEL)
            course, wrong = asyncio.run(converse(world, seconds=options.minutes * 60))
        finally:
            stack.stop()
    quarter = len(course.memory_kib) // 4
    settled = statistics.median(course.memory_kib[quarter : 2 * quarter])
    last = statistics.median(course.memory_kib[-quarter:])
    print(
        f"said         {course.said} messages in {options.rooms} rooms of {options.people}; refused {dict(course.refused)}"
    )
    print(f"differences  {len(wrong)}")
    print(f"memory       {settled / 1024:.0f} MiB in the second quarter, {last / 1024:.0f} MiB in the last")
    print("over time    " + " ".join(f"{kib / 1024:.0f}" for kib in course.memory_kib))
    return 0 if not wrong and last <= GROWTH_MAX * settled and course.said else 1


if __name__ == "__main__":
    sys.exit(main())
