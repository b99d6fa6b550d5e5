"""The socket at `/ws`: opening, and what comes from the client. Plain ASGI, routed by Channels.

No middleware and no channel layer: a socket authenticates by its first frame, and its rooms come by the hub.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from chat import lifecycle
from chat.bounds import FRAME_BYTES_MAX, HEARTBEAT_S, INFLIGHT_COMMANDS_MAX, ROOMS_PER_SOCKET_MAX
from chat.realtime.commands import carry_out
from chat.realtime.frames import (
    SUBPROTOCOL,
    VERSION,
    Auth,
    BadFrame,
    CloseCode,
    Command,
    Hello,
    Limits,
    Ping,
    Pong,
    Position,
    Seen,
    Welcome,
    read_frame,
    reset,
)
from chat.realtime.hub import hub
from chat.realtime.places import Place
from chat.realtime.sessions import open_session
from chat.realtime.socket import Socket
from chat.services.members import mark_seen
from kernel.ending import end
from kernel.errors import NotAuthenticated, NotFound, ParleyError, PermissionDenied
from kernel.net import client_address
from tenants.principals import Principal

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def rooms_socket(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI app of one socket."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    peer = scope.get("client")
    address = client_address(peer[0] if peer else None, headers.get(b"x-forwarded-for", ""), settings.TRUSTED_PROXIES)
    spoken = SUBPROTOCOL in scope.get("subprotocols", ())
    # Refused after the accept: before it, a browser would learn neither code nor reason.
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if spoken else None})
    refusal = _refusal(headers, spoken=spoken) or hub().refusal(address=address)
    if refusal is not None:
        await send({"type": "websocket.close", "code": refusal[0], "reason": refusal[1]})
        return
    await _Conversation(Socket(send=send, address=address), receive).run()


def _refusal(headers: dict[bytes, str], *, spoken: bool) -> tuple[int, str] | None:
    if not origin_allowed(headers.get(b"origin"), host=headers.get(b"host", "")):
        return CloseCode.FORBIDDEN, "origin not allowed"
    if not spoken:
        return CloseCode.BAD_FRAME, f"the subprotocol is {SUBPROTOCOL}"
    return None


def origin_allowed(origin: str | None, *, host: str) -> bool:
    """Whether a page of `origin` may open a socket at `host`. A program sends no origin, and may."""
    if origin is None or origin in settings.ALLOWED_ORIGINS:
        return True
    return urlsplit(origin).netloc == host and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


class _Conversation:
    """What is said on one socket."""

    def __init__(self, socket: Socket, receive: Receive) -> None:
        self._socket = socket
        self._receive = receive
        self._hub = hub()

    async def run(self) -> None:
        """From the accept to the close, whoever closes."""
        self._hub.add(self._socket)
        await lifecycle.start()
        tasks = [
            asyncio.create_task(self._listen(), name=f"socket {self._socket.sid} listens"),
            asyncio.create_task(self._socket.send_all(), name=f"socket {self._socket.sid} sends"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.remove(self._socket)
            await end(tasks)

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                if not self._socket.closing:
                    await self._hear(message)
        except Exception:
            log.exception("socket_failed", sid=self._socket.sid)
            self._socket.close(1011, "internal error")
            await self._until_closed()

    async def _until_closed(self) -> None:
        while (await self._receive())["type"] != "websocket.disconnect":
            continue

    async def _hear(self, message: Message) -> None:
        socket, text = self._socket, message.get("text")
        if not socket.heard():
            socket.close(CloseCode.RATE_LIMITED, "too many frames")
        elif text is None:
            socket.close(CloseCode.BAD_FRAME, "frames are text")
        elif len(text) > FRAME_BYTES_MAX or len(text.encode("utf-8", "surrogatepass")) > FRAME_BYTES_MAX:
            socket.close(CloseCode.TOO_LARGE, f"a frame has at most {FRAME_BYTES_MAX} bytes")
        else:
            try:
                await self._obey(read_frame(text))
            except BadFrame as error:
                socket.close(CloseCode.BAD_FRAME, str(error))

    async def _obey(self, frame: Hello | Auth | Command | Seen | Ping | Pong) -> None:
        socket = self._socket
        if isinstance(frame, Hello):
            await self._greet(frame)
        elif isinstance(frame, Ping):
            socket.say(Pong(t=frame.t))
        elif isinstance(frame, Pong):
            return
        elif socket.session is None:
            raise BadFrame("hello comes first")
        elif isinstance(frame, Auth):
            await self._renew(frame)
        elif isinstance(frame, Command):
            await self._hub.carry_out(carry_out(frame, socket=socket, hub=self._hub))
        else:
            await self._seen(frame, socket.session.principal)

    async def _greet(self, hello: Hello) -> None:
        socket = self._socket
        if socket.session is not None:
            raise BadFrame("hello comes once")
        if hello.v != VERSION:
            raise BadFrame(f"the version is {VERSION}")
        try:
            session = await open_session(token=hello.token, ticket=hello.ticket, address=socket.address)
        except ParleyError as error:
            socket.close(_close_code(error), error.message)
            return
        socket.renewed(session)
        socket.noted_seq = hello.notes
        if not self._hub.make_way(socket):
            socket.close(CloseCode.RATE_LIMITED, "too many connections of this tenant")
            return
        limits = Limits(frame_bytes=FRAME_BYTES_MAX, inflight=INFLIGHT_COMMANDS_MAX, rooms=ROOMS_PER_SOCKET_MAX)
        socket.say(Welcome(sid=socket.sid, hb=int(HEARTBEAT_S), limits=limits))
        self._hub.notes.look([socket])
        await self._resume(session.principal, hello.resume)

    async def _resume(self, member: Principal, positions: tuple[Position, ...]) -> None:
        """Attach the rooms that the client follows. What can't be resumed is reset: its snapshot tells why."""
        for position in positions:
            try:
                place = Place(self._socket, await self._hub.feed_for(member, position.room))
                self._socket.enter(place)
                await place.resume(position)
                place.show_present()
            except (NotFound, PermissionDenied):
                self._socket.say(reset(position.room, "not_found"))
            except ParleyError as error:
                # A client that was told of no such room would go on without it: it comes back instead.
                log.warning("room_not_resumed", room_id=str(position.room), error=repr(error))
                self._socket.close(_close_code(error), "not now")
                return

    async def _renew(self, auth: Auth) -> None:
        socket = self._socket
        try:
            session = await open_session(token=auth.token, ticket=None, address=socket.address)
        except ParleyError as error:
            socket.close(_close_code(error), error.message)
            return
        if socket.session is None or session.subject.membership_id != socket.session.subject.membership_id:
            socket.close(CloseCode.FORBIDDEN, "the token is another member's")
            return
        socket.renewed(session)

    async def _seen(self, frame: Seen, member: Principal) -> None:
        try:
            await mark_seen(member=member, room_id=frame.room, seq=frame.seq)
        except ParleyError as error:
            # The next one says it better.
            log.warning("seen_not_kept", error=repr(error))


def _close_code(error: ParleyError) -> int:
    if isinstance(error, NotAuthenticated):
        return CloseCode.UNAUTHENTICATED
    if isinstance(error, PermissionDenied):
        return CloseCode.FORBIDDEN
    return CloseCode.TIMED_OUT
