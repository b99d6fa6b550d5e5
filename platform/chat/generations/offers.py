"""Queued generations that any web process may begin. Only ids travel: it isn't a tenant's channel."""

import contextlib
import uuid

from kernel.redis import RedisError, async_redis

OFFERS = "parley:generations"
"""Where they are offered."""


async def offer(tenant_id: uuid.UUID, generation_id: uuid.UUID) -> None:
    """Tell all web processes of a queued generation. The first that claims it writes it."""
    with contextlib.suppress(RedisError):
        await async_redis().publish(OFFERS, f"{tenant_id} {generation_id}")
