"""Allowances: what a process holds of a tenant's budgets for the requests of its next second.

Where requests to which the same budgets apply come one after the other, each would wait for its hold. Here the process holds
for many of them at once, and grants each its own out of that, in memory (`billing.ledger` takes them from the ledger, and gives
back what is left). Nothing is granted that the ledger doesn't hold; budgets that run low give no allowance.
docs/adr/0016-allowances.md has the reasons and the numbers.
"""

import asyncio
import uuid
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import msgspec

from billing.holds import Hold, HoldRequest, WorstCase
from billing.noted import NotedHold
from billing.scopes import BudgetScopes
from kernel.ids import uuid7

LASTS_S = 1.0
"""How long requests draw from an allowance. The ledger and who is refused count on it."""
IDLE_S = 0.4
"""One from which nobody drew for so long is given back."""
OFTEN_PER_S = 50.0
"""So many requests a second get an allowance: where fewer come, each may as well ask for its own."""
COUNTED_S = 0.25
"""Over how long they are counted."""
_LATELY = 0.1
"""What one request counts for in the average of what they hold."""
RENEWED_AT = 0.5
"""When so much of its time or of its amount is gone, the next one is asked for."""
SPARE = 1.5
"""So much more than expected is asked for."""
ROOM = 20
"""An allowance is given where so many of them would fit into each budget."""
REFUSED_FOR_S = 0.25
"""For so long none is asked for after one wasn't given, and then a smaller one."""
SMALLER, SMALLEST = 0.25, 0.02
"""By how much, and the smallest part of what is expected that is asked for."""
KNOWN_MAX = 4_096
"""So many sets of budgets are watched at once."""


_encode = msgspec.json.Encoder().encode


class Drawn(NotedHold, kw_only=True):
    """A hold that was drawn from an allowance."""

    allowance: "Allowance"

    def line(self) -> bytes:
        return _encode(self.told())

    def told(self) -> "DrawnFacts":
        """What the ledger has to know of it."""
        return DrawnFacts(self.allowance.id, self.amount_nano, self.tokens, self.cap_tokens, self.facts)

    def written(self) -> None:
        """The ledger is about to be told."""
        self.is_written = True
        self.allowance.drawn.pop(self.request_id, None)

    def take_back(self) -> None:
        if not self.is_written:
            # What is told of it from now on is told too late.
            self.is_written = True
            self.allowance.take_back(self)
        super().take_back()


class DrawnFacts(NamedTuple):
    """What a request drew from an allowance, and the facts to bill it by. A line of the journal."""

    allowance: uuid.UUID
    amount_nano: int
    tokens: int
    cap_tokens: int
    facts: msgspec.Raw


class Allowance:
    """One that the ledger has given. `drawn` are the requests under way of which the ledger doesn't know yet."""

    __slots__ = (
        "asked",
        "drawn",
        "free_nano",
        "free_tokens",
        "given_at",
        "id",
        "is_bounded",
        "is_over",
        "last_at",
        "tenant_id",
    )

    def __init__(self, asked: HoldRequest, *, is_bounded: bool, now: float) -> None:
        self.asked = asked
        self.id = asked.request_id
        self.tenant_id = asked.payer.tenant_id
        self.is_bounded = is_bounded
        self.free_nano = asked.worst.input_nano
        self.free_tokens = asked.worst.cap_tokens
        self.drawn: dict[uuid.UUID, Drawn] = {}
        self.given_at = self.last_at = now
        self.is_over = False

    def draw(self, asked: HoldRequest, now: float) -> Drawn | None:
        """The hold of a request; None where it doesn't fit, or can't be noted."""
        nano, tokens = asked.worst.amount_nano, asked.worst.input_tokens + asked.worst.cap_tokens
        if nano > self.free_nano or tokens > self.free_tokens:
            return None
        hold = Drawn(
            tenant_id=self.tenant_id,
            request_id=asked.request_id,
            cap_tokens=asked.worst.cap_tokens,
            amount_nano=nano,
            tokens=tokens,
            is_bounded=self.is_bounded,
            is_sent=asked.is_sent,
            allowance=self,
            facts=asked.facts,
        )
        if asked.is_sent and not hold.note():
            return None
        self.drawn[asked.request_id] = hold
        self.free_nano -= nano
        self.free_tokens -= tokens
        self.last_at = now
        return hold

    def take_back(self, hold: Drawn) -> None:
        """A request needs nothing after all."""
        if self.drawn.pop(hold.request_id, None) is not None:
            self.free_nano += hold.amount_nano
            self.free_tokens += hold.tokens

    def is_half_gone(self, now: float) -> bool:
        """Whether it is time to ask for the next."""
        worst = self.asked.worst
        return (
            now - self.given_at > LASTS_S * RENEWED_AT
            or self.free_nano < worst.input_nano * RENEWED_AT
            or self.free_tokens < worst.cap_tokens * RENEWED_AT
        )


class _Demand:
    """How often requests come to which the same budgets apply, what they hold on average, and their allowance."""

    __slots__ = ("allowance", "asking", "count", "nano", "not_before", "part", "per_s", "since", "tokens")

    def __init__(self, now: float) -> None:
        self.count, self.since, self.per_s = 0, now, 0.0
        self.nano, self.tokens = 0.0, 0.0
        self.part = 1.0
        self.allowance: Allowance | None = None
        self.asking: asyncio.Task[None] | None = None
        self.not_before = 0.0

    def note(self, worst: WorstCase, now: float) -> None:
        """Another request came."""
        if now - self.since >= COUNTED_S:
            self.per_s = self.count / (now - self.since)
            self.count, self.since = 0, now
        self.count += 1
        share = _LATELY if self.nano or self.tokens else 1.0
        self.nano += share * (worst.amount_nano - self.nano)
        self.tokens += share * (worst.input_tokens + worst.cap_tokens - self.tokens)

    def wanted(self) -> WorstCase:
        """What the requests of an allowance's time will hold, and somewhat more; a part of it where so much wasn't given."""
        count = self.part * SPARE * LASTS_S * self.per_s
        return WorstCase(0, int(count * self.tokens) + 1, input_nano=int(count * self.nano) + 1, output_nano_per_mtok=0)


_Key = tuple[uuid.UUID, frozenset[str]]


class Allowances:
    """Those of one event loop. `ask` has the ledger give one: whether a hard budget stands behind it, and None where it isn't
    given. `end` tells the ledger of all that is drawn from one, and gives back the rest.
    """

    def __init__(self, ask: Callable[[HoldRequest], Awaitable[bool | None]], end: Callable[[Allowance], None]) -> None:
        self._ask = ask
        self._end = end
        self._known: OrderedDict[_Key, _Demand] = OrderedDict()
        self._asking: Counter[uuid.UUID] = Counter()

    @contextmanager
    def asking(self, request_id: uuid.UUID) -> Iterator[None]:
        """While the ledger is asked for a request's hold, nothing is drawn for it."""
        self._asking[request_id] += 1
        try:
            yield
        finally:
            self._asking[request_id] -= 1
            if not self._asking[request_id]:
                del self._asking[request_id]

    def draw(self, asked: HoldRequest) -> Hold | None:
        """The hold of a request from an allowance; None where there is none, and the ledger has to be asked."""
        budgeted = asked.budgeted
        scopes = frozenset(asked.scopes) if budgeted is None else budgeted.intersection(asked.scopes)
        if not scopes:
            return None
        loop = asyncio.get_running_loop()
        now = loop.time()
        key = (asked.payer.tenant_id, scopes)
        demand = self._demand(key, now)
        demand.note(asked.worst, now)
        allowance = demand.allowance
        if allowance is not None and (allowance.asked.budgeted is not budgeted or now - allowance.given_at >= LASTS_S):
            self._over(demand)
            allowance = None
        hold: Hold | None = None
        if allowance is not None and asked.request_id not in self._asking:
            hold = allowance.drawn.get(asked.request_id) or allowance.draw(asked, now)
        if (
            demand.per_s >= OFTEN_PER_S
            and demand.asking is None
            and now >= demand.not_before
            and (allowance is None or allowance.is_half_gone(now))
        ):
            demand.asking = loop.create_task(self._open(demand, key, asked, budgeted), name="allowance")
        return hold

    def end_all(self, tenant_id: uuid.UUID | None = None) -> None:
        """End those of a tenant, or all, now."""
        now = asyncio.get_running_loop().time()
        for (tenant, _), demand in self._known.items():
            if tenant_id is None or tenant == tenant_id:
                demand.not_before = now + REFUSED_FOR_S
                self._over(demand)

    async def closed(self) -> None:
        """End all, and those that are being asked for."""
        while asking := [demand.asking for demand in self._known.values() if demand.asking is not None]:
            await asyncio.wait(asking)
        self.end_all()

    def _demand(self, key: _Key, now: float) -> _Demand:
        demand = self._known.get(key)
        if demand is None:
            demand = self._known[key] = _Demand(now)
            for other in list(islice(self._known, max(0, len(self._known) - KNOWN_MAX))):
                # One with an allowance is in use, or will be over in a moment.
                if self._known[other].allowance is None and self._known[other].asking is None:
                    del self._known[other]
        else:
            self._known.move_to_end(key)
        return demand

    async def _open(self, demand: _Demand, key: _Key, asked: HoldRequest, budgeted: BudgetScopes | None) -> None:
        loop = asyncio.get_running_loop()
        request = HoldRequest(
            asked.payer, uuid7(), tuple(key[1]), demand.wanted(), msgspec.Raw(b"{}"), is_sent=False, budgeted=budgeted
        )
        given: bool | None = None
        try:
            given = await self._ask(request)
        finally:
            demand.asking = None
            if given is None:
                demand.not_before = loop.time() + REFUSED_FOR_S
                demand.part = max(demand.part * SMALLER, SMALLEST)
            else:
                demand.part = min(1.0, demand.part / SMALLER)
                self._over(demand)
                demand.allowance = Allowance(request, is_bounded=given, now=loop.time())
                self._watch(demand, demand.allowance)

    def _watch(self, demand: _Demand, allowance: Allowance) -> None:
        """Look from time to time whether it is over."""
        if allowance.is_over:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - allowance.given_at >= LASTS_S or now - allowance.last_at >= IDLE_S:
            self._over(demand)
        else:
            loop.call_later(IDLE_S / 2, self._watch, demand, allowance)

    def _over(self, demand: _Demand) -> None:
        allowance, demand.allowance = demand.allowance, None
        if allowance is not None:
            allowance.is_over = True
            self._end(allowance)
