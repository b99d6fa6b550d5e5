"""A worker's turn at an export: the room is written to disk, page by page, then stored."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from chat import tree
from chat.access import access_room
from chat.bounds import BRANCH_DEPTH_MAX
from chat.shapes import MessageShape
from chat.store import transaction
from chat.transfers import document, leases, markdown
from chat.transfers.bounds import EXPORT_BYTES_MAX, EXPORT_KEPT, PDF_MESSAGES_MAX
from chat.transfers.leases import CantTransfer, Claimed
from chat.transfers.pdf import Sheets
from chat.transfers.reading import Head, all_messages, read_head, these_messages
from chat.transfers.store import object_of
from kernel import quota
from kernel.errors import NotAuthenticated, NotFound, PermissionDenied, Unavailable
from kernel.objects import put_object
from tenants.acting import acting_principal
from tenants.epochs import Subject

_WRITERS = {"markdown": markdown, "json": document}
Pages = AsyncIterator[Sequence[MessageShape]]


async def export_room(claimed: Claimed) -> None:
    """Write a room's export and store it.

    Raises `CantTransfer` for what can't be exported, `QuotaReached`, `LeaseLost` when something in the room was deleted
    meanwhile (the export begins anew), and `Unavailable`.
    """
    head, path_ids = await _begun(claimed)
    with tempfile.TemporaryDirectory(prefix="parley-export-") as folder:
        path = Path(folder) / "export"
        now = datetime.now(UTC)
        pages = (
            all_messages(claimed.tenant_id, head.id)
            if claimed.format == "json"
            else these_messages(claimed.tenant_id, path_ids)
        )
        if claimed.format == "pdf":
            done = await _pdf(claimed, path, head, pages, now)
        else:
            done = await _text(claimed, path, head, pages, now)
        size = path.stat().st_size
        async with transaction(claimed.tenant_id) as connection:
            await quota.reserve(connection, tenant_id=claimed.tenant_id, size=size)
            await connection.execute("UPDATE chat_transfer SET size = %s WHERE id = %s", (size, claimed.id))
        await asyncio.to_thread(_store, claimed, path)
    await leases.complete(claimed, total=done, done=done, size=size, kept=EXPORT_KEPT)


async def _begun(claimed: Claimed) -> tuple[Head, list[uuid.UUID]]:
    """The room, and the branch that the member reads."""
    subject = Subject(tenant_id=claimed.tenant_id, membership_id=claimed.membership_id)
    if claimed.room_id is None:
        raise CantTransfer("room_gone", "The room was deleted.")
    try:
        member = await acting_principal(subject)
        member.require("rooms.export")
        async with transaction(claimed.tenant_id) as connection:
            room = await access_room(connection, member=member, room_id=claimed.room_id)
            head = await read_head(connection, room.room_id)
            branch = await tree.branch_of(connection, room_id=room.room_id, room_member_id=room.room_member_id)
            path = await tree.path_to(connection, room_id=room.room_id, leaf=branch.leaf, limit=BRANCH_DEPTH_MAX)
            total = head.messages if claimed.format == "json" else len(path.ids)
            await leases.renew(claimed, total=total, done=0, connection=connection)
    except (NotAuthenticated, PermissionDenied, NotFound) as error:
        raise CantTransfer("not_allowed", "You may not export this room any more.") from error
    if claimed.format == "pdf" and len(path.ids) > PDF_MESSAGES_MAX:
        raise CantTransfer("export_too_large", "The room is too long for a PDF. Export Markdown or JSON.")
    return head, path.ids


async def _text(claimed: Claimed, path: Path, head: Head, pages: Pages, now: datetime) -> int:
    writer = _WRITERS[claimed.format]
    done, size = 0, 0
    with path.open("w", encoding="utf-8") as file:
        size += file.write(writer.opening(head, now=now))
        async for page in pages:
            for line in writer.lines(page, is_first=done == 0):
                size += file.write(line)
            if size > EXPORT_BYTES_MAX:
                raise CantTransfer("export_too_large", f"An export has at most {EXPORT_BYTES_MAX} bytes.")
            done += len(page)
            await leases.renew(claimed, done=done)
        file.write(writer.closing())
    return done


async def _pdf(claimed: Claimed, path: Path, head: Head, pages: Pages, now: datetime) -> int:
    sheets = Sheets(path, title=head.title)
    await asyncio.to_thread(sheets.head, head, now=now)
    done = 0
    async for page in pages:
        await asyncio.to_thread(sheets.messages, page)
        done += len(page)
        await leases.renew(claimed, done=done)
    await asyncio.to_thread(sheets.close)
    return done


def _store(claimed: Claimed, path: Path) -> None:
    try:
        with path.open("rb") as content:
            put_object(object_of(claimed.tenant_id, claimed.id), content)
    except OSError as error:
        raise Unavailable("The export could not be stored.") from error
