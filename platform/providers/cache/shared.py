"""The second level: Redis, shared by all processes, each value packed and with a time to live.

Unless caches have a Redis of their own, the limits' round trip brings the value along, and nothing here is asked."""

import random
import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from django.conf import settings

from kernel.redis import RedisError, async_cache_redis, line, tenant_key
from providers.cache.entries import Kept, unpack

log = structlog.get_logger(__name__)

JITTER = 0.1
"""Times to live differ by up to so much, so that what was written together doesn't expire together."""
LINE_BYTES = 512 * 1024
"""So much may go by the line that requests use; more would keep them waiting."""
REST_S = 1.0
"""After a failure Redis is left alone for so long, rather than waited for by every request."""

_RANDOM = random.SystemRandom()
_rest = {"until": 0.0}


def is_apart() -> bool:
    """Whether caches have a Redis of their own."""
    return bool(settings.REDIS_CACHE_URL != settings.REDIS_URL)


def redis_key(tenant_id: UUID, key: bytes) -> str:
    """Where Redis holds an answer."""
    return tenant_key(tenant_id, "cache", "x", key.hex())


async def get(tenant_id: UUID, key: bytes) -> tuple[Kept, int] | None:
    """The answer kept under a key, and its size in bytes."""
    if time.monotonic() < _rest["until"]:
        return None
    try:
        packed = await async_cache_redis().get(redis_key(tenant_id, key))
    except RedisError as error:
        rest(error)
        return None
    return unpack(packed) if isinstance(packed, bytes) else None


async def put(writes: Sequence[tuple[UUID, bytes, bytes, float]]) -> None:
    """Keep answers: tenant, key, packed, and the seconds to live."""
    if not writes or time.monotonic() < _rest["until"]:
        return
    try:
        if not is_apart() and sum(len(packed) for _, _, packed, _ in writes) <= LINE_BYTES:
            await line().calls(*[_setting(*write) for write in writes])
            return
        async with async_cache_redis().pipeline(transaction=False) as pipe:
            for tenant_id, key, packed, ttl_s in writes:
                pipe.set(redis_key(tenant_id, key), packed, px=with_jitter_ms(ttl_s))
            await pipe.execute()
    except RedisError as error:
        rest(error)


def _setting(tenant_id: UUID, key: bytes, packed: bytes, ttl_s: float) -> tuple[str | bytes | int, ...]:
    return "SET", redis_key(tenant_id, key), packed, "PX", with_jitter_ms(ttl_s)


def with_jitter_ms(ttl_s: float) -> int:
    """So many seconds or a little less, in milliseconds."""
    return max(1, round(ttl_s * 1000 * (1 - JITTER * _RANDOM.random())))


def rest(error: RedisError) -> None:
    """Redis failed: leave it alone for a moment."""
    _rest["until"] = time.monotonic() + REST_S
    log.warning("cache_redis_away", error=str(error)[:200])
