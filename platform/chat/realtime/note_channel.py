"""What Redis knows of notes: the number of each member's last, and a channel per tenant that tells whom new ones concern."""

import uuid
from collections.abc import Mapping

import structlog

from kernel.redis import RedisError, async_redis, tenant_key

log = structlog.get_logger(__name__)

_REMEMBER = """
for i = 1, #ARGV, 2 do
  local held = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '-1')
  if tonumber(ARGV[i + 1]) > held then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""
"""KEYS: last notes. ARGV: membership and number, of each."""


def channel(tenant_id: uuid.UUID) -> str:
    """Where it is published whom new notes concern."""
    return tenant_key(tenant_id, "notes")


def last_key(tenant_id: uuid.UUID) -> str:
    """The hash of each member's last note."""
    return tenant_key(tenant_id, "notes", "last")


async def tell(tenant_id: uuid.UUID, numbers: Mapping[uuid.UUID, int]) -> None:
    """Tell all processes whom notes were written to. A failure is logged: the hub's next look finds them."""
    try:
        await remember(tenant_id, numbers)
        await async_redis().publish(channel(tenant_id), ",".join(map(str, numbers)))
    except RedisError as error:
        log.warning("notes_not_told", error=repr(error))


async def remember(tenant_id: uuid.UUID, numbers: Mapping[uuid.UUID, int]) -> None:
    """Know these as the last of their members, unless there are later ones. Raises `RedisError`."""
    arguments = [text for member, seq in numbers.items() for text in (str(member), str(seq))]
    await async_redis().register_script(_REMEMBER)(keys=[last_key(tenant_id)], args=arguments)
