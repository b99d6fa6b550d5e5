"""What the cache did, counted per tenant: in this process at once, in Redis for all of them within `FLUSH_S`."""

import asyncio
import time
from uuid import UUID

from kernel.per_loop import PerLoop
from kernel.redis import RedisError, async_redis, tenant_key
from providers.types import Usage

FLUSH_S = 0.5
MAX_PENDING = 20_000
NAMES = (
    "hits_memory",
    "hits_redis",
    "hits_postgres",
    "hits_dedupe",
    "misses",
    "bypasses",
    "stores",
    "evictions",
    "saved_input_tokens",
    "saved_output_tokens",
)
SINCE = "since"
"""The field that says when counting began, in seconds since 1970."""


class Stats:
    """One event loop's counters that Redis doesn't have yet."""

    def __init__(self) -> None:
        self._pending: dict[tuple[UUID, str], int] = {}
        self._flushing: asyncio.Task[None] | None = None

    def count(self, tenant_id: UUID, name: str, by: int = 1) -> None:
        """Add to a counter. While Redis is away no more than `MAX_PENDING` counters wait for it."""
        key = (tenant_id, name)
        if key in self._pending:
            self._pending[key] += by
        elif len(self._pending) < MAX_PENDING:
            self._pending[key] = by
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_soon(), name="cache stats")

    def hit(self, tenant_id: UUID, level: str, usage: Usage) -> None:
        """Count a hit and the tokens it saved."""
        self.count(tenant_id, level)
        self.count(tenant_id, "saved_input_tokens", usage.prompt)
        self.count(tenant_id, "saved_output_tokens", usage.completion)

    async def flush(self) -> None:
        """Add what waits to the counters in Redis, or keep it for later."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            async with async_redis().pipeline(transaction=False) as pipe:
                for (tenant_id, name), by in pending.items():
                    pipe.hincrby(stats_key(tenant_id), name, by)
                for tenant_id in {tenant_id for tenant_id, _ in pending}:
                    pipe.hsetnx(stats_key(tenant_id), SINCE, str(int(time.time())))
                await pipe.execute()
        except RedisError:
            for key, by in pending.items():
                self._pending[key] = self._pending.get(key, 0) + by

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


def stats_key(tenant_id: UUID) -> str:
    """Where Redis holds a tenant's counters."""
    return tenant_key(tenant_id, "cache", "stats")


stats = PerLoop(Stats)
