"""A conversation from elsewhere becomes a private room: new ids, its tree kept, its authors shown as imported. They are no
members, have no roles, and used nothing."""

import math
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from chat.bounds import MESSAGE_CHARS_MAX, TITLE_CHARS_MAX
from chat.imports.bounds import INSERT_ROWS
from chat.imports.values import BadConversation, Conversation, Said
from chat.message_parts import TextPart
from chat.models import IMPORTED_NAME_CHARS_MAX
from chat.store import Connection
from kernel.ids import uuid7

UNTITLED = "Imported conversation"
CUT = "\n\n[cut: it was longer]"
LONG = "the end of a long message"
EARLIEST_S = 946_684_800.0
"""The year 2000: what says it is from before doesn't know."""
TOMORROW_S = 86_400.0

_ROOM = """
    INSERT INTO chat_room (tenant_id, id, kind, title, created_by_id, settings, last_message_at, last_id)
    VALUES (%s, %s, 'private', %s, %s, %s, %s, %s)
"""
_PLACE = """
    INSERT INTO chat_roommember (tenant_id, id, room_id, membership_id, role, joined_at, branch_id)
    VALUES (%s, %s, %s, %s, 'owner', now(), %s)
"""
_MESSAGE = """
    INSERT INTO chat_message (tenant_id, room_id, id, parent_id, author_kind, imported_role, imported_name, parts, text,
        created_at)
    VALUES (%s, %s, %s, %s, 'imported', %s, %s, %s, %s, %s)
"""


class Made(msgspec.Struct, frozen=True):
    """The room, and what of the conversation could not be taken over."""

    room_id: uuid.UUID
    skipped: tuple[str, ...]


async def make_room(
    connection: Connection, conversation: Conversation, *, tenant_id: uuid.UUID, membership_id: uuid.UUID
) -> Made:
    """Write a conversation down as a room of the member's. Raises `BadConversation` for an empty one."""
    if not conversation.messages:
        raise BadConversation("empty", "It has no messages that can be shown.")
    room_id, skipped = uuid7(), list(conversation.skipped)
    began = _time(conversation.at) or datetime.now(UTC)
    ids = {said.key: uuid7() for said in conversation.messages}
    rows = [_row(said, ids, began=began, skipped=skipped) for said in conversation.messages]
    settings = {"model": None, "instructions": "", "imported_from": conversation.source}
    last = max((row[-1] for row in rows), default=began)
    title = storable(conversation.title)[:TITLE_CHARS_MAX].strip() or UNTITLED
    await connection.execute(
        _ROOM, (tenant_id, room_id, title, membership_id, Jsonb(settings), last, max(ids.values()))
    )
    async with connection.cursor() as cursor:
        for page in _pages(rows):
            await cursor.executemany(_MESSAGE, [(tenant_id, room_id, *row) for row in page])
    branch = ids.get(conversation.leaf) if conversation.leaf else None
    await connection.execute(_PLACE, (tenant_id, uuid7(), room_id, membership_id, branch))
    return Made(room_id=room_id, skipped=tuple(skipped))


def _row(said: Said, ids: dict[str, uuid.UUID], *, began: datetime, skipped: list[str]) -> tuple[Any, ...]:
    """A message's columns but the tenant's and the room's."""
    text = storable(said.text)
    if len(text) > MESSAGE_CHARS_MAX:
        text = text[: MESSAGE_CHARS_MAX - len(CUT)] + CUT
        if LONG not in skipped:
            skipped.append(LONG)
    return (
        ids[said.key],
        ids[said.parent] if said.parent is not None else None,
        said.role,
        " ".join(storable(said.name).split())[:IMPORTED_NAME_CHARS_MAX] or said.role,
        Jsonb(msgspec.to_builtins((TextPart(text),))),
        text,
        _time(said.at) or began,
    )


def storable(text: str) -> str:
    """What PostgreSQL can keep of a text: no NUL, no half characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _time(at: float | None) -> datetime | None:
    if at is None or not math.isfinite(at) or not EARLIEST_S <= at <= time.time() + TOMORROW_S:
        return None
    return datetime.fromtimestamp(at, tz=UTC)


def _pages(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    for start in range(0, len(rows), INSERT_ROWS):
        yield rows[start : start + INSERT_ROWS]
