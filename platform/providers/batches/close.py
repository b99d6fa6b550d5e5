"""The end of a batch: its results become files."""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, Literal, LiteralString

from psycopg.types.json import Jsonb

from kernel import adb
from providers.batches import objects, results
from providers.batches.bounds import ERRORS_MAX, REFUSALS_PAGE, RESULTS_KEPT
from providers.batches.leases import Claimed, LeaseLost
from providers.batches.lines import custom_id_of, derived_id, read_lines
from providers.batches.results import Result, refused

End = Literal["completed", "failed", "expired", "cancelled"]

_FINALIZE = """
    UPDATE providers_batch SET status = 'finalizing', finalizing_at = coalesce(finalizing_at, now())
    WHERE id = %s AND lease_owner = %s AND status IN ('in_progress', 'finalizing')
"""
_FILE = """
    INSERT INTO providers_file (id, tenant_id, principal_id, purpose, name, size, state, created_at, expires_at)
    VALUES (%s, %s, %s, 'batch_output', %s, %s, 'stored', now(), now() + %s)
    ON CONFLICT (id) DO UPDATE SET size = excluded.size
"""
_ENDED: dict[End, LiteralString] = {
    "completed": "completed_at = now()",
    "failed": "failed_at = now()",
    "expired": "expired_at = now()",
    "cancelled": "cancelled_at = now()",
}


@dataclass(frozen=True, slots=True)
class _Written:
    """A file of results that was stored."""

    id: uuid.UUID
    name: str
    size: int
    lines: int


async def finalize(batch: Claimed) -> bool:
    """Say that all lines are done. False if somebody has cancelled the batch meanwhile."""
    async with adb.transaction(batch.tenant_id) as connection:
        return (await connection.execute(_FINALIZE, (batch.id, batch.owner))).rowcount == 1


async def close_batch(batch: Claimed, end: End, *, errors: Sequence[dict[str, Any]] = ()) -> None:
    """End a batch: what there is of results is stored first. May be repeated. Raises `LeaseLost`."""
    if end == "expired":
        await _refuse_rest(batch)
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as failures:
        completed, failed = await _write(batch, answers, failures)
        output = await _store(batch, "output", answers, completed)
        error = await _store(batch, "error", failures, failed)
    said = Jsonb(list(errors[:ERRORS_MAX])) if errors else None
    query: LiteralString = f"""
        UPDATE providers_batch SET status = %s, {_ENDED[end]}, output_file_id = %s, error_file_id = %s, errors = %s,
            completed = %s, failed = %s, lease_owner = NULL, lease_until = NULL
        WHERE id = %s AND lease_owner = %s
    """  # noqa: S608 - constants
    async with adb.transaction(batch.tenant_id) as connection:
        for file in filter(None, (output, error)):
            row = (
                file.id,
                batch.tenant_id,
                batch.principal_id,
                file.name,
                file.size,
                batch.results_kept or RESULTS_KEPT,
            )
            await connection.execute(_FILE, row)
        ids = (output.id if output else None, error.id if error else None)
        ended = await connection.execute(query, (end, *ids, said, completed, failed, batch.id, batch.owner))
        if ended.rowcount == 0:
            raise LeaseLost
        await connection.execute("DELETE FROM providers_batchline WHERE batch_id = %s", (batch.id,))


async def _write(batch: Claimed, answers: IO[bytes], failures: IO[bytes]) -> tuple[int, int]:
    """Write each result into its file. How many there are of each."""
    completed = failed = 0
    async for page in results.read(batch.tenant_id, batch.id):
        await asyncio.to_thread(_write_page, page, answers, failures)
        failed += sum(result.failed for result in page)
        completed += sum(not result.failed for result in page)
    return completed, failed


def _write_page(page: list[Result], answers: IO[bytes], failures: IO[bytes]) -> None:
    for result in page:
        (failures if result.failed else answers).write(result.content + b"\n")


async def _store(batch: Claimed, kind: str, content: IO[bytes], lines: int) -> _Written | None:
    if not lines:
        return None
    size = content.tell()
    # Always the same, so that a worker that died here leaves nothing behind that nobody knows of.
    file_id = derived_id(batch.id, kind)
    await asyncio.to_thread(objects.put, batch.tenant_id, file_id, content)
    return _Written(file_id, f"batch_{batch.id.hex}_{kind}.jsonl", size, lines)


async def _refuse_rest(batch: Claimed) -> None:
    """Lines that weren't done in time say so."""
    done = await results.numbers_done(batch.tenant_id, batch.id, since=1)
    rest = _rest(batch, done)
    try:
        while page := await asyncio.to_thread(lambda: list(islice(rest, REFUSALS_PAGE))):
            await results.keep(batch.tenant_id, batch.id, batch.owner, page)
    except FileNotFoundError:
        # Who deleted the input has no more lines.
        return


def _rest(batch: Claimed, done: set[int]) -> Iterator[Result]:
    if not batch.total:
        return
    with objects.opened(batch.tenant_id, batch.input_file_id) as content:
        for line in read_lines(content):
            if line.number not in done:
                yield refused(
                    batch.id,
                    line.number,
                    custom_id=custom_id_of(line),
                    code="batch_expired",
                    message="The batch expired before this line was done.",
                )
