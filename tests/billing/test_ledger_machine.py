"""The ledger under whatever may happen to it, in whatever order: after every step the books balance and no budget is overspent.

`LEDGER_EXAMPLES` and `LEDGER_STEPS` make it longer than it is in the suite.
"""

import asyncio
import os
import secrets
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from billing.errors import BudgetExceeded
from billing.holds import LEAST_OUTPUT_TOKENS, Hold, HoldRequest
from billing.ledger import LONGEST_S, admit, checkpoint, settle
from billing.models import Budget
from billing.posting import Transfer, post
from billing.services.reaping import reap_holds
from billing.types import Charge, Tokens, UsageEvent
from kernel.ids import uuid7
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope
from tests.billing.ledger_support import RATE, asking, used
from tests.isolation.roles import Connection, administrator
from tests.support.cast import Company, found_company

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "20"))
STEPS = int(os.environ.get("LEDGER_STEPS", "40"))
T = TypeVar("T")
MODES = ("hard", "hard", "soft", "shadow")

_ACCOUNTS = """
    SELECT (SELECT count(*) FROM billing_account a WHERE a.tenant_id = %(t)s AND (
                a.debits_nano <> (SELECT coalesce(sum(amount_nano), 0) FROM billing_entry e
                                  WHERE e.tenant_id = a.tenant_id AND e.debit = a.kind)
                OR a.credits_nano <> (SELECT coalesce(sum(amount_nano), 0) FROM billing_entry e
                                      WHERE e.tenant_id = a.tenant_id AND e.credit = a.kind))),
           (SELECT coalesce(sum(debits_nano - credits_nano), 0) FROM billing_account WHERE tenant_id = %(t)s),
           (SELECT coalesce(debits_nano - credits_nano, 0) FROM billing_account
            WHERE tenant_id = %(t)s AND kind = 'customer')
"""
_USAGE = """
    SELECT coalesce(sum(sell_nano), 0), coalesce(sum(loss_nano), 0), coalesce(sum(cost_nano), 0)
    FROM billing_usagerecord WHERE tenant_id = %(t)s
"""
_ENTRIES = """
    SELECT coalesce(sum(amount_nano) FILTER (WHERE kind = 'usage'), 0),
           coalesce(sum(amount_nano) FILTER (WHERE kind = 'loss'), 0),
           coalesce(sum(amount_nano) FILTER (WHERE kind = 'cost'), 0)
    FROM billing_entry WHERE tenant_id = %(t)s
"""
_BUDGETS = """
    SELECT b.id, b.mode, b.measure, b.limit_amount, coalesce(s.held, 0), coalesce(s.settled, 0), coalesce((
        SELECT sum(CASE WHEN b.measure = 'nano' THEN h.amount_nano ELSE h.tokens END)
        FROM billing_hold h WHERE h.tenant_id = b.tenant_id AND b.id = ANY (h.budgets)
    ), 0)
    FROM billing_budget b LEFT JOIN billing_budgetbalance s ON s.tenant_id = b.tenant_id AND s.budget_id = b.id
    WHERE b.tenant_id = %(t)s
"""


@dataclass
class Standing:
    """A budget, as the database has it. `in_holds` is what the holds that name it add up to."""

    id: uuid.UUID
    mode: str
    measure: str
    limit: int
    held: int
    settled: int
    in_holds: int

    @property
    def used(self) -> int:
        return self.held + self.settled


@dataclass
class Request:
    """A request that was granted its hold."""

    asked: HoldRequest
    hold: Hold
    rate: int
    budgets: tuple[uuid.UUID, ...]


class Ledger(RuleBasedStateMachine):
    """A tenant; what it asks for, and what becomes of it."""

    admin: Connection

    @initialize()
    def begin(self) -> None:
        self.company: Company = found_company(f"led-{secrets.token_hex(6)}")
        self.open: list[Request] = []
        self.ended: list[Request] = []
        self.forgotten: list[Request] = []
        self.allowed: dict[uuid.UUID, int] = {}
        """How far each hard budget may be used: its limit, or what was used when it was set lower."""
        self.settled: dict[uuid.UUID, int] = defaultdict(int)
        self.scopes: dict[uuid.UUID, str] = {}
        self.rate = 1
        self.posted = 0
        self._make("tenant", 2_000, "nano", "hard")

    # --- budgets

    @rule(
        scope=st.sampled_from(("tenant", "alice", "bob", "model")),
        limit=st.integers(0, 5_000),
        measure=st.sampled_from(("nano", "tokens")),
        mode=st.sampled_from(MODES),
    )
    def make_budget(self, scope: str, limit: int, measure: str, mode: str) -> None:
        if len(self.scopes) < 6:
            self._make(scope, limit, measure, mode)

    def _make(self, scope: str, limit: int, measure: str, mode: str) -> None:
        named = {
            "tenant": "tenant",
            "alice": f"member:{self.company.alice.membership_id}",
            "bob": f"member:{self.company.bob.membership_id}",
            "model": "model:m",
        }[scope]
        with tenant_scope(self.company.id), transaction.atomic():
            made = Budget.objects.create(
                tenant_id=self.company.id,
                scope=named,
                measure=measure,
                period="total",
                limit_amount=limit,
                mode=mode,
                thresholds=[50, 100],
            )
        self.scopes[made.id], self.allowed[made.id] = named, limit

    @rule(data=st.data(), limit=st.integers(0, 3_000), mode=st.sampled_from(MODES))
    def change_a_budget(self, data: st.DataObject, limit: int, mode: str) -> None:
        if self.scopes:
            chosen = self._one_of(data, list(self.scopes))
            with tenant_scope(self.company.id), transaction.atomic():
                Budget.objects.filter(id=chosen).update(limit_amount=limit, mode=mode)
            (now,) = [one for one in self._standing() if one.id == chosen]
            self.allowed[chosen] = max(limit, now.used)

    @rule(data=st.data())
    def delete_a_budget(self, data: st.DataObject) -> None:
        if len(self.scopes) > 2:
            chosen = self._one_of(data, list(self.scopes))
            with tenant_scope(self.company.id), transaction.atomic():
                Budget.objects.get(id=chosen).delete()
            del self.scopes[chosen]

    @rule(rate=st.sampled_from((1, 2, 5)))
    def change_the_price(self, rate: int) -> None:
        self.rate = rate

    # --- requests

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
        left = [one.limit - one.used for one in self._standing() if (one.mode, one.measure) == ("hard", "nano")]
        self._ask(by_alice, max(0, min(left, default=0) // self.rate - reads + beyond), reads, True)

    def _ask(self, by_alice: bool, cap: int, reads: int, is_sent: bool) -> None:
        who = self.company.alice if by_alice else self.company.bob
        asked = asking(who, cap=cap, input_tokens=reads, is_sent=is_sent)
        worst = msgspec.structs.replace(
            asked.worst, input_nano=reads * self.rate, output_nano_per_mtok=self.rate * RATE
        )
        asked = msgspec.structs.replace(asked, worst=worst)
        mine = [one for one in self._standing() if self.scopes[one.id] in asked.scopes]
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
        self.open.append(Request(asked, hold, self.rate, tuple(one.id for one in mine)))

    def _fit(self, one: Standing, cap: int, reads: int) -> int:
        """The longest answer that a budget allows; less than nothing where not even the question fits."""
        available = one.limit - one.used
        if one.measure == "tokens":
            return min(cap, available - reads)
        return -1 if available < reads * self.rate else min(cap, (available - reads * self.rate) // self.rate)

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        parts=st.lists(st.tuples(st.integers(0, 2_500), st.booleans()), min_size=1, max_size=3),
        times=st.integers(1, 2),
    )
    def settle_one(self, data: st.DataObject, parts: list[tuple[int, bool]], times: int) -> None:
        request = self._take(data)
        events = [
            self._event(request, nano, attempt=attempt, unseen=unseen)
            for attempt, (nano, unseen) in enumerate(parts, start=1)
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
        request = self._one_of(data, self.open)
        again = on_loop(admit(request.asked))
        assert (again.cap_tokens, again.amount_nano) == (request.hold.cap_tokens, request.hold.amount_nano)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(0, 100))
    def note_how_far_one_came(self, data: st.DataObject, tokens: int) -> None:
        request = self._one_of(data, self.open)
        on_loop(_checkpoint(request.hold, tokens))

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), nano=st.integers(0, 500), attempt=st.integers(1, 4), times=st.integers(1, 2))
    def settle_one_that_has_ended(self, data: st.DataObject, nano: int, attempt: int, times: int) -> None:
        """The same again, or what its provider tells late."""
        request = self._one_of(data, self.ended)
        on_loop(_together(request.hold, [self._event(request, nano, attempt=attempt)], times))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Its process is gone, and with it all knowledge of the request."""
        self.forgotten.append(self._take(data))

    @precondition(lambda self: self.open or self.forgotten)
    @rule()
    def time_passes(self) -> None:
        """All holds are too old."""
        reap_holds(now=timezone.now() + timedelta(seconds=LONGEST_S + 1))
        for request in (*self.open, *self.forgotten):
            self._close(request)
        self.open, self.forgotten = [], []
        assert self._one("SELECT count(*) FROM billing_hold WHERE tenant_id = %(t)s") == (0,)

    # --- money

    @rule(nano=st.integers(1, 10_000), kind=st.sampled_from(("credit_given", "cash")), times=st.integers(1, 2))
    def credit(self, nano: int, kind: str, times: int) -> None:
        entry = Transfer(uuid7(), "credit", kind, "customer", nano)
        for _ in range(times):
            self._post(entry)
        self.posted -= nano

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), times=st.integers(1, 2))
    def refund(self, data: st.DataObject, times: int) -> None:
        """The reversal of what a request was charged."""
        request = self._one_of(data, self.ended)
        charged = self._charged(request)
        done = self._one("SELECT count(*) FROM billing_entry WHERE tenant_id = %(t)s AND reverses = %(r)s", request)
        if not charged or done != (0,):
            return
        entry = Transfer(uuid7(), "refund", "revenue", "customer", charged, reverses=request.asked.request_id)
        for _ in range(times):
            self._post(entry)
        self.posted -= charged

    # --- what holds

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "company"):
            return
        wrong, difference, owed = self._one(_ACCOUNTS)
        assert (wrong, difference) == (0, 0)
        sold = self._one(_USAGE)
        assert self._one(_ENTRIES) == sold
        assert (owed or 0) == sold[0] + self.posted

    @invariant()
    def no_budget_is_overspent(self) -> None:
        if not hasattr(self, "company"):
            return
        for one in self._standing():
            assert one.held == one.in_holds
            assert one.mode != "hard" or one.used <= self.allowed[one.id]
            assert one.measure != "nano" or one.settled == self.settled[one.id]

    # --- helpers

    def _one_of(self, data: st.DataObject, things: Sequence[T]) -> T:
        return things[data.draw(st.integers(0, len(things) - 1))]

    def _take(self, data: st.DataObject) -> Request:
        return self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))

    def _event(self, request: Request, nano: int, *, attempt: int, unseen: bool = False) -> UsageEvent:
        who = self.company.alice
        event = used(who, request.asked, nano, attempt=attempt, unseen=unseen)
        tokens = nano // request.rate
        charge = Charge(cost_nano=nano // 2, sell_nano=tokens * request.rate, lines=())
        return msgspec.structs.replace(event, payer=request.asked.payer, tokens=Tokens(output=tokens), charge=charge)

    def _close(self, request: Request) -> None:
        """Its hold is gone: what it was charged is settled in the budgets that it was held against."""
        charged = self._charged(request)
        for budget in request.budgets:
            self.settled[budget] += charged
        for one in self._standing():
            # What a soft budget lets pass, a hard one that it becomes later begins with.
            if one.mode != "hard":
                self.allowed[one.id] = max(one.limit, one.used)
        self.ended.append(request)

    def _charged(self, request: Request) -> int:
        (charged,) = self._one(
            "SELECT coalesce(sum(sell_nano), 0) FROM billing_usagerecord WHERE tenant_id = %(t)s AND request_id = %(r)s",
            request,
        )
        return int(charged)

    def _standing(self) -> list[Standing]:
        rows: Any = self.admin.execute(_BUDGETS, {"t": self.company.id}).fetchall()
        return [Standing(*row[:3], *map(int, row[3:])) for row in rows]

    def _one(self, query: Any, request: Request | None = None) -> tuple[Any, ...]:
        row = self.admin.execute(query, {"t": self.company.id, "r": request and request.asked.request_id}).fetchone()
        assert row is not None
        return tuple(row)

    def _post(self, entry: Transfer) -> None:
        with tenant_scope(self.company.id), transaction.atomic():
            post(entry)


async def _together(hold: Hold, events: list[UsageEvent], times: int) -> None:
    """Settle so many times, in one batch."""
    await asyncio.gather(*(settle(hold, events) for _ in range(times)))


async def _checkpoint(hold: Hold, tokens: int) -> None:
    checkpoint(hold, output_tokens=tokens)
    # Nobody waits for a checkpoint; but what is waited for, of a request that never was, goes with it.
    await settle(msgspec.structs.replace(hold, request_id=uuid7()), ())


@pytest.fixture
def _watching() -> Iterator[None]:
    with administrator() as admin:
        admin.autocommit = True
        Ledger.admin = admin
        yield


@pytest.mark.timeout(0 if EXAMPLES > 50 else 120)
@pytest.mark.usefixtures("_watching")
def test_whatever_happens_the_books_balance_and_no_budget_is_overspent() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # What fails is told as it was found: making it shorter takes longer than a test may.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
