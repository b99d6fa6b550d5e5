"""Who is in a room: add, remove, leave; and how far each has read."""

import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chat import selectors
from chat.access import RoomAccess, access_room, require_shared
from chat.bounds import FOLDER_CHARS_MAX, ROOM_MEMBERS_MAX
from chat.checks import check_text
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.note_bodies import Invited
from chat.realtime import streams
from chat.services.notes import forget_unread, tell_notes, write_notes
from chat.shapes import RoomMemberShape, RoomShape
from chat.store import Connection, first, transaction
from kernel.errors import Conflict, NotFound
from kernel.ids import uuid7
from tenants.principals import Principal


class Added(msgspec.Struct, frozen=True):
    """A member in the room; `new` unless they were there before."""

    member: RoomMemberShape
    new: bool


async def add_member(*, member: Principal, room_id: uuid.UUID, membership_id: uuid.UUID, role: str = "member") -> Added:
    """Let another member of the tenant into a shared room. Its owners may, and its moderators as members or readers; adding
    somebody twice is adding them once.

    Raises `NotFound` also for a membership that isn't there, `PermissionDenied`, `Conflict`.
    """
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id, manage=True)
        require_over(room, role)
        await _check_addable(connection, membership_id)
        require_shared(room)
        if (present := await _present(connection, room_id, membership_id)) is not None:
            return Added(member=present, new=False)
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        # Asked again now that the room is locked: they may have lost their place or role, and the room been made private.
        room = await access_room(connection, member=member, room_id=room_id, manage=True)
        require_over(room, role)
        require_shared(room)
        await _check_room_left(connection, room_id)
        row = await first(
            connection,
            "INSERT INTO chat_roommember AS rm (tenant_id, id, room_id, membership_id, role, seen_seq, joined_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, room_id, membership_id) DO UPDATE "
            "SET left_at = NULL, role = excluded.role, joined_at = excluded.joined_at WHERE rm.left_at IS NOT NULL "
            "RETURNING id",
            (member.tenant_id, uuid7(), room_id, membership_id, role, numbers.first_seq, now),
        )
        if row is None:
            raise Conflict("They are being added already.")
        added = (await selectors.room_members(connection, ids=[row["id"]]))[row["id"]]
        event = await _event(connection, room, "member.joined", added, seq=numbers.first_seq, now=now)
        invited = Invited(room=room_id, by=member.membership_id)
        noted = await write_notes(
            connection, tenant_id=member.tenant_id, bodies={membership_id: invited}, room_id=room_id
        )
    await tell_notes(noted)
    await streams.publish(member.tenant_id, room_id, epoch=numbers.epoch, events=[event])
    return Added(member=added, new=True)


async def change_role(
    *, member: Principal, room_id: uuid.UUID, room_member_id: uuid.UUID, role: str
) -> RoomMemberShape:
    """Give somebody another role in a room. Its owners may. Raises `NotFound`, `PermissionDenied`, and `Conflict` when the
    room would have no owner.
    """
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id, manage=True)
        room.require_owner()
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        places = await selectors.room_members(connection, room_id=room_id)
        _as_now(room, places).require_owner()
        place = places.get(room_member_id)
        if place is None:
            raise NotFound
        if role != "owner" and _is_last_owner(place, places.values()):
            raise Conflict("A room needs an owner. Make somebody else one first.")
        if role != "owner":
            require_shared(room)
        changed, event = await _promote(connection, room, place, role, seq=numbers.first_seq, now=now)
    await streams.publish(member.tenant_id, room_id, epoch=numbers.epoch, events=[event])
    return changed


async def remove_member(*, member: Principal, room_id: uuid.UUID, room_member_id: uuid.UUID) -> None:
    """Take somebody out of a room: its owners anybody, moderators those below them, everybody themselves. The last owner's
    place passes to whoever stands next.

    Raises `NotFound`, `PermissionDenied`, and `Conflict` when nobody would be left.
    """
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        leaving = room_member_id == room.room_member_id
        if not leaving or member.api_key_id is not None:
            # Leaving is everybody's right, also a viewer's; it isn't one of a key that may only read.
            member.require("rooms.write")
        if not leaving:
            room.require_moderator()
        events, epoch = await _take_out(connection, room, room_member_id, leaving=leaving)
    await streams.publish(member.tenant_id, room_id, epoch=epoch, events=events)


async def _take_out(
    connection: Connection, room: RoomAccess, room_member_id: uuid.UUID, *, leaving: bool
) -> tuple[list[RoomEvent], int]:
    now = datetime.now(UTC)
    numbers = await take_numbers(connection, room_id=room.room_id, count=1, now=now)
    places = await selectors.room_members(connection, room_id=room.room_id)
    removed = places.get(room_member_id)
    if removed is None:
        raise NotFound
    if not leaving:
        require_over(_as_now(room, places), removed.role)
    heir = None
    if _is_last_owner(removed, places.values()):
        heir = next_owner([place for place in places.values() if place.id != removed.id])
        if heir is None:
            raise Conflict("You are alone in this room. Delete it instead.")
    await connection.execute(
        "UPDATE chat_roommember SET left_at = %s WHERE id = %s AND left_at IS NULL", (now, room_member_id)
    )
    await connection.execute(_END_LINKS.encode(), (now, room.room_id, removed.member.id))
    events = [await _event(connection, room, "member.left", removed, seq=numbers.first_seq, now=now)]
    if heir is not None:
        one_more = await take_numbers(connection, room_id=room.room_id, count=1, now=now)
        _, event = await _promote(connection, room, heir, "owner", seq=one_more.first_seq, now=now)
        events.append(event)
    return events, numbers.epoch


async def leave_all_rooms(tenant_id: uuid.UUID, membership_id: uuid.UUID) -> int:
    """Take somebody who is no longer of the tenant out of all rooms with others in them, which pass to those. Rooms in which
    they were alone stay theirs: nobody else may read them; deleted ones have nobody to be told. How many they left."""
    left = 0
    while True:
        async with transaction(tenant_id) as connection:
            row = await first(connection, _NEXT_ROOM, (membership_id,))
            if row is None:
                return left
            place_id = row.pop("room_member_id")
            events, epoch = await _take_out(connection, _left_room(row, place_id), place_id, leaving=True)
        await streams.publish(tenant_id, row["room_id"], epoch=epoch, events=events)
        left += 1


# So that none leads there again once they return.
_END_LINKS = """
    UPDATE chat_share SET revoked_at = %s, messages = '[]', title = ''
    WHERE room_id = %s AND created_by_id = %s AND revoked_at IS NULL
"""
_NEXT_ROOM = """
    SELECT p.tenant_id, p.room_id, p.membership_id, p.id AS room_member_id, p.role
    FROM chat_roommember p JOIN tenants_membership m ON m.tenant_id = p.tenant_id AND m.id = p.membership_id
    JOIN chat_room r ON r.tenant_id = p.tenant_id AND r.id = p.room_id
    WHERE p.membership_id = %s AND p.left_at IS NULL AND m.status <> 'active' AND r.deleted_at IS NULL AND EXISTS (
        SELECT 1 FROM chat_roommember o WHERE o.room_id = p.room_id AND o.id <> p.id AND o.left_at IS NULL
    ) LIMIT 1
"""


def _left_room(row: dict[str, Any], place_id: uuid.UUID) -> RoomAccess:
    return RoomAccess(
        **row, room_member_id=place_id, kind="shared", model=None, instructions="", epoch=0, head_seq=0, name=""
    )


class OwnPlace(msgspec.Struct, frozen=True):
    """How a member has a room in their own list, and how far they have read; what isn't set stays."""

    pinned: bool | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    folder: str | UnsetType = UNSET
    seen: int | UnsetType = UNSET


async def arrange_room(*, member: Principal, room_id: uuid.UUID, place: OwnPlace) -> RoomShape:
    """Pin, mute or file a room for oneself alone, or have it read. Raises `NotFound`, `PermissionDenied`, `InvalidRequest`."""
    if place.folder is not UNSET:
        check_text(place.folder, field="folder", chars_max=FOLDER_CHARS_MAX, blank=True)
    pinned = None if place.pinned is UNSET else place.pinned
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        await connection.execute(
            "UPDATE chat_roommember SET muted = coalesce(%s, muted), folder = coalesce(%s, folder), "
            "pinned_at = CASE WHEN %s::bool IS NULL THEN pinned_at WHEN %s::bool THEN coalesce(pinned_at, now()) END "
            "WHERE id = %s",
            (
                None if place.muted is UNSET else place.muted,
                None if place.folder is UNSET else place.folder.strip(),
                pinned,
                pinned,
                room.room_member_id,
            ),
        )
        if place.seen is not UNSET:
            await _move_seen(connection, member, room_id, place.seen)
        found = await selectors.my_rooms(connection, membership_id=member.membership_id, ids=[room_id])
    if room_id not in found:
        raise NotFound
    return found[room_id]


RANKS = ("reader", "member", "moderator", "owner")
"""Roles in a room, from what may do least."""


def require_over(room: RoomAccess, role: str) -> None:
    """Raises `PermissionDenied` unless the member may have somebody in that role, or take them out: owners all, moderators
    those below themselves."""
    room.require_moderator()
    if RANKS.index(role) >= RANKS.index("moderator"):
        room.require_owner()


def next_owner(places: Collection[RoomMemberShape]) -> RoomMemberShape | None:
    """Who becomes owner when the last one goes: of the highest role whoever has been there longest."""
    return min(places, key=lambda place: (-RANKS.index(place.role), place.joined_at, place.id), default=None)


def _is_last_owner(place: RoomMemberShape, places: Collection[RoomMemberShape]) -> bool:
    return place.role == "owner" and sum(other.role == "owner" for other in places) == 1


def _as_now(room: RoomAccess, places: Mapping[uuid.UUID, RoomMemberShape]) -> RoomAccess:
    """The room with the role that the member has there now that it is locked. Raises `NotFound` for who was taken out while
    they waited for that: of two owners who remove each other, one stays."""
    place = places.get(room.room_member_id)
    if place is None:
        raise NotFound
    return msgspec.structs.replace(room, role=place.role)


async def _promote(
    connection: Connection, room: RoomAccess, place: RoomMemberShape, role: str, *, seq: int, now: datetime
) -> tuple[RoomMemberShape, RoomEvent]:
    """Another role, and the event of it: that of somebody who joins, with the place as it is now."""
    await connection.execute("UPDATE chat_roommember SET role = %s WHERE id = %s", (role, place.id))
    changed = msgspec.structs.replace(place, role=role)
    return changed, await _event(connection, room, "member.joined", changed, seq=seq, now=now)


async def mark_seen(*, member: Principal, room_id: uuid.UUID, seq: int) -> None:
    """Remember how far the member has read; it never goes back, nor beyond what there is. Strangers change nothing."""
    async with transaction(member.tenant_id) as connection:
        await _move_seen(connection, member, room_id, seq)


async def _move_seen(connection: Connection, member: Principal, room_id: uuid.UUID, seq: int) -> None:
    moved = await connection.execute(
        "UPDATE chat_roommember rm SET seen_seq = least(%s, r.head_seq) FROM chat_room r "
        "WHERE r.id = rm.room_id AND rm.room_id = %s AND rm.membership_id = %s AND rm.left_at IS NULL "
        "AND rm.seen_seq < least(%s, r.head_seq)",
        (seq, room_id, member.membership_id, seq),
    )
    if moved.rowcount:
        await forget_unread(connection, membership_id=member.membership_id, room_id=room_id)


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
