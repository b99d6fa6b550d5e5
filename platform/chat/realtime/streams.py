"""A room's stream in Redis: the short cache that resume and fan-out read. PostgreSQL is the truth.

`meta` holds the epoch and the head, the stream the last events as payloads under the id `<seq>-0`. A script appends and
publishes in one step, and accepts only head + 1: two processes can't publish out of order. What is missing is filled from
PostgreSQL. A stream that was lost gets a new epoch.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

from chat.bounds import FILL_EVENTS_MAX, REPLAY_EVENTS_MAX, STREAM_EVENTS_MAX
from chat.events import Head, RoomEvent, events_after
from chat.realtime.envelopes import event_payload
from chat.realtime.unread import unread
from chat.store import first, transaction
from kernel.errors import NotFound, ParleyError
from kernel.redis import RedisError, async_redis, line, tenant_key
from kernel.redis_line import Away, Script

log = structlog.get_logger(__name__)

_ATTEMPTS = 8
_SAYING = ("message.created", "generation.finished")

_APPEND = Script("""
local state = redis.call('HMGET', KEYS[1], 'epoch', 'head')
if not state[1] then return {'lost', 0} end
if state[1] ~= ARGV[1] then return {'epoch', tonumber(state[1])} end
local head = tonumber(state[2])
for i = 4, #ARGV, 2 do
  local seq = tonumber(ARGV[i])
  if seq > head + 1 then
    redis.call('HSET', KEYS[1], 'head', string.format('%.0f', head))
    return {'gap', head}
  elseif seq == head + 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], ARGV[i] .. '-0', 'p', ARGV[i + 1])
    redis.call('PUBLISH', ARGV[2], ARGV[i + 1])
    head = seq
  end
end
redis.call('HSET', KEYS[1], 'head', string.format('%.0f', head))
return {'ok', head}
""")
"""KEYS: meta, stream. ARGV: epoch, channel, longest stream, then seq and payload of each event."""

OPEN = """
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'head', ARGV[2])
return 1
"""
"""KEYS: meta, stream. ARGV: epoch, head to begin after."""


class StreamRange(msgspec.Struct, frozen=True):
    """What the stream holds after a position: whole, without gaps, up to its head."""

    head: Head
    payloads: tuple[bytes, ...]


def channel(tenant_id: uuid.UUID, room_id: uuid.UUID) -> str:
    """Where everything that happens in a room is published."""
    return tenant_key(tenant_id, "room", room_id)


def meta_key(tenant_id: uuid.UUID, room_id: uuid.UUID) -> str:
    """The hash of a stream's epoch and head."""
    return tenant_key(tenant_id, "room", room_id, "meta")


def stream_key(tenant_id: uuid.UUID, room_id: uuid.UUID) -> str:
    """The stream of a room's payloads."""
    return tenant_key(tenant_id, "room", room_id, "events")


async def publish(tenant_id: uuid.UUID, room_id: uuid.UUID, *, epoch: int, events: Sequence[RoomEvent]) -> None:
    """Tell everybody of events that have been committed. A failure is logged: hubs compare with PostgreSQL."""
    try:
        await _publish(tenant_id, room_id, epoch, list(events))
    except (RedisError, ParleyError) as error:
        log.warning("room_not_told", room_id=str(room_id), error=repr(error))
    if any(event.type in _SAYING for event in events):
        unread().said(tenant_id, room_id)


async def _publish(tenant_id: uuid.UUID, room_id: uuid.UUID, epoch: int, events: list[RoomEvent]) -> None:
    for _ in range(_ATTEMPTS):
        outcome, number = await _append(tenant_id, room_id, epoch, events)
        match outcome:
            case "ok":
                return
            case "lost":
                epoch = await _reopen(tenant_id, room_id, head=events[0].seq - 1)
            case "epoch" if number > epoch:
                epoch = number
            case "epoch":
                # Redis came back with an older stream than PostgreSQL knows of.
                await open_stream(tenant_id, room_id, Head(epoch=epoch, seq=events[0].seq - 1))
            case _:
                _, missing = await events_after(tenant_id, room_id, seq=number, limit=FILL_EVENTS_MAX)
                known = {event.seq for event in missing}
                events = missing + [event for event in events if event.seq not in known]
    log.warning("room_not_told", room_id=str(room_id), error="too many attempts")


async def _append(tenant_id: uuid.UUID, room_id: uuid.UUID, epoch: int, events: Sequence[RoomEvent]) -> tuple[str, int]:
    arguments: list[Any] = [epoch, channel(tenant_id, room_id), STREAM_EVENTS_MAX]
    for event in events:
        arguments += [event.seq, event_payload(room_id, epoch=epoch, event=event)]
    keys = [meta_key(tenant_id, room_id), stream_key(tenant_id, room_id)]
    try:
        outcome, number = await line().script(_APPEND, *keys, *arguments, keys=len(keys))
    except Away:
        # It waits for nobody. Events that came there after all are passed over.
        outcome, number = await async_redis().eval(_APPEND.text, len(keys), *keys, *arguments)
    return outcome.decode(), int(number)


async def _reopen(tenant_id: uuid.UUID, room_id: uuid.UUID, *, head: int) -> int:
    """Give the room a new epoch, and a stream that begins after `head`; answers the epoch."""
    async with transaction(tenant_id) as connection:
        row = await first(
            connection, "UPDATE chat_room SET epoch = epoch + 1 WHERE id = %s RETURNING epoch", (room_id,)
        )
    if row is None:
        raise NotFound
    epoch: int = row["epoch"]
    await open_stream(tenant_id, room_id, Head(epoch=epoch, seq=head))
    return epoch


async def forget_before(tenant_id: uuid.UUID, room_id: uuid.UUID, *, seq: int) -> None:
    """Drop the events before `seq`, which may tell what was since edited or deleted: from now on they come from PostgreSQL.
    Where Redis is away the room gets a new epoch, with which its stream begins anew."""
    try:
        await async_redis().xtrim(stream_key(tenant_id, room_id), minid=f"{seq}-0", approximate=False)
    except RedisError as error:
        log.warning("stream_not_trimmed", room_id=str(room_id), error=repr(error))
        async with transaction(tenant_id) as connection:
            await connection.execute("UPDATE chat_room SET epoch = epoch + 1 WHERE id = %s", (room_id,))


async def open_stream(tenant_id: uuid.UUID, room_id: uuid.UUID, head: Head) -> bool:
    """Begin a stream after `head`, unless there is one of the same or a later epoch. Raises `RedisError`."""
    keys = [meta_key(tenant_id, room_id), stream_key(tenant_id, room_id)]
    return bool(await async_redis().register_script(OPEN)(keys=keys, args=[head.epoch, head.seq]))


async def stream_head(tenant_id: uuid.UUID, room_id: uuid.UUID) -> Head | None:
    """Where the stream stands; None when there is none. Raises `RedisError`."""
    found = await async_redis().hmget(meta_key(tenant_id, room_id), ["epoch", "head"])
    if found[0] is None or found[1] is None:
        return None
    return Head(epoch=int(found[0]), seq=int(found[1]))


async def read_after(
    tenant_id: uuid.UUID, room_id: uuid.UUID, *, seq: int, limit: int = REPLAY_EVENTS_MAX
) -> StreamRange | None:
    """What the stream holds after `seq`; None when that isn't everything. Raises `RedisError`."""
    async with async_redis().pipeline(transaction=True) as pipe:
        pipe.hmget(meta_key(tenant_id, room_id), ["epoch", "head"])
        pipe.xrange(stream_key(tenant_id, room_id), min=f"({seq}-0", max="+", count=limit + 1)
        state, entries = await pipe.execute()
    if state[0] is None or state[1] is None:
        return None
    head = Head(epoch=int(state[0]), seq=int(state[1]))
    numbers = [int(entry_id.partition(b"-")[0]) for entry_id, _ in entries]
    if numbers != list(range(seq + 1, head.seq + 1)):
        return None
    return StreamRange(head=head, payloads=tuple(fields[b"p"] for _, fields in entries))
