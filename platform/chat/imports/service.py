"""An import is asked for: its file is stored, and waits for a worker."""

import asyncio
from typing import IO

from chat.files.sniffing import LABELS, sniff
from chat.imports.bounds import IMPORT_BYTES_MAX, STORING_MAX, WAITING_MAX
from chat.imports.source import begins_like_one
from chat.services.attachments import clean_name
from chat.store import first, transaction
from chat.transfers.store import COLUMNS, TransferShape, check_running, object_of, shape_of
from kernel import quota
from kernel.errors import PayloadTooLarge, Unavailable, UnsupportedMediaType
from kernel.ids import uuid7
from kernel.objects import put_object
from tenants.principals import Principal

HEAD_BYTES = 4096
_BEGIN = """
    INSERT INTO chat_transfer (tenant_id, id, kind, membership_id, name, state, problems, place, size, expires_at)
    VALUES (%s, %s, 'import', %s, %s, 'storing', '[]', '{}', %s, now() + %s)
"""
_STORED = f"""
    UPDATE chat_transfer t SET state = 'queued', expires_at = now() + %s, turn_at = now()
    WHERE t.id = %s AND t.state = 'storing' AND t.expires_at > now() RETURNING {COLUMNS}
"""  # noqa: S608 - constants


class ImportRefused(UnsupportedMediaType):
    """Imports are `conversations.json` of ChatGPT, the ZIP archive that holds it, or the JSON of Open WebUI's chats."""

    code = "import_type_refused"


async def ask_import(*, member: Principal, name: str, content: IO[bytes], size: int) -> TransferShape:
    """Have a file's conversations imported, as private rooms of the member's.

    Raises `PermissionDenied`, `PayloadTooLarge`, `ImportRefused`, `RateLimited`, `QuotaReached` and `Unavailable`.
    """
    member.require("rooms.import")
    if size > IMPORT_BYTES_MAX:
        raise PayloadTooLarge(
            f"An import has at most {IMPORT_BYTES_MAX} bytes.", details={"bytes_max": IMPORT_BYTES_MAX}
        )
    if not await asyncio.to_thread(_may_be_one, content):
        found = await asyncio.to_thread(sniff, content)
        raise ImportRefused(f"This file is {LABELS[found]}. {ImportRefused.__doc__}", details={"found": found})
    transfer_id = uuid7()
    async with transaction(member.tenant_id) as connection:
        await check_running(connection, member)
        await quota.reserve(connection, tenant_id=member.tenant_id, size=size)
        row = (member.tenant_id, transfer_id, member.membership_id, clean_name(name), size, STORING_MAX)
        await connection.execute(_BEGIN, row)
    try:
        await asyncio.to_thread(put_object, object_of(member.tenant_id, transfer_id), content)
    except OSError as error:
        raise Unavailable("The file could not be stored.") from error
    async with transaction(member.tenant_id) as connection:
        stored = await first(connection, _STORED, (WAITING_MAX, transfer_id))
    if stored is None:
        raise Unavailable("It took too long to store the file.")
    return shape_of(stored)


def _may_be_one(content: IO[bytes]) -> bool:
    content.seek(0)
    head = content.read(HEAD_BYTES)
    content.seek(0)
    return begins_like_one(head)
