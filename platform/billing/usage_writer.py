"""Group commit of usage: many attempts, one transaction, durable before their answers end.

Each event loop has one writer. While a batch is on its way to PostgreSQL the next one gathers, so the busier the process
the larger the batches, and an idle one waits for nothing. `record` returns when its event is committed. One event that
can't be written fails alone; the others of its batch are kept.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
from psycopg import Error

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
LINGER_S = 0.002
"""How long a busy writer gathers before its next batch. A round trip and a flush to disk cost the same for one event as
for many."""
BUSY_BATCH = 3
"""A batch of this many says that the writer is busy."""

_encode = msgspec.json.Encoder().encode


class UsageNotRecorded(Unavailable):
    """What was used could not be written down, so the answer can't be finished."""


class UsageWriter:
    """One event loop's writer. Holds at most `MAX_WAITING` events."""

    def __init__(self) -> None:
        self._waiting: list[tuple[UsageEvent, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None

    def record(self, event: UsageEvent) -> "asyncio.Future[None]":
        """Have one event written; the same event a second time changes nothing. The future is done when it is, or fails
        by `UsageNotRecorded`; who cancels it leaves the event to be written.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MAX_WAITING:
            written.set_exception(UsageNotRecorded())
            return written
        self._waiting.append((event, written))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return written

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
                if len(batch) >= BUSY_BATCH and len(self._waiting) < MAX_BATCH:
                    await asyncio.sleep(LINGER_S)
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


async def record_all(events: Sequence[UsageEvent]) -> None:
    """Record several attempts; returns when all are durable. Raises `UsageNotRecorded` if one could not be."""
    writer = _writer()
    # Each is handed in before the first is waited for.
    for written in [writer.record(event) for event in events]:
        await written


def record_soon(event: UsageEvent) -> None:
    """Have an event of no cost recorded without waiting for it: a crash may lose what is under way, at most a second's
    worth. What can't be written is logged.
    """
    _writer().record(event).add_done_callback(_retrieve)


def _retrieve(written: "asyncio.Future[None]") -> None:
    """Its failure was logged where it happened."""
    if not written.cancelled():
        written.exception()


async def _insert(events: list[UsageEvent]) -> dict[int, str]:
    """Write a batch, whatever tenants it is of. The positions that were refused, with the reason."""
    batch: dict[str, list[dict[str, Any]]] = {}
    for position, event in enumerate(events):
        batch.setdefault(str(event.payer.tenant_id), []).append(_row(event, position))
    encoded = _encode(batch).decode()
    for attempt in range(1, RETRIES + 1):
        try:
            refused = await adb.statement(
                "SELECT refused_position, problem FROM billing_record_usage(%s::json)", (encoded,)
            )
            return {row["refused_position"]: row["problem"] for row in refused}
        except (Error, Unavailable):
            if attempt == RETRIES:
                raise
            await asyncio.sleep(RETRY_AFTER_S * attempt)
    raise AssertionError("unreachable")


def _row(event: UsageEvent, position: int) -> dict[str, Any]:
    """The columns of `billing_usagerecord`, as values that JSON has, and the event's position in its batch."""
    payer, tokens, charge = event.payer, event.tokens, event.charge
    return {
        "position": position,
        "tenant_id": payer.tenant_id,
        "principal_kind": payer.principal_kind,
        "membership_id": payer.membership_id,
        "api_key_id": payer.api_key_id,
        "subject_kind": payer.subject_kind,
        "subject_id": payer.subject_id,
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "output": tokens.output,
        "reasoning": tokens.reasoning,
        "id": uuid7(),
        "request_id": event.request_id,
        "attempt": event.attempt,
        "kind": event.kind,
        "at": event.at,
        "status": event.status,
        "alias": event.alias,
        "provider": event.provider,
        "connection": event.connection,
        "model": event.model,
        "platform_paid": event.platform_paid,
        "cost_nano": charge.cost_nano,
        "sell_nano": charge.sell_nano,
        "charge_lines": charge.lines,
        "estimated": event.estimated,
        "streamed": event.streamed,
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "finish_reason": event.finish_reason,
        "error_code": event.error_code,
        "provider_usage": event.provider_usage,
        "cache": event.cache,
    }
