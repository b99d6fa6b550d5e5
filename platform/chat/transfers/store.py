"""Transfers as their member sees them: asked for, looked at, given up."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any, Literal

import msgspec

from chat.access import access_room
from chat.store import Connection, every, first, transaction
from chat.transfers.bounds import ENDING_MAX, EXPORT_KEPT, RUNNING_PER_MEMBER_MAX
from kernel.errors import Conflict, NotFound, RateLimited, Unavailable
from kernel.ids import uuid7
from kernel.objects import object_name, object_pieces, remove_object
from tenants.principals import Principal

Kind = Literal["export", "import"]
ENDINGS = {"markdown": ".md", "json": ".json", "pdf": ".pdf"}
MEDIA_TYPES = {
    "markdown": "text/markdown; charset=utf-8",
    "json": "application/json",
    "pdf": "application/pdf",
}

COLUMNS = (
    "t.id, t.kind, t.room_id AS room, t.format, t.name, t.state, t.total, t.done, t.failed, t.problems, t.error_code, "
    "t.error_message, t.size, t.created_at, t.finished_at, t.expires_at"
)
_OF_THESE = """
    kind = 'export' AND (room_id = %(room)s
        OR room_id IN (SELECT m.room_id FROM chat_message m WHERE m.id = ANY(%(messages)s)))
"""
_FORGET = f"UPDATE chat_transfer SET expires_at = now() WHERE state = 'complete' AND {_OF_THESE}"  # noqa: S608 - constants
_ANEW = f"""
    UPDATE chat_transfer SET state = 'queued', lease_owner = NULL, lease_until = NULL
    WHERE state = 'running' AND {_OF_THESE}
"""  # noqa: S608 - constants
_ASK = f"""
    INSERT INTO chat_transfer AS t (tenant_id, id, kind, membership_id, room_id, format, name, state, problems, place,
        expires_at)
    VALUES (%s, %s, 'export', %s, %s, %s, %s, 'queued', '[]', '{{}}', now() + %s) RETURNING {COLUMNS}
"""  # noqa: S608 - constants
_SHOWN = "t.state <> 'storing' AND t.expires_at > now() AND t.error_code IS DISTINCT FROM 'deleted'"
_GIVE_UP = """
    WITH given_up AS (SELECT id, state = 'running' AS running FROM chat_transfer WHERE id = %(id)s FOR UPDATE)
    UPDATE chat_transfer t SET state = 'failed', error_code = 'deleted', lease_owner = NULL, lease_until = NULL,
        finished_at = now(), expires_at = now() + CASE WHEN given_up.running THEN %(ending)s ELSE interval '0' END
    FROM given_up WHERE t.id = given_up.id RETURNING given_up.running
"""


class Failure(msgspec.Struct, frozen=True):
    """Why it failed."""

    code: str
    message: str


class TransferShape(msgspec.Struct, frozen=True):
    """An export or import. `problems` are what could not be taken over; `expires_at` is when its file is deleted."""

    id: uuid.UUID
    kind: Kind
    room: uuid.UUID | None
    format: str
    name: str
    state: str
    total: int | None
    done: int
    failed: int
    problems: list[dict[str, Any]]
    error: Failure | None
    size: int
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime


def shape_of(row: dict[str, Any]) -> TransferShape:
    """From a row with `COLUMNS`."""
    code, message = row.pop("error_code"), row.pop("error_message")
    return TransferShape(**row, error=Failure(code, message) if code else None)


def object_of(tenant_id: uuid.UUID, transfer_id: uuid.UUID) -> str:
    """The name of a transfer's object: what was exported, or is to be imported."""
    return object_name(tenant_id, "transfers", transfer_id)


async def ask_export(*, member: Principal, room_id: uuid.UUID, format_: str) -> TransferShape:
    """Have a room exported, for the member who asks. Raises `NotFound`, `PermissionDenied`, `RateLimited`."""
    member.require("rooms.export")
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        await check_running(connection, member)
        row = await first(connection, "SELECT title FROM chat_room WHERE id = %s", (room.room_id,))
        if row is None:
            raise NotFound
        made = await first(
            connection,
            _ASK,
            (
                member.tenant_id,
                uuid7(),
                member.membership_id,
                room_id,
                format_,
                row["title"] + ENDINGS[format_],
                EXPORT_KEPT,
            ),
        )
    if made is None:
        raise Unavailable
    return shape_of(made)


async def check_running(connection: Connection, member: Principal) -> None:
    """Raises `RateLimited` when the member has as many transfers under way as anybody may."""
    row = await first(
        connection,
        "SELECT count(*) AS running FROM chat_transfer WHERE membership_id = %s "
        "AND (state IN ('queued', 'running') OR state = 'storing' AND expires_at > now())",
        (member.membership_id,),
    )
    if row is not None and row["running"] >= RUNNING_PER_MEMBER_MAX:
        raise RateLimited(
            f"At most {RUNNING_PER_MEMBER_MAX} exports and imports of one member run at a time. Wait for one to end.",
            retry_after_s=10,
        )


async def access_transfer(*, member: Principal, transfer_id: uuid.UUID, kind: Kind) -> TransferShape:
    """One of the member's own; an export only while they are in its room. Raises `NotFound`."""
    async with transaction(member.tenant_id) as connection:
        row = await first(
            connection,
            f"SELECT {COLUMNS} FROM chat_transfer t WHERE t.id = %(id)s AND t.membership_id = %(member)s "  # noqa: S608
            f"AND t.kind = %(kind)s AND {_SHOWN}",
            {"id": transfer_id, "member": member.membership_id, "kind": kind},
        )
        if row is None or (kind == "export" and row["room"] is None):
            raise NotFound
        if row["kind"] == "export":
            await access_room(connection, member=member, room_id=row["room"])
    return shape_of(row)


async def list_transfers(*, member: Principal, kind: Kind, after: uuid.UUID | None, limit: int) -> list[TransferShape]:
    """The member's own, newest first, those after `after`, at most `limit`."""
    asked = {"member": member.membership_id, "kind": kind, "after": after, "limit": limit}
    async with transaction(member.tenant_id) as connection:
        rows = await every(
            connection,
            f"SELECT {COLUMNS} FROM chat_transfer t WHERE t.membership_id = %(member)s AND t.kind = %(kind)s "  # noqa: S608
            f"AND {_SHOWN} AND (t.kind = 'import' OR EXISTS (SELECT 1 FROM chat_roommember rm JOIN chat_room r "
            "ON r.tenant_id = rm.tenant_id AND r.id = rm.room_id WHERE rm.room_id = t.room_id "
            "AND rm.membership_id = t.membership_id AND rm.left_at IS NULL AND r.deleted_at IS NULL)) "
            "AND (%(after)s::uuid IS NULL OR t.id < %(after)s) ORDER BY t.id DESC LIMIT %(limit)s",
            asked,
        )
    return [shape_of(row) for row in rows]


async def delete_transfer(*, member: Principal, transfer_id: uuid.UUID, kind: Kind) -> None:
    """Give a transfer up, with its file. What was imported stays. Raises `NotFound`."""
    await access_transfer(member=member, transfer_id=transfer_id, kind=kind)
    async with transaction(member.tenant_id) as connection:
        row = await first(connection, _GIVE_UP, {"id": transfer_id, "ending": ENDING_MAX})
    try:
        await asyncio.to_thread(remove_object, object_of(member.tenant_id, transfer_id))
    except (OSError, Unavailable):
        # Upkeep does it.
        return
    if row is not None and row["running"]:
        # Its worker may be storing the file just now: the row stays until that is over, so that upkeep finds it.
        return
    async with transaction(member.tenant_id) as connection:
        await connection.execute("DELETE FROM chat_transfer WHERE id = %s", (transfer_id,))


async def open_export(*, member: Principal, transfer_id: uuid.UUID) -> tuple[TransferShape, AsyncIterator[bytes]]:
    """What was exported, piece by piece. Raises `NotFound`, and `Conflict` before it is complete."""
    export = await access_transfer(member=member, transfer_id=transfer_id, kind="export")
    require_complete(export)
    return export, object_pieces(object_of(member.tenant_id, transfer_id))


def require_complete(export: TransferShape) -> None:
    """Raises `Conflict` for an export without a file: it isn't ready, or it failed."""
    if export.state != "complete":
        raise Conflict(f"This export is {export.state}.", details={"state": export.state})


async def forget_exports(
    connection: Connection, *, message_ids: Collection[uuid.UUID], room_id: uuid.UUID | None
) -> None:
    """Have the files of exports deleted, in the transaction that deletes these messages, or the room: nothing that was
    deleted is left in a file. From its end they can't be downloaded, and upkeep deletes their bytes within a minute; exports
    under way begin anew."""
    asked = {"messages": list(message_ids), "room": room_id}
    await connection.execute(_FORGET, asked)
    await connection.execute(_ANEW, asked)
