"""Requests: asked for, granted or refused, settled, forgotten, late, and said twice."""

import asyncio
import dataclasses
from datetime import timedelta

import msgspec
import pytest
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from billing import commits, ledger
from billing.allowances import Allowance
from billing.commits import LONGEST_S
from billing.errors import BudgetExceeded
from billing.holds import LEAST_OUTPUT_TOKENS, Hold
from billing.ledger import admit, checkpoint, drained, settle
from billing.pricing import charge
from billing.services.reaping import reap_holds
from billing.types import Tokens, UsageEvent
from kernel.ids import uuid7
from kernel.loop import on_loop
from tests.billing.ledger_machine.books import Standing
from tests.billing.ledger_machine.ground import Ground, Request
from tests.billing.ledger_support import RATE, asking, used

YOUNG_S = 1.0


class Requests(Ground):
    """What people ask of the model, and what becomes of it. Whoever can draws from an allowance."""

    @rule(
        by_alice=st.booleans(),
        cap=st.integers(0, 300),
        reads=st.integers(0, 80),
        is_sent=st.booleans(),
        times=st.integers(1, 4),
    )
    def ask(self, by_alice: bool, cap: int, reads: int, is_sent: bool, times: int) -> None:
        for _ in range(times):
            self._ask(by_alice, cap, reads, is_sent)

    @rule(by_alice=st.booleans(), beyond=st.integers(-2, 2), reads=st.integers(0, 80))
    def ask_for_what_is_left(self, by_alice: bool, beyond: int, reads: int) -> None:
        """As much as the tightest budget of money has, give or take a token."""
        standing = self.books.standing()
        left = [one.limit - one.used for one in standing if (one.mode, one.measure) == ("hard", "nano")]
        self._ask(by_alice, max(0, min(left, default=0) // self.rate - reads + beyond), reads, True)

    def _ask(self, by_alice: bool, cap: int, reads: int, is_sent: bool) -> None:
        who = self.company.alice if by_alice else self.company.bob
        asked = asking(who, cap=cap, input_tokens=reads, is_sent=is_sent, tariff=self.tariff)
        allowances = on_loop(_allowances())
        asked = msgspec.structs.replace(asked, budgeted=self.budgeted())
        worst = msgspec.structs.replace(
            asked.worst, input_nano=reads * self.rate, output_nano_per_mtok=self.rate * RATE
        )
        asked = msgspec.structs.replace(asked, worst=worst)
        mine = [self._without(one, allowances) for one in self.applying(asked)]
        fits = min([cap, *(self._fit(one, cap, reads) for one in mine if one.mode == "hard")])
        if fits < min(cap, LEAST_OUTPUT_TOKENS):
            with pytest.raises(BudgetExceeded) as refused:
                on_loop(admit(asked))
            details = refused.value.details or {}
            (blocker,) = [one for one in mine if str(one.id) == details["budget"]]
            assert (blocker.mode, self._fit(blocker, cap, reads)) == ("hard", fits)
            return
        hold = on_loop(admit(asked))
        assert hold.cap_tokens == fits
        assert hold.amount_nano == (reads + fits) * self.rate
        assert hold.is_bounded == any(one.mode == "hard" for one in mine)
        self.open.append(Request(asked, hold, self.tariff, tuple(one.id for one in mine)))

    def _without(self, one: Standing, allowances: list[Allowance]) -> Standing:
        """A budget without what allowances have of it that nobody drew."""
        of_it = [allowance for allowance in allowances if one.id in self.books.budgets_of(allowance.id)]
        free = sum(each.free_nano if one.measure == "nano" else each.free_tokens for each in of_it)
        return dataclasses.replace(one, held=one.held - free)

    def _fit(self, one: Standing, cap: int, reads: int) -> int:
        """The longest answer that a budget allows; less than nothing where not even the question fits."""
        available = one.limit - one.used
        if one.measure == "tokens":
            return min(cap, available - reads)
        if not reads and not cap:
            # What costs nothing passes, whatever was used.
            return 0
        return -1 if available < reads * self.rate else min(cap, (available - reads * self.rate) // self.rate)

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        parts=st.lists(st.tuples(st.integers(0, 1_500), st.booleans()), min_size=1, max_size=3),
        times=st.integers(1, 2),
    )
    def settle_one(self, data: st.DataObject, parts: list[tuple[int, bool]], times: int) -> None:
        request = self._take(data)
        events = [
            self._event(request, tokens, attempt=attempt, unseen=unseen)
            for attempt, (tokens, unseen) in enumerate(parts, start=1)
        ]
        on_loop(_together(request.hold, events, times))
        self._close(request)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def give_one_back(self, data: st.DataObject) -> None:
        request = self._take(data)
        on_loop(settle(request.hold, ()))
        self._close(request)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def ask_again_for_one(self, data: st.DataObject) -> None:
        request = self.one_of(data, self.open)
        # No allowance is left to draw from.
        on_loop(drained())
        again = on_loop(admit(request.asked))
        assert (again.cap_tokens, again.amount_nano) == (request.hold.cap_tokens, request.hold.amount_nano)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 100))
    def note_how_far_one_came(self, data: st.DataObject, tokens: int) -> None:
        request = self.one_of(data, self.open)
        on_loop(_checkpoint(request.hold, tokens))

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), tokens=st.integers(0, 500), attempt=st.integers(1, 4), times=st.integers(1, 2))
    def settle_one_that_has_ended(self, data: st.DataObject, tokens: int, attempt: int, times: int) -> None:
        """The same again, or what its provider tells late."""
        request = self.one_of(data, self.ended)
        on_loop(_together(request.hold, [self._event(request, tokens, attempt=attempt)], times))

    @rule(by_alice=st.booleans(), tokens=st.integers(1, 300), times=st.integers(1, 2))
    def hear_of_use_without_a_hold(self, by_alice: bool, tokens: int, times: int) -> None:
        """What a provider reports of what nothing was held for, once or again: nothing bounds it, all is billed."""
        who = self.company.alice if by_alice else self.company.bob
        asked = asking(who, tariff=self.tariff)
        counted = Tokens(output=tokens)
        event = replace(used(who, asked, tokens), tokens=counted, charge=charge(counted, self.tariff))
        on_loop(_together(None, [event], times))
        assert self.books.charged(asked.request_id) == tokens * self.rate

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Its process is gone, and with it all knowledge of the request."""
        self.forgotten.append(self._take(data))

    @precondition(lambda self: self.open or self.forgotten)
    @rule()
    def holds_grow_old(self) -> None:
        """All of them too old."""
        on_loop(drained())
        reap_holds(now=timezone.now() + timedelta(seconds=LONGEST_S + 1))
        for request in (*self.open, *self.forgotten):
            self._close(request)
        self.open, self.forgotten = [], []
        assert self.books.holds() == 0

    def _take(self, data: st.DataObject) -> Request:
        return self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    def _event(self, request: Request, output: int, *, attempt: int, unseen: bool = False) -> UsageEvent:
        event = used(self.company.alice, request.asked, output, attempt=attempt, unseen=unseen)
        tokens = Tokens(output=output)
        return replace(event, payer=request.asked.payer, tokens=tokens, charge=charge(tokens, request.tariff))

    def _close(self, request: Request) -> None:
        """Its hold is gone: what it was charged is settled in the budgets that it was held against."""
        charged = self.books.charged(request.asked.request_id)
        for budget in request.budgets:
            self.settled[budget] += charged
        for one in self.books.standing():
            # What a soft budget lets pass, a hard one that it becomes later begins with.
            if one.mode != "hard":
                self.allowed[one.id] = max(one.limit, one.used)
        self.ended.append(request)


async def _together(hold: Hold | None, events: list[UsageEvent], times: int) -> None:
    """Settle so many times, in one batch."""
    await asyncio.gather(*(settle(hold, events) for _ in range(times)))


async def _checkpoint(hold: Hold, tokens: int) -> None:
    checkpoint(hold, output_tokens=tokens)
    # Nobody waits for a checkpoint; but what is waited for, of a request that never was, goes with it.
    await settle(Hold(hold.tenant_id, uuid7(), 0, 0, 0, is_bounded=True), ())


async def _allowances() -> list[Allowance]:
    """Those that there are once nothing is under way. None is as old as one that nobody waits for."""
    known = ledger._allowances()
    while asking := [demand.asking for demand in known._known.values() if demand.asking is not None]:
        await asyncio.wait(asking)
    found = [demand.allowance for demand in known._known.values() if demand.allowance is not None]
    now = asyncio.get_running_loop().time()
    if any(now - allowance.given_at > YOUNG_S for allowance in found):
        await drained()
        return []
    await commits.writers().idle()
    return found
