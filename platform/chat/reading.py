"""Messages as one member reads them: of a branch or all, with what stands beside each and what the member thinks of it."""

import uuid
from collections.abc import Sequence

import msgspec

from chat import selectors, tree
from chat.access import RoomAccess, access_message, access_room
from chat.shapes import BranchShape, MessageShape, SummaryShape
from chat.store import Connection, transaction
from kernel.errors import NotFound
from tenants.principals import Principal


class Stretch(msgspec.Struct, frozen=True):
    """A message of a branch, with the late answers to it; newest first. `id` is the message's, by which one reads on."""

    id: uuid.UUID
    messages: tuple[MessageShape, ...]


async def branch_of(connection: Connection, room: RoomAccess) -> BranchShape:
    """The branch that a member reads."""
    branch = await tree.branch_of(connection, room_id=room.room_id, room_member_id=room.room_member_id)
    return BranchShape(chosen=branch.chosen, leaf=branch.leaf)


async def messages_of(connection: Connection, room: RoomAccess, ids: Sequence[uuid.UUID]) -> list[MessageShape]:
    """A room's messages in the order of `ids`, as a member sees them."""
    found = await selectors.messages(connection, ids)
    beside = await tree.siblings(connection, room_id=room.room_id, ids=ids)
    thought = await selectors.own_feedback(connection, ids, membership_id=room.membership_id)
    return [
        msgspec.structs.replace(found[id_], siblings=beside.get(id_), feedback=thought.get(id_))
        for id_ in ids
        if id_ in found
    ]


async def read_branch(
    *,
    member: Principal,
    room_id: uuid.UUID,
    through: uuid.UUID | None,
    after: uuid.UUID | None,
    limit: int,
) -> list[Stretch]:
    """Messages of the branch that the member reads, or of the one `through` a message, newest first, from the one that
    precedes `after` on. Raises `NotFound`, also for messages that aren't in the room.
    """
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        for named in (through, after):
            if named is not None and not await selectors.is_in_room(connection, room_id=room_id, message_id=named):
                raise NotFound
        leaf: uuid.UUID | None
        if after is not None:
            # It is walked from, not shown: late answers are told by what follows their question.
            leaf, limit = after, limit + 1
        elif through is not None:
            leaf = await tree.newest_leaf(connection, room_id=room_id, below=through)
        else:
            leaf = (await branch_of(connection, room)).leaf
        path = await tree.path_to(connection, room_id=room_id, leaf=leaf, limit=limit)
        messages = {message.id: message for message in await messages_of(connection, room, path.ids)}
    return [
        Stretch(
            id=step.id,
            messages=tuple(
                messages[one.id]
                for one in reversed(path.steps)
                if one.id in messages and (one.id == step.id or (one.late and one.parent == step.id))
            ),
        )
        for step in reversed(path.steps)
        if not step.late and step.id != after
    ]


async def read_messages(*, member: Principal, room_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> list[MessageShape]:
    """Messages of a room, in the order of `ids`. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        found = await messages_of(connection, room, ids)
    return [message for message in found if message.room == room_id]


async def read_message(*, member: Principal, message_id: uuid.UUID) -> MessageShape:
    """One message. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        message = await access_message(connection, member=member, message_id=message_id)
        (found,) = await messages_of(connection, message.room, [message_id])
    return found


async def read_summaries(
    *, member: Principal, room_id: uuid.UUID, before: uuid.UUID | None, limit: int
) -> list[SummaryShape]:
    """What was made of old turns in a room, newest first. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        await access_room(connection, member=member, room_id=room_id)
        return await selectors.summaries(connection, room_id=room_id, before=before, limit=limit)


async def read_siblings(
    *, member: Principal, message_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[MessageShape]:
    """A message and those that follow the same one, oldest first. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        message = await access_message(connection, member=member, message_id=message_id)
        ids = await tree.sibling_ids(
            connection, room_id=message.room.room_id, message_id=message_id, after=after, limit=limit
        )
        return await messages_of(connection, message.room, ids)
