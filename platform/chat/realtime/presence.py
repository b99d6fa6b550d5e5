"""Who is there: told when it changes, and only then, however many come back at once.

* Each process compares, each second, who has a socket in a room with what it has told. Whoever is gone is told as gone after
  `PRESENCE_GRACE_S` only: a refresh, a cut or a process that is replaced changes nothing that is told.
* A process that ends takes with it what it had still to tell: what it doesn't renew lapses after `PRESENCE_KEPT_S`, and
  whichever process with sockets in the room finds that first tells it as gone.
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
local now, ours, left = tonumber(redis.call('TIME')[1]), ARGV[2], tonumber(ARGV[4])
local known, lapsed, waiting = {}, {}, {}
local function told(who, state)
  if left < 1 then
    table.insert(waiting, who)
    return false
  end
  left = left - 1
  local payload = string.gsub(string.gsub(ARGV[5], '<who>', who), '<state>', state)
  redis.call('PUBLISH', ARGV[1], payload)
  return true
end
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local shown, owner, ends = string.match(held[i + 1], '(%S+) (%S+) (%S+)')
  if tonumber(ends) > now then known[held[i]] = {shown, owner} else lapsed[held[i]] = true end
end
for i = 6, #ARGV, 2 do
  local who, state = ARGV[i], ARGV[i + 1]
  local shown, owner = unpack(known[who] or {})
  if state == 'offline' then
    if owner == ours and told(who, state) then redis.call('HDEL', KEYS[1], who) end
  else
    if shown ~= state and not told(who, state) then state = shown end
    if state then
      redis.call('HSET', KEYS[1], who, state .. ' ' .. ours .. ' ' .. (now + tonumber(ARGV[3])))
      lapsed[who] = nil
    end
  end
end
for who in pairs(lapsed) do
  if told(who, 'offline') then redis.call('HDEL', KEYS[1], who) end
end
redis.call('EXPIRE', KEYS[1], ARGV[3] * 2)
return waiting
"""
"""KEYS: the room's presence. ARGV: channel, this process, seconds to keep, how many may be told, a payload with places for
`<who>` and `<state>`; then membership and state of each. Answers who has to wait: what is known of them holds meanwhile."""
_NOBODY = uuid.UUID(int=0)


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
        self._renewed_at = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether it has nothing left to tell."""
        return not self._told

    def heard_offline(self, who: uuid.UUID) -> None:
        """Another process has lost a member: if they are here too, that is told again."""
        self._told.pop(who, None)

    async def tell(self, places: Iterable[Present], *, process: uuid.UUID, now: float) -> None:
        """Tell what has changed, and who has lapsed. Raises `RedisError`; what wasn't told then is told next time."""
        here, sockets = _here(places)
        due = sockets > 0 and now - self._renewed_at >= PRESENCE_RENEW_S
        changes: list[tuple[uuid.UUID, State]] = [
            (who, state) for who, state in here.items() if due or self._told.get(who) != state
        ]
        away = self._told.keys() - here.keys()
        changes += [(who, "offline") for who in away if now - self._gone.setdefault(who, now) >= PRESENCE_GRACE_S]
        for who in self._gone.keys() & here.keys():
            del self._gone[who]
        if not due and not changes:
            return
        waiting = await self._publish(changes, process, most=max(1, EPHEMERAL_PER_S // max(1, sockets)))
        if waiting:
            self._renewed_at = float("-inf")
        elif due:
            self._renewed_at = now

    async def _publish(
        self, changes: list[tuple[uuid.UUID, State]], process: uuid.UUID, *, most: int
    ) -> set[uuid.UUID]:
        """Tell at most so many; answers of whom there is more to tell."""
        payload = presence_payload(self._room_id, who=_NOBODY, state="offline")
        payload = payload.replace(str(_NOBODY).encode(), b"<who>").replace(b"offline", b"<state>")
        room = channel(self._tenant_id, self._room_id)
        arguments: list[str | bytes | int] = [room, str(process), PRESENCE_KEPT_S, most, payload]
        for who, state in changes:
            arguments += [str(who), state]
        script = async_redis().register_script(TELL)
        found = cast("list[bytes]", await script(keys=[key(self._tenant_id, self._room_id)], args=arguments))
        waiting = {uuid.UUID(who.decode()) for who in found}
        for who, state in changes:
            if who in waiting:
                continue
            if state == "offline":
                self._told.pop(who, None)
                self._gone.pop(who, None)
            else:
                self._told[who] = state
        return waiting


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
