"""Files: taken in, claimed by a message, deleted."""

import asyncio
import unicodedata
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from chat.access import RoomAccess, access_room
from chat.files import objects
from chat.files.bounds import (
    ATTACHMENT_BYTES_MAX,
    ATTACHMENTS_PER_MESSAGE_MAX,
    NAME_CHARS_MAX,
    STORING_MAX,
    UNCLAIMED_KEPT,
    UNCLAIMED_PER_MEMBER_MAX,
)
from chat.files.links import As
from chat.files.sandbox import Reading, looked_into
from chat.files.sniffing import IMAGES, check_type
from chat.message_parts import FilePart
from chat.store import Connection, every, first, transaction
from chat.transfers.store import forget_exports
from kernel import quota
from kernel.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge, RateLimited, Unavailable
from kernel.ids import uuid7
from kernel.objects import object_pieces, put_object
from tenants.principals import Principal


class AttachmentNotThere(NotFound):
    """There is no such file, or it isn't yours."""


class AttachmentShape(msgspec.Struct, frozen=True):
    """A file, as those see it who may. `room` and `message` are set once a message was sent with it, `expires_at` before."""

    id: uuid.UUID
    kind: str
    name: str
    media_type: str
    size: int
    width: int | None
    height: int | None
    pages: int | None
    text_chars: int | None
    room: uuid.UUID | None
    message: uuid.UUID | None
    created_at: datetime
    expires_at: datetime | None


COLUMNS = (
    "a.id, a.kind, a.name, a.media_type, a.content_size AS size, a.width, a.height, a.pages, a.text_chars, a.room_id AS room, "
    "a.message_id AS message, a.created_at, a.expires_at"
)
_THERE = "a.state = 'stored' AND (a.expires_at IS NULL OR a.expires_at > now())"
_STORED = f"""
    UPDATE chat_attachment a SET state = 'stored', expires_at = now() + %s
    WHERE id = %s AND state = 'storing' AND expires_at > now() RETURNING {COLUMNS}
"""  # noqa: S608 - constants
_CLAIM = f"""
    UPDATE chat_attachment a SET room_id = %s, message_id = %s, expires_at = NULL
    WHERE a.id = ANY(%s) AND a.uploader_id = %s AND a.room_id IS NULL AND {_THERE} RETURNING {COLUMNS}
"""  # noqa: S608 - constants
_SHARED = """
    UPDATE chat_attachment a SET message_id = heir.id
    FROM (
        SELECT a.id AS attachment, m.id FROM chat_attachment a JOIN chat_message m ON m.room_id = a.room_id
        WHERE a.message_id = ANY(%(messages)s) AND m.id <> ALL(%(messages)s) AND m.deleted_at IS NULL
            AND m.parts @> jsonb_build_array(jsonb_build_object('type', 'file', 'attachment', a.id))
    ) heir WHERE heir.attachment = a.id
"""
_EXTENSIONS = {"image/png": ".png", "image/jpeg": ".jpg"}


async def create_attachment(
    *, member: Principal, name: str, media_type: str, content: IO[bytes], size: int
) -> AttachmentShape:
    """Take a file in: it is the member's until a message is sent with it, and expires after a day.

    `name` and `media_type` are what the sender says of it; `content` is on disk.

    Raises `PayloadTooLarge`, `TypeRefused`, `TypeMismatch`, what `chat.files.sandbox` raises, `QuotaReached`, `Unavailable`.
    """
    member.require("rooms.write")
    if size > ATTACHMENT_BYTES_MAX:
        raise too_large()
    async with transaction(member.tenant_id) as connection:
        # So that nothing is looked into that can't be kept.
        await quota.check_quota(connection, size=size)
        await _check_unclaimed(connection, member)
    name = clean_name(name)
    kind = await asyncio.to_thread(check_type, content, name=name, media_type=media_type)
    async with looked_into(content, kind=kind) as reading:
        return await _keep(member, name=name, kind=kind, reading=reading, content=content, size=size)


async def _keep(
    member: Principal, *, name: str, kind: str, reading: Reading, content: IO[bytes], size: int
) -> AttachmentShape:
    attachment_id, found = uuid7(), reading.found
    paths = {part: path for part in objects.PARTS if (path := reading.written(part)) is not None}
    sizes = {part: path.stat().st_size for part, path in paths.items()}
    sizes.setdefault("content", size)
    total = sum(sizes.values())
    row = {
        "tenant": member.tenant_id,
        "id": attachment_id,
        "uploader": member.membership_id,
        "kind": "image" if kind in IMAGES else kind,
        "name": _renamed(name, found.media_type) if kind in IMAGES else name,
        "media_type": found.media_type,
        "size": total,
        "content_size": sizes["content"],
        "width": found.width,
        "height": found.height,
        "pages": found.pages,
        "text_chars": found.text_chars,
        "has_model": "model" in paths,
        "has_preview": "preview" in paths,
        "storing": STORING_MAX,
    }
    async with transaction(member.tenant_id) as connection:
        await quota.reserve(connection, tenant_id=member.tenant_id, size=total)
        await connection.execute(
            "INSERT INTO chat_attachment (tenant_id, id, uploader_id, kind, name, media_type, size, content_size, width, "
            "height, pages, text_chars, has_model, has_preview, state, expires_at) VALUES (%(tenant)s, %(id)s, "
            "%(uploader)s, %(kind)s, %(name)s, %(media_type)s, %(size)s, %(content_size)s, %(width)s, %(height)s, "
            "%(pages)s, %(text_chars)s, %(has_model)s, %(has_preview)s, 'storing', now() + %(storing)s)",
            row,
        )
    try:
        await asyncio.to_thread(_put, member.tenant_id, attachment_id, paths, content)
    except OSError as error:
        raise Unavailable("The file could not be stored.") from error
    async with transaction(member.tenant_id) as connection:
        stored = await first(
            connection,
            _STORED,
            (UNCLAIMED_KEPT, attachment_id),
        )
    if stored is None:
        raise Unavailable("It took too long to store the file.")
    return AttachmentShape(**stored)


async def read_attachment(*, member: Principal, attachment_id: uuid.UUID) -> AttachmentShape:
    """One file, without its bytes. Raises `AttachmentNotThere` for all but those who may see it."""
    async with transaction(member.tenant_id) as connection:
        return await access_attachment(connection, member=member, attachment_id=attachment_id)


async def access_attachment(connection: Connection, *, member: Principal, attachment_id: uuid.UUID) -> AttachmentShape:
    """The file, if it is the member's own and no message has it, or they are in the room of the message that does. Raises
    `AttachmentNotThere`, and `PermissionDenied` without `rooms.read`."""
    member.require("rooms.read")
    row = await first(
        connection,
        f"SELECT {COLUMNS}, a.uploader_id, m.deleted_at FROM chat_attachment a LEFT JOIN chat_message m "  # noqa: S608
        f"ON m.tenant_id = a.tenant_id AND m.id = a.message_id WHERE a.id = %s AND {_THERE}",
        (attachment_id,),
    )
    if row is None or row.pop("deleted_at") is not None:
        raise AttachmentNotThere
    uploader_id = row.pop("uploader_id")
    if row["room"] is None:
        if uploader_id != member.membership_id:
            raise AttachmentNotThere
    else:
        try:
            await access_room(connection, member=member, room_id=row["room"])
        except NotFound as error:
            raise AttachmentNotThere from error
    return AttachmentShape(**row)


async def open_attachment(
    *, member: Principal, attachment_id: uuid.UUID, shown: As
) -> tuple[AttachmentShape, AsyncIterator[bytes]]:
    """A file and its bytes, piece by piece. Raises `AttachmentNotThere`, and `InvalidRequest` for a picture of what is none."""
    async with transaction(member.tenant_id) as connection:
        attachment = await access_attachment(connection, member=member, attachment_id=attachment_id)
        row = await first(connection, "SELECT has_preview FROM chat_attachment WHERE id = %s", (attachment_id,))
    if shown is not As.DOWNLOAD and attachment.kind != "image":
        raise InvalidRequest("Only images are shown. Download it.", details={"param": "as"})
    part = "preview" if shown is As.PREVIEW and row is not None and row["has_preview"] else "content"
    return attachment, _pieces(member.tenant_id, attachment_id, part)


async def _pieces(tenant_id: uuid.UUID, attachment_id: uuid.UUID, part: str) -> AsyncIterator[bytes]:
    async for piece in object_pieces(objects.name_of(tenant_id, attachment_id, part)):
        yield piece


async def delete_attachment(*, member: Principal, attachment_id: uuid.UUID) -> None:
    """Delete a file of one's own that no message was sent with. Raises `AttachmentNotThere`, and `Conflict` for one that is
    part of a message: that is deleted with it."""
    member.require("rooms.write")
    async with transaction(member.tenant_id) as connection:
        attachment = await access_attachment(connection, member=member, attachment_id=attachment_id)
        if attachment.message is not None:
            raise Conflict("A message was sent with this file. Delete the message.")
        given_up = await connection.execute(
            b"UPDATE chat_attachment SET expires_at = now() WHERE id = %s AND message_id IS NULL", (attachment_id,)
        )
        if given_up.rowcount == 0:
            # It was sent, or deleted, in this moment.
            raise AttachmentNotThere
    try:
        await asyncio.to_thread(objects.remove_all, member.tenant_id, attachment_id)
    except (OSError, Unavailable):
        # Upkeep does it.
        return
    async with transaction(member.tenant_id) as connection:
        await connection.execute("DELETE FROM chat_attachment WHERE id = %s AND expires_at <= now()", (attachment_id,))


async def claim_attachments(
    connection: Connection, *, room: RoomAccess, message_id: uuid.UUID, ids: Sequence[uuid.UUID]
) -> tuple[FilePart, ...]:
    """Make files of the member's own part of a message, in the transaction that inserts it; the parts, in the order of
    `ids`. From now on whoever is in the room may read them.

    Raises `InvalidRequest` for too many or the same twice, and `AttachmentNotThere` for any that isn't there, is another's or
    belongs to a message.
    """
    if not ids:
        return ()
    if len(ids) > ATTACHMENTS_PER_MESSAGE_MAX or len(set(ids)) != len(ids):
        raise InvalidRequest(
            f"A message has at most {ATTACHMENTS_PER_MESSAGE_MAX} files, each once.", details={"param": "attachments"}
        )
    rows = await every(
        connection,
        _CLAIM,
        (room.room_id, message_id, list(ids), room.membership_id),
    )
    if len(rows) != len(ids):
        raise AttachmentNotThere(details={"param": "attachments"})
    claimed = {row["id"]: _part(row) for row in rows}
    return tuple(claimed[id_] for id_ in ids)


async def forget_attachments(
    connection: Connection, *, message_ids: Collection[uuid.UUID] = (), room_id: uuid.UUID | None = None
) -> int:
    """Have the files of messages, or of a whole room, deleted, in the transaction that deletes those, and so the exports of
    their rooms: from its end they are gone for everybody, and upkeep deletes their bytes within a minute. How many files.

    A file that another message shares, which was written in place of one of these, becomes that one's.
    """
    asked = {"messages": list(message_ids), "room": room_id}
    if message_ids:
        await connection.execute(_SHARED, asked)
    await forget_exports(connection, message_ids=message_ids, room_id=room_id)
    cursor = await connection.execute(
        "UPDATE chat_attachment SET expires_at = now(), room_id = NULL, message_id = NULL, name = '' "
        "WHERE message_id = ANY(%(messages)s) OR room_id = %(room)s",
        asked,
    )
    return cursor.rowcount


def clean_name(name: str) -> str:
    """A file's name without folders and without what doesn't show; its end stays where it is too long."""
    last = PurePosixPath(name.replace("\\", "/")).name
    shown = "".join(
        char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
    return shown.strip()[-NAME_CHARS_MAX:] or "file"


def too_large() -> PayloadTooLarge:
    """Of a file that is larger than may be."""
    return PayloadTooLarge(
        f"A file may have at most {ATTACHMENT_BYTES_MAX} bytes.", details={"bytes_max": ATTACHMENT_BYTES_MAX}
    )


def _part(row: dict[str, Any]) -> FilePart:
    names = FilePart.__struct_fields__
    return FilePart(attachment=row["id"], **{name: row[name] for name in names if name != "attachment"})


def _renamed(name: str, media_type: str) -> str:
    """The name of an image as it is kept: HEIC became JPEG."""
    wanted = _EXTENSIONS[media_type]
    stem, dot, extension = name.rpartition(".")
    if media_type == "image/jpeg" and extension.lower() in ("jpg", "jpeg"):
        return name
    return (stem if dot else name)[: NAME_CHARS_MAX - len(wanted)] + wanted


async def _check_unclaimed(connection: Connection, member: Principal) -> None:
    row = await first(
        connection,
        "SELECT count(*) AS files FROM chat_attachment WHERE uploader_id = %s AND expires_at > now()",
        (member.membership_id,),
    )
    if row is not None and row["files"] >= UNCLAIMED_PER_MEMBER_MAX:
        raise RateLimited(
            f"At most {UNCLAIMED_PER_MEMBER_MAX} files may wait for a message. Send or delete some.", retry_after_s=60
        )


def _put(tenant_id: uuid.UUID, attachment_id: uuid.UUID, paths: dict[str, Path], content: IO[bytes]) -> None:
    if "content" not in paths:
        put_object(objects.name_of(tenant_id, attachment_id, "content"), content)
    for part, path in paths.items():
        with path.open("rb") as written:
            put_object(objects.name_of(tenant_id, attachment_id, part), written)
