"""Group commit of usage: many attempts, one transaction, durable before their answers end.

Each event loop has one writer. While a batch is on its way to PostgreSQL the next one gathers, so the busier the process
the larger the batches, and an idle one waits for nothing. `record` returns when its event is committed. One event that
can't be written fails alone; the others of its batch are kept.
"""

import asyncio
from dataclasses import asdict
from typing import Any

import structlog
from psycopg import Error
from psycopg.types.json import Jsonb

from billing.types import UsageEvent
from kernel import adb
from kernel.errors import Unavailable
from kernel.ids import uuid7
from kernel.per_loop import PerLoop

log = structlog.get_logger(__name__)

MAX_BATCH = 256
MAX_WAITING = 10_000
RETRIES = 3
RETRY_AFTER_S = 0.2


class UsageNotRecorded(Unavailable):
    """What was used could not be written down, so the answer can't be finished."""


class UsageWriter:
    """One event loop's writer. Holds at most `MAX_WAITING` events."""

    def __init__(self) -> None:
        self._waiting: list[tuple[UsageEvent, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    async def record(self, event: UsageEvent) -> None:
        """Write one event; the same event a second time changes nothing. Raises `UsageNotRecorded`."""
        if len(self._waiting) >= MAX_WAITING:
            raise UsageNotRecorded
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, written))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        # A caller that is cancelled leaves its event to be written.
        await asyncio.shield(written)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
        finally:
            self._running = None

    async def _write(self, batch: list[tuple[UsageEvent, "asyncio.Future[None]"]]) -> None:
        try:
            problems = await _insert([event for event, _ in batch])
        except (Error, Unavailable) as error:
            log.error("usage_not_recorded", events=len(batch), exc_info=error)
            problems = dict.fromkeys(range(len(batch)), "the database did not take the batch")
        for position, (event, written) in enumerate(batch):
            if written.done():
                continue
            if position in problems:
                log.error("usage_refused", request_id=str(event.request_id), problem=problems[position])
                written.set_exception(UsageNotRecorded())
            else:
                written.set_result(None)


_writer = PerLoop(UsageWriter)


async def record_usage(event: UsageEvent) -> None:
    """Record one attempt through this event loop's writer; returns when it is durable. Raises `UsageNotRecorded`."""
    await _writer().record(event)


async def _insert(events: list[UsageEvent]) -> dict[int, str]:
    """Write a batch, whatever tenants it is of. The positions that were refused, with the reason."""
    rows = [_row(event) | {"position": position} for position, event in enumerate(events)]
    for attempt in range(1, RETRIES + 1):
        try:
            async with adb.tenantless() as connection:
                cursor = await connection.execute(
                    "SELECT refused_position, problem FROM billing_record_usage(%s)", (Jsonb(rows),)
                )
                return {row["refused_position"]: row["problem"] for row in await cursor.fetchall()}
        except (Error, Unavailable):
            if attempt == RETRIES:
                raise
            await asyncio.sleep(RETRY_AFTER_S * attempt)
    raise AssertionError("unreachable")


def _row(event: UsageEvent) -> dict[str, Any]:
    """The columns of `billing_usagerecord`, as JSON values."""
    payer = {name: None if value is None else str(value) for name, value in asdict(event.payer).items()}
    return {
        **payer,
        **event.tokens.by_meter(),
        "id": str(uuid7()),
        "request_id": str(event.request_id),
        "attempt": event.attempt,
        "kind": event.kind,
        "at": event.at.isoformat(),
        "status": event.status,
        "alias": event.alias,
        "provider": event.provider,
        "connection": event.connection,
        "model": event.model,
        "platform_paid": event.platform_paid,
        "cost_nano": event.charge.cost_nano,
        "sell_nano": event.charge.sell_nano,
        "charge_lines": list(event.charge.lines),
        "estimated": event.estimated,
        "streamed": event.streamed,
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "finish_reason": event.finish_reason,
        "error_code": event.error_code,
        "provider_usage": event.provider_usage,
    }
