"""Answers that were under way when something was deleted that they may have been made of: they are not kept.

A deletion takes what caches have of a subject, such as a room. What is answered afterwards, but was asked before, would be kept
after it."""

import time
from uuid import UUID

from redis.exceptions import RedisError

from kernel.ids import unix_ms
from kernel.redis import async_redis, sync_redis, tenant_key

KNOWN_S = 86_400
"""For how long it is known: longer than any answer takes."""


def forget_what_was_asked(tenant_id: UUID, subject_id: UUID) -> None:
    """From now on keep no answer to what was asked for a subject until now. Raises redis-py's errors."""
    sync_redis().set(_key(tenant_id, subject_id), int(time.time() * 1000), ex=KNOWN_S)


async def is_forgotten(tenant_id: UUID, subject_id: UUID | None, request_id: UUID) -> bool:
    """Whether a request's answer must not be kept. With Redis away nobody knows, so it isn't."""
    if subject_id is None:
        return False
    try:
        until_ms = await async_redis().get(_key(tenant_id, subject_id))
    except RedisError:
        return True
    return until_ms is not None and unix_ms(request_id) <= int(until_ms)


def _key(tenant_id: UUID, subject_id: UUID) -> str:
    return tenant_key(tenant_id, "cache", "forgotten", subject_id)
