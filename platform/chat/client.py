"""A client of Parley's rooms, for programs: one socket, kept open, with the state of each room that is followed.

    async with Client("https://parley.example", token) as client:
        room = await client.follow(room_id)
        await client.command("message.send", room=room.id, text="Hello?")
        await client.until(lambda: any(answer.ended for answer in room.answers.values()))

It reconnects by itself (exponential backoff with full jitter, 0.5 to 30 s), resumes where it was, and sends commands that weren't
answered again, under their own `cid`. See docs/websocket.md. It needs aiohttp and msgspec, and nothing of Django.
"""

import asyncio
import contextlib
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from chat.client_state import Answer, Gap, Json, Room
from chat.client_wire import FINAL, FLEETING, Asked, BadServer, Closed, CommandFailed, Token, as_text, credential, read
from chat.realtime.frames import (
    SUBPROTOCOL,
    VERSION,
    Ack,
    CloseCode,
    Delta,
    Err,
    Event,
    Expiring,
    Note,
    Ping,
    Pong,
    Presence,
    Reset,
    Typing,
    Welcome,
)

__all__ = ["Answer", "Client", "Closed", "CommandFailed", "Room"]

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
OPEN_S = 10.0
SILENCE_AFTER_PING_S = 10.0
COMMAND_S = 60.0
SNAPSHOT_TRIES = 5
_RESUMED = "resumed"


class Client:
    """One member's connection. `token` is an access token or an API key, or gives a fresh one each time it is called."""

    def __init__(
        self,
        base_url: str,
        token: Token,
        *,
        session: aiohttp.ClientSession | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        messages_max: int = 1000,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.rooms: dict[str, Room] = {}
        self.notes: list[Note] = []
        self.balance: Note | None = None
        self.welcome: Welcome | None = None
        self.connections = 0
        """How often a hello was welcomed."""
        self.closes: list[int] = []
        """The codes that connections ended with, newest last, at most 100."""
        self.resumed_s: list[float] = []
        """How long each of the last 1,000 connections took, from its beginning until all that was missed had come."""
        self.on_frame: Callable[[Any], None] | None = None
        self._token = token
        self._session = session
        self._own_session = session is None
        self._first_wait_s = first_wait_s
        self._messages_max = messages_max
        self._noted = 0
        self._named: set[str] = set()
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._places = asyncio.Semaphore(16)
        self._changed = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._runner: asyncio.Task[None] | None = None
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._failure: Exception | None = None
        self._heard_at = 0.0

    async def __aenter__(self) -> "Client":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin to connect. Returns at once."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        self._runner = asyncio.create_task(self._run(), name="parley client")
        self._runner.add_done_callback(self._ended)

    def _ended(self, runner: "asyncio.Task[None]") -> None:
        """What a caller's own function raised ends the client, and is told to whoever waits."""
        error = None if runner.cancelled() else runner.exception()
        if isinstance(error, Exception):
            self._fail(error)

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("start the client first")
        return self._session

    async def close(self) -> None:
        """Say goodbye. Commands that weren't answered fail. Nothing stays open, also where this is cancelled."""
        tasks = [task for task in (self._runner, *self._loading.values()) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self._fail(Closed(1000, "closed by this client"))
            if self._own_session and self._session is not None:
                await self._session.close()

    # --- rooms and commands -------------------------------------------------------------------------------------------

    async def follow(self, room_id: object, *, wait_s: float = COMMAND_S) -> Room:
        """Follow a room; returns when its state is there. Raises `Closed`, `CommandFailed`, `TimeoutError`."""
        room = self.rooms.get(str(room_id))
        if room is None:
            room = self.rooms[str(room_id)] = Room(str(room_id), self._messages_max)
            if self.welcome is not None:
                self._load(room, join=True)
        await self.until(lambda: room.seq is not None or room.gone, wait_s=wait_s)
        if room.gone:
            del self.rooms[room.id]
            raise CommandFailed("not_found", "There is no such room.")
        return room

    async def leave(self, room_id: object) -> None:
        """Follow a room no longer."""
        if self.rooms.pop(str(room_id), None) is not None:
            await self.command("room.leave", room=room_id)

    async def command(
        self, type_: str, *, room: object = None, cid: str | None = None, wait_s: float = COMMAND_S, **body: Any
    ) -> Ack:
        """Have a command carried out, once, over as many connections as it takes. Raises `CommandFailed`, `Closed`, and
        `TimeoutError` when it isn't known whether it was."""
        if self._failure is not None:
            raise self._failure
        frame: Json = {"op": "cmd", "cid": cid or uuid.uuid4().hex, "type": type_, "body": body}
        if room is not None:
            frame["room"] = str(room)
        async with asyncio.timeout(wait_s), self._places:
            asked = Asked(frame, asyncio.get_running_loop().create_future())
            self._asked[frame["cid"]] = asked
            try:
                await self._say(frame)
                return await asked.answer
            finally:
                self._asked.pop(frame["cid"], None)

    async def seen(self, room_id: object, seq: int) -> None:
        """Tell how far the person has read. Lost with the connection: the next one says it better."""
        await self._say({"op": "seen", "room": str(room_id), "seq": seq})

    async def until(self, condition: Callable[[], object], *, wait_s: float = COMMAND_S) -> None:
        """Wait until something holds. Raises `Closed`, `TimeoutError`."""
        async with asyncio.timeout(wait_s):
            while not condition():
                if self._failure is not None:
                    raise self._failure
                self._changed.clear()
                await self._changed.wait()

    @property
    def transport(self) -> asyncio.Transport | None:
        """What the present connection goes over."""
        connection = self._socket._response.connection if self._socket else None
        return connection.transport if connection else None

    async def drop(self) -> None:
        """Lose the connection without a goodbye, as a network does; it comes back by itself."""
        if (transport := self.transport) is not None:
            transport.abort()

    # --- connections --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        tries, refused = 0, False
        while True:
            connected = self.connections
            code, reason = await self._connect()
            self._socket, self.welcome = None, None
            self.closes = [*self.closes[-99:], code]
            self._forget_fleeting()
            if code in FINAL:
                self._fail(Closed(code, reason))
                return
            tries = 0 if self.connections > connected else tries + 1
            at_once = code == CloseCode.UNAUTHENTICATED and not refused and callable(self._token)
            refused = code == CloseCode.UNAUTHENTICATED
            if refused and not callable(self._token):
                self._fail(Closed(code, reason))
                return
            if not at_once:
                # Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
                longest_s = min(LONGEST_WAIT_S, self._first_wait_s * 2 ** min(max(tries - 1, 0), 10))
                await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - jitter

    async def _connect(self) -> tuple[int, str]:
        """One connection, from its beginning to its end; the code and the reason of that."""
        began = time.monotonic()
        url = f"ws{self.base_url.removeprefix('http')}/ws"
        try:
            async with asyncio.timeout(OPEN_S):
                token = await credential(self._token)
                socket = await self._http.ws_connect(
                    url, protocols=[SUBPROTOCOL], max_msg_size=0, autoping=True, autoclose=True
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return 1006, repr(error)
        async with socket:
            try:
                resume = [room.position() for room in self.rooms.values() if not room.gone]
                self._named = {position["room"] for position in resume}
                self._heard_at = time.monotonic()
                hello = {"op": "hello", "v": VERSION, "token": token, "resume": resume, "notes": self._noted}
                await socket.send_str(as_text(hello))
                # It is answered when all that was missed has been said.
                await socket.send_str(as_text({"op": "ping", "t": _RESUMED}))
                await self._listen(socket, began)
            except (BadServer, Gap) as error:
                return 1006, repr(error)
            except (aiohttp.ClientError, OSError) as error:
                return socket.close_code or 1006, repr(error)
            return socket.close_code or 1006, "closed by the server"

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, began: float) -> None:
        self._heard_at = time.monotonic()
        heartbeat = asyncio.create_task(self._beat(socket))
        try:
            async with asyncio.timeout(OPEN_S) as opening:
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        raise BadServer("a frame that is no text")
                    self._heard_at = time.monotonic()
                    frame = read(message.data)
                    if isinstance(frame, Welcome):
                        opening.reschedule(None)
                        await self._welcomed(socket, frame)
                    elif isinstance(frame, Pong) and frame.t == _RESUMED:
                        self.resumed_s = [*self.resumed_s[-999:], time.monotonic() - began]
                    elif frame is not None:
                        await self._take(socket, frame)
                    self._changed.set()
        except TimeoutError as error:
            raise BadServer("no welcome came") from error
        finally:
            heartbeat.cancel()
            await asyncio.wait([heartbeat])

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ask when nothing comes; give the connection up when nothing answers."""
        while True:
            interval_s = float(self.welcome.hb) if self.welcome else OPEN_S
            silent_s = time.monotonic() - self._heard_at
            if silent_s > interval_s + SILENCE_AFTER_PING_S:
                await self.drop()
                return
            if silent_s >= interval_s:
                await socket.send_str(as_text({"op": "ping", "t": round(time.time() * 1000)}))
                await asyncio.sleep(SILENCE_AFTER_PING_S / 4)
            else:
                await asyncio.sleep(min(interval_s - silent_s, interval_s))

    async def _welcomed(self, socket: aiohttp.ClientWebSocketResponse, frame: Welcome) -> None:
        self._socket, self.welcome = socket, frame
        self.connections += 1
        for room in self.rooms.values():
            if room.id not in self._named:
                # Followed since the hello was said.
                self._load(room, join=True)
        for asked in list(self._asked.values()):
            await socket.send_str(as_text(asked.frame))

    async def _take(self, socket: aiohttp.ClientWebSocketResponse, frame: Any) -> None:
        if self.on_frame is not None:
            self.on_frame(frame)
        room = self.rooms.get(str(getattr(frame, "room", "")))
        match frame:
            case Event() | Delta() if room is not None:
                room.take(frame)
            case Reset() if room is not None:
                room.resets += 1
                self._load(room)
            case Presence() if room is not None:
                room.take_presence(frame)
            case Typing() if room is not None and room.on_typing is not None:
                room.on_typing(frame)
            case Ack() if (asked := self._asked.get(frame.cid)) and not asked.answer.done():
                asked.answer.set_result(frame)
            case Err() if (asked := self._asked.get(frame.cid)) and not asked.answer.done():
                retry_ms = frame.retry_ms if isinstance(frame.retry_ms, int) else None
                asked.answer.set_exception(CommandFailed(frame.code, frame.message, retry_ms))
            case Note(type="balance"):
                self.balance = frame
            case Note() if frame.seq > self._noted:
                self._noted = frame.seq
                self.notes = [*self.notes[-999:], frame]
            case Ping():
                await socket.send_str(as_text({"op": "pong", "t": frame.t}))
            case Expiring() if callable(self._token):
                # Without one the server closes, and the next connection asks for one again.
                with contextlib.suppress(OSError):
                    await socket.send_str(as_text({"op": "auth", "token": await credential(self._token)}))

    async def _say(self, frame: Json) -> None:
        """Say it now if there is somebody to hear it; commands are said again on the next connection."""
        if self._socket is not None and not self._socket.closed:
            try:
                await self._socket.send_str(as_text(frame))
            except (aiohttp.ClientError, OSError):
                return

    def _forget_fleeting(self) -> None:
        for asked in self._asked.values():
            if asked.frame["type"] in FLEETING and not asked.answer.done():
                asked.answer.set_result(Ack(cid=asked.frame["cid"]))

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(failure)
        self._changed.set()

    # --- snapshots ----------------------------------------------------------------------------------------------------

    def _load(self, room: Room, *, join: bool = False) -> None:
        """Drop what is held of a room, and begin from its snapshot; on a socket that doesn't follow it yet, `join` first."""
        room.lift()
        if (former := self._loading.pop(room.id, None)) is not None:
            former.cancel()
        self._loading[room.id] = asyncio.create_task(self._loaded(room, join), name=f"snapshot of {room.id}")

    async def _loaded(self, room: Room, join: bool) -> None:
        for attempt in range(SNAPSHOT_TRIES):
            try:
                if join:
                    await self._join(room)
                snapshot = await self._snapshot(room.id)
            except Closed:
                return
            except (aiohttp.ClientError, OSError, TimeoutError, CommandFailed):
                await asyncio.sleep(random.uniform(0, self._first_wait_s * 2**attempt))  # noqa: S311 - jitter
                continue
            if snapshot is None:
                room.gone = True
            else:
                try:
                    room.place(snapshot)
                except Gap:
                    await self.drop()
            self._changed.set()
            return
        await self.drop()

    async def _join(self, room: Room) -> None:
        try:
            await self.command("room.join", room=room.id)
        except CommandFailed as error:
            # The snapshot says what there is to say of a room that isn't there.
            if error.retry_ms is not None:
                raise

    async def _snapshot(self, room_id: str) -> Mapping[str, Any] | None:
        """The room's snapshot; None when there is no such room. Raises `aiohttp.ClientError`."""
        token = await credential(self._token)
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.base_url}/api/v1/rooms/{room_id}/snapshot"
        async with asyncio.timeout(OPEN_S), self._http.get(url, headers=headers) as response:
            if response.status in (403, 404):
                return None
            response.raise_for_status()
            found: Mapping[str, Any] = msgspec.json.decode(await response.read())
            return found
