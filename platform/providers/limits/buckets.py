"""The arithmetic of a bucket, and buckets of this process alone.

A bucket is one number, `tat`: the time at which it will be full again (the "theoretical arrival time" of the generic cell
rate algorithm, ITU-T I.371; the same as a bucket of tokens that refills steadily). What is taken costs time: of a
bucket with 600 a minute, each unit costs 100 ms. It may be taken when `tat` then lies at most `depth` ahead. All
times are whole microseconds, so that this process and Redis reckon exactly alike.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["requests", "tokens"]
MINUTE_US = 60_000_000
MAX_DEBT_US = MINUTE_US
"""How far below empty a correction may bring a bucket: what an answer took beyond its estimate keeps others waiting a
minute at most."""
MAX_LOCAL_BUCKETS = 100_000


class Bucket(msgspec.Struct, frozen=True):
    """So many `per_minute`, of which `depth_us` of time at once. `key` names it in Redis."""

    key: str
    kind: Kind
    per_minute: int
    depth_us: int
    subject: str = "tenant"

    def cost_us(self, amount: int, *, scale: float = 1.0) -> int:
        """What `amount` costs; with `scale` 2 twice that, as if the limit were half. Never more than the bucket holds: what
        is larger is let through when the bucket is full.
        """
        return min(self.depth_us, self.correction_us(amount, scale=scale))

    def correction_us(self, amount: int, *, scale: float = 1.0) -> int:
        """The same without the bound."""
        return -int(-amount * MINUTE_US * scale // self.per_minute)

    def left(self, used_us: int, *, scale: float = 1.0) -> int:
        """How many more could be taken at once, when the bucket will be full in `used_us`."""
        return max(0, int((self.depth_us - used_us) * self.per_minute / (MINUTE_US * scale)))


def depth_us(percent: int, per_minute: int) -> int:
    """The depth of a bucket that holds `percent` of a minute's amount, or at least one unit."""
    return max(percent * MINUTE_US // 100, -(-MINUTE_US // per_minute))


class Taken(msgspec.Struct, frozen=True):
    """Whether all buckets gave, and in how many microseconds each will be full."""

    granted: bool
    used_us: tuple[int, ...]


def ahead_us(tat_us: int, now_us: int, depth: int) -> int:
    """In what time a bucket is full. A clock that went back can't lock it: there is a most."""
    return min(max(0, tat_us - now_us), depth + MAX_DEBT_US)


class LocalBuckets:
    """Buckets of one process. At most `MAX_LOCAL_BUCKETS`, the longest unused forgotten first."""

    def __init__(self) -> None:
        self._tats: OrderedDict[str, int] = OrderedDict()

    def take(self, buckets: Sequence[Bucket], costs: Sequence[int], *, now_us: int | None = None) -> Taken:
        """Take each cost from its bucket, or nothing from any."""
        now = monotonic_us() if now_us is None else now_us
        used = [ahead_us(self._tats.get(bucket.key, 0), now, bucket.depth_us) for bucket in buckets]
        if any(have + cost > bucket.depth_us for have, cost, bucket in zip(used, costs, buckets, strict=True)):
            return Taken(granted=False, used_us=tuple(used))
        after = tuple(have + cost for have, cost in zip(used, costs, strict=True))
        for bucket, ahead in zip(buckets, after, strict=True):
            if ahead:
                self._keep(bucket.key, now + ahead)
        return Taken(granted=True, used_us=after)

    def correct(self, bucket: Bucket, by_us: int, *, now_us: int | None = None) -> int:
        """Take more, or give back; in what time the bucket is full then."""
        now = monotonic_us() if now_us is None else now_us
        ahead = ahead_us(self._tats.get(bucket.key, 0), now, bucket.depth_us) + by_us
        ahead = min(max(0, ahead), bucket.depth_us + MAX_DEBT_US)
        if ahead:
            self._keep(bucket.key, now + ahead)
        else:
            self._tats.pop(bucket.key, None)
        return ahead

    def __len__(self) -> int:
        return len(self._tats)

    def _keep(self, key: str, tat: int) -> None:
        self._tats[key] = tat
        self._tats.move_to_end(key)
        while len(self._tats) > MAX_LOCAL_BUCKETS:
            self._tats.popitem(last=False)


def monotonic_us() -> int:
    """This process's clock."""
    return time.monotonic_ns() // 1000
