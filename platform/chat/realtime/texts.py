"""The text of a live answer in Redis: always at least what any client was shown.

A script appends a piece only at the offset that equals the length, counted in code points, and then publishes it. The text
is a cache with a time to live: what was evicted or flushed, its owner puts back whole.
"""

import uuid
from collections.abc import Sequence
from typing import cast

import msgspec

from chat.bounds import ENDED_TEXT_TTL_S, LIVE_TEXT_TTL_S
from chat.realtime.envelopes import delta_payload
from chat.realtime.streams import channel
from kernel.redis import async_redis, tenant_key

APPEND = """
local held = tonumber(redis.call('HGET', KEYS[1], 'n') or '0')
local offset = tonumber(ARGV[1])
if held > 0 and redis.call('EXISTS', KEYS[2]) == 0 then held = 0 end
if held ~= offset then return {0, held} end
redis.call('APPEND', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[1], 'n', string.format('%.0f', offset + tonumber(ARGV[2])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return {1, offset + tonumber(ARGV[2])}
"""
"""KEYS: meta, text. ARGV: offset, length of the piece, piece, seconds to live, channel, payload."""

PUT = """
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('HSET', KEYS[1], 'n', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
"""KEYS: meta, text. ARGV: length, text, seconds to live."""


class Appended(msgspec.Struct, frozen=True):
    """Whether a piece was taken, and the length that Redis holds now."""

    accepted: bool
    held: int


def _keys(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> list[str]:
    # The room is in the name: whoever may read a room can't name another room's answer in it.
    return [tenant_key(tenant_id, "room", room_id, "gen", gid, part) for part in ("meta", "text")]


async def append_piece(
    tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID, *, offset: int, piece: str
) -> Appended:
    """Append `piece` at `offset` and publish it as a delta; both or neither. Raises `RedisError`."""
    arguments: list[bytes | str | int] = [
        offset,
        len(piece),
        piece,
        LIVE_TEXT_TTL_S,
        channel(tenant_id, room_id),
        delta_payload(room_id, gid=gid, offset=offset, text=piece),
    ]
    accepted, held = await async_redis().register_script(APPEND)(keys=_keys(tenant_id, room_id, gid), args=arguments)
    return Appended(accepted=bool(accepted), held=int(held))


async def put_text(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID, text: str) -> None:
    """Put a text back whole, after Redis lost it. Raises `RedisError`."""
    await async_redis().register_script(PUT)(
        keys=_keys(tenant_id, room_id, gid), args=[len(text), text, LIVE_TEXT_TTL_S]
    )


async def read_texts(tenant_id: uuid.UUID, room_id: uuid.UUID, gids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The texts of a room's answers that Redis holds. Raises `RedisError`."""
    if not gids:
        return {}
    keys = [_keys(tenant_id, room_id, gid)[1] for gid in gids]
    found = cast("list[bytes | None]", await async_redis().mget(keys))
    return {gid: text.decode() for gid, text in zip(gids, found, strict=True) if text is not None}


async def let_expire(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> None:
    """The answer has ended and its text is in PostgreSQL. Raises `RedisError`."""
    async with async_redis().pipeline(transaction=False) as pipe:
        for key in _keys(tenant_id, room_id, gid):
            pipe.expire(key, ENDED_TEXT_TTL_S)
        await pipe.execute()
