"""How often entries were served: counted here, written every `FLUSH_S`. A crash loses what waits."""

import asyncio
from uuid import UUID

import structlog
from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.per_loop import PerLoop
from kernel.redis import RedisError, async_redis, tenant_key
from providers.cache.semantic import storage

log = structlog.get_logger(__name__)

FLUSH_S = 2.0
MAX_WAITING = 10_000
TOLD_S = 7 * 86_400
"""So long a thumbs-down in a room finds the entry."""


class Uses:
    """One event loop's."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[UUID, UUID], int] = {}
        self._told: list[tuple[UUID, UUID, UUID]] = []
        self._flushing: asyncio.Task[None] | None = None

    def told(self, tenant_id: UUID, entry_id: UUID, request_id: UUID) -> None:
        """Remember which entry has a request's answer, for whoever calls that wrong."""
        if len(self._told) < MAX_WAITING:
            self._told.append((tenant_id, entry_id, request_id))
        self._begin_flushing()

    def count(self, tenant_id: UUID, entry_id: UUID) -> None:
        """An entry was served. Beyond `MAX_WAITING` entries, new ones aren't counted."""
        key = (tenant_id, entry_id)
        if key in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[key] = self._waiting.get(key, 0) + 1
        self._begin_flushing()

    def _begin_flushing(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_soon(), name="semantic uses")

    async def flush(self) -> None:
        """Write what waits; what can't be written is forgotten."""
        await self._tell()
        waiting, self._waiting = self._waiting, {}
        tenants: dict[UUID, list[tuple[UUID, int]]] = {}
        for (tenant_id, entry_id), hits in waiting.items():
            tenants.setdefault(tenant_id, []).append((entry_id, hits))
        for tenant_id, uses_ in tenants.items():
            try:
                async with adb.transaction(tenant_id) as connection:
                    await storage.count_uses(connection, uses_)
            except (Error, Unavailable) as error:
                log.warning("semantic_uses_not_written", problem=repr(error)[:200])

    async def _tell(self) -> None:
        told, self._told = self._told, []
        if not told:
            return
        try:
            async with async_redis().pipeline(transaction=False) as pipe:
                for tenant_id, entry_id, request_id in told:
                    pipe.set(served_key(tenant_id, request_id), entry_id.bytes, ex=TOLD_S)
                await pipe.execute()
        except RedisError as error:
            log.warning("semantic_answers_not_told", problem=repr(error)[:200])

    async def close(self) -> None:
        """Flush for the last time."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        await self.flush()

    async def _flush_soon(self) -> None:
        try:
            await asyncio.sleep(FLUSH_S)
            await self.flush()
        finally:
            self._flushing = None


def served_key(tenant_id: UUID, request_id: UUID) -> str:
    """Where Redis says which entry has a request's answer."""
    return tenant_key(tenant_id, "cache", "served", request_id)


uses = PerLoop(Uses)
