"""A room's messages, page by page, as an export tells them."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chat import selectors
from chat.shapes import MessageShape
from chat.store import Connection, every, first, transaction
from chat.transfers.bounds import EXPORT_MESSAGES_MAX, PAGE_MESSAGES
from chat.transfers.leases import CantTransfer


class Head(msgspec.Struct, frozen=True):
    """What an export says of the room itself."""

    id: uuid.UUID
    title: str
    kind: str
    instructions: str
    created_at: datetime
    members: tuple[tuple[uuid.UUID, str], ...]
    messages: int


async def read_head(connection: Connection, room_id: uuid.UUID) -> Head:
    """The room. Raises `CantTransfer` when it is gone, or longer than one export may be."""
    room = await selectors.room(connection, room_id)
    if room is None:
        raise CantTransfer("room_gone", "The room was deleted.")
    row = await first(connection, "SELECT count(*) AS messages FROM chat_message WHERE room_id = %s", (room_id,))
    count = row["messages"] if row else 0
    if count > EXPORT_MESSAGES_MAX:
        raise CantTransfer("export_too_large", f"The room has {count} messages; an export has {EXPORT_MESSAGES_MAX}.")
    members = await selectors.room_members(connection, room_id=room_id)
    return Head(
        id=room.id,
        title=room.title,
        kind=room.kind,
        instructions=room.instructions,
        created_at=room.created_at,
        members=tuple((place.member.id, place.member.name) for place in members.values()),
        messages=count,
    )


async def all_messages(tenant_id: uuid.UUID, room_id: uuid.UUID) -> AsyncIterator[Sequence[MessageShape]]:
    """Everything that was said in a room, on every branch, in its order, page by page. A page's transaction ends before it is
    used."""
    after: uuid.UUID | None = None
    while True:
        async with transaction(tenant_id) as connection:
            rows = await every(
                connection,
                "SELECT id FROM chat_message WHERE room_id = %s AND (%s::uuid IS NULL OR id > %s) ORDER BY id LIMIT %s",
                (room_id, after, after, PAGE_MESSAGES),
            )
            ids = [row["id"] for row in rows]
            found = await selectors.messages(connection, ids)
        if not ids:
            return
        yield [found[id_] for id_ in ids if id_ in found]
        after = ids[-1]


async def these_messages(tenant_id: uuid.UUID, ids: Sequence[uuid.UUID]) -> AsyncIterator[Sequence[MessageShape]]:
    """The messages of a path, in its order, page by page, without those that were deleted."""
    for start in range(0, len(ids), PAGE_MESSAGES):
        page = ids[start : start + PAGE_MESSAGES]
        async with transaction(tenant_id) as connection:
            found: Mapping[Any, MessageShape] = await selectors.messages(connection, page)
        yield [found[id_] for id_ in page if id_ in found and not found[id_].deleted]
