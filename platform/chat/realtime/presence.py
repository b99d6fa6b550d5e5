"""Who is there: told when it changes, and only then, however many come back at once.

* Each process compares, each second, who has a socket in a room with what it has told. Whoever is gone is told as gone after
  `PRESENCE_GRACE_S` only: a refresh, a cut or a process that is replaced changes nothing that is told.
* A script in Redis tells what isn't known there already: a crowd that comes back to another process is silent too.
* Of a crowd that does change, each process tells so many a second that a room's sockets get `EPHEMERAL_PER_S` frames at most;
  the rest waits, and of each member only the latest state counts.
"""

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, cast

import structlog

from chat.bounds import EPHEMERAL_PER_S, PRESENCE_GRACE_S, PRESENCE_KEPT_S, PRESENCE_RENEW_S
from chat.realtime.envelopes import presence_payload
from chat.realtime.streams import channel
from kernel.redis import RedisError, async_redis, tenant_key

log = structlog.get_logger(__name__)

Shown = Literal["online", "away"]
State = Literal["online", "away", "offline"]

TELL = """
local now = tonumber(redis.call('TIME')[1])
local ours, told = ARGV[2], 0
for i = 4, #ARGV, 3 do
  local who, state, payload = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local held = redis.call('HGET', KEYS[1], who)
  local shown, owner, ends
  if held then shown, owner, ends = string.match(held, '(%S+) (%S+) (%S+)') end
  local known = held and tonumber(ends) > now
  if state == 'offline' then
    if known and owner == ours then
      redis.call('HDEL', KEYS[1], who)
      redis.call('PUBLISH', ARGV[1], payload)
    end
  else
    redis.call('HSET', KEYS[1], who, state .. ' ' .. ours .. ' ' .. (now + tonumber(ARGV[3])))
    if not known or shown ~= state then redis.call('PUBLISH', ARGV[1], payload) end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3] * 2)
return 1
"""
"""KEYS: the room's presence. ARGV: channel, this process, seconds to keep; then membership, state and payload of each."""


class Present(Protocol):
    """Somebody who has a place in a room, on one socket."""

    @property
    def shows(self) -> tuple[uuid.UUID, Shown] | None:
        """Who it is and how; None for one that isn't shown."""
        ...


def key(tenant_id: uuid.UUID, room_id: uuid.UUID) -> str:
    """The hash of who is in a room."""
    return tenant_key(tenant_id, "room", room_id, "presence")


async def read_present(tenant_id: uuid.UUID, room_id: uuid.UUID) -> dict[uuid.UUID, Shown]:
    """Who is there now. Raises `RedisError`."""
    found = cast("Mapping[bytes, bytes]", await async_redis().hgetall(key(tenant_id, room_id)))
    present: dict[uuid.UUID, Shown] = {}
    for who, held in found.items():
        state, _, ends = held.decode().split(" ")
        if int(ends) > time.time():
            present[uuid.UUID(who.decode())] = "online" if state == "online" else "away"
    return present


class RoomPresence:
    """What one process has told of a room."""

    def __init__(self, tenant_id: uuid.UUID, room_id: uuid.UUID) -> None:
        self._tenant_id, self._room_id = tenant_id, room_id
        self._told: dict[uuid.UUID, Shown] = {}
        self._gone: dict[uuid.UUID, float] = {}
        self._renewed_at = 0.0

    @property
    def idle(self) -> bool:
        """Whether it has nothing left to tell."""
        return not self._told

    def heard_offline(self, who: uuid.UUID) -> None:
        """Another process has lost a member: if they are here too, that is told again."""
        self._told.pop(who, None)

    async def tell(self, places: Iterable[Present], *, process: uuid.UUID, now: float) -> None:
        """Tell what has changed. Raises `RedisError`; what wasn't told then is told next time."""
        here, sockets = _here(places)
        changes: list[tuple[uuid.UUID, State]] = [
            (who, state) for who, state in here.items() if self._told.get(who) != state
        ]
        away = self._told.keys() - here.keys()
        changes += [(who, "offline") for who in away if now - self._gone.setdefault(who, now) >= PRESENCE_GRACE_S]
        for who in self._gone.keys() & here.keys():
            del self._gone[who]
        changes = changes[: max(1, EPHEMERAL_PER_S // max(1, sockets))]
        if now - self._renewed_at >= PRESENCE_RENEW_S:
            self._renewed_at = now
            changing = {who for who, _ in changes}
            changes += [(who, state) for who, state in self._told.items() if who in here and who not in changing]
        if changes:
            await self._publish(changes, process)

    async def _publish(self, changes: list[tuple[uuid.UUID, State]], process: uuid.UUID) -> None:
        arguments: list[str | bytes | int] = [channel(self._tenant_id, self._room_id), str(process), PRESENCE_KEPT_S]
        for who, state in changes:
            arguments += [str(who), state, presence_payload(self._room_id, who=who, state=state)]
        await async_redis().register_script(TELL)(keys=[key(self._tenant_id, self._room_id)], args=arguments)
        for who, state in changes:
            if state == "offline":
                self._told.pop(who, None)
                self._gone.pop(who, None)
            else:
                self._told[who] = state


def _here(places: Iterable[Present]) -> tuple[dict[uuid.UUID, Shown], int]:
    """Who has a socket here, online if any of theirs is, and how many sockets there are."""
    here: dict[uuid.UUID, Shown] = {}
    sockets = 0
    for place in places:
        sockets += 1
        if place.shows is not None:
            who, state = place.shows
            here[who] = "online" if "online" in (state, here.get(who)) else "away"
    return here, sockets


async def tell_all(rooms: Iterable[tuple[RoomPresence, Iterable[Present]]], *, process: uuid.UUID, now: float) -> None:
    """One pass over the rooms of a process."""
    for room, places in rooms:
        try:
            await room.tell(places, process=process, now=now)
        except RedisError as error:
            log.warning("presence_not_told", error=repr(error))
            return
