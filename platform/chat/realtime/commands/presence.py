"""What the others in a room are told of somebody, and nobody remembers."""

import msgspec

from chat.realtime import streams
from chat.realtime.commands.registry import body_of, command, member_of, room_of
from chat.realtime.envelopes import typing_payload
from chat.realtime.frames import Ack, Command
from chat.realtime.hub import Hub
from chat.realtime.presence import Shown
from chat.realtime.socket import Socket
from kernel.errors import InvalidRequest
from kernel.redis import async_redis


class PresenceBody(msgspec.Struct, frozen=True):
    """The body of `presence.set`."""

    state: Shown


@command("presence.set", body=PresenceBody)
async def _presence(asked: Command, socket: Socket, hub: Hub) -> Ack:
    member_of(socket)
    # The hub tells it, with what else has changed.
    socket.state = body_of(asked, PresenceBody).state
    return Ack(cid=asked.cid)


@command("typing")
async def _typing(asked: Command, socket: Socket, hub: Hub) -> Ack:
    room_id, member = room_of(asked), member_of(socket)
    place = socket.places.get(room_id)
    if place is None:
        raise InvalidRequest("typing: join the room first.")
    member.require("rooms.write")
    if not place.may_type():
        # The others were told a moment ago.
        return Ack(cid=asked.cid)
    await async_redis().publish(
        streams.channel(member.tenant_id, room_id), typing_payload(room_id, who=member.membership_id)
    )
    return Ack(cid=asked.cid)
