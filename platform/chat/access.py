"""The only ways from an id to a row of a room: they check that the member may."""

import uuid
from collections.abc import Collection
from typing import Any

import msgspec

from chat.store import Connection, every
from kernel.errors import Conflict, NotFound, PermissionDenied
from tenants.principals import Principal


class RoomAccess(msgspec.Struct, frozen=True):
    """A room that the member is in, and their place in it."""

    tenant_id: uuid.UUID
    room_id: uuid.UUID
    kind: str
    model: str | None
    instructions: str
    epoch: int
    head_seq: int
    room_member_id: uuid.UUID
    membership_id: uuid.UUID
    name: str
    role: str

    @property
    def is_owner(self) -> bool:
        """Whether the member owns the room."""
        return self.role == "owner"

    def require_owner(self) -> None:
        """Raises `PermissionDenied` for all but the room's owners."""
        if not self.is_owner:
            raise PermissionDenied("Only an owner of the room may do this.", details={"reason": "not_room_owner"})


_ACCESS = """
    SELECT r.tenant_id, r.id AS room_id, r.kind, r.settings, r.epoch, r.head_seq, rm.id AS room_member_id,
           rm.membership_id, p.name, rm.role
    FROM chat_room r
    JOIN chat_roommember rm ON rm.tenant_id = r.tenant_id AND rm.room_id = r.id
    JOIN tenants_membership m ON m.tenant_id = rm.tenant_id AND m.id = rm.membership_id
    JOIN tenants_person p ON p.id = m.person_id
    WHERE rm.membership_id = %s AND rm.left_at IS NULL AND r.deleted_at IS NULL AND r.id = ANY(%s)
"""


async def access_rooms(
    connection: Connection, *, member: Principal, room_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, RoomAccess]:
    """Those of the rooms that the member is in. Raises `PermissionDenied` without `rooms.read`."""
    member.require("rooms.read")
    rows = await every(connection, _ACCESS, (member.membership_id, list(room_ids)))
    return {row["room_id"]: _accessed(row) for row in rows}


async def access_room(
    connection: Connection, *, member: Principal, room_id: uuid.UUID, write: bool = False
) -> RoomAccess:
    """The room, if the member is in it. Raises `NotFound` for strangers, as if there were no such room, and
    `PermissionDenied` without `rooms.read`, or `rooms.write` where that is wanted.
    """
    found = await access_rooms(connection, member=member, room_ids=[room_id])
    if room_id not in found:
        raise NotFound
    if write:
        member.require("rooms.write")
    return found[room_id]


class GenerationAccess(msgspec.Struct, frozen=True):
    """A generation in a room that the member is in."""

    room: RoomAccess
    generation_id: uuid.UUID
    status: str
    lease_owner: uuid.UUID | None
    requested_by_id: uuid.UUID

    def require_may_stop(self) -> None:
        """Raises `PermissionDenied` for all but who asked for it and the room's owners."""
        if self.requested_by_id != self.room.membership_id:
            self.room.require_owner()


async def access_generation(
    connection: Connection, *, member: Principal, generation_id: uuid.UUID, write: bool = False
) -> GenerationAccess:
    """The generation, if the member is in its room. Raises as `access_room` does."""
    rows = await every(
        connection,
        "SELECT id, room_id, status, lease_owner, requested_by_id FROM chat_generation WHERE id = %s",
        (generation_id,),
    )
    if not rows:
        raise NotFound
    row = rows[0]
    room = await access_room(connection, member=member, room_id=row["room_id"], write=write)
    return GenerationAccess(
        room=room,
        generation_id=row["id"],
        status=row["status"],
        lease_owner=row["lease_owner"],
        requested_by_id=row["requested_by_id"],
    )


def require_shared(room: RoomAccess) -> None:
    """Raises `Conflict` for a private room, which is its owner's alone."""
    if room.kind != "shared":
        raise Conflict("This room is private. Share it first.", details={"reason": "private"})


def _accessed(row: dict[str, Any]) -> RoomAccess:
    settings = row.pop("settings")
    return RoomAccess(**row, model=settings.get("model"), instructions=settings.get("instructions", ""))
