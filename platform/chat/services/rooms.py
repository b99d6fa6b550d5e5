"""Make, change and delete rooms."""

import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from psycopg.types.json import Jsonb

from chat import selectors
from chat.access import access_room
from chat.answering import answering
from chat.bounds import INSTRUCTIONS_CHARS_MAX, TITLE_CHARS_MAX
from chat.checks import check_text
from chat.events import EventIds, Head, insert_event, room_event, take_numbers
from chat.realtime import streams
from chat.realtime.envelopes import gone_payload
from chat.services.receipts import AlreadyDone, Receipt, find_receipt, write_receipt
from chat.services.stops import stop_all
from chat.shapes import RoomShape
from chat.store import Connection, first, transaction
from kernel.errors import Conflict, NotFound
from kernel.ids import uuid7
from kernel.redis import RedisError, async_redis
from tenants.principals import Principal

UNTITLED = "New room"


class RoomChange(msgspec.Struct, frozen=True):
    """What to change; what isn't set stays. `model=None` takes the room's model away: the default answers."""

    title: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType = UNSET


async def create_room(
    *,
    member: Principal,
    kind: str,
    title: str = "",
    model: str | None = None,
    instructions: str = "",
    cid: str | None = None,
) -> RoomShape:
    """A new room, with the member as its owner. The same `cid` again makes none, and answers with the first one's.

    Raises `NotFound` for a model that isn't there for them, and `Conflict` when a `cid` was another command's."""
    member.require("rooms.write")
    title = check_text(title or UNTITLED, field="title", chars_max=TITLE_CHARS_MAX)
    check_text(instructions, field="instructions", chars_max=INSTRUCTIONS_CHARS_MAX, blank=True)
    if model is not None:
        model = await answering().choose_model(principal=member, alias=model)
    try:
        room = await _insert_room(member, kind, title, settings={"model": model, "instructions": instructions}, cid=cid)
    except AlreadyDone:
        return await _made_before(member, cid or "")
    with contextlib.suppress(RedisError):
        await streams.open_stream(member.tenant_id, room.id, Head(epoch=1, seq=0))
    return room


async def _insert_room(
    member: Principal, kind: str, title: str, *, settings: dict[str, str | None], cid: str | None
) -> RoomShape:
    room_id, now = uuid7(), datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        if cid:
            await write_receipt(
                connection,
                tenant_id=member.tenant_id,
                membership_id=member.membership_id,
                cid=cid,
                receipt=Receipt(id=room_id),
            )
        await connection.execute(
            "INSERT INTO chat_room (tenant_id, id, kind, title, created_by_id, settings, created_at, updated_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                member.tenant_id,
                room_id,
                kind,
                title,
                member.membership_id,
                Jsonb(settings),
                now,
                now,
            ),
        )
        await connection.execute(
            "INSERT INTO chat_roommember (tenant_id, id, room_id, membership_id, role, joined_at) "
            "VALUES (%s, %s, %s, %s, 'owner', %s)",
            (member.tenant_id, uuid7(), room_id, member.membership_id, now),
        )
        return await _mine(connection, member, room_id)


async def _made_before(member: Principal, cid: str) -> RoomShape:
    async with transaction(member.tenant_id) as connection:
        receipt = await find_receipt(connection, membership_id=member.membership_id, cid=cid)
        if receipt is None or receipt.id is None:
            raise Conflict("This cid was another command's.")
        await access_room(connection, member=member, room_id=receipt.id)
        return await _mine(connection, member, receipt.id)


async def update_room(*, member: Principal, room_id: uuid.UUID, change: RoomChange) -> RoomShape:
    """Change a room. Its owners may. Raises `NotFound`, `PermissionDenied`, `InvalidRequest`, and `Conflict` when it
    would become private with others in it.
    """
    if change.title is not UNSET:
        check_text(change.title, field="title", chars_max=TITLE_CHARS_MAX)
    if change.instructions is not UNSET:
        check_text(change.instructions, field="instructions", chars_max=INSTRUCTIONS_CHARS_MAX, blank=True)
    async with transaction(member.tenant_id) as connection:
        (await access_room(connection, member=member, room_id=room_id, write=True)).require_owner()
    if change.model is not UNSET and change.model is not None:
        await answering().choose_model(principal=member, alias=change.model)
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        (await access_room(connection, member=member, room_id=room_id, write=True)).require_owner()
        if change.kind == "private":
            await _require_alone(connection, room_id)
        await _apply(connection, room_id, change, now)
        content = {"room": await selectors.room(connection, room_id)}
        event = room_event(seq=numbers.first_seq, type_="room.updated", at=now, content=dict(content))
        await insert_event(
            connection, tenant_id=member.tenant_id, room_id=room_id, event=event, ids=EventIds(room=room_id)
        )
        mine = await _mine(connection, member, room_id)
    await streams.publish(member.tenant_id, room_id, epoch=numbers.epoch, events=[event])
    return mine


async def delete_room(*, member: Principal, room_id: uuid.UUID) -> None:
    """Delete a room, for everybody in it. Its owners may. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        (await access_room(connection, member=member, room_id=room_id, write=True)).require_owner()
        await connection.execute(
            "UPDATE chat_room SET deleted_at = now() WHERE id = %s AND deleted_at IS NULL", (room_id,)
        )
    await stop_all(member.tenant_id, room_id=room_id)
    with contextlib.suppress(RedisError):
        await async_redis().publish(streams.channel(member.tenant_id, room_id), gone_payload(room_id))


async def _apply(connection: Connection, room_id: uuid.UUID, change: RoomChange, now: datetime) -> None:
    settings: dict[str, Any] = {}
    if change.model is not UNSET:
        settings["model"] = change.model
    if change.instructions is not UNSET:
        settings["instructions"] = change.instructions
    await connection.execute(
        "UPDATE chat_room SET title = coalesce(%s, title), kind = coalesce(%s, kind), settings = settings || %s, "
        "updated_at = %s WHERE id = %s",
        (
            None if change.title is UNSET else change.title,
            None if change.kind is UNSET else change.kind,
            Jsonb(settings),
            now,
            room_id,
        ),
    )


async def _require_alone(connection: Connection, room_id: uuid.UUID) -> None:
    row = await first(
        connection,
        "SELECT count(*) AS members FROM chat_roommember WHERE room_id = %s AND left_at IS NULL",
        (room_id,),
    )
    if row is not None and row["members"] > 1:
        raise Conflict("Others are in this room. Remove them before making it private.")


async def _mine(connection: Connection, member: Principal, room_id: uuid.UUID) -> RoomShape:
    rooms = await selectors.my_rooms(connection, membership_id=member.membership_id, ids=[room_id])
    if room_id not in rooms:
        raise NotFound
    return rooms[room_id]
