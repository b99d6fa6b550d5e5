"""The way down: answers on their way to Redis and PostgreSQL, many in one round trip, behind the callers' backs.

What waits is bounded; beyond that, an answer is only kept in memory. A crash loses what waits."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog
from psycopg import Error

from kernel.errors import Unavailable
from kernel.ids import NIL
from kernel.per_loop import PerLoop
from providers.cache import shared, stored
from providers.cache.entries import pack
from providers.cache.forgotten import is_forgotten
from providers.cache.memory import memory
from providers.cache.stats import stats

log = structlog.get_logger(__name__)

LINGER_S = 0.25
"""How long answers gather before they are written: nobody waits for them, and many cost little more than one."""
MAX_BATCH = 256
MAX_WAITING = 4_000
MAX_WAITING_BYTES = 32 * 1024 * 1024
THREAD_FROM_BYTES = 64 * 1024
"""A batch of so many bytes is compressed and encrypted outside of the event loop."""
TRIM_AFTER = 16
"""A tenant's oldest entries are looked for when a process wrote this part of its limit."""


class Write(msgspec.Struct, frozen=True):
    """An encoded answer to be kept. `max_bytes` is the tenant's limit for what PostgreSQL keeps; without `stored` it has
    the answer already. `subject_id` is the room that asked by this request, if one did."""

    tenant_id: UUID
    key: bytes
    alias: str
    encoded: bytes
    tokens: int
    created: float
    expires: float
    max_bytes: int
    stored: bool = True
    subject_id: UUID | None = None
    request_id: UUID = NIL


class Writes:
    """One event loop's."""

    def __init__(self) -> None:
        self._waiting: deque[Write] = deque()
        self._bytes = 0
        self._running: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._written: dict[UUID, int] = {}

    def add(self, write: Write) -> bool:
        """Have an answer kept; False if too many wait."""
        if len(self._waiting) >= MAX_WAITING or self._bytes + len(write.encoded) > MAX_WAITING_BYTES:
            return False
        self._waiting.append(write)
        self._bytes += len(write.encoded)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="cache writes")
        return True

    async def flush(self) -> None:
        """Until everything that waits is written, at once."""
        self._hurry.set()
        try:
            while self._waiting or self._running is not None:
                if self._running is None:
                    self._running = asyncio.create_task(self._run(), name="cache writes")
                await asyncio.wait({self._running})
        finally:
            self._hurry.clear()

    async def _run(self) -> None:
        try:
            await self._linger()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
                size = sum(len(write.encoded) for write in batch)
                self._bytes -= size
                await self._write(batch, size)
                if len(self._waiting) < MAX_BATCH:
                    await self._linger()
        except Exception:
            log.exception("cache_not_written")
        finally:
            self._running = None

    async def _linger(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._hurry.wait()

    async def _write(self, waited: list[Write], size: int) -> None:
        batch = [write for write in waited if await self._may_be_kept(write)]
        if size >= THREAD_FROM_BYTES:
            packed = await asyncio.to_thread(_packed, batch)
        else:
            packed = _packed(batch)
        now = time.time()
        await shared.put(
            [
                (write.tenant_id, write.key, body, write.expires - now)
                for write, body in zip(batch, packed, strict=True)
                if write.expires > now
            ]
        )
        tenants: dict[UUID, list[stored.Row]] = {}
        for write, body in zip(batch, packed, strict=True):
            if not write.stored:
                continue
            row = stored.Row(write.key, write.alias, body, write.tokens, write.created, write.expires, write.subject_id)
            tenants.setdefault(write.tenant_id, []).append(row)
        limits = {write.tenant_id: write.max_bytes for write in batch}
        for tenant_id, rows in tenants.items():
            await self._store(tenant_id, rows, limits[tenant_id])

    async def _may_be_kept(self, write: Write) -> bool:
        if not await is_forgotten(write.tenant_id, write.subject_id, write.request_id):
            return True
        memory().drop(write.key)
        return False

    async def _store(self, tenant_id: UUID, rows: list[stored.Row], max_bytes: int) -> None:
        try:
            await stored.put(tenant_id, rows)
            written = self._written.get(tenant_id, max_bytes) + sum(len(row.packed) for row in rows)
            if written > max_bytes // TRIM_AFTER:
                written = 0
                if gone := await stored.trim(tenant_id, max_bytes):
                    stats().count(tenant_id, "evictions", gone)
            self._written[tenant_id] = written
        except (Error, Unavailable) as error:
            log.warning("cache_postgres_away", entries=len(rows), error=str(error)[:200])


def _packed(batch: list[Write]) -> list[bytes]:
    return [pack(write.encoded) for write in batch]


writes = PerLoop(Writes)
