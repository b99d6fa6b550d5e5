"""The arithmetic of `buckets` in Redis, by its clock.

All keys of a call have the tenant's hash tag, so they lie in one slot. A key expires a minute
after its bucket is full.
"""

from kernel.redis_line import Script
from providers.limits.buckets import MAX_DEBT_US, Bucket

_COMMON = f"""
local function clock(given)
  if given ~= '0' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function ahead(tat, now, depth)
  return math.min(math.max(0, (tonumber(tat or 0) or 0) - now), depth + {MAX_DEBT_US})
end
local function keep(key, now, ahead)
  redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000) + 60000)
end
"""

TAKE = Script(
    _COMMON
    + """
-- KEYS: the epochs, the buckets, and perhaps the cache's entry.
-- ARGV: the time or 0, the number of buckets, cost and depth of each, the fields of the epochs.
-- Answers: 1 or 0, in what time each bucket is full, the epochs, the entry.
local n = tonumber(ARGV[2])
local epochs = redis.call('HMGET', KEYS[1], unpack(ARGV, 3 + 2 * n))
local found = redis.call('MGET', unpack(KEYS, 2))
local now = clock(ARGV[1])
local granted = 1
local used = {}
for i = 1, n do
  local depth = tonumber(ARGV[2 + 2 * i])
  used[i] = ahead(found[i], now, depth)
  if used[i] + tonumber(ARGV[1 + 2 * i]) > depth then granted = 0 end
end
if granted == 1 then
  for i = 1, n do
    used[i] = used[i] + tonumber(ARGV[1 + 2 * i])
    if used[i] > 0 then keep(KEYS[1 + i], now, used[i]) end
  end
end
return {granted, used, epochs, found[n + 1] or false}
"""
)

CORRECT = Script(
    _COMMON
    + f"""
-- KEYS: buckets. ARGV: the time or 0, then by how much to correct each, and its depth. Answers in what time each is full.
local now = clock(ARGV[1])
local used = {{}}
for i, key in ipairs(KEYS) do
  local depth = tonumber(ARGV[1 + 2 * i])
  local after = ahead(redis.call('GET', key), now, depth) + tonumber(ARGV[2 * i])
  after = math.min(math.max(0, after), depth + {MAX_DEBT_US})
  if after > 0 then keep(key, now, after) else redis.call('DEL', key) end
  used[i] = after
end
return used
"""
)


def take_arguments(
    *,
    epochs_key: str,
    fields: tuple[str, ...],
    buckets: tuple[Bucket, ...],
    costs: tuple[int, ...],
    cache_key: bytes | None,
    now_us: int = 0,
) -> tuple[int, list[str | bytes | int | float]]:
    """The number of keys of a `TAKE`, and its keys and arguments. `now_us` 0 stands for Redis' own clock."""
    given: list[str | bytes | int | float] = [epochs_key, *(bucket.key for bucket in buckets)]
    if cache_key is not None:
        given.append(cache_key)
    keys = len(given)
    given += (now_us, len(buckets))
    for bucket, cost in zip(buckets, costs, strict=True):
        given += (cost, bucket.depth_us)
    given += fields
    return keys, given


def correct_arguments(
    corrections: list[tuple[Bucket, int]], *, now_us: int = 0
) -> tuple[int, list[str | bytes | int | float]]:
    """The number of keys of a `CORRECT`, and its keys and arguments."""
    given: list[str | bytes | int | float] = [bucket.key for bucket, _ in corrections]
    given.append(now_us)
    for bucket, by_us in corrections:
        given += (by_us, bucket.depth_us)
    return len(corrections), given
