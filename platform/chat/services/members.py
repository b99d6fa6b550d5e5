"""Who is in a room: add, remove, leave; and how far each has read."""

import uuid
from datetime import UTC, datetime

import msgspec

from chat import selectors
from chat.access import RoomAccess, access_room, require_shared
from chat.bounds import ROOM_MEMBERS_MAX
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.realtime import streams
from chat.shapes import RoomMemberShape
from chat.store import Connection, first, transaction
from kernel.errors import Conflict, NotFound
from kernel.ids import uuid7
from tenants.principals import Principal


class Added(msgspec.Struct, frozen=True):
    """A member in the room; `new` unless they were there before."""

    member: RoomMemberShape
    new: bool


async def add_member(*, member: Principal, room_id: uuid.UUID, membership_id: uuid.UUID) -> Added:
    """Let another member of the tenant into a shared room. Its owners may; adding somebody twice is adding them once.

    Raises `NotFound` also for a membership that isn't there, `PermissionDenied`, `Conflict`.
    """
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id, write=True)
        room.require_owner()
        await _check_addable(connection, membership_id)
        require_shared(room)
        if (present := await _present(connection, room_id, membership_id)) is not None:
            return Added(member=present, new=False)
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        await _check_room_left(connection, room_id)
        row = await first(
            connection,
            "INSERT INTO chat_roommember AS rm (tenant_id, id, room_id, membership_id, role, seen_seq, joined_at) "
            "VALUES (%s, %s, %s, %s, 'member', %s, %s) ON CONFLICT (tenant_id, room_id, membership_id) DO UPDATE "
            "SET left_at = NULL, role = 'member', joined_at = excluded.joined_at WHERE rm.left_at IS NOT NULL "
            "RETURNING id",
            (member.tenant_id, uuid7(), room_id, membership_id, numbers.first_seq, now),
        )
        if row is None:
            raise Conflict("They are being added already.")
        added = (await selectors.room_members(connection, ids=[row["id"]]))[row["id"]]
        event = await _event(connection, room, "member.joined", added, seq=numbers.first_seq, now=now)
    await streams.publish(member.tenant_id, room_id, epoch=numbers.epoch, events=[event])
    return Added(member=added, new=True)


async def remove_member(*, member: Principal, room_id: uuid.UUID, room_member_id: uuid.UUID) -> None:
    """Take somebody out of a room: its owners anybody, everybody themselves.

    Raises `NotFound`, `PermissionDenied`, and `Conflict` when the room would have no owner.
    """
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        leaving = room_member_id == room.room_member_id
        if not leaving:
            member.require("rooms.write")
            room.require_owner()
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        places = await selectors.room_members(connection, room_id=room_id)
        removed = places.get(room_member_id)
        if removed is None:
            raise NotFound
        if removed.role == "owner" and sum(place.role == "owner" for place in places.values()) == 1:
            raise Conflict("The last owner can't leave the room. Delete it instead.")
        await connection.execute(
            "UPDATE chat_roommember SET left_at = %s WHERE id = %s AND left_at IS NULL", (now, room_member_id)
        )
        event = await _event(connection, room, "member.left", removed, seq=numbers.first_seq, now=now)
    await streams.publish(member.tenant_id, room_id, epoch=numbers.epoch, events=[event])


async def mark_seen(*, member: Principal, room_id: uuid.UUID, seq: int) -> None:
    """Remember how far the member has read; it never goes back, nor beyond what there is. Strangers change nothing."""
    async with transaction(member.tenant_id) as connection:
        await connection.execute(
            "UPDATE chat_roommember rm SET seen_seq = least(%s, r.head_seq) FROM chat_room r "
            "WHERE r.id = rm.room_id AND rm.room_id = %s AND rm.membership_id = %s AND rm.left_at IS NULL "
            "AND rm.seen_seq < least(%s, r.head_seq)",
            (seq, room_id, member.membership_id, seq),
        )


async def _check_addable(connection: Connection, membership_id: uuid.UUID) -> None:
    row = await first(
        connection, "SELECT id FROM tenants_membership WHERE id = %s AND status = 'active'", (membership_id,)
    )
    if row is None:
        raise NotFound


async def _present(connection: Connection, room_id: uuid.UUID, membership_id: uuid.UUID) -> RoomMemberShape | None:
    row = await first(
        connection,
        "SELECT id FROM chat_roommember WHERE room_id = %s AND membership_id = %s AND left_at IS NULL",
        (room_id, membership_id),
    )
    return (await selectors.room_members(connection, ids=[row["id"]]))[row["id"]] if row else None


async def _check_room_left(connection: Connection, room_id: uuid.UUID) -> None:
    row = await first(
        connection,
        "SELECT count(*) AS members FROM chat_roommember WHERE room_id = %s AND left_at IS NULL",
        (room_id,),
    )
    if row is not None and row["members"] >= ROOM_MEMBERS_MAX:
        raise Conflict(f"A room has at most {ROOM_MEMBERS_MAX} members.")


async def _event(
    connection: Connection,
    room: RoomAccess,
    type_: str,
    place: RoomMemberShape,
    *,
    seq: int,
    now: datetime,
) -> RoomEvent:
    event = room_event(seq=seq, type_=type_, at=now, content={"member": place}, subject=place.member.id)
    await insert_event(
        connection, tenant_id=room.tenant_id, room_id=room.room_id, event=event, ids=EventIds(member=place.id)
    )
    return event
