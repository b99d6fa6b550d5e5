"""Who is next: by class of priority, then by tenant in turn, then by arrival. Every operation takes constant time.

A class goes before those below it, but not for ever: who was passed over as often as `PATIENCE` says comes next. So normal gets
at least one turn in 5, batch one in 22, whatever else waits; and interactive never waits for more than the one before it."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Class(IntEnum):
    """The classes of priority, the most urgent first."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


PATIENCE = (0, 4, 20)
"""How often a class lets those above it go first."""
LOOK_AT = 16
"""Of the tenants of a class whose turn it may be, so many are asked whether they may go."""


class Waiting(Generic[Item]):
    """One that waits. It has an identity, so that it can leave from the middle."""

    __slots__ = ("item", "rank", "tenant")

    def __init__(self, item: Item, *, tenant: Hashable, rank: Class) -> None:
        self.item = item
        self.tenant = tenant
        self.rank = rank


_Lane = OrderedDict[Waiting[Item], None]


class FairQueue(Generic[Item]):
    """Those that wait. It knows no bound: whoever adds to it does."""

    def __init__(self) -> None:
        self._lanes: tuple[OrderedDict[Hashable, _Lane[Item]], ...] = tuple(OrderedDict() for _ in Class)
        self._counts = [0 for _ in Class]
        self._passed_over = [0 for _ in Class]
        self._tenants: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return sum(self._counts)

    def count(self, rank: Class) -> int:
        """How many of a class wait."""
        return self._counts[rank]

    @property
    def tenants(self) -> int:
        """How many tenants wait."""
        return len(self._tenants)

    def tenants_in(self, rank: Class) -> int:
        """How many tenants wait in a class."""
        return len(self._lanes[rank])

    def of_tenant(self, tenant: Hashable) -> int:
        """How many of a tenant wait, in all classes."""
        return self._tenants.get(tenant, 0)

    def in_lane(self, tenant: Hashable, rank: Class) -> int:
        """How many of a tenant wait in a class."""
        lane = self._lanes[rank].get(tenant)
        return len(lane) if lane else 0

    def add(self, waiting: Waiting[Item]) -> None:
        """Let one wait, behind all of its tenant's and class's."""
        lanes = self._lanes[waiting.rank]
        lane = lanes.get(waiting.tenant)
        if lane is None:
            lane = lanes[waiting.tenant] = OrderedDict()
        lane[waiting] = None
        self._counts[waiting.rank] += 1
        self._tenants[waiting.tenant] = self._tenants.get(waiting.tenant, 0) + 1

    def remove(self, waiting: Waiting[Item]) -> bool:
        """Take one out that waits no longer, from wherever it is. Whether it was there."""
        lanes = self._lanes[waiting.rank]
        lane = lanes.get(waiting.tenant)
        if lane is None or waiting not in lane:
            return False
        del lane[waiting]
        self._left(waiting)
        if not lane:
            del lanes[waiting.tenant]
        return True

    def pop(
        self, lowest: Class = Class.BATCH, *, may: Callable[[Class, Hashable], bool] | None = None
    ) -> Waiting[Item] | None:
        """Take out who is next among the classes down to `lowest`, and of these the tenants that `may` go; None if none of them
        waits. A tenant that may not go loses its turn."""
        for rank in self._turns(lowest) if self._tenants else ():
            if may is None or self._find(rank, may):
                return self._take(rank, lowest)
        return None

    def _find(self, rank: Class, may: Callable[[Class, Hashable], bool]) -> bool:
        """Bring a tenant that may go to the front of its class, if there is one."""
        lanes = self._lanes[rank]
        for _ in range(min(len(lanes), LOOK_AT)):
            tenant = next(iter(lanes))
            if may(rank, tenant):
                return True
            lanes.move_to_end(tenant)
        return False

    def _take(self, rank: Class, lowest: Class) -> Waiting[Item]:
        for lower in Class:
            if rank < lower <= lowest and self._counts[lower]:
                self._passed_over[lower] += 1
        self._passed_over[rank] = 0
        lanes = self._lanes[rank]
        tenant, lane = lanes.popitem(last=False)
        waiting, _ = lane.popitem(last=False)
        if lane:
            lanes[tenant] = lane
        self._left(waiting)
        return waiting

    def _turns(self, lowest: Class) -> list[Class]:
        """The classes in which somebody waits, who is next first."""
        waiting = [rank for rank in Class if rank <= lowest and self._counts[rank]]
        due = [rank for rank in waiting[1:] if self._passed_over[rank] >= PATIENCE[rank]]
        return due[:1] + [rank for rank in waiting if rank not in due[:1]]

    def _left(self, waiting: Waiting[Item]) -> None:
        self._counts[waiting.rank] -= 1
        if not self._counts[waiting.rank]:
            self._passed_over[waiting.rank] = 0
        left = self._tenants[waiting.tenant] - 1
        if left:
            self._tenants[waiting.tenant] = left
        else:
            del self._tenants[waiting.tenant]
