"""A room's state, read so that whoever applies the events after `seq` to it misses nothing."""

import uuid
from collections.abc import Sequence

import msgspec

from chat import reading, selectors, tree
from chat.access import access_generation, access_room, room_access
from chat.bounds import SNAPSHOT_MESSAGES
from chat.message_parts import part_shapes
from chat.parts import Parts, longer, said
from chat.realtime import texts
from chat.realtime.presence import read_present
from chat.shapes import GenerationShape, PresentShape, RoomMemberShape, RoomShape, SnapshotShape
from chat.store import transaction
from kernel.errors import NotFound
from kernel.redis import RedisError
from tenants.principals import Principal


async def snapshot(*, member: Principal, room_id: uuid.UUID) -> SnapshotShape:
    """The room now, with the branch that the member reads. The number is read first: what is newer than it comes again as
    an event, never not at all.

    Raises `NotFound`, `PermissionDenied`.
    """
    async with transaction(member.tenant_id) as connection:
        place = await access_room(connection, member=member, room_id=room_id)
        rooms = await selectors.my_rooms(connection, membership_id=member.membership_id, ids=[room_id])
        if room_id not in rooms:
            raise NotFound
        room = rooms[room_id]
        live_ids = await selectors.live_generation_ids(connection, room_id)
        branch = await reading.branch_of(connection, place)
        path = await tree.path_to(connection, room_id=room_id, leaf=branch.leaf, limit=SNAPSHOT_MESSAGES)
        messages = await reading.messages_of(connection, place, path.ids)
        kept = await selectors.summary_on_path(connection, room_id=room_id, leaf=branch.leaf)
        members = await selectors.room_members(connection, room_id=room_id)
        ended_ids = await selectors.unanswered_generation_ids(connection, room_id, path.ids)
        generations = await selectors.generations(connection, {*live_ids, *ended_ids})
    live = [generation for generation in generations.values() if generation.finished_at is None]
    held = await live_parts(member.tenant_id, room_id, [generation.id for generation in live])
    return SnapshotShape(
        room=room,
        members=tuple(members.values()),
        messages=tuple(sorted(messages, key=lambda message: message.id)),
        has_more=path.above is not None,
        generations=tuple(
            _with_parts(generation, held.get(generation.id, ())) if generation.finished_at is None else generation
            for generation in sorted(generations.values(), key=lambda generation: generation.id)
            if generation.answer is None
        ),
        epoch=room.epoch,
        seq=room.head_seq,
        present=await _present(member.tenant_id, room_id),
        branch=branch,
        summary=kept.summary if kept else None,
    )


async def _present(tenant_id: uuid.UUID, room_id: uuid.UUID) -> tuple[PresentShape, ...]:
    try:
        found = await read_present(tenant_id, room_id)
    except RedisError:
        return ()
    return tuple(PresentShape(who=who, state=state) for who, state in found.items())


def _with_parts(generation: GenerationShape, parts: Parts) -> GenerationShape:
    return msgspec.structs.replace(generation, text=said(parts), parts=part_shapes(parts))


async def live_parts(tenant_id: uuid.UUID, room_id: uuid.UUID, gids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Parts]:
    """The parts of live answers: of Redis and PostgreSQL the longer. Answers that have ended may be missing."""
    if not gids:
        return {}
    try:
        held = await texts.read_parts(tenant_id, room_id, gids)
    except RedisError:
        held = {}
    if len(held) == len(gids):
        return held
    async with transaction(tenant_id) as connection:
        kept = await selectors.checkpoints(connection, room_id, gids)
    return {gid: longer(held.get(gid, ()), kept.get(gid, ())) for gid in gids if gid in held or gid in kept}


async def generation(*, member: Principal, generation_id: uuid.UUID) -> GenerationShape:
    """One answer, with its text: so far, or as it ended. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        await access_generation(connection, member=member, generation_id=generation_id)
        found = (await selectors.generations(connection, [generation_id]))[generation_id]
        if found.answer is not None:
            message = (await selectors.messages(connection, [found.answer]))[found.answer]
            return msgspec.structs.replace(found, text=message.text, parts=message.parts)
        if found.finished_at is not None:
            return found
    held = await live_parts(member.tenant_id, found.room, [generation_id])
    return _with_parts(found, held.get(generation_id, ()))


async def rooms_by_id(*, member: Principal, ids: list[uuid.UUID]) -> list[RoomShape]:
    """The member's own rooms, in the order of `ids`."""
    async with transaction(member.tenant_id) as connection:
        found = await selectors.my_rooms(connection, membership_id=member.membership_id, ids=ids)
    return [found[id_] for id_ in ids if id_ in found]


async def own_room(*, member: Principal, room_id: uuid.UUID) -> RoomShape:
    """One room. Raises `NotFound`, `PermissionDenied`."""
    await room_access(member=member, room_id=room_id)
    rooms = await rooms_by_id(member=member, ids=[room_id])
    if not rooms:
        raise NotFound
    return rooms[0]


async def members_by_id(tenant_id: uuid.UUID, ids: list[uuid.UUID]) -> list[RoomMemberShape]:
    """Places in rooms that were accessed before, in the order of `ids`."""
    async with transaction(tenant_id) as connection:
        found = await selectors.room_members(connection, ids=ids)
    return [found[id_] for id_ in ids if id_ in found]
