"""One deployment's slots, what waits for them, and who is sent away instead of being let wait for nothing.

Plain data: the caller says what time it is (seconds of one clock), and is told by `grant` whose turn has come. To take a slot
that is free and give it back costs 3 µs of CPU."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from providers.scheduling.fair_queue import Class, FairQueue, Waiting
from providers.scheduling.limiter import NO_EPOCH, Limiter, Signal
from providers.scheduling.shares import Shares

Item = TypeVar("Item")

MAX_QUEUED = 1_000
BATCH_SHARE = 0.8
"""Of the slots, what batch may take: one is always near for those who wait for an answer."""
HOLD_SMOOTHING = 0.05
MIN_RETRY_AFTER_S = 1.0
MAX_RETRY_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one may not wait: its tenant asks for more than its share (`over_share`), or there is too much in all. After
    `retry_after_s` there will be room at the present pace."""

    over_share: bool
    retry_after_s: float


class Gate(Generic[Item]):
    """Slots and queue of one deployment. Of those `in_flight`, `pending` have had nothing of their answer yet. `grant`
    takes what was given to `wait` and says whether it still wants its slot."""

    def __init__(self, grant: Callable[[Item], bool], *, now_s: float, limiter: Limiter | None = None) -> None:
        self.limiter = limiter or Limiter()
        self.queue: FairQueue[Item] = FairQueue()
        self.in_flight = 0
        self.pending = 0
        self._batch_in_flight = 0
        self._shares = Shares(now_s=now_s)
        self._now_s = now_s
        self._grant = grant
        self._hold_s = 0.0
        self._ended_at_s = now_s
        self._passed_on = False

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return not self.in_flight and not len(self.queue)

    def enter(self, rank: Class, *, tenant: Hashable, now_s: float) -> bool:
        """Take a slot if one is free for this tenant. It is never free for one while others wait that could have it."""
        self._now_s = now_s
        if self.in_flight >= self.limiter.limit or (rank is Class.BATCH and not self._takes_batch):
            return False
        if self.queue.in_lane(tenant, rank) or not self._allows(rank, tenant):
            return False
        if not self.in_flight:
            self._ended_at_s = now_s
        self._entered(rank, tenant)
        return True

    @property
    def epoch(self) -> int:
        """What a request that has just got its slot takes along."""
        return self.limiter.epoch if self.in_flight <= self.limiter.limit else NO_EPOCH

    def refusal(
        self, *, tenant: Hashable, rank: Class, patience_s: float, now_s: float, overload: float = 0.0
    ) -> Refusal | None:
        """Why this one can't be let wait for at most `patience_s`; None if it can.

        `overload` (0 to 1) takes away that part of the queue's room. In a lane (a tenant's of a class) no more may wait than
        there is room left in all: one who floods can take half, two who flood a third each, and there is always some for who
        comes next (Choudhury and Hahne, Dynamic Queue Length Thresholds, 1998)."""
        room = int(MAX_QUEUED * (1.0 - overload)) - len(self.queue)
        lane = self.queue.in_lane(tenant, rank)
        in_time = self._ends_per_s(now_s) * patience_s
        ahead = self._ahead(lane, rank)
        if lane < room and ahead < in_time:
            return None
        over_share = 0 < room <= lane or self._over_share(tenant)
        return self._refuse(over_share, max(ahead - in_time, lane - room), now_s)

    def too_late(self, *, tenant: Hashable, now_s: float) -> Refusal:
        """Why one that was let wait has to go after all: the pace was slower than it looked."""
        return self._refuse(self._over_share(tenant), len(self.queue), now_s)

    def _over_share(self, tenant: Hashable) -> bool:
        return self.queue.of_tenant(tenant) * self.queue.tenants > len(self.queue)

    def _refuse(self, over_share: bool, too_many: float, now_s: float) -> Refusal:
        wait_s = max(too_many, 1.0) / self._ends_per_s(now_s)
        return Refusal(over_share=over_share, retry_after_s=min(MAX_RETRY_AFTER_S, max(MIN_RETRY_AFTER_S, wait_s)))

    def wait(self, item: Item, *, tenant: Hashable, rank: Class) -> Waiting[Item]:
        """Let one wait that could not enter. What has become free since the last one left may let one in at once."""
        waiting = Waiting(item, tenant=tenant, rank=rank)
        self.queue.add(waiting)
        self.let_in()
        return waiting

    def give_up(self, waiting: Waiting[Item]) -> None:
        """One waits no longer."""
        self.queue.remove(waiting)

    def answered(self, first_s: float, *, signal: Signal, epoch: int) -> None:
        """One in flight had its first content, after `first_s`. Once for each, if at all."""
        self.pending -= 1
        self.limiter.answered(
            first_s,
            signal=signal,
            epoch=epoch,
            in_flight=self.in_flight,
            pending=self.pending,
            waiting=len(self.queue) > 0,
        )
        self.let_in()

    def leave(self, rank: Class, *, tenant: Hashable, answered: bool, held_s: float | None, now_s: float) -> None:
        """Give a slot back, which was held for `held_s`; None if it wasn't used to the end."""
        self._now_s = now_s
        self._shares.gave(rank, tenant, now_s=now_s)
        self.in_flight -= 1
        self.pending -= not answered
        self._batch_in_flight -= rank is Class.BATCH
        if held_s is not None:
            self._hold_s = held_s if not self._hold_s else self._hold_s + HOLD_SMOOTHING * (held_s - self._hold_s)
            self._ended_at_s = now_s
        if self.in_flight >= self.limiter.limit:
            # The limit has shrunk below what runs: pass on every second slot, or nobody would start until half have ended.
            self._passed_on = not self._passed_on
            if self._passed_on:
                self._let_one_in()
        self.let_in()

    def let_in(self) -> None:
        """Give free slots to those who wait for them."""
        while self.in_flight < self.limiter.limit and self._let_one_in():
            continue

    def _let_one_in(self) -> bool:
        while waiting := self.queue.pop(Class.BATCH if self._takes_batch else Class.NORMAL, may=self._allows):
            if self._grant(waiting.item):
                self._entered(waiting.rank, waiting.tenant)
                return True
        return False

    def _allows(self, rank: Class, tenant: Hashable) -> bool:
        return self._shares.allows(rank, tenant, limit=self.limiter.limit, in_flight=self.in_flight)

    def _entered(self, rank: Class, tenant: Hashable) -> None:
        self._shares.took(rank, tenant, now_s=self._now_s)
        self.in_flight += 1
        self.pending += 1
        self._batch_in_flight += rank is Class.BATCH

    @property
    def _takes_batch(self) -> bool:
        return self._batch_in_flight < max(1, int(self.limiter.limit * BATCH_SHARE))

    def _ends_per_s(self, now_s: float) -> float:
        """How many slots come free per second: by Little's law, where each is held at least as long as none came free."""
        held_s = max(self._hold_s, now_s - self._ended_at_s)
        return self.limiter.limit / max(held_s, 1e-6)

    def _ahead(self, lane: int, rank: Class) -> int:
        """How many have their turn before one who comes now: all of the classes above, and of its own as many as are in the lanes
        up to where it will stand, at most."""
        above = sum(self.queue.count(higher) for higher in Class if higher < rank)
        return above + min(self.queue.count(rank), (lane + 1) * self.queue.tenants_in(rank))
