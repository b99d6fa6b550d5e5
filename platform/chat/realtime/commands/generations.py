"""Answers of models: begin them, and end them early."""

import uuid

import msgspec

from chat.realtime.commands.messages import Alias, Models
from chat.realtime.commands.registry import body_of, command, member_of
from chat.realtime.frames import Ack, Command
from chat.realtime.hub import Hub
from chat.realtime.socket import Socket
from chat.services.answers import regenerate, start_generations
from chat.services.stops import stop_generation


class StopBody(msgspec.Struct, frozen=True):
    """The body of `generation.stop`."""

    gid: uuid.UUID


@command("generation.stop", body=StopBody)
async def _stop(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, StopBody)
    generation = await stop_generation(member=member_of(socket), generation_id=body.gid, cid=asked.cid)
    return Ack(cid=asked.cid, id=str(generation.id))


class StartBody(msgspec.Struct, frozen=True):
    """The body of `generation.start`. Without `models`, the room's answers."""

    message: uuid.UUID
    models: Models = ()


class RegenerateBody(msgspec.Struct, frozen=True):
    """The body of `generation.regenerate`. Without `model`, the one that answered before."""

    gid: uuid.UUID
    model: Alias | None = None


@command("generation.start", body=StartBody)
async def _start(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, StartBody)
    started = await start_generations(
        member=member_of(socket), message_id=body.message, models=body.models, room_id=asked.room, cid=asked.cid
    )
    return Ack(cid=asked.cid, id=str(started.generations[0].id), seq=started.seq)


@command("generation.regenerate", body=RegenerateBody)
async def _regenerate(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, RegenerateBody)
    started = await regenerate(
        member=member_of(socket), generation_id=body.gid, model=body.model, room_id=asked.room, cid=asked.cid
    )
    return Ack(cid=asked.cid, id=str(started.generations[0].id), seq=started.seq)
