"""How much one tenant's files hold: one quota for whatever is kept in the storage (`kernel.objects`).

Each table of things that have bytes there has a column `size`, and is named once, when its app is ready.
"""

import uuid

from django.conf import settings

from kernel import adb
from kernel.errors import PayloadTooLarge

_tables: list[str] = []
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('parley files ' || %s::text, 0))"


class QuotaReached(PayloadTooLarge):
    """The files of this tenant may not hold more. Delete some."""

    code = "storage_quota_reached"


def counted(table: str) -> None:
    """Have the `size` of a table's rows, in bytes, count."""
    if table not in _tables:
        _tables.append(table)


async def check_quota(connection: adb.Connection, *, size: int) -> None:
    """Raises `QuotaReached` when the tenant in force has no room for `size` more bytes."""
    sums = " + ".join(f"(SELECT coalesce(sum(size), 0) FROM {table})" for table in _tables)  # noqa: S608 - constants
    row = await (await connection.execute(f"SELECT ({sums})::bigint AS bytes".encode())).fetchone()
    if row is None or row["bytes"] + size > settings.FILES_QUOTA_BYTES:
        raise QuotaReached(f"The files of one organisation may hold {settings.FILES_QUOTA_BYTES} bytes. Delete some.")


async def reserve(connection: adb.Connection, *, tenant_id: uuid.UUID, size: int) -> None:
    """The same, for a row that is inserted in this transaction: two at once can't share the room that is left."""
    await connection.execute(_LOCK, (tenant_id,))
    await check_quota(connection, size=size)
