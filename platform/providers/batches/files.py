"""The files of a caller: they belong to the tenant and the key or member who made them, and to nobody else."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, Literal

from django.conf import settings

from kernel import adb, quota
from kernel.errors import InvalidRequest, NotFound, Unavailable
from kernel.ids import uuid7
from kernel.objects import object_pieces
from providers.batches import objects
from providers.batches.bounds import UPLOAD_MAX
from tenants.principals import Principal

Order = Literal["asc", "desc"]
NAME_MAX_CHARS = 255


class FileNotThere(NotFound):
    """There is no such file, or it isn't yours."""

    code = "file_not_found"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that can be read."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    purpose: str
    name: str
    size: int
    created_at: datetime
    expires_at: datetime | None


_COLUMNS = "id, tenant_id, purpose, name, size, created_at, expires_at"
_THERE = "state = 'stored' AND (expires_at IS NULL OR expires_at > now())"
_COUNT = "SELECT count(*) AS files FROM providers_file"
_BEGIN = """
    INSERT INTO providers_file (id, tenant_id, principal_id, purpose, name, size, state, created_at, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, 'storing', now(), now() + %s)
"""
_END = f"""
    UPDATE providers_file SET state = 'stored', expires_at = created_at + %s::interval WHERE id = %s AND state = 'storing'
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants


async def check_quota(tenant_id: uuid.UUID, *, size: int) -> None:
    """Raises `QuotaReached` when the tenant has no room for `size` more bytes, or for another file."""
    async with adb.transaction(tenant_id) as connection:
        await quota.check_quota(connection, size=size)
        await _check_count(connection)


async def _check_count(connection: adb.Connection) -> None:
    held = await (await connection.execute(_COUNT)).fetchone()
    if held is None or held["files"] >= settings.FILES_PER_TENANT_MAX:
        raise quota.QuotaReached(f"One organisation may have {settings.FILES_PER_TENANT_MAX} files. Delete some.")


async def create_file(
    *,
    principal: Principal,
    purpose: str,
    name: str,
    content: IO[bytes],
    size: int,
    kept: timedelta | None = None,
) -> StoredFile:
    """Store a file, for as long as `kept` says. Raises `QuotaReached` and `Unavailable`."""
    file_id = uuid7()
    async with adb.transaction(principal.tenant_id) as connection:
        await quota.reserve(connection, tenant_id=principal.tenant_id, size=size)
        await _check_count(connection)
        row = (file_id, principal.tenant_id, principal.owner_id, purpose, name[-NAME_MAX_CHARS:], size, UPLOAD_MAX)
        await connection.execute(_BEGIN, row)
    try:
        await asyncio.to_thread(objects.put, principal.tenant_id, file_id, content)
    except OSError as error:
        raise Unavailable("The file could not be stored.") from error
    async with adb.transaction(principal.tenant_id) as connection:
        stored = await (await connection.execute(_END, (kept, file_id))).fetchone()
    if stored is None:
        raise Unavailable("It took too long to store the file.")
    return StoredFile(**stored)


async def access_file(*, principal: Principal, file_id: uuid.UUID | None) -> StoredFile:
    """One file. Raises `FileNotThere`, as it does for None: a name that can't be one."""
    async with adb.transaction(principal.tenant_id) as connection:
        cursor = await connection.execute(
            f"SELECT {_COLUMNS} FROM providers_file WHERE id = %s AND principal_id = %s AND {_THERE}",  # noqa: S608 - constants
            (file_id, principal.owner_id),
        )
        row = await cursor.fetchone()
    if row is None:
        raise FileNotThere
    return StoredFile(**row)


async def list_files(
    *, principal: Principal, purpose: str | None, after: uuid.UUID | None, order: Order, limit: int
) -> list[StoredFile]:
    """The caller's files by age, those after `after`, at most `limit`."""
    direction, beyond = ("DESC", "<") if order == "desc" else ("ASC", ">")
    query = f"""
        SELECT {_COLUMNS} FROM providers_file
        WHERE principal_id = %(principal)s AND {_THERE} AND (%(purpose)s::text IS NULL OR purpose = %(purpose)s)
            AND (%(after)s::uuid IS NULL OR id {beyond} %(after)s)
        ORDER BY id {direction} LIMIT %(limit)s
    """  # noqa: S608 - constants
    asked: dict[str, Any] = {"principal": principal.owner_id, "purpose": purpose, "after": after, "limit": limit}
    async with adb.transaction(principal.tenant_id) as connection:
        rows = await (await connection.execute(query.encode(), asked)).fetchall()
    return [StoredFile(**row) for row in rows]


async def delete_file(*, principal: Principal, file_id: uuid.UUID | None) -> None:
    """Delete a file. It is gone at once; should its bytes not be deleted now, `upkeep` does it. Raises `FileNotThere`."""
    async with adb.transaction(principal.tenant_id) as connection:
        cursor = await connection.execute(
            f"UPDATE providers_file SET expires_at = now() WHERE id = %s AND principal_id = %s AND {_THERE}",  # noqa: S608
            (file_id, principal.owner_id),
        )
        if file_id is None or cursor.rowcount == 0:
            raise FileNotThere
    try:
        await asyncio.to_thread(objects.remove, principal.tenant_id, file_id)
    except OSError:
        return
    async with adb.transaction(principal.tenant_id) as connection:
        await connection.execute("DELETE FROM providers_file WHERE id = %s", (file_id,))


async def read_file(file: StoredFile) -> AsyncIterator[bytes]:
    """A file's bytes, piece by piece. Raises `FileNotThere` before the first when they are lost."""
    pieces = object_pieces(objects.name_of(file.tenant_id, file.id))
    try:
        async for piece in pieces:
            yield piece
    except FileNotFoundError as error:
        raise FileNotThere from error


def bad_purpose() -> InvalidRequest:
    """Of a file that is for something that Parley has no use for."""
    return InvalidRequest("`purpose` is `batch`.", details={"param": "purpose"})
