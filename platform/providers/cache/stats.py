"""What the cache did, counted per tenant: in this process at once, in Redis for all of them within `FLUSH_S`."""

import asyncio
import time
from uuid import UUID

from kernel.per_loop import PerLoop
from kernel.redis import RedisError, async_redis, tenant_key
from providers.types import Usage

FLUSH_S = 0.5
MAX_TENANTS = 10_000
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
    "saved_nano",
    "hits_semantic",
    "semantic_lookups",
    "semantic_lookup_us",
    "semantic_slow",
    "semantic_timeouts",
    "semantic_ineligible",
    "semantic_unconfirmed",
    "semantic_confirmed",
    "semantic_stores",
    "semantic_dropped",
    "semantic_audits",
    "semantic_audits_wrong",
    "semantic_reports",
)
SLOW_S = 0.015
"""A look-up that takes longer counts as slow."""
SINCE = "since"
"""The field that says when counting began, in seconds since 1970."""


class Stats:
    """One event loop's counters that Redis doesn't have yet."""

    def __init__(self) -> None:
        self._pending: dict[UUID, dict[str, int]] = {}
        self._flushing: asyncio.Task[None] | None = None

    def count(self, tenant_id: UUID, name: str, by: int = 1) -> None:
        """Add to a counter."""
        counters = self._of(tenant_id)
        counters[name] = counters.get(name, 0) + by

    def looked_up(self, tenant_id: UUID, took_s: float) -> None:
        """Count a look-up among questions in other words, and its time."""
        self.count(tenant_id, "semantic_lookups")
        self.count(tenant_id, "semantic_lookup_us", round(took_s * 1e6))
        if took_s > SLOW_S:
            self.count(tenant_id, "semantic_slow")

    def hit(self, tenant_id: UUID, level: str, usage: Usage, *, saved_nano: int = 0) -> None:
        """Count a hit, and the tokens and the money it saved."""
        counters = self._of(tenant_id)
        counters[level] = counters.get(level, 0) + 1
        counters["saved_input_tokens"] = counters.get("saved_input_tokens", 0) + usage.prompt
        counters["saved_output_tokens"] = counters.get("saved_output_tokens", 0) + usage.completion
        counters["saved_nano"] = counters.get("saved_nano", 0) + saved_nano

    def _of(self, tenant_id: UUID) -> dict[str, int]:
        """A tenant's counters. While Redis is away those of no more than `MAX_TENANTS` wait for it."""
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_soon(), name="cache stats")
        counters = self._pending.get(tenant_id)
        if counters is None:
            counters = {}
            if len(self._pending) < MAX_TENANTS:
                self._pending[tenant_id] = counters
        return counters

    async def flush(self) -> None:
        """Add what waits to the counters in Redis, or keep it for later."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            async with async_redis().pipeline(transaction=False) as pipe:
                for tenant_id, counters in pending.items():
                    key = stats_key(tenant_id)
                    for name, by in counters.items():
                        pipe.hincrby(key, name, by)
                    pipe.hsetnx(key, SINCE, str(int(time.time())))
                await pipe.execute()
        except RedisError:
            for tenant_id, counters in pending.items():
                newer = self._pending.setdefault(tenant_id, {})
                for name, by in counters.items():
                    newer[name] = newer.get(name, 0) + by

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


def asked_of_a_provider(tenant_id: UUID, cache: str) -> None:
    """Count a request that no cache answered: looked for in vain (`miss`), or not looked for."""
    stats().count(tenant_id, "misses" if cache == "miss" else "bypasses")
