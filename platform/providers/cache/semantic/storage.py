"""The entries near a question, and writing them. Every function works in the transaction of the tenant that it is given.

Small scopes are compared row by row: that finds the nearest for certain. From `EXACT_ROWS` on, pgvector's HNSW index is
asked, which goes on (`iterative_scan`) until enough rows of the scope have come. Row-level security keeps it from neither:
the policy is compared as a filter of the rows that the index yields, and `ORDER BY` needs no leakproof operator
(docs/adr/0015-semantic-cache.md has the plans)."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import msgspec
from psycopg.pq import Escaping
from psycopg.rows import DictRow

from kernel import adb
from kernel.adb import Connection, Parameters
from kernel.ids import uuid7
from kernel.pg_line import Row
from providers.cache.semantic.index import DIMENSIONS
from providers.cache.semantic.vectors import as_reals, as_vector
from providers.semantic.embedders.base import Vectors

EXACT_ROWS = 1_000
SIZES_FRESH_S = 60.0
_MAX_SIZES = 10_000

_COLUMNS = "id, membership_id, confirmed, cluster, question"
_ANSWERS = f"{_COLUMNS}, answer_embedding"
_NEAR = """
    SELECT {columns}, 1 - distance AS cosine FROM (
        SELECT {columns}, embedding::vector({dimensions}) <=> %(vector)s::vector({dimensions}) AS distance
        FROM providers_semanticentry
        WHERE scope = %(scope)s AND dimensions = {dimensions} AND expires_at > now() AND size > 0
            AND created_at > now() - %(ttl_s)s * interval '1 second'
        ORDER BY {order} LIMIT %(limit)s
    ) near
"""
ONE_BY_ONE = "(embedding::vector({dimensions}) <=> %(vector)s::vector({dimensions})) + 0"
"""No index answers this, and the rows of the scope are found by their own."""
BY_INDEX = "embedding::vector({dimensions}) <=> %(vector)s::vector({dimensions})"
INDEXED = """
    SELECT set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '60', true),
        set_config('enable_sort', 'off', true)
"""

_LINE = "semantic look-ups"
_NEAR_PREPARED = b"SELECT * FROM public.providers_semantic_near($1, $2, $3, $4, $5)"
"""`_NEAR` by the index, with what `INDEXED` sets (migration 0018)."""

_SIZE = "SELECT count(*) AS size FROM (SELECT FROM providers_semanticentry WHERE scope = %s LIMIT %s) first"

_WRITE = """
    INSERT INTO providers_semanticentry (
        id, tenant_id, scope, digest, exact_key, alias, subject_id, membership_id, confirmed, shared, embedder, calibration,
        dimensions, embedding, answer_embedding, cluster, question, body, size, input_tokens, output_tokens, cost_nano, wrong,
        created_at, expires_at)
    VALUES (
        %(id)s, %(tenant_id)s, %(scope)s, %(digest)s, %(exact_key)s, %(alias)s, %(subject_id)s, %(membership_id)s,
        %(confirmed)s, %(shared)s,
        %(embedder)s, %(calibration)s, %(dimensions)s, %(embedding)s::real[], %(answer_embedding)s::real[], %(cluster)s,
        %(question)s, %(body)s, %(size)s, %(input_tokens)s, %(output_tokens)s, %(cost_nano)s, %(wrong)s,
        to_timestamp(%(created)s), to_timestamp(%(expires)s))
    ON CONFLICT DO NOTHING
"""
_SAME = """
    SELECT id, wrong, expires_at > now() AS lives FROM providers_semanticentry WHERE scope = %s AND digest = %s FOR UPDATE
"""
MAX_WRONG = 2
"""An answer to a question whose answers were called wrong so often is not kept, until the last of them would have expired."""

_TRIM = """
    DELETE FROM providers_semanticentry WHERE id IN (
        SELECT e.id FROM providers_semanticentry e LEFT JOIN providers_semanticuse u ON u.entry_id = e.id
        ORDER BY coalesce(u.used_at, e.created_at)
            + %s * log(2, 1 + greatest(e.cost_nano, 0)::numeric / %s)::float8 * interval '1 second'
        LIMIT greatest(0, (SELECT count(*) FROM providers_semanticentry) - %s)
    )
"""
A_DOUBLING_S = 3_600
CHEAP_NANO = 100_000
"""Least recently used, by cost: for each doubling of what it cost, beginning at `CHEAP_NANO`, an entry counts as used so
many seconds later than it was."""

_USED = """
    INSERT INTO providers_semanticuse AS old (id, tenant_id, entry_id, hits, used_at)
    SELECT u.id, e.tenant_id, e.id, u.hits, now()
    FROM json_to_recordset(%s::json) AS u (id uuid, entry uuid, hits bigint) JOIN providers_semanticentry e ON e.id = u.entry
    ON CONFLICT (tenant_id, entry_id) DO UPDATE SET hits = old.hits + EXCLUDED.hits, used_at = EXCLUDED.used_at
"""

_WRONG = """
    UPDATE providers_semanticentry SET wrong = wrong + 1, question = '', body = '', size = 0 WHERE id = %s AND size > 0
"""


class NewEntry(msgspec.Struct, frozen=True):
    """A row to be written, its cells sealed. `created` and `expires` are in seconds since 1970."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    scope: bytes
    digest: bytes
    exact_key: bytes
    alias: str
    subject_id: uuid.UUID | None
    membership_id: uuid.UUID
    confirmed: bool
    shared: bool
    embedder: str
    calibration: str
    embedding: Vectors
    answer_embedding: Vectors
    cluster: uuid.UUID
    question: bytes
    body: bytes
    size: int
    input_tokens: int
    output_tokens: int
    cost_nano: int
    created: float
    expires: float


class Sizes:
    """About how many entries a scope has, as this process last counted them: `EXACT_ROWS` + 1 stands for more."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[uuid.UUID, bytes], tuple[int, float]] = OrderedDict()

    def get(self, tenant_id: uuid.UUID, scope: bytes) -> int | None:
        """What is known and fresh."""
        found = self._known.get((tenant_id, scope))
        return found[0] if found is not None and time.monotonic() - found[1] < SIZES_FRESH_S else None

    def put(self, tenant_id: uuid.UUID, scope: bytes, size: int) -> None:
        """It was counted."""
        self._known[tenant_id, scope] = (size, time.monotonic())
        self._known.move_to_end((tenant_id, scope))
        while len(self._known) > _MAX_SIZES:
            self._known.popitem(last=False)


sizes = Sizes()


class Fetch(Protocol):
    """The rows of a statement as a tenant; `before` is a statement that sets something for it."""

    async def __call__(self, statement: str, parameters: Parameters, *, before: str = "") -> list[DictRow]: ...


def alone(tenant_id: uuid.UUID) -> Fetch:
    """Each statement in a transaction of its own, which is one message to the server."""
    return partial(adb.read, tenant_id=tenant_id)


def within(connection: Connection) -> Fetch:
    """The statements in the transaction of a connection."""

    async def fetch(statement: str, parameters: Parameters, *, before: str = "") -> list[DictRow]:
        if before:
            await connection.execute(before.encode())
        return await (await connection.execute(statement.encode(), parameters)).fetchall()

    return fetch


async def nearest(
    fetch: Fetch,
    *,
    tenant_id: uuid.UUID,
    scope: bytes,
    vector: Vectors,
    ttl_s: int,
    limit: int,
    answers: bool = False,
) -> list[DictRow]:
    """The entries of a scope whose questions are nearest, nearest first; with their answers' vectors if asked for. `ttl_s` is the
    time to live of now, which may have been longer when they were written."""
    dimensions = len(vector)
    is_large = await _is_large(fetch, tenant_id, scope, dimensions)
    statement = near_statement(BY_INDEX if is_large else ONE_BY_ONE, dimensions, answers=answers)
    given = {"vector": as_vector(vector), "scope": scope, "ttl_s": ttl_s, "limit": limit}
    return await fetch(statement, given, before=INDEXED if is_large else "")


async def nearest_now(
    *, tenant_id: uuid.UUID, scope: bytes, vector: Vectors, ttl_s: int, limit: int
) -> list[dict[str, Any]]:
    """The same in a transaction of its own, for what happens at every request: of a large scope by a prepared statement."""
    fetch = alone(tenant_id)
    if not await _is_large(fetch, tenant_id, scope, len(vector)):
        return await nearest(fetch, tenant_id=tenant_id, scope=scope, vector=vector, ttl_s=ttl_s, limit=limit)
    given = (str(tenant_id), f"\\x{scope.hex()}", as_vector(vector), str(ttl_s), str(limit))
    rows = await adb.line(_LINE).run(_NEAR_PREPARED, [one.encode() for one in given])
    return [_near_row(row) for row in rows]


def _near_row(row: Row) -> dict[str, Any]:
    """A row as PostgreSQL writes it, with the columns of `_COLUMNS` and the cosine. None of them is null."""
    entry_id, membership_id, confirmed, cluster, question, cosine = [one or b"" for one in row]
    return {
        "id": uuid.UUID(entry_id.decode()),
        "membership_id": uuid.UUID(membership_id.decode()),
        "confirmed": confirmed == b"t",
        "cluster": uuid.UUID(cluster.decode()),
        "question": Escaping().unescape_bytea(question),  # in either of the forms that a server may write
        "cosine": float(cosine),
    }


def near_statement(order: str, dimensions: int, *, answers: bool) -> str:
    """The statement that finds the nearest entries, in one of the two orders."""
    columns = _ANSWERS if answers else _COLUMNS
    return _NEAR.format(columns=columns, dimensions=dimensions, order=order.format(dimensions=dimensions))


async def _is_large(fetch: Fetch, tenant_id: uuid.UUID, scope: bytes, dimensions: int) -> bool:
    """Whether the index is to be asked."""
    return dimensions == DIMENSIONS and await _size(fetch, tenant_id, scope) > EXACT_ROWS


async def _size(fetch: Fetch, tenant_id: uuid.UUID, scope: bytes) -> int:
    known = sizes.get(tenant_id, scope)
    if known is None:
        (row,) = await fetch(_SIZE, (scope, EXACT_ROWS + 1))
        known = row["size"]
        sizes.put(tenant_id, scope, known)
    return known


async def body_of(fetch: Fetch, entry_id: uuid.UUID) -> DictRow | None:
    """An entry's sealed answer, and what it cost."""
    rows = await fetch(
        "SELECT body, cost_nano FROM providers_semanticentry WHERE id = %s AND expires_at > now() AND size > 0",
        (entry_id,),
    )
    return rows[0] if rows else None


async def answer_of(connection: Connection, entry_id: uuid.UUID) -> dict[str, Any] | None:
    """An entry's sealed answer with its vector."""
    cursor = await connection.execute(
        "SELECT body, answer_embedding, embedder, alias FROM providers_semanticentry WHERE id = %s AND size > 0",
        (entry_id,),
    )
    return await cursor.fetchone()


async def write(connection: Connection, entry: NewEntry, *, replaces: bool = True) -> bool:
    """Keep an entry in place of one with the same question or, without `replaces`, only where there is none. False if it isn't
    kept, as for a question whose answers were called wrong too often."""
    same = await (await connection.execute(_SAME, (entry.scope, entry.digest))).fetchone()
    wrong = same["wrong"] if same is not None else 0
    if wrong >= MAX_WRONG or (same is not None and same["lives"] and not replaces):
        return False
    if same is not None:
        await connection.execute("DELETE FROM providers_semanticentry WHERE id = %s", (same["id"],))
    fields = {name: getattr(entry, name) for name in NewEntry.__struct_fields__}
    fields |= {
        "dimensions": len(entry.embedding),
        "embedding": as_reals(entry.embedding),
        "answer_embedding": as_reals(entry.answer_embedding),
        "wrong": wrong,
    }
    return (await connection.execute(_WRITE, fields)).rowcount > 0


async def confirm(connection: Connection, entry_id: uuid.UUID) -> None:
    """Another member's independent answer was the same."""
    await connection.execute("UPDATE providers_semanticentry SET confirmed = true WHERE id = %s", (entry_id,))


async def call_wrong(connection: Connection, entry_id: uuid.UUID) -> bool:
    """Serve an entry no more, and forget what it said. Whether it was served until now."""
    return (await connection.execute(_WRONG, (entry_id,))).rowcount > 0


async def trim(connection: Connection, max_entries: int) -> int:
    """Delete what is worth least beyond so many of the tenant's entries. How many."""
    return (await connection.execute(_TRIM, (A_DOUBLING_S, CHEAP_NANO, max_entries))).rowcount


async def count_uses(connection: Connection, uses: Sequence[tuple[uuid.UUID, int]]) -> None:
    """Entries were served so often."""
    said = [{"id": uuid7(), "entry": entry_id, "hits": hits} for entry_id, hits in uses]
    await connection.execute(_USED, (msgspec.json.encode(said).decode(),))
