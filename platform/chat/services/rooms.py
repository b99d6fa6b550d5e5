"""Make, change and delete rooms."""

import contextlib
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from psycopg.types.json import Jsonb

from chat import selectors
from chat.access import access_room, room_access
from chat.answering import answering
from chat.bounds import INSTRUCTIONS_CHARS_MAX, TITLE_CHARS_MAX
from chat.checks import check_text
from chat.events import EventIds, Head, insert_event, room_event, take_numbers
from chat.realtime import streams
from chat.realtime.envelopes import gone_payload
from chat.services import library
from chat.services.policies import check_room_days
from chat.services.presets import PRESETS
from chat.services.receipts import AlreadyDone, Receipt, find_receipt, write_receipt
from chat.services.retention import erase_room
from chat.services.stops import stop_all
from chat.shapes import RoomShape
from chat.store import Connection, first, transaction
from chat.titled import TITLED_BY, UNTITLED
from kernel.errors import Conflict, NotFound
from kernel.ids import uuid7
from kernel.redis import RedisError, async_redis
from tenants.principals import Principal

SETTINGS = ("model", "instructions", "answers", "titles", "summaries", "preset")
"""What a change may set of a room's `settings`. Beside these, `titled` says that a person gave it its title, or a model."""


class RoomChange(msgspec.Struct, frozen=True):
    """What to change; what isn't set stays. `model=None` takes the room's model away: the default answers."""

    title: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    instructions: str | UnsetType = UNSET
    answers: str | UnsetType = UNSET
    titles: bool | UnsetType = UNSET
    summaries: bool | UnsetType = UNSET
    preset: uuid.UUID | UnsetType | None = UNSET
    retention_days: int | UnsetType | None = UNSET
    archived: bool | UnsetType = UNSET


async def create_room(
    *,
    member: Principal,
    kind: str,
    title: str = "",
    model: str | None = None,
    instructions: str = "",
    answers: str = "always",
    titles: bool = True,
    summaries: bool = True,
    preset: uuid.UUID | None = None,
    cid: str | None = None,
) -> RoomShape:
    """A new room, with the member as its owner. The same `cid` again makes none, and answers with the first one's.

    Raises `NotFound` for a model or a preset that isn't there for them, and `Conflict` when a `cid` was another command's."""
    member.require("rooms.write")
    titled = bool(title)
    title = check_text(title or UNTITLED, field="title", chars_max=TITLE_CHARS_MAX)
    check_text(instructions, field="instructions", chars_max=INSTRUCTIONS_CHARS_MAX, blank=True)
    if model is not None:
        model = await answering().choose_model(principal=member, alias=model)
    await _check_preset(member, preset)
    settings = {
        "model": model,
        "preset": str(preset) if preset else None,
        "instructions": instructions,
        "answers": answers,
        "titles": titles,
        "summaries": summaries,
        "titled": titled,
    }
    try:
        room = await _insert_room(member, kind, title, settings=settings, cid=cid)
    except AlreadyDone:
        return await _made_before(member, cid or "")
    with contextlib.suppress(RedisError):
        await streams.open_stream(member.tenant_id, room.id, Head(epoch=1, seq=0))
    return room


async def _insert_room(
    member: Principal, kind: str, title: str, *, settings: dict[str, Any], cid: str | None
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
    receipt = await find_receipt(member.tenant_id, membership_id=member.membership_id, cid=cid)
    if receipt is None or receipt.id is None:
        raise Conflict("This cid was another command's.")
    async with transaction(member.tenant_id) as connection:
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
    (await room_access(member=member, room_id=room_id, manage=True)).require_owner()
    if change.preset is not UNSET:
        await _check_preset(member, change.preset)
    if change.model is not UNSET and change.model is not None:
        await answering().choose_model(principal=member, alias=change.model)
    now = datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        numbers = await take_numbers(connection, room_id=room_id, count=1, now=now)
        (await access_room(connection, member=member, room_id=room_id, manage=True)).require_owner()
        if change.kind == "private":
            await _require_alone(connection, room_id)
        if change.retention_days is not UNSET:
            await check_room_days(connection, change.retention_days)
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
    """Delete a room, for everybody in it, and what it holds. Its owners may. Raises `NotFound`, `PermissionDenied`.

    Who is in it loses it at once. What was said there is deleted as well; what takes longer than a request, by the job."""
    async with transaction(member.tenant_id) as connection:
        (await access_room(connection, member=member, room_id=room_id, manage=True)).require_owner()
        await connection.execute(
            "UPDATE chat_room SET deleted_at = now() WHERE id = %s AND deleted_at IS NULL", (room_id,)
        )
    await stop_all(member.tenant_id, room_id=room_id)
    with contextlib.suppress(RedisError):
        await async_redis().publish(streams.channel(member.tenant_id, room_id), gone_payload(room_id))
    await erase_room(member.tenant_id, room_id)


async def _check_preset(member: Principal, preset_id: uuid.UUID | None) -> None:
    """Raises `NotFound` for a preset that the member doesn't see."""
    if preset_id is not None:
        await library.read(PRESETS, member=member, id_=preset_id)


async def _apply(connection: Connection, room_id: uuid.UUID, change: RoomChange, now: datetime) -> None:
    archived = None if change.archived is UNSET else change.archived
    settings: dict[str, Any] = {}
    for name in SETTINGS:
        if (value := getattr(change, name)) is not UNSET:
            settings[name] = str(value) if isinstance(value, uuid.UUID) else value
    if change.title is not UNSET:
        settings |= {"titled": True, TITLED_BY: []}
    await connection.execute(
        "UPDATE chat_room SET title = coalesce(%s, title), kind = coalesce(%s, kind), settings = settings || %s, "
        "retention_days = CASE WHEN %s THEN %s::int ELSE retention_days END, "
        "archived_at = CASE WHEN %s::bool IS NULL THEN archived_at WHEN %s::bool THEN coalesce(archived_at, %s) END, "
        "updated_at = %s WHERE id = %s",
        (
            None if change.title is UNSET else change.title,
            None if change.kind is UNSET else change.kind,
            Jsonb(settings),
            change.retention_days is not UNSET,
            None if change.retention_days is UNSET else change.retention_days,
            archived,
            archived,
            now,
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
