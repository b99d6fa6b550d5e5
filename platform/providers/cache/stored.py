"""The third level: PostgreSQL, encrypted, which survives a restart of everything else."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from psycopg import Error

from kernel import adb
from kernel.crypto import DecryptionFailed, decrypt, encrypt
from kernel.errors import Unavailable
from kernel.ids import uuid7
from providers.cache.entries import Kept, unpack
from providers.cache.known import known_keys

log = structlog.get_logger(__name__)

TABLE = "providers_cacheentry"
_encode = msgspec.json.Encoder().encode

_INSERT = """
    INSERT INTO providers_cacheentry (id, tenant_id, key, alias, subject_id, body, size, tokens, created_at,
                                      expires_at)
    SELECT id, %s, decode(key, 'base64'), alias, subject, decode(body, 'base64'), size, tokens, to_timestamp(created_s),
           to_timestamp(expires_s)
    FROM json_to_recordset(%s::json) AS new (id uuid, key text, alias text, subject uuid, body text, size int,
                                             tokens bigint, created_s float8, expires_s float8)
    ON CONFLICT (tenant_id, key) DO UPDATE SET (id, alias, subject_id, body, size, tokens, created_at, expires_at) =
        (EXCLUDED.id, EXCLUDED.alias, EXCLUDED.subject_id, EXCLUDED.body, EXCLUDED.size, EXCLUDED.tokens,
         EXCLUDED.created_at, EXCLUDED.expires_at)
"""
"""One JSON text for all rows costs this process a tenth of what arrays of columns do."""

TRIM = """
    DELETE FROM providers_cacheentry WHERE id IN (
        SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id DESC) AS upto FROM providers_cacheentry) sized
        WHERE upto > %s
    )
"""
"""Deletes a tenant's oldest entries beyond so many bytes."""


class Row(msgspec.Struct, frozen=True):
    """An entry to be written; `packed` is not yet encrypted."""

    key: bytes
    alias: str
    packed: bytes
    tokens: int
    created: float
    expires: float
    subject_id: uuid.UUID | None = None


async def get(tenant_id: uuid.UUID, key: bytes) -> tuple[Kept, int] | None:
    """The answer kept under a key, and its size in bytes."""
    if not await known_keys().may_hold(tenant_id, key):
        return None
    try:
        async with adb.transaction(tenant_id) as connection:
            cursor = await connection.execute(
                "SELECT id, body FROM providers_cacheentry WHERE key = %s AND expires_at > now()", (key,)
            )
            row = await cursor.fetchone()
    except (Error, Unavailable):
        log.warning("cache_postgres_away")
        return None
    if row is None:
        return None
    packed = opened(tenant_id, row["id"], row["body"])
    return unpack(packed) if packed is not None else None


async def put(tenant_id: uuid.UUID, rows: Sequence[Row]) -> None:
    """Keep answers of one tenant. Raises psycopg's errors and `Unavailable`."""
    latest = list({row.key: row for row in rows}.values())
    said = _encode([_fields(tenant_id, row) for row in latest]).decode()
    async with adb.transaction(tenant_id) as connection:
        await connection.execute(_INSERT, (tenant_id, said))
    known = known_keys()
    for row in latest:
        known.add(tenant_id, row.key)


def _fields(tenant_id: uuid.UUID, row: Row) -> dict[str, Any]:
    """A row as JSON has it; msgspec makes base64 of bytes."""
    row_id = uuid7()
    return {
        "id": row_id,
        "key": row.key,
        "alias": row.alias,
        "subject": row.subject_id,
        "body": sealed(tenant_id, row_id, row.packed),
        "size": len(row.packed),
        "tokens": row.tokens,
        "created_s": row.created,
        "expires_s": row.expires,
    }


async def trim(tenant_id: uuid.UUID, max_bytes: int) -> int:
    """Delete a tenant's oldest entries beyond `max_bytes`. How many. Raises psycopg's errors and `Unavailable`."""
    async with adb.transaction(tenant_id) as connection:
        return (await connection.execute(TRIM, (max_bytes,))).rowcount


def sealed(tenant_id: uuid.UUID, row_id: uuid.UUID, packed: bytes) -> bytes:
    """A packed answer, encrypted for its cell."""
    return encrypt(packed, tenant_id=tenant_id, table=TABLE, row_id=row_id, column="body")


def opened(tenant_id: uuid.UUID, row_id: uuid.UUID, body: bytes) -> bytes | None:
    """The packed answer of a cell; None if it was encrypted with a key that is no longer there."""
    try:
        return decrypt(body, tenant_id=tenant_id, table=TABLE, row_id=row_id, column="body")
    except DecryptionFailed:
        log.warning("cache_entry_unreadable", entry_id=str(row_id))
        return None
