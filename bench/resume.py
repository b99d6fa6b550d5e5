"""Whether a stream survives whatever happens to it: refresh, cut, half-open, a killed process, a flushed Redis, PostgreSQL
restarted or its connections cut, two devices.

    python -m bench.resume --faults 2000

Starts a Parley of its own with two web processes, and a fake upstream. Several people ask; while the answers are written, faults
come at random. Each time an answer ends, what every device holds is compared by hash with what the upstream emitted: the same if
it came to its end, a beginning of it if it was cut off, and what was streamed is a beginning of what was kept. Prints the faults,
the characters, and how long a resume took; fails on any difference, or if a resume takes more than 300 ms (p95).
"""

import argparse
import asyncio
import hashlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import redis

from bench.stack import home_at
from chat.client import Answer, Client, Closed, CommandFailed, Room
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack

MODEL = "fake"
RESUME_P95_MAX_S = 0.3
ALPHABET = ("a", "é", "e\u0301", "👩‍👩‍👧", "𝒳", "\n", " ", "漢字", "🏳️‍🌈", '"\\', "\u2028", "word ")
PIECES = 120
DELAY_MS = 12
OWN = ("refresh", "cut", "half-open", "second device")
SHARED = ("kill", "flush", "connections", "postgres")
REAPED_WITHIN_S = 12.0
ENDS_MAX, ENDS_WINDOW_S = 3, 65.0
PATIENCE_S = 60.0


@dataclass
class Tally:
    """What came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    shortened: int = 0
    """Answers of which less was kept than was shown: a process was killed, and Redis flushed right after."""
    wrong: list[str] = field(default_factory=list)
    resumed_s: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Faults so far."""
        return sum(self.faults.values())


@dataclass
class World:
    """A platform, its upstream, and where its stores are."""

    stack: Stack
    upstream: OpenAIUpstream
    database_url: str
    redis_url: str
    shared_every: int = 40
    """One fault in so many strikes everybody."""
    ended: dict[str, list[float]] = field(default_factory=dict)
    """When which process was ended."""
    both_gone_at: list[float] = field(default_factory=list)
    """When Redis was flushed while a killed process' answers had not been taken up: what was said in the last second of that
    process is nowhere any more."""
    _killed_at: float = -math.inf

    def choose(self, chance: random.Random) -> str:
        """A fault that everybody has a part in; none that ends a process more often than `up` takes for bad luck."""
        return chance.choice([fault for fault in SHARED if self._endable(fault)])

    def _endable(self, fault: str) -> list[str]:
        ends = {"kill": ("web.0", "web.1"), "postgres": ("postgres",)}.get(fault)
        now = time.monotonic()
        return [
            name
            for name in ends or (fault,)
            if sum(now - at < ENDS_WINDOW_S for at in self.ended.get(name, [])) < ENDS_MAX
        ]

    def strike(self, fault: str, chance: random.Random) -> None:
        """Let it happen."""
        now = time.monotonic()
        if fault == "kill":
            self._killed_at = now
        elif fault == "flush" and now - self._killed_at < REAPED_WITHIN_S:
            self.both_gone_at.append(now)
        if fault in ("kill", "postgres"):
            # SIGINT is a fast shutdown of PostgreSQL's. Whatever ends, `up` starts it again.
            name = chance.choice(self._endable(fault))
            self.ended.setdefault(name, []).append(time.monotonic())
            os.kill(self.stack.children()[name], signal.SIGKILL if fault == "kill" else signal.SIGINT)
        elif fault == "flush":
            with redis.Redis.from_url(self.redis_url) as store:
                store.flushdb()
        else:
            with psycopg.connect(self.database_url, autocommit=True) as administrator:
                administrator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )


def text(chance: random.Random) -> str:
    """Something to say that is hard on those who count."""
    return f"{chance.random():.12f} " + "".join(chance.choice(ALPHABET) for _ in range(PIECES * 4))


class Person:
    """Somebody with one device or two, who asks again and again."""

    def __init__(self, world: World, token: Callable[[], Any], tally: Tally, *, seed: int) -> None:
        self._world, self._token, self._tally = world, token, tally
        self._chance = random.Random(seed)
        self._devices: list[Client] = []
        self._room_id = ""

    async def run(self, *, faults: int) -> None:
        """Ask until there were so many faults in all."""
        await self._open()
        self._room_id = await self._new_room()
        try:
            while self._tally.total < faults:
                await self._ask(faults)
        finally:
            for device in self._devices:
                self._tally.resumed_s += device.resumed_s
                await device.close()

    async def _open(self) -> Client:
        device = Client(self._world.stack.url, self._token, first_wait_s=0.05, messages_max=50)
        await device.start()
        self._devices.append(device)
        return device

    async def _new_room(self) -> str:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        url = f"{self._world.stack.url}/api/v1/rooms"
        asked = {"kind": "private", "title": "Resumes", "model": MODEL}
        async with aiohttp.ClientSession() as session, session.post(url, json=asked, headers=headers) as made:
            made.raise_for_status()
            return str((await made.json())["id"])

    async def _ask(self, faults: int) -> None:
        said = text(self._chance)
        prompt = "!script " + json.dumps({"text": said, "chunk": 4, "delay_ms": DELAY_MS})
        device, began = self._devices[0], time.monotonic()
        room = await self._follow(device)
        try:
            ack = await device.command("message.send", room=room.id, text=prompt, wait_s=PATIENCE_S)
        except CommandFailed:
            # The database was away for a moment: nothing was asked.
            return
        troubles = asyncio.create_task(self._trouble(faults))
        try:
            gid = await self._generation_of(ack.id)
            while not any([await self._ended(one, gid) for one in list(self._devices)]):
                continue
        except (TimeoutError, Closed) as error:
            self._tally.wrong.append(f"an answer was lost: {error!r}")
            return
        finally:
            troubles.cancel()
            await asyncio.wait([troubles])
        for one in list(self._devices):
            answer = await self._ended(one, gid)
            if answer is not None:
                self._judge(said, answer, one.rooms[self._room_id], began=began)

    async def _generation_of(self, message_id: object) -> str:
        headers = {"Authorization": f"Bearer {await self._token()}"}
        url = f"{self._world.stack.url}/api/v1/rooms/{self._room_id}/snapshot"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as shown:
                    shown.raise_for_status()
                    snapshot = await shown.json()
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.1)
                continue
            for one in snapshot["generations"]:
                if one["prompt"] == message_id:
                    return str(one["id"])
            for one in snapshot["messages"]:
                if one["parent"] == message_id and one["generation"]:
                    return str(one["generation"])
            await asyncio.sleep(0.05)
        raise TimeoutError

    async def _follow(self, device: Client) -> Room:
        """The room on a device. With the database away for a moment that takes more than one try."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await device.follow(self._room_id)
            except CommandFailed:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def _ended(self, device: Client, gid: str) -> Answer | None:
        """The answer, as a device has it when it has ended; None when the device was put away meanwhile."""
        try:
            room = await self._follow(device)
            await device.until(lambda: gid in room.answers and room.answers[gid].ended, wait_s=PATIENCE_S)
        except Closed:
            if device in self._devices:
                raise
            return None
        return room.answers[gid]

    def _judge(self, said: str, answer: Answer, room: Room, *, began: float) -> None:
        self._tally.statuses[answer.status] += 1
        self._tally.characters += len(answer.final_text)
        kept, streamed = answer.final_text, answer.text
        if answer.status == "complete" and _digest(kept) != _digest(said):
            self._tally.wrong.append("what was kept isn't what was emitted")
        elif not said.startswith(kept):
            self._tally.wrong.append("what was kept is no beginning of what was emitted")
        elif not kept.startswith(streamed):
            if answer.status == "interrupted" and any(at > began for at in self._world.both_gone_at):
                self._tally.shortened += 1
            else:
                self._tally.wrong.append("what was streamed is no beginning of what was kept")
        elif room.seq is None:
            self._tally.wrong.append("a room without a position")

    async def _trouble(self, faults: int) -> None:
        """Until cancelled: faults, one after the other."""
        while self._tally.total < faults:
            await asyncio.sleep(self._chance.uniform(0.02, 0.3))
            fault = self._chance.choice(OWN)
            if self._tally.total % self._world.shared_every == self._world.shared_every - 1:
                fault = self._world.choose(self._chance)
            self._tally.faults[fault] += 1
            if fault in SHARED:
                await asyncio.to_thread(self._world.strike, fault, self._chance)
            else:
                await self._own(fault)

    async def _own(self, fault: str) -> None:
        device = self._chance.choice(self._devices)
        if fault == "cut":
            await device.drop()
        elif fault == "half-open":
            await _half_open(device, self._chance.uniform(0.05, 0.3))
        elif fault == "refresh":
            self._tally.resumed_s += device.resumed_s
            self._devices.remove(device)
            await self._open()
            await device.close()
        elif len(self._devices) < 2:
            await self._open()
        else:
            leaving = self._devices.pop()
            self._tally.resumed_s += leaving.resumed_s
            await leaving.close()


async def _half_open(device: Client, seconds: float) -> None:
    """The connection stands, and nothing comes through it; then it is lost."""
    transport = device.transport
    if transport is not None:
        transport.pause_reading()
        await asyncio.sleep(seconds)
        transport.abort()


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()


async def storm(world: World, tokens: list[Callable[[], Any]], *, faults: int, seed: int) -> Tally:
    """So many faults, over as many people as there are tokens."""
    tally = Tally()
    people = [Person(world, token, tally, seed=seed + number) for number, token in enumerate(tokens)]
    await asyncio.gather(*(person.run(faults=faults) for person in people))
    return tally


def report(tally: Tally) -> bool:
    """Print what came of it; whether it will do."""
    resumed = sorted(tally.resumed_s)
    p95_s = resumed[int(len(resumed) * 0.95)] if resumed else 0.0
    print(
        f"faults       {tally.total}: " + ", ".join(f"{name} {count}" for name, count in sorted(tally.faults.items()))
    )
    print(f"answers      {sum(tally.statuses.values())}: {dict(tally.statuses)}, {tally.characters:,} characters")
    print(f"differences  {len(tally.wrong)} {Counter(tally.wrong)}")
    print(f"shortened    {tally.shortened}, by a kill and a flush within {REAPED_WITHIN_S:.0f} s")
    print(f"resumes      {len(resumed)}, p95 {p95_s * 1000:.0f} ms")
    return not tally.wrong and p95_s <= RESUME_P95_MAX_S


def world_of(stack: Stack, upstream: OpenAIUpstream, kind: type[World] = World) -> World:
    """A platform that runs on servers of its own, and offers the upstream's model."""
    stack.add_model(MODEL, upstream.base_url, upstream="fake-model")
    home = home_at(stack.home)
    return kind(stack, upstream, home.database_url(), home.redis_url())


def tokens_of(stack: Stack, people: int) -> list[Callable[[], Any]]:
    """People of one tenant; each gives a fresh access token when asked."""
    tenant = stack.create_tenant()

    def fresh(email: str, password: str) -> Callable[[], Any]:
        session = stack.sign_in(email, password)

        async def token() -> str:
            return str(session["access"])

        return token

    found = [stack.add_member(tenant, f"p{number}") for number in range(people)]
    return [fresh(one.email, one.password) for one in found]


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=2000)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="parley-bench-") as folder,
        OpenAIUpstream(api_key="upstream-secret") as upstream,
    ):
        stack = Stack(Path(folder), "--workers", "2", "--no-local-model", environment={"LOG_LEVEL": "ERROR"}).start()
        try:
            world = world_of(stack, upstream)
            tally = asyncio.run(
                storm(world, tokens_of(stack, options.people), faults=options.faults, seed=options.seed)
            )
        finally:
            stack.stop()
    return 0 if report(tally) else 1


if __name__ == "__main__":
    sys.exit(main())
