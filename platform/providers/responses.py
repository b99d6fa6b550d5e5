"""Responses that are kept so that later ones can go on from them, or be looked at again.

They belong to whoever asked (tenant and principal) and to nobody else, are encrypted, and are gone `KEPT` after they were
made. What is in them is the business of the format they came in: here they are bytes.
"""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from psycopg import Error

from kernel import adb
from kernel.crypto import decrypt, encrypt
from kernel.errors import InvalidRequest, NotFound, Unavailable
from tenants.principals import Principal

KEPT = timedelta(days=30)
MAX_CHAIN = 256
"""Responses that one goes on from, by way of one another."""
MAX_CHAIN_BYTES = 32 * 1024 * 1024
_TABLE = "providers_storedresponse"


class ResponseNotFound(NotFound):
    """There is no such response, or it isn't yours."""

    code = "response_not_found"


class PreviousNotFound(NotFound):
    """There is no such previous response, or it isn't yours."""

    code = "previous_response_not_found"


@dataclass(frozen=True, slots=True)
class Kept:
    """A response as it was kept."""

    id: uuid.UUID
    content: bytes = field(repr=False)


_KEEP = """
    INSERT INTO providers_storedresponse
        (id, tenant_id, principal_id, previous_id, content, created_at, expires_at)
    VALUES (%(id)s, %(tenant)s, %(principal)s, %(previous)s, %(content)s, now(), now() + %(kept)s)
"""
_READ = """
    SELECT id, content FROM providers_storedresponse
    WHERE id = ANY(%(ids)s) AND principal_id = %(principal)s AND expires_at > now()
"""
_DELETE = """
    DELETE FROM providers_storedresponse
    WHERE id = %(id)s AND principal_id = %(principal)s AND expires_at > now()
"""
_CHAIN = """
    WITH RECURSIVE chain AS (
        SELECT id, previous_id, 1 AS length, octet_length(content)::bigint AS bytes
        FROM providers_storedresponse
        WHERE id = %(id)s AND principal_id = %(principal)s AND expires_at > now()
        UNION ALL
        SELECT earlier.id, earlier.previous_id, length + 1, bytes + octet_length(earlier.content)
        FROM chain JOIN providers_storedresponse earlier ON earlier.id = chain.previous_id
        WHERE earlier.principal_id = %(principal)s AND earlier.expires_at > now()
            AND length < %(longest)s AND bytes <= %(most_bytes)s
    )
    SELECT chain.id, chain.previous_id, length, bytes, kept.content
    FROM chain JOIN providers_storedresponse kept ON kept.id = chain.id
    ORDER BY length DESC
"""


async def keep_response(
    *, principal: Principal, response_id: uuid.UUID, previous_id: uuid.UUID | None, content: bytes
) -> None:
    """Keep a response; it is durable once this returns. Raises `Unavailable`."""
    sealed = encrypt(content, tenant_id=principal.tenant_id, table=_TABLE, row_id=response_id, column="content")
    row = {
        "id": response_id,
        "tenant": principal.tenant_id,
        "principal": principal.owner_id,
        "previous": previous_id,
        "content": sealed,
        "kept": KEPT,
    }
    try:
        async with adb.transaction(principal.tenant_id) as opened:
            await opened.execute(_KEEP, row)
    except Error as error:
        raise Unavailable("The response could not be stored.") from error


async def access_response(*, principal: Principal, response_id: uuid.UUID | None) -> Kept:
    """One response. Raises `ResponseNotFound`, as it does for None: a name that can't be one."""
    found = await access_responses(principal=principal, response_ids=() if response_id is None else (response_id,))
    if not found:
        raise ResponseNotFound
    return found[0]


async def access_responses(*, principal: Principal, response_ids: tuple[uuid.UUID, ...]) -> list[Kept]:
    """Those of these responses that there are."""
    if not response_ids:
        return []
    asked = {"ids": list(response_ids), "principal": principal.owner_id}
    async with adb.transaction(principal.tenant_id) as opened:
        rows = await (await opened.execute(_READ, asked)).fetchall()
    return [_kept(principal, row["id"], row["content"]) for row in rows]


async def access_chain(*, principal: Principal, response_id: uuid.UUID | None) -> list[Kept]:
    """A response and all that it goes on from, the first one first.

    Raises `PreviousNotFound` when it, or one that it goes on from, is not there (any more), and `InvalidRequest` when
    there are more than `MAX_CHAIN` of them, or more than `MAX_CHAIN_BYTES` in them."""
    details = {"param": "previous_response_id"}
    if response_id is None:
        raise PreviousNotFound(details=details)
    asked = {
        "id": response_id,
        "principal": principal.owner_id,
        "longest": MAX_CHAIN,
        "most_bytes": MAX_CHAIN_BYTES,
    }
    async with adb.transaction(principal.tenant_id) as opened:
        rows = await (await opened.execute(_CHAIN, asked)).fetchall()
    if not rows:
        raise PreviousNotFound(details=details)
    oldest = rows[0]
    if oldest["bytes"] > MAX_CHAIN_BYTES or (oldest["previous_id"] is not None and oldest["length"] >= MAX_CHAIN):
        raise InvalidRequest(
            f"The conversation before this is longer than {MAX_CHAIN} responses or {MAX_CHAIN_BYTES} bytes.",
            details=details,
        )
    if oldest["previous_id"] is not None:
        raise PreviousNotFound("A response that this one goes on from was deleted, or has expired.", details=details)
    return [_kept(principal, row["id"], row["content"]) for row in rows]


async def delete_response(*, principal: Principal, response_id: uuid.UUID | None) -> None:
    """Delete a response. Raises `ResponseNotFound`."""
    if response_id is None:
        raise ResponseNotFound
    asked = {"id": response_id, "principal": principal.owner_id}
    async with adb.transaction(principal.tenant_id) as opened:
        if (await opened.execute(_DELETE, asked)).rowcount == 0:
            raise ResponseNotFound


def _kept(principal: Principal, response_id: uuid.UUID, sealed: bytes) -> Kept:
    content = decrypt(sealed, tenant_id=principal.tenant_id, table=_TABLE, row_id=response_id, column="content")
    return Kept(response_id, content)
