"""The only ways from an id to a row of a room: they check that the member may."""

import uuid
from collections.abc import Collection
from typing import Any

import msgspec

from chat.shapes import preset_id
from chat.store import Connection, every, read
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
    answers: str = "always"
    archived: bool = False
    preset: uuid.UUID | None = None

    @property
    def is_owner(self) -> bool:
        """Whether the member owns the room."""
        return self.role == "owner"

    def require_owner(self) -> None:
        """Raises `PermissionDenied` for all but the room's owners."""
        if not self.is_owner:
            raise PermissionDenied("Only an owner of the room may do this.", details={"reason": "not_room_owner"})

    def require_moderator(self) -> None:
        """Raises `PermissionDenied` for all but the room's owners and moderators."""
        if self.role not in ("owner", "moderator"):
            raise PermissionDenied(
                "Only an owner or a moderator of the room may do this.", details={"reason": "not_room_moderator"}
            )

    def require_writable(self) -> None:
        """Raises `PermissionDenied` for readers, and `Conflict` in an archived room."""
        if self.role == "reader":
            raise PermissionDenied("You may only read in this room.", details={"reason": "room_reader"})
        if self.archived:
            raise Conflict("This room is archived. Its owner can open it again.", details={"reason": "archived"})


_ACCESS = "SELECT * FROM public.chat_access(%s, %s)"


async def access_rooms(
    connection: Connection, *, member: Principal, room_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, RoomAccess]:
    """Those of the rooms that the member is in. Raises `PermissionDenied` without `rooms.read`."""
    member.require("rooms.read")
    rows = await every(connection, _ACCESS, (member.membership_id, list(room_ids)))
    return {row["room_id"]: _accessed(row) for row in rows}


async def access_room(
    connection: Connection, *, member: Principal, room_id: uuid.UUID, write: bool = False, manage: bool = False
) -> RoomAccess:
    """The room, if the member is in it. With `write` something is to be said or done there, with `manage` the room itself is
    to be changed, also an archived one; what role that takes is asked of what this answers.

    Raises `NotFound` for strangers, as if there were no such room, and `PermissionDenied` without `rooms.read`, or
    `rooms.write` where one of both is wanted. With `write` also for readers, and `Conflict` in an archived room.
    """
    found = await access_rooms(connection, member=member, room_ids=[room_id])
    return _allowed(found.get(room_id), member, write=write, manage=manage)


async def room_access(
    *, member: Principal, room_id: uuid.UUID, write: bool = False, manage: bool = False
) -> RoomAccess:
    """What `access_room` answers, in a transaction of its own, and in one round trip."""
    member.require("rooms.read")
    rows = await read(member.tenant_id, _ACCESS, (member.membership_id, [room_id]))
    return _allowed(_accessed(rows[0]) if rows else None, member, write=write, manage=manage)


def _allowed(room: RoomAccess | None, member: Principal, *, write: bool, manage: bool) -> RoomAccess:
    if room is None:
        raise NotFound
    if write or manage:
        member.require("rooms.write")
    if write:
        room.require_writable()
    return room


class GenerationAccess(msgspec.Struct, frozen=True):
    """A generation in a room that the member is in."""

    room: RoomAccess
    generation_id: uuid.UUID
    status: str
    lease_owner: uuid.UUID | None
    requested_by_id: uuid.UUID
    prompt_id: uuid.UUID
    model: str

    def require_may_stop(self) -> None:
        """Raises `PermissionDenied` for all but who asked for it and the room's owners and moderators."""
        if self.requested_by_id != self.room.membership_id:
            self.room.require_moderator()


async def access_generation(
    connection: Connection, *, member: Principal, generation_id: uuid.UUID, write: bool = False
) -> GenerationAccess:
    """The generation, if the member is in its room. Raises as `access_room` does."""
    rows = await every(
        connection,
        "SELECT id, room_id, status, lease_owner, requested_by_id, prompt_id, model FROM chat_generation WHERE id = %s",
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
        prompt_id=row["prompt_id"],
        model=row["model"],
    )


class MessageAccess(msgspec.Struct, frozen=True):
    """A message in a room that the member is in. `asked_by_id` is who asked for it, where a model wrote it."""

    room: RoomAccess
    message_id: uuid.UUID
    parent_id: uuid.UUID | None
    author_kind: str
    author_membership_id: uuid.UUID | None
    generation_id: uuid.UUID | None
    asked_by_id: uuid.UUID | None
    model: str
    deleted: bool

    @property
    def told_with(self) -> uuid.UUID:
        """The message on every path to what this one was told before: an answer may be on it beside its question."""
        return self.parent_id if self.author_kind == "model" and self.parent_id is not None else self.message_id

    def require_own(self) -> None:
        """Raises `PermissionDenied` for all but who wrote it."""
        if self.author_membership_id != self.room.membership_id:
            raise PermissionDenied("This was written by somebody else.", details={"reason": "not_author"})

    def require_may_delete(self) -> None:
        """Raises `PermissionDenied` for all but who wrote it, who asked for it, and the room's owners and moderators."""
        if self.room.membership_id not in (self.author_membership_id, self.asked_by_id):
            self.room.require_moderator()

    def require_there(self) -> None:
        """Raises `Conflict` for a message that was deleted."""
        if self.deleted:
            raise Conflict("This message was deleted.", details={"reason": "deleted"})


_MESSAGE = """
    SELECT m.id AS message_id, m.room_id, m.parent_id, m.author_kind, m.author_membership_id, m.generation_id, m.model,
           m.deleted_at IS NOT NULL AS deleted, g.requested_by_id AS asked_by_id
    FROM chat_message m LEFT JOIN chat_generation g ON g.tenant_id = m.tenant_id AND g.id = m.generation_id
    WHERE m.id = %s
"""


async def access_message(
    connection: Connection, *, member: Principal, message_id: uuid.UUID, write: bool = False
) -> MessageAccess:
    """The message, if the member is in its room. Raises as `access_room` does."""
    rows = await every(connection, _MESSAGE, (message_id,))
    if not rows:
        raise NotFound
    row = rows[0]
    room = await access_room(connection, member=member, room_id=row.pop("room_id"), write=write)
    return MessageAccess(room=room, **row)


def require_shared(room: RoomAccess) -> None:
    """Raises `Conflict` for a private room, which is its owner's alone."""
    if room.kind != "shared":
        raise Conflict("This room is private. Share it first.", details={"reason": "private"})


def _accessed(row: dict[str, Any]) -> RoomAccess:
    settings = row.pop("settings")
    return RoomAccess(
        **row,
        model=settings.get("model"),
        instructions=settings.get("instructions", ""),
        answers=settings.get("answers", "always"),
        preset=preset_id(settings),
    )
