"""The server that is checked, and what the checks do to it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

Frame = dict[str, Any]
WAIT_S = 30.0
TEXT = "naïve 🎈 e\u0301 👩‍👩‍👧 𝒳\U0001f1e9\U0001f1ea 漢字 \u2028" * 12
NOTHING = "0190a000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Target:
    """The server, who speaks to it, and what its model is asked."""

    url: str
    token: str
    other: str
    other_membership: str
    stranger: str
    model: str
    script: bool = False
    frames_per_s: int = 200

    def prompt(self, *, delay_ms: int = 5) -> str:
        """What has the model say `TEXT`."""
        if self.script:
            return "!script " + json.dumps({"text": TEXT, "chunk": 7, "delay_ms": delay_ms})
        return f"Repeat this, and say nothing else: {TEXT}"


class Socket:
    """A socket, spoken to in frames."""

    def __init__(self, raw: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = raw
        self.frames: list[Frame] = []

    async def say(self, frame: Frame | str | bytes) -> None:
        if isinstance(frame, bytes):
            await self.raw.send_bytes(frame)
        else:
            await self.raw.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def hear(self, wanted: Callable[[Frame], object]) -> Frame:
        """The next frame that is wanted."""
        async with asyncio.timeout(WAIT_S):
            async for message in self.raw:
                assert message.type is aiohttp.WSMsgType.TEXT, message
                frame: Frame = json.loads(message.data)
                self.frames.append(frame)
                if wanted(frame):
                    return frame
        raise AssertionError(f"closed with {self.raw.close_code} instead")

    async def hear_or_had(self, wanted: Callable[[Frame], object]) -> Frame:
        """The first frame that is wanted, of those that have come too."""
        had = next((frame for frame in self.frames if wanted(frame)), None)
        return had or await self.hear(wanted)

    async def event(self, seq: int) -> Frame:
        """The event of that number, in the one room that is followed."""
        return await self.hear_or_had(lambda frame: frame["op"] == "ev" and frame["seq"] == seq)

    async def finished(self, gid: str) -> Frame:
        """The event that ends an answer."""
        return await self.hear_or_had(
            lambda frame: frame.get("type") == "generation.finished" and frame["body"]["generation"]["id"] == gid
        )

    async def closed(self) -> int | None:
        """The code it is closed with."""
        async with asyncio.timeout(WAIT_S):
            async for _ in self.raw:
                continue
        return self.raw.close_code

    async def command(self, type_: str, room: str | None = None, *, cid: str | None = None, **body: Any) -> Frame:
        cid = cid or uuid.uuid4().hex
        frame = {"op": "cmd", "cid": cid, "type": type_, "body": body} | ({"room": room} if room else {})
        await self.say(frame)
        return await self.hear(lambda said: said["op"] in ("ack", "err") and said["cid"] == cid)


class Server:
    """What the checks do to a server."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target, self.session = target, session

    @asynccontextmanager
    async def open(
        self, *, protocols: tuple[str, ...] = ("parley.v1",), origin: str | None = None
    ) -> AsyncIterator[Socket]:
        """A socket on which nothing was said."""
        url = self.target.url.replace("http", "ws", 1) + "/ws"
        async with self.session.ws_connect(url, protocols=protocols, origin=origin, max_msg_size=0) as raw:
            yield Socket(raw)

    @asynccontextmanager
    async def hello(self, token: str | None = None, **more: Any) -> AsyncIterator[Socket]:
        """A socket that was welcomed."""
        async with self.open() as socket:
            await socket.say({"op": "hello", "v": 1, "token": token or self.target.token} | more)
            await socket.hear(lambda frame: frame["op"] == "welcome")
            yield socket

    async def rest(self, method: str, path: str, token: str | None = None, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {token or self.target.token}"}
        url = f"{self.target.url}/api/v1/{path}"
        async with self.session.request(method, url, json=body or None, headers=headers) as response:
            assert response.status < 300, (response.status, await response.text())
            return None if response.status == 204 else await response.json()

    async def room(self, *, shared: bool = False) -> str:
        kind = "shared" if shared else "private"
        room: str = (await self.rest("POST", "rooms", title="Conformance", kind=kind, model=self.target.model))["id"]
        if shared:
            await self.rest("POST", f"rooms/{room}/members", member=self.target.other_membership)
        return room

    @asynccontextmanager
    async def both(self) -> AsyncIterator[tuple[str, Socket, Socket]]:
        """A shared room, and a socket of each of two members that follow it."""
        room = await self.room(shared=True)
        async with self.hello() as socket, self.hello(self.target.other) as other:
            for one in (socket, other):
                await one.command("room.join", room)
            yield room, socket, other


Check = Callable[[Server], Awaitable[None]]
CHECKS: list[Check] = []


def check(made: Check) -> Check:
    """A line of the protocol."""
    CHECKS.append(made)
    return made
