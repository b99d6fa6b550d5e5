"""What became of a batch's lines, kept in the database until the batch's files are written.

Whoever writes says as whom: a worker that lost its lease can't write any more."""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import msgspec

from kernel import adb
from kernel.ids import uuid7
from providers.batches.bounds import RESULTS_PAGE
from providers.batches.lines import derived_id


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one line. `content` is a line of one of the batch's files."""

    number: int
    failed: bool
    content: bytes


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str
    message: str
    line: int | None = None
    param: str | None = None


class _Out(msgspec.Struct):
    id: str
    custom_id: str | None
    response: _Response | None
    error: _Error | None


def answered(
    batch_id: uuid.UUID, number: int, *, custom_id: str, request_id: uuid.UUID, status: int, body: bytes
) -> Result:
    """Of a line that was asked, well or badly."""
    response = _Response(status, str(request_id), msgspec.Raw(body))
    out = _Out(_name(batch_id, number), custom_id, response, None)
    return Result(number, status >= 400, msgspec.json.encode(out))


def refused(
    batch_id: uuid.UUID, number: int, *, custom_id: str | None, code: str, message: str, param: str | None = None
) -> Result:
    """Of a line that was never asked."""
    out = _Out(_name(batch_id, number), custom_id, None, _Error(code, message, number, param))
    return Result(number, True, msgspec.json.encode(out))


def _name(batch_id: uuid.UUID, number: int) -> str:
    return f"batch_req_{derived_id(batch_id, number).hex}"


_KEEP = """
    INSERT INTO providers_batchline (id, tenant_id, batch_id, number, failed, content)
    SELECT %s, tenant_id, id, %s, %s, %s FROM providers_batch WHERE id = %s AND lease_owner = %s
    ON CONFLICT (tenant_id, batch_id, number) DO NOTHING
"""


async def keep(tenant_id: uuid.UUID, batch_id: uuid.UUID, owner: uuid.UUID, results: Sequence[Result]) -> None:
    """Keep results; durable once this returns. A line that has one keeps it."""
    rows = [(uuid7(), one.number, one.failed, one.content, batch_id, owner) for one in results]
    if not rows:
        return
    async with adb.transaction(tenant_id) as connection, connection.cursor() as cursor:
        await cursor.executemany(_KEEP, rows)


async def numbers_done(tenant_id: uuid.UUID, batch_id: uuid.UUID, *, since: int) -> set[int]:
    """The lines from a number on that have a result."""
    async with adb.transaction(tenant_id) as connection:
        cursor = await connection.execute(
            "SELECT number FROM providers_batchline WHERE batch_id = %s AND number >= %s", (batch_id, since)
        )
        return {row["number"] for row in await cursor.fetchall()}


async def read(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> AsyncIterator[list[Result]]:
    """All results, in the order of the lines, some at a time."""
    after = 0
    while True:
        async with adb.transaction(tenant_id) as connection:
            cursor = await connection.execute(
                "SELECT number, failed, content FROM providers_batchline WHERE batch_id = %s AND number > %s "
                "ORDER BY number LIMIT %s",
                (batch_id, after, RESULTS_PAGE),
            )
            rows = await cursor.fetchall()
        if rows:
            yield [Result(row["number"], row["failed"], bytes(row["content"])) for row in rows]
        if len(rows) < RESULTS_PAGE:
            return
        after = rows[-1]["number"]
