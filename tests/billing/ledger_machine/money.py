"""Money that no request moves: plans and their changes, credit, payments, what goes back, and time."""

from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from billing.models import BudgetBalance, CreditGrant, Plan, PlanCharge, Subscription
from billing.payments.manual import entries
from billing.posting import Transfer, post
from billing.services import dunning, funds, subscriptions
from kernel.errors import Conflict
from kernel.ids import uuid7
from tests.billing.ledger_machine.ground import UNIT, Ground
from tests.billing.plan_support import JAN_1, inside, plan

LASTING = (None, 1, 20, 400)
"""Days until credit expires."""


def amounts(most: int) -> st.SearchStrategy[int]:
    """Of money, up to so many units."""
    return st.integers(1, most).map(lambda units: units * UNIT)


def some_plans() -> list[Plan]:
    """Each kind, with amounts that don't divide evenly."""
    return [
        plan("free", included_nano=300 * UNIT),
        plan("payg", included_nano=100 * UNIT, price_nano=70 * UNIT),
        plan("seat", price_nano=1_003 * UNIT, included_nano=250 * UNIT, included_lasts="forever"),
        plan("prepaid", price_nano=10 * UNIT, trial_days=9),
    ]


class Money(Ground):
    """A plan, credit and payments. `plans` are those there are."""

    plans: list[Plan]

    def open_the_calendar(self) -> None:
        super().open_the_calendar()
        self.now = JAN_1
        self.paid: list[tuple[str, int]] = []
        self.given = 0

    # --- plans

    @rule(data=st.data(), seats=st.integers(1, 7), hours=st.integers(0, 400))
    def choose_a_plan(self, data: st.DataObject, seats: int, hours: int) -> None:
        """Begin, or change within the period: what it costs for the rest of it is charged, by the second, rounded down."""
        self.now += timedelta(hours=hours, seconds=hours % 61)
        chosen = self.one_of(data, self.plans)
        with inside(self.company):
            before = Subscription.objects.select_related("plan").first()
            charged = set(PlanCharge.objects.values_list("id", flat=True))
            if before is None:
                subscriptions.subscribe(plan=chosen, seats=seats, now=self.now)
                return
            if before.state in subscriptions.OWING:
                with pytest.raises(Conflict):
                    subscriptions.change_plan(plan=chosen, seats=seats, now=self.now)
                return
            sub = subscriptions.change_plan(plan=chosen, seats=seats, now=self.now)
            moved = {one.kind: one.amount_nano for one in PlanCharge.objects.exclude(id__in=charged)}
        if before.state == "cancelled":
            return
        fees = [_fee(before.plan, before.seats), _fee(chosen, seats)]
        same = (chosen.id, seats) == (before.plan_id, before.seats)
        if before.state == "trialing" or same or fees[1] < fees[0]:
            assert moved == {}
            assert same or before.state == "trialing" or (sub.next_plan, sub.next_seats) == (chosen, seats)
        else:
            back, anew = (_share(amount, before, self.now) for amount in fees)
            told = {"proration_credit": back, "proration": anew}
            assert moved == {kind: amount for kind, amount in told.items() if amount}

    @rule(at_once=st.booleans(), is_taken_back=st.booleans())
    def cancel(self, at_once: bool, is_taken_back: bool) -> None:
        with inside(self.company):
            if Subscription.objects.exclude(state="cancelled").exists():
                subscriptions.cancel(at_once=at_once, now=self.now)
                if is_taken_back and not at_once:
                    subscriptions.keep(now=self.now)

    @rule(comes=st.booleans())
    def a_payment_is_due(self, comes: bool) -> None:
        with inside(self.company):
            if Subscription.objects.exists():
                dunning.payment_failed(now=self.now)
                if comes:
                    dunning.payment_came(now=self.now)

    @rule(hours=st.integers(1, 1_500))
    def time_passes(self, hours: int) -> None:
        """Credit expires, periods begin, grace ends; done twice it is done once."""
        self.now += timedelta(hours=hours)
        for _ in range(2):
            with inside(self.company):
                funds.expire_grants(now=self.now)
                if Subscription.objects.exists():
                    dunning.look_after(now=self.now)
                    subscriptions.renew(now=self.now)
        self._credit_is_drawn()

    # --- credit

    @rule(nano=amounts(3_000), lasts=st.sampled_from(LASTING), times=st.integers(1, 2))
    def give_credit(self, nano: int, lasts: int | None, times: int) -> None:
        self.given += 1
        ends = None if lasts is None else self.now + timedelta(days=lasts)
        for again in range(times):
            with inside(self.company):
                _, is_new = funds.add_grant(amount_nano=nano, source="gift", key=f"gift {self.given}", expires_at=ends)
            assert is_new == (again == 0)

    def _credit_is_drawn(self) -> None:
        """What was used of the funds is drawn from credit, each nano-dollar once, or owed beside it."""
        with inside(self.company):
            mine = funds.bring_up_to_date()
            balance = BudgetBalance.objects.filter(budget_id=mine.budget_id).first()
            settled, held = (balance.settled, balance.held) if balance else (0, 0)
            grants = list(CreditGrant.objects.all())
        assert sum(one.allocated_nano for one in grants) + mine.uncovered_nano == settled
        assert all(one.is_open == (one.left_nano > 0) for one in grants)
        for grant in grants:
            # Credit whose time is over is gone, but for what is held for requests under way.
            if grant.is_open and grant.expires_at is not None and grant.expires_at <= self.now:
                assert held > 0 or mine.needs_check

    # --- payments

    @rule(nano=amounts(3_000), buys_credit=st.booleans(), times=st.integers(1, 2))
    def pay(self, nano: int, buys_credit: bool, times: int) -> None:
        reference = f"r{len(self.paid)}"
        enter = entries.top_up if buys_credit else entries.mark_paid
        for again in range(times):
            with inside(self.company):
                _, is_new = enter(amount_nano=nano, reference=reference)
            assert is_new == (again == 0)
        self.paid.append((reference, nano))

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), share=st.integers(0, 100), times=st.integers(1, 2))
    def pay_back(self, data: st.DataObject, share: int, times: int) -> None:
        """So much of a payment went back in all, which may be less than was said before."""
        reference, nano = self.one_of(data, self.paid)
        moved = 0
        for again in range(times):
            with inside(self.company):
                moved = entries.refund(reference=reference, total_nano=nano * share // 100)
            assert again == 0 or moved == 0

    @rule(nano=amounts(10_000), kind=st.sampled_from(("credit_given", "cash")), times=st.integers(1, 2))
    def credit(self, nano: int, kind: str, times: int) -> None:
        """An entry by hand."""
        entry = Transfer(uuid7(), "credit", kind, "customer", nano)
        for _ in range(times):
            self._post(entry)
        self.posted -= nano

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), times=st.integers(1, 2))
    def reverse(self, data: st.DataObject, times: int) -> None:
        """The reversal of what a request was charged."""
        request = self.one_of(data, self.ended)
        request_id = request.asked.request_id
        charged = self.books.charged(request_id)
        if not charged or self.books.is_reversed(request_id):
            return
        entry = Transfer(uuid7(), "correction", "revenue", "customer", charged, reverses=request_id)
        for _ in range(times):
            self._post(entry)
        self.posted -= charged

    def _post(self, entry: Transfer) -> None:
        with inside(self.company):
            post(entry)


def _fee(of: Plan, seats: int) -> int:
    return of.price_nano * seats if of.kind == "seat" else of.price_nano


def _share(amount: int, sub: Subscription, moment: datetime) -> int:
    """What of a period's fee falls to the rest of it."""
    whole = (sub.period_end - sub.period_start) // timedelta(seconds=1)
    rest = min(max(0, (sub.period_end - moment) // timedelta(seconds=1)), whole)
    return int(Fraction(amount * rest, whole))
