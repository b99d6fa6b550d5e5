"""A client of the socket protocol, as strict as the browser's: it keeps what a client keeps, and notices what is missing.

It never heals by itself: a gap fails the test, unless the test expects one.
"""

import asyncio
import json
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

SUBPROTOCOL = "parley.v1"
WAIT_S = 30.0

Frame = dict[str, Any]

_open: "set[Client]" = set()


@dataclass
class RoomState:
    """What a client holds of a room. `texts` grow by deltas; `streamed` is what they had become when the answer ended."""

    id: str
    epoch: str | None = None
    seq: int | None = None
    events: list[Frame] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    streamed: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    resets: list[Frame] = field(default_factory=list)
    gaps: list[Frame] = field(default_factory=list)
    overlaps: int = 0

    def position(self) -> Frame:
        """For `hello.resume`."""
        gens = {gid: {"0": len(text)} for gid, text in self.texts.items()}
        return {"room": self.id, "epoch": self.epoch, "seq": self.seq, "gens": gens}

    def load(self, snapshot: Frame) -> None:
        """Begin from a snapshot."""
        self.epoch, self.seq = snapshot["epoch"], snapshot["seq"]
        self.texts = {one["id"]: one["text"] or "" for one in snapshot["generations"]}
        self.ended |= {
            message["generation"]: message["text"] for message in snapshot["messages"] if message["generation"]
        }

    def apply(self, frame: Frame) -> None:
        """Take an event or a delta: once, in order."""
        if self.seq is None:
            return
        if frame["op"] == "ev":
            if frame["seq"] <= self.seq:
                return
            if frame["seq"] > self.seq + 1:
                self.gaps.append(frame)
                return
            self.seq, self.epoch = frame["seq"], frame["epoch"]
            self.events.append(frame)
            if frame["type"] == "generation.started":
                self.texts.setdefault(frame["body"]["generation"]["id"], "")
            elif frame["type"] == "generation.finished":
                generation, message = frame["body"]["generation"], frame["body"]["message"]
                self.streamed[generation["id"]] = self.texts.pop(generation["id"], "")
                self.statuses[generation["id"]] = generation["status"]
                self.ended[generation["id"]] = message["text"] if message else ""
        elif frame["gid"] in self.texts:
            held = len(self.texts[frame["gid"]])
            if frame["off"] > held:
                self.gaps.append(frame)
                return
            self.overlaps += held - frame["off"]
            self.texts[frame["gid"]] += frame["text"][held - frame["off"] :]


class Client:
    """One socket, and the rooms followed by it. Positions outlive the socket."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.rooms: dict[str, RoomState] = {}
        self.frames: list[Frame] = []
        self.welcome: Frame | None = None
        self.close_code: int | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def open(
        self, *, origin: str | None = None, subprotocol: str | None = SUBPROTOCOL, over: socket.socket | None = None
    ) -> "Client":
        """Connect, without a word; over a connection that is there, if any."""
        self.close_code, self.welcome = None, None
        try:
            self._socket = await connect(
                self.url,
                subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
                origin=origin,  # type: ignore[arg-type]
                max_size=None,
                ping_interval=None,
                sock=over,
            )
        except BaseException:
            if over is not None:
                over.close()
            raise
        _open.add(self)
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def hello(self, *, over: socket.socket | None = None, **options: Any) -> "Client":
        """Connect, say hello with the positions held, and wait for the welcome."""
        await self.open(over=over)
        resume = [room.position() for room in self.rooms.values()]
        await self.send({"op": "hello", "v": 1, "token": self.token, "resume": resume, "notes": 0} | options)
        await self.until(lambda: self.welcome is not None)
        return self

    def follow(self, room_id: object) -> RoomState:
        """Name a room in the next hello."""
        return self.rooms.setdefault(str(room_id), RoomState(str(room_id)))

    async def join(self, room_id: object, snapshot: Frame | None = None) -> RoomState:
        """Attach a room, beginning at `snapshot`, or where the server is."""
        state = self.follow(room_id)
        ack = await self.command("room.join", room_id)
        if snapshot is not None:
            state.load(snapshot)
        else:
            state.seq = ack["seq"]
        return state

    async def command(self, type_: str, room_id: object = None, cid: str | None = None, **body: Any) -> Frame:
        """Send a command; its ack or err."""
        cid = cid or uuid.uuid4().hex
        frame = {"op": "cmd", "cid": cid, "type": type_, "body": body}
        await self.send(frame | ({"room": str(room_id)} if room_id else {}))
        return await self.frame(lambda frame: frame["op"] in ("ack", "err") and frame["cid"] == cid)

    async def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame as it is."""
        assert self._socket is not None
        await self._socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def frame(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame, of all that ever came on this client, that is wanted."""
        found: list[Frame] = []

        def look() -> bool:
            found[:] = [frame for frame in self.frames if wanted(frame)][:1]
            return bool(found)

        await self.until(look)
        return found[0]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds. Fails when the socket closes before, or it takes too long."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                assert self.close_code is None, f"closed with {self.close_code}"
                self._changed.clear()
                await self._changed.wait()

    async def closed(self) -> int:
        """The code that the server closed with."""
        async with asyncio.timeout(WAIT_S):
            while self.close_code is None:
                self._changed.clear()
                await self._changed.wait()
        return self.close_code

    async def cut(self) -> None:
        """Lose the connection, without goodbye."""
        if self._socket is not None:
            self._socket.transport.abort()
        await self._done()

    async def close(self) -> None:
        """Close."""
        if self._socket is not None:
            await self._socket.close()
        await self._done()

    async def _done(self) -> None:
        _open.discard(self)
        if self._reader is not None:
            await asyncio.wait([self._reader])

    async def _read(self, connection: ClientConnection) -> None:
        try:
            async for data in connection:
                self._take(json.loads(data))
        except ConnectionClosed:
            pass
        finally:
            self.close_code = connection.close_code or 1006
            self._changed.set()

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        room = self.rooms.get(frame.get("room", ""))
        if frame["op"] == "welcome":
            self.welcome = frame
        elif frame["op"] == "reset" and room is not None:
            room.resets.append(frame)
            room.seq, room.epoch = None, None
            room.texts.clear()
        elif frame["op"] in ("ev", "delta") and room is not None:
            room.apply(frame)
        self._changed.set()


async def cut_open_clients() -> None:
    """Cut what a test left open, because it failed: a socket that nobody closes would fail another test."""
    for client in list(_open):
        await client.cut()
