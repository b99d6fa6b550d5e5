"""A live answer in Redis: always at least what any client was shown.

A script appends a piece only where the answer ends, counted in code points of all its parts, and then publishes it. It is
a cache with a time to live: what was evicted or flushed, its owner puts back whole. Pieces lie in a list, each under the
number and the kind of its part; short ones grow together.
"""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec
from redis.client import Pipeline

from chat.bounds import ENDED_TEXT_TTL_S, LIVE_TEXT_TTL_S, PIECE_BYTES_MAX
from chat.parts import Kind, Parts, length, merged
from chat.realtime.envelopes import delta_payload
from chat.realtime.streams import channel
from kernel.redis import RedisError, async_redis, tenant_key

APPEND = """
local held = tonumber(redis.call('HGET', KEYS[1], 'n') or '0')
local offset = tonumber(ARGV[1])
if held > 0 and redis.call('EXISTS', KEYS[2]) == 0 then held = 0 end
if held ~= offset then return {0, held} end
local last = redis.call('LINDEX', KEYS[2], -1)
if last and #last < tonumber(ARGV[8]) and string.sub(last, 1, #ARGV[7]) == ARGV[7] then
  redis.call('LSET', KEYS[2], -1, last .. ARGV[3])
else
  redis.call('RPUSH', KEYS[2], ARGV[7] .. ARGV[3])
end
redis.call('HSET', KEYS[1], 'n', string.format('%.0f', offset + tonumber(ARGV[2])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return {1, offset + tonumber(ARGV[2])}
"""
"""KEYS: meta, pieces. ARGV: offset in the whole answer, length of the piece, piece, seconds to live, channel, payload, header,
longest piece to grow."""

PUT = """
redis.call('DEL', KEYS[2])
for i = 3, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
redis.call('HSET', KEYS[1], 'n', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""
"""KEYS: meta, pieces. ARGV: length, seconds to live, then the pieces."""


FORGET_ENDED = """
local left = redis.call('TTL', KEYS[1])
if left >= 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', KEYS[1], KEYS[2]) end
return 1
"""
"""KEYS: meta, pieces. ARGV: how many seconds an answer that has ended lives at most. A live one has more."""


class Place(msgspec.Struct, frozen=True):
    """Where a piece belongs: its part and the offset there, and how much of the answer is before it."""

    part: int
    kind: Kind
    offset: int
    before: int


class Appended(msgspec.Struct, frozen=True):
    """Whether a piece was taken, and the length that Redis holds now."""

    accepted: bool
    held: int


def _keys(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> list[str]:
    # The room is in the name: whoever may read a room can't name another room's answer in it.
    return [tenant_key(tenant_id, "room", room_id, "gen", gid, part) for part in ("meta", "pieces")]


def _header(part: int, kind: Kind) -> str:
    return f"{part} {kind}\n"


async def append_piece(
    tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID, *, place: Place, piece: str
) -> Appended:
    """Append `piece` in its place and publish it as a delta; both or neither. Raises `RedisError`."""
    payload = delta_payload(room_id, gid=gid, part=place.part, kind=place.kind, offset=place.offset, text=piece)
    arguments: list[bytes | str | int] = [
        place.before,
        len(piece),
        piece,
        LIVE_TEXT_TTL_S,
        channel(tenant_id, room_id),
        payload,
        _header(place.part, place.kind),
        PIECE_BYTES_MAX,
    ]
    accepted, held = await async_redis().register_script(APPEND)(keys=_keys(tenant_id, room_id, gid), args=arguments)
    return Appended(accepted=bool(accepted), held=int(held))


async def put_parts(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID, parts: Parts) -> None:
    """Put an answer back whole, after Redis lost it. Raises `RedisError`."""
    pieces = [_header(number, part.kind) + part.text for number, part in enumerate(parts)]
    await async_redis().register_script(PUT)(
        keys=_keys(tenant_id, room_id, gid), args=[length(parts), LIVE_TEXT_TTL_S, *pieces]
    )


async def read_parts(tenant_id: uuid.UUID, room_id: uuid.UUID, gids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Parts]:
    """The answers of a room that Redis holds. Raises `RedisError`."""
    if not gids:
        return {}
    async with async_redis().pipeline(transaction=False) as pipe:
        for gid in gids:
            pipe.lrange(_keys(tenant_id, room_id, gid)[1], 0, -1)
        found = cast("list[list[bytes]]", await pipe.execute())
    return {gid: merged(_runs(pieces)) for gid, pieces in zip(gids, found, strict=True) if pieces}


def _runs(pieces: Sequence[bytes]) -> Iterator[tuple[int, Kind, str]]:
    for piece in pieces:
        header, _, text = piece.partition(b"\n")
        number, _, kind = header.decode().partition(" ")
        yield int(number), cast("Kind", kind), text.decode()


def forget_ended(pipe: Pipeline, tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> None:
    """Delete what is left of an answer that has ended; one that is being written stays. To be sent with `pipe`."""
    pipe.eval(FORGET_ENDED, 2, *_keys(tenant_id, room_id, gid), ENDED_TEXT_TTL_S)


async def let_expire(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> None:
    """The answer has ended and its text is in PostgreSQL. Raises `RedisError`."""
    async with async_redis().pipeline(transaction=False) as pipe:
        for key in _keys(tenant_id, room_id, gid):
            pipe.expire(key, ENDED_TEXT_TTL_S)
        await pipe.execute()


async def forget(tenant_id: uuid.UUID, room_id: uuid.UUID, gid: uuid.UUID) -> None:
    """The answer was deleted. What Redis can't be told now expires by itself within `ENDED_TEXT_TTL_S`."""
    with contextlib.suppress(RedisError):
        await async_redis().delete(*_keys(tenant_id, room_id, gid))
