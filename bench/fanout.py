"""What one message costs when many listen, and what it costs when they all come back.

    python -m bench.fanout

Starts a Parley of its own. Prints, and fails unless: one message reaches 1,000 sockets in one room, and 10 sockets in each of 100
rooms, all of them once, p99 within 100 ms; a socket costs the server 30 KiB or less; a process delivers 10,000 frames a second or
more; 2,000 sockets that are cut at once are back within 10 s with what they missed, and chat's tables are not read for it.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psycopg

from bench.ears import Ear, listen
from bench.stack import home_at
from tests.support.stack import Stack

PEOPLE = 20
P99_MAX_S = 0.1
SOCKET_KIB_MAX = 30.0
DELIVERIES_MIN_PER_S = 10_000.0
BACK_MAX_S = 10.0
SETTLE_S = 12.0
"""PostgreSQL's processes tell what they read after 10 s of silence at the latest."""
PATIENCE_S = 30.0
SIGN_IN_EVERY_S = 180.0


@dataclass
class World:
    """A platform, the people's tokens, and rooms with all of them in it."""

    stack: Stack
    tokens: list[str]
    rooms: list[str]
    database_url: str
    logins: list[tuple[str, str]]

    def token_of(self, number: int) -> Callable[[], Awaitable[str]]:
        """Whose token a client asks for again and again: a new one well before the last expires, one for all of the person's."""
        signed_in_at, lock = time.monotonic(), asyncio.Lock()

        async def token() -> str:
            nonlocal signed_in_at
            async with lock:
                if time.monotonic() - signed_in_at > SIGN_IN_EVERY_S:
                    session = await asyncio.to_thread(self.stack.sign_in, *self.logins[number])
                    self.tokens[number], signed_in_at = session["access"], time.monotonic()
            return self.tokens[number]

        return token

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens."""
        found = urlsplit(self.stack.url)
        return found.hostname or "", found.port or 0

    def memory_kib(self) -> float:
        """What the web processes hold."""
        pids = [pid for name, pid in self.stack.children().items() if name.startswith("web")]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Workers, and what gives them work, stand still: they look into rooms now and then, whoever comes."""
        pids = [pid for name, pid in self.stack.children().items() if name.startswith(("worker", "beat"))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    async def say(self, session: aiohttp.ClientSession, room: str, mark: str) -> int:
        """Say a mark in a room; the message's number."""
        url = f"{self.stack.url}/api/v1/rooms/{room}/messages"
        headers = {"Authorization": f"Bearer {self.tokens[0]}"}
        async with session.post(url, json={"text": f"{mark} ", "generate": False}, headers=headers) as answer:
            answer.raise_for_status()
        async with session.get(f"{self.stack.url}/api/v1/rooms/{room}", headers=headers) as shown:
            return int((await shown.json())["head_seq"])


def make_world(
    stack: Stack, *, rooms: int, people: int = PEOPLE, model: str | None = None, database_url: str | None = None
) -> World:
    """A tenant of so many people, who are all in all the rooms."""
    tenant = stack.create_tenant()
    others = [stack.add_member(tenant, f"p{number}") for number in range(people - 1)]
    logins = [(tenant.owner, tenant.password), *((one.email, one.password) for one in others)]
    tokens = [stack.sign_in(*login)["access"] for login in logins]
    made = []
    with stack.client(tokens[0]) as rest:
        for number in range(rooms):
            room = rest.post(
                "/api/v1/rooms", json={"kind": "shared", "title": f"Room {number}", "model": model}
            ).json()["id"]
            made.append(room)
    database_url = database_url or home_at(stack.home).database_url()
    with psycopg.connect(database_url) as administrator, administrator.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO chat_roommember (tenant_id, id, room_id, membership_id, role, joined_at) "
            "VALUES (%s, %s, %s, %s, 'member', now())",
            [(tenant.id, uuid.uuid4(), room, one.membership) for room in made for one in others],
        )
    return World(stack, tokens, made, database_url, logins)


async def ears_in(world: World, rooms: list[str], each: int, **held: Any) -> list[Ear]:
    """So many sockets in each of the rooms."""
    at_once = asyncio.Semaphore(50)

    async def one(number: int, room: str) -> Ear:
        hello = {"op": "hello", "v": 1, "token": world.tokens[number % PEOPLE], "notes": 2**50}
        async with at_once:
            return await listen(*world.place, hello | {"resume": [{"room": room} | held]}, number=number // 8)

    wanted = [(number, room) for number, room in enumerate(room for room in rooms for _ in range(each))]
    return list(await asyncio.gather(*(one(number, room) for number, room in wanted)))


async def one_message(world: World, ears: list[Ear], rooms: list[str], mark: str) -> list[float]:
    """Say one thing in each of the rooms, one after the other; seconds until each ear heard it."""
    took: list[float] = []
    each = len(ears) // len(rooms)
    async with aiohttp.ClientSession() as session:
        for index, room in enumerate(rooms):
            began, told = time.perf_counter(), f"{mark}{index}"
            await world.say(session, room, told)
            listening = ears[index * each : (index + 1) * each]
            await until(lambda told=told, listening=listening: all(told.encode() in ear.heard for ear in listening))
            took += [ear.heard[told.encode()] - began for ear in listening if told.encode() in ear.heard]
    return took


async def flood(world: World, ears: list[Ear], room: str, *, messages: int) -> float:
    """Say much at once in one room; deliveries a second."""
    async with aiohttp.ClientSession() as session:
        began = time.perf_counter()
        await asyncio.gather(*(world.say(session, room, f"mark-f{number}") for number in range(messages)))
        await until(lambda: all(len(ear.heard) >= messages for ear in ears))
    last = max(max(ear.heard.values()) for ear in ears)
    return messages * len(ears) / (last - began)


async def until(condition: Any) -> bool:
    """Whether it came to hold in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


def reads_of_chat(world: World) -> int:
    """How often chat's tables were looked into, by PostgreSQL's own count."""
    with psycopg.connect(world.database_url) as administrator:
        row = administrator.execute(
            "SELECT sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)) FROM pg_stat_user_tables "
            "WHERE relname IN ('chat_room', 'chat_roommember', 'chat_roomevent', 'chat_message', 'chat_generation')"
        ).fetchone()
    return int(row[0]) if row else 0


async def come_back(world: World, *, sockets: int) -> tuple[float, int, int]:
    """Cut so many sockets of one room, say something, and let all come back: seconds, how many missed it, reads of tables."""
    room = world.rooms[0]
    ears = await ears_in(world, [room], sockets)
    async with aiohttp.ClientSession() as session:
        before = await world.say(session, room, "mark-before")
        await until(lambda: all(b"mark-before" in ear.heard for ear in ears))
        for ear in ears:
            await ear.cut()
        await world.say(session, room, "mark-missed")
        headers = {"Authorization": f"Bearer {world.tokens[0]}"}
        async with session.get(f"{world.stack.url}/api/v1/rooms/{room}/snapshot", headers=headers) as shown:
            epoch = (await shown.json())["epoch"]
    with world.without_workers():
        await asyncio.sleep(SETTLE_S)
        reads = reads_of_chat(world)
        began = time.perf_counter()
        back = await ears_in(world, [room], sockets, epoch=epoch, seq=before)
        await until(lambda: all(b"mark-missed" in ear.heard for ear in back))
        took_s = time.perf_counter() - began
        missed = sum(b"mark-missed" not in ear.heard for ear in back)
        for ear in back:
            await ear.cut()
        await asyncio.sleep(SETTLE_S)
        return took_s, missed, reads_of_chat(world) - reads


def p99(seconds: list[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[max(0, int(len(seconds) * 0.99) - 1)]


async def measure(world: World, *, sockets: int, rooms: int, messages: int, crowd: int) -> list[tuple[str, str, bool]]:
    """All of it; what was measured, and whether it will do."""
    found: list[tuple[str, str, bool]] = []
    empty_kib = world.memory_kib()
    ears = await ears_in(world, world.rooms[:1], sockets)
    per_socket_kib = (world.memory_kib() - empty_kib) / sockets
    found.append(("memory of a socket", f"{per_socket_kib:.1f} KiB", per_socket_kib <= SOCKET_KIB_MAX))
    took = [one for number in range(20) for one in await one_message(world, ears, world.rooms[:1], f"mark-{number}-")]
    whole = len(took) == 20 * sockets and not any(ear.repeated for ear in ears)
    found.append((f"one room, {sockets} sockets", f"p99 {p99(took) * 1000:.0f} ms", whole and p99(took) <= P99_MAX_S))
    for ear in ears:
        ear.heard.clear()
    per_s = await flood(world, ears, world.rooms[0], messages=messages)
    found.append(("deliveries", f"{per_s:,.0f}/s", per_s >= DELIVERIES_MIN_PER_S))
    for ear in ears:
        await ear.cut()
    each = sockets // rooms
    ears = await ears_in(world, world.rooms[:rooms], each)
    took = await one_message(world, ears, world.rooms[:rooms], "mark-r")
    whole = len(took) == each * rooms
    found.append(
        (f"{rooms} rooms, {each} sockets each", f"p99 {p99(took) * 1000:.0f} ms", whole and p99(took) <= P99_MAX_S)
    )
    for ear in ears:
        await ear.cut()
    took_s, missed, reads = await come_back(world, sockets=crowd)
    good = took_s <= BACK_MAX_S and not missed and not reads
    found.append((f"{crowd} sockets back", f"{took_s:.1f} s, {missed} missed something, {reads} reads of tables", good))
    return found


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--crowd", type=int, default=2000)
    options = vars(parser.parse_args())
    most = str(max(options["sockets"], options["crowd"]) + 100)
    environment = {"PARLEY_SOCKETS_PER_PROCESS": most, "PARLEY_SOCKETS_PER_TENANT": most, "LOG_LEVEL": "ERROR"}
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        stack = Stack(Path(folder), "--no-local-model", environment=environment).start()
        try:
            world = make_world(stack, rooms=options["rooms"])
            found = asyncio.run(measure(world, **options))
        finally:
            stack.stop()
    for what, shown, good in found:
        print(f"{what:32} {shown:50} {'ok' if good else 'TOO LITTLE'}")
    return 0 if all(good for _, _, good in found) else 1


if __name__ == "__main__":
    sys.exit(main())
