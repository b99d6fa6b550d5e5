"""What a socket can ask for. An error in one command is told in an `err`, and never closes the socket."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import msgspec
import structlog

from chat.access import access_room
from chat.bounds import ROOMS_PER_SOCKET_MAX
from chat.realtime import streams
from chat.realtime.envelopes import typing_payload
from chat.realtime.frames import Ack, Command, Err, SendBody, StopBody
from chat.realtime.hub import Hub
from chat.realtime.places import Place
from chat.realtime.socket import Socket
from chat.services.messages import send_message
from chat.services.stops import stop_generation
from chat.store import transaction
from kernel.errors import (
    Conflict,
    InternalError,
    InvalidRequest,
    NotAuthenticated,
    ParleyError,
    RateLimited,
    Unavailable,
)
from kernel.redis import RedisError, async_redis
from tenants.principals import Principal

log = structlog.get_logger(__name__)

_UNAVAILABLE_RETRY_MS = 1000
B = TypeVar("B")


class NotSupported(InvalidRequest):
    """This server doesn't know this command."""

    code = "not_supported"


async def carry_out(command: Command, *, socket: Socket, hub: Hub) -> None:
    """Carry out a command and answer it with `ack` or `err`."""
    try:
        handler = _HANDLERS.get(command.type)
        if handler is None:
            raise NotSupported
        socket.say(await handler(command, socket, hub))
    except ParleyError as error:
        socket.say(_err(command.cid, error))
    except RedisError:
        socket.say(_err(command.cid, Unavailable()))
    except Exception:
        log.exception("command_failed", type=command.type)
        socket.say(_err(command.cid, InternalError()))


def _err(cid: str, error: ParleyError) -> Err:
    if isinstance(error, RateLimited):
        return Err(cid=cid, code=error.code, message=error.message, retry_ms=error.retry_after_s * 1000)
    if isinstance(error, Unavailable):
        return Err(cid=cid, code=error.code, message=error.message, retry_ms=_UNAVAILABLE_RETRY_MS)
    return Err(cid=cid, code=error.code, message=error.message)


async def _join(command: Command, socket: Socket, hub: Hub) -> Ack:
    room_id, member = _room(command), _member(socket)
    if room_id not in socket.places and len(socket.places) >= ROOMS_PER_SOCKET_MAX:
        raise Conflict(f"A socket follows at most {ROOMS_PER_SOCKET_MAX} rooms.")
    async with transaction(member.tenant_id) as connection:
        await access_room(connection, member=member, room_id=room_id)
    place = Place(socket, await hub.feed(member.tenant_id, room_id))
    socket.enter(place)
    return Ack(cid=command.cid, id=str(room_id), seq=place.seq)


async def _leave(command: Command, socket: Socket, hub: Hub) -> Ack:
    room_id = _room(command)
    socket.left(room_id)
    return Ack(cid=command.cid, id=str(room_id))


async def _send(command: Command, socket: Socket, hub: Hub) -> Ack:
    body = _body(command, SendBody)
    sent = await send_message(
        member=_member(socket),
        room_id=_room(command),
        text=body.text,
        model=body.model,
        generate=body.generate,
        cid=command.cid,
    )
    return Ack(cid=command.cid, id=str(sent.message.id), seq=sent.seq)


async def _stop(command: Command, socket: Socket, hub: Hub) -> Ack:
    body = _body(command, StopBody)
    generation = await stop_generation(member=_member(socket), generation_id=body.gid)
    return Ack(cid=command.cid, id=str(generation.id))


async def _typing(command: Command, socket: Socket, hub: Hub) -> Ack:
    room_id, member = _room(command), _member(socket)
    if room_id not in socket.places:
        raise InvalidRequest("typing: join the room first.")
    member.require("rooms.write")
    await async_redis().publish(
        streams.channel(member.tenant_id, room_id), typing_payload(room_id, who=member.membership_id)
    )
    return Ack(cid=command.cid)


_HANDLERS: dict[str, Callable[[Command, Socket, Hub], Awaitable[Ack]]] = {
    "room.join": _join,
    "room.leave": _leave,
    "message.send": _send,
    "generation.stop": _stop,
    "typing": _typing,
}


def _member(socket: Socket) -> Principal:
    if socket.session is None:
        raise NotAuthenticated
    return socket.session.principal


def _room(command: Command) -> UUID:
    if command.room is None:
        raise InvalidRequest(f"{command.type}: a room is needed.", details={"param": "room"})
    return command.room


def _body(command: Command, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(command.body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"body: {str(error)[:200]}", details={"param": "body"}) from error


def known_commands() -> list[str]:
    """The commands that this server carries out."""
    return sorted(_HANDLERS)
