"""How much of a deployment one tenant may hold while others use it too: what those don't need, and never less than its part.

What others need is what they held of late, on average, and three times its square root more: independent requests come and go
like that (Poisson), so that this nearly always finds a free slot. So one who floods, and batch beside people, leaves free what
the others are about to want, and they wait neither here nor in the upstream's own queue. Whoever is alone may hold everything,
and half of the limit is for everybody.

Means are of windows of `WINDOW_S`, smoothed; all operations take constant time except a window's end, which looks once at each
tenant that held something in the last ones. Seconds are of the caller's clock."""

from collections.abc import Hashable
from math import sqrt

from providers.scheduling.fair_queue import Class

WINDOW_S = 2.0
SMOOTHING = 0.5
"""The weight of the newest window: who went away keeps a sixteenth of its reserve after 8 s."""
FORGOTTEN = 0.02
"""Less than so much of a slot, on average, is nothing."""
SPREAD = 3.0
"""How many standard deviations more than their mean is kept for the others."""
FREE_SHARE = 0.5
"""Up to this part of the limit nobody is kept from a slot."""
LEAST = (1.0, 0.2, 0.05)
"""What a class may hold of the limit whatever those above it need."""


class _Holder:
    """What one tenant holds in one class."""

    __slots__ = ("held", "held_s", "mean", "since_s")

    def __init__(self, now_s: float) -> None:
        self.held = 0
        self.mean = 0.0
        self.held_s = 0.0
        """Slots times seconds, in this window, up to `since_s`."""
        self.since_s = now_s

    def advance(self, now_s: float) -> None:
        self.held_s += self.held * (now_s - self.since_s)
        self.since_s = now_s


class Shares:
    """Who holds how many slots of one deployment."""

    def __init__(self, *, now_s: float) -> None:
        self._holders: tuple[dict[Hashable, _Holder], ...] = tuple({} for _ in Class)
        self._means = [0.0 for _ in Class]
        self._began_s = now_s

    def took(self, rank: Class, tenant: Hashable, *, now_s: float) -> None:
        """One slot more is this tenant's, in this class."""
        holder = self._holders[rank].get(tenant)
        if holder is None:
            holder = self._holders[rank][tenant] = _Holder(now_s)
        holder.advance(now_s)
        holder.held += 1
        if now_s - self._began_s >= WINDOW_S:
            self._end_window(now_s)

    def gave(self, rank: Class, tenant: Hashable, *, now_s: float) -> None:
        """One slot less."""
        holder = self._holders[rank][tenant]
        holder.advance(now_s)
        holder.held -= 1
        if now_s - self._began_s >= WINDOW_S:
            self._end_window(now_s)

    def allows(self, rank: Class, tenant: Hashable, *, limit: int, in_flight: int) -> bool:
        """Whether this tenant may hold one more in this class, of `limit` of which `in_flight` are taken."""
        if in_flight < limit * FREE_SHARE:
            return True
        holder = self._holders[rank].get(tenant)
        held, mean = (holder.held, holder.mean) if holder is not None else (0, 0.0)
        above = sum(self._means[:rank])
        beside = self._means[rank] - mean
        if above + beside < FORGOTTEN or not held:
            return True
        room = max(limit - _need(above), limit * LEAST[rank])
        part = room / len(self._holders[rank])
        return held + 1 <= max(part, room - _need(beside), 1.0)

    def _end_window(self, now_s: float) -> None:
        """Begin a new window, and forget who is gone."""
        for rank, holders in enumerate(self._holders):
            for tenant, holder in list(holders.items()):
                holder.advance(now_s)
                holder.mean += SMOOTHING * (holder.held_s / (now_s - self._began_s) - holder.mean)
                holder.held_s = 0.0
                if not holder.held and holder.mean < FORGOTTEN:
                    del holders[tenant]
            self._means[rank] = sum(holder.mean for holder in holders.values())
        self._began_s = now_s


def _need(mean: float) -> float:
    """How many slots hold `mean` on average and what comes beside it."""
    return mean + SPREAD * sqrt(mean) if mean > 0 else 0.0
