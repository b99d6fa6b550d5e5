"""Follow a room, or no longer."""

from chat.bounds import ROOMS_PER_SOCKET_MAX
from chat.realtime.commands.registry import command, member_of, room_of
from chat.realtime.frames import Ack, Command
from chat.realtime.hub import Hub
from chat.realtime.places import Place
from chat.realtime.socket import Socket
from kernel.errors import Conflict


@command("room.join")
async def _join(asked: Command, socket: Socket, hub: Hub) -> Ack:
    room_id, member = room_of(asked), member_of(socket)
    if room_id not in socket.places and len(socket.places) >= ROOMS_PER_SOCKET_MAX:
        raise Conflict(f"A socket follows at most {ROOMS_PER_SOCKET_MAX} rooms.")
    place = Place(socket, await hub.feed_for(member, room_id))
    socket.enter(place)
    place.show_present()
    return Ack(cid=asked.cid, id=str(room_id), seq=place.seq)


@command("room.leave")
async def _leave(asked: Command, socket: Socket, hub: Hub) -> Ack:
    room_id = room_of(asked)
    socket.left(room_id)
    return Ack(cid=asked.cid, id=str(room_id))
