"""Redis (or Valkey): the clients, and the one way to name a tenant's key.

Every key of a tenant holds `{tenant_id}` as its hash tag, so all keys that one script touches lie in one slot, also in
Redis Cluster. Clients are made at first use, per process (sync) and per event loop (async), with bounded pools and
time-outs.
"""

import uuid
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from kernel.per_loop import PerLoop
from kernel.redis_line import Line

__all__ = [
    "Line",
    "RedisError",
    "async_cache_redis",
    "async_redis",
    "close",
    "line",
    "subscribing_redis",
    "sync_cache_redis",
    "sync_redis",
    "tenant_key",
]


T = TypeVar("T")


class _Once(AsyncRetry):
    """Tries once, and leaves the connection as the failure left it.

    redis-py's own reconnects after the last failure too, before it raises. One that listens and others that subscribe share a
    connection: each would make another, and but one of them would be closed.
    """

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    async def call_with_retry(self, do: Callable[[], Awaitable[T]], *_args: Any, **_kwargs: Any) -> T:
        return await do()


def tenant_key(tenant_id: uuid.UUID, *parts: object) -> str:
    """The name of a tenant's key, channel, group or object: `parley:{tenant}:part:part`."""
    return ":".join((f"parley:{{{tenant_id}}}", *(str(part) for part in parts)))


@cache
def sync_redis() -> redis.Redis:
    """This process's client for threads. Values are bytes."""
    return _new_sync(settings.REDIS_URL)


@cache
def sync_cache_redis() -> redis.Redis:
    """The same, for what may be lost at any time: caches can have a Redis of their own."""
    return sync_redis() if settings.REDIS_CACHE_URL == settings.REDIS_URL else _new_sync(settings.REDIS_CACHE_URL)


def _new_sync(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        max_connections=settings.REDIS_MAX_CONNECTIONS,
        socket_timeout=settings.REDIS_TIMEOUT_S,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1),
    )


def subscribing_redis() -> redis.asyncio.Redis:
    """A client for one who listens for long, theirs to close. It reports a lost connection at once: whoever only
    reconnected would not know that something was missed.
    """
    return _new_async(settings.REDIS_URL, _Once())


def _make_async() -> redis.asyncio.Redis:
    return _new_async(settings.REDIS_URL, AsyncRetry(NoBackoff(), 1))


def _make_async_cache() -> redis.asyncio.Redis:
    return _new_async(settings.REDIS_CACHE_URL, AsyncRetry(NoBackoff(), 1))


def _new_async(url: str, retry: AsyncRetry) -> redis.asyncio.Redis:
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url,
        max_connections=settings.REDIS_MAX_CONNECTIONS,
        socket_timeout=settings.REDIS_TIMEOUT_S,
        socket_connect_timeout=settings.REDIS_TIMEOUT_S,
        retry=retry,
    )
    return client


async_redis = PerLoop(_make_async)
"""`async_redis()` is this event loop's client. Values are bytes."""


_async_cache_redis = PerLoop(_make_async_cache)


def async_cache_redis() -> redis.asyncio.Redis:
    """This event loop's client for what may be lost at any time: caches can have a Redis of their own."""
    return async_redis() if settings.REDIS_CACHE_URL == settings.REDIS_URL else _async_cache_redis()


line = PerLoop(Line)
"""`line()` is the one connection that all requests of this event loop share: for what must be quick, and may fail."""


async def close() -> None:
    """Close this event loop's clients and line."""
    opened = line.pop()
    if opened is not None:
        await opened.close()
    for client in (async_redis.pop(), _async_cache_redis.pop()):
        if client is not None:
            await client.aclose()
