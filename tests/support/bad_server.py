"""A server of rooms that misbehaves: it loses, repeats, cuts, garbles, falls silent, and never the same way twice.

What it means to say is right: a client that heals ends with all of it.
"""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

ROOM, GEN, MESSAGE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
AT = "2026-11-21T10:00:00Z"
Frame = dict[str, Any]


def event(seq: int, type_: str, body: Frame, *, epoch: str = "1") -> Frame:
    return {"op": "ev", "room": ROOM, "epoch": epoch, "seq": seq, "type": type_, "at": AT, "body": body}


def delta(off: int, text: str, *, part: int = 0, kind: str = "text") -> Frame:
    return {"op": "delta", "room": ROOM, "gid": GEN, "part": part, "kind": kind, "off": off, "text": text}


def message(id_: str, text: str, generation: str | None = None) -> Frame:
    return {
        "id": id_,
        "room": ROOM,
        "text": text,
        "parts": [{"type": "text", "text": text}],
        "generation": generation,
        "answered": {"status": "complete"} if generation else None,
    }


class BadServer:
    """One room, in which one answer is written. `faults` are what goes wrong, one connection each, until there are no more."""

    def __init__(self, text: str, faults: list[str], *, seed: int = 1) -> None:
        self.text, self.faults = text, list(faults)
        self.hellos: list[Frame] = []
        self.commands: list[Frame] = []
        self.tokens: list[str] = []
        self.url = ""
        self._random = random.Random(seed)
        self._acks: dict[str, Frame] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["BadServer"]:
        """Serve on a port of its own."""
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_get(f"/api/v1/rooms/{ROOM}/snapshot", self._snapshot)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _snapshot(self, request: web.Request) -> web.Response:
        room = {"id": ROOM, "title": "Bad", "epoch": "1", "head_seq": 0}
        shown = {"room": room, "members": [], "messages": [], "has_more": False, "generations": []}
        return web.json_response(shown | {"epoch": "1", "seq": 0})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("parley.v1",), autoclose=False)
        await socket.prepare(request)
        hello = await socket.receive_json()
        self.hellos.append(hello)
        self.tokens.append(hello["token"])
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            await socket.close(code=int(fault), message=b"as told")
            return socket
        if fault == "no welcome":
            await asyncio.sleep(30)
        hb = 0 if fault == "silence" else 30
        await socket.send_json(
            {"op": "welcome", "sid": "s", "hb": hb, "limits": {"frame_bytes": 1000, "inflight": 16, "rooms": 9}}
        )
        if fault == "silence":
            await asyncio.sleep(30)
        talking = asyncio.create_task(self._talk(socket, hello, fault))
        try:
            async for said in socket:
                if said.type is WSMsgType.TEXT:
                    await self._obey(socket, json.loads(said.data), fault)
        finally:
            talking.cancel()
            await asyncio.wait([talking])
        return socket

    async def _obey(self, socket: web.WebSocketResponse, frame: Frame, fault: str) -> None:
        if frame["op"] != "cmd":
            return
        self.commands.append(frame)
        ack = self._acks.setdefault(frame["cid"], {"op": "ack", "cid": frame["cid"], "seq": len(self._acks)})
        if fault != "no ack":
            await socket.send_json(ack)

    async def _talk(self, socket: web.WebSocketResponse, hello: Frame, fault: str) -> None:
        """Say all that the client lacks, as it should be; then as the fault has it."""
        position = next(iter(hello["resume"]), {"room": ROOM})
        if position.get("seq") is None:
            await socket.send_json(
                {"op": "reset", "room": ROOM, "reason": "fresh", "snapshot": f"/api/v1/rooms/{ROOM}/snapshot"}
            )
            position = {"seq": 0, "gens": {}}
        frames = [frame for frame in self._all(position) if frame]
        await _FAULTS.get(fault, _as_it_is)(self, socket, frames)

    def _all(self, position: Frame) -> list[Frame]:
        held = int(position["gens"].get(GEN, {}).get("0", 0))
        pieces, at = [], held
        while at < len(self.text):
            size = self._random.randint(1, 9)
            pieces.append(delta(at, self.text[at : at + size]))
            at += size
        start, end = {"generation": {"id": GEN, "status": "queued"}}, {"generation": {"id": GEN, "status": "complete"}}
        events = [
            event(1, "message.created", {"message": message(MESSAGE, "Go on.")}),
            event(2, "generation.started", start),
            event(3, "generation.finished", end | {"message": message(str(uuid.UUID(int=4)), self.text, GEN)}),
        ]
        before = [one for one in events[:2] if one["seq"] > position["seq"]]
        return [*before, *pieces, *[one for one in events[2:] if one["seq"] > position["seq"]]]


Fault = Callable[[BadServer, web.WebSocketResponse, list[Frame]], Awaitable[None]]


async def _as_it_is(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    for frame in frames:
        await socket.send_json(frame)


async def _cut(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await _as_it_is(server, socket, frames[: len(frames) // 2])
    transport = socket._req.transport if socket._req else None
    assert transport is not None
    transport.abort()


async def _hole(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await _as_it_is(server, socket, [frame for number, frame in enumerate(frames) if number != len(frames) // 2])


async def _no_start(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await _as_it_is(server, socket, [frame for frame in frames if frame.get("seq") != 2])


async def _twice(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    said: list[Frame] = []
    for frame in frames[: len(frames) // 2]:
        said.append(frame)
        await socket.send_json(frame)
        await socket.send_json(server._random.choice(said))
    await socket.close(code=4420)


async def _garbled(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await _as_it_is(server, socket, frames[:3])
    await socket.send_str('{"op":"delta","room":7}')


async def _binary(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await socket.send_bytes(b"\x00")


async def _newer(server: BadServer, socket: web.WebSocketResponse, frames: list[Frame]) -> None:
    await socket.send_json({"op": "fireworks", "colour": "red"})
    await socket.send_json(
        {"op": "delta", "room": ROOM, "gid": str(uuid.uuid4()), "part": 0, "kind": "text", "off": 5, "text": "x"}
    )
    await _as_it_is(server, socket, [frame | {"new": [1]} for frame in frames[:4]])
    await socket.close(code=4503)


_FAULTS: dict[str, Fault] = {
    "cut": _cut,
    "hole": _hole,
    "no start": _no_start,
    "twice": _twice,
    "garbled": _garbled,
    "binary": _binary,
    "newer": _newer,
    "no ack": _cut,
}
FAULTS = tuple(_FAULTS)
