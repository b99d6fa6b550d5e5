"""Credit, use, payments, plans and time at random: the books add up after every step, and nothing passes the credit."""

import contextlib
import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from billing.errors import BudgetExceeded
from billing.ledger import admit, settle
from billing.models import Account, Budget, BudgetBalance, CreditGrant, Plan, Subscription
from billing.payments.manual import entries
from billing.services import dunning, funds, subscriptions
from billing.verification.credit import check_credit
from billing.verification.ledger import check_accounts
from billing.verification.values import Difference, Findings
from kernel.errors import Conflict
from kernel.loop import on_loop
from kernel.snapshots import snapshot_of
from tests.billing.ledger_support import asking, used
from tests.billing.plan_support import JAN_1, books, give, inside, plan, use
from tests.isolation.roles import administrator
from tests.support.cast import Company

STEPS = 40


def differences(company: Company) -> list[Difference]:
    findings = Findings()
    with snapshot_of(company.id) as snapshot:
        check_accounts(snapshot, findings)
        check_credit(snapshot, findings)
    return findings.differences


class Life:
    """A company's, by chance."""

    def __init__(self, company: Company, chance: random.Random, plans: list[Plan]) -> None:
        self.company, self.chance, self.plans = company, chance, plans
        self.now = JAN_1
        self.paid: list[tuple[str, int]] = []
        self.held: list[Callable[[], None]] = []
        self.refused = 0

    def step(self) -> None:
        """Something happens."""
        deeds = (self.use, self.use, self.hold, self.release, self.give, self.buy, self.refund, self.change, self.wait)
        self.chance.choice(deeds)()

    def use(self) -> None:
        try:
            use(self.company, self.chance.randrange(16, 400))
        except BudgetExceeded:
            self.refused += 1

    def hold(self) -> None:
        asked = asking(self.company.alice, cap=self.chance.randrange(16, 400))
        with contextlib.suppress(BudgetExceeded):
            hold = on_loop(admit(asked))
            events = [used(self.company.alice, asked, self.chance.randrange(hold.cap_tokens))]
            self.held.append(lambda: on_loop(settle(hold, events)))

    def release(self) -> None:
        if self.held:
            self.held.pop(self.chance.randrange(len(self.held)))()

    def give(self) -> None:
        lasts = self.chance.choice([None, 1, 20])
        expires_at = self.now + timedelta(days=lasts) if lasts else None
        give(self.company, self.chance.randrange(1, 500), expires_at=expires_at)

    def buy(self) -> None:
        amount, reference = self.chance.randrange(1, 800), f"r{len(self.paid)}"
        self.paid.append((reference, amount))
        with inside(self.company):
            entries.top_up(amount_nano=amount, reference=reference)

    def refund(self) -> None:
        if self.paid:
            reference, amount = self.chance.choice(self.paid)
            with inside(self.company):
                entries.refund(reference=reference, total_nano=self.chance.randrange(amount + 1))

    def change(self) -> None:
        with inside(self.company), contextlib.suppress(Conflict):
            chosen = self.chance.choice(self.plans)
            if Subscription.objects.exists():
                subscriptions.change_plan(plan=chosen, now=self.now)
            else:
                subscriptions.subscribe(plan=chosen, now=self.now)

    def wait(self) -> None:
        self.now += timedelta(hours=self.chance.randrange(1, 500))
        with inside(self.company):
            funds.expire_grants(now=self.now)
            if Subscription.objects.exists():
                dunning.look_after(now=self.now)
                subscriptions.renew(now=self.now)

    def check(self) -> None:
        """What must hold after every step."""
        company = self.company
        assert differences(company) == []
        with inside(company):
            mine = funds.bring_up_to_date()
            balance = BudgetBalance.objects.filter(budget_id=mine.budget_id).first()
            settled, held = (balance.settled, balance.held) if balance else (0, 0)
            grants = list(CreditGrant.objects.all())
            assert sum(one.allocated_nano for one in grants) + mine.uncovered_nano == settled
            assert all(one.is_open == (one.left_nano > 0) for one in grants)
            budget = Budget.objects.get(id=mine.budget_id)
            if budget.mode == "hard":
                assert settled + held <= budget.limit_amount
            if not mine.needs_check and settled <= budget.limit_amount:
                assert budget.limit_amount - settled == sum(one.left_nano for one in grants)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_books_add_up_whatever_happens(company: Company, seed: int) -> None:
    plans = [
        plan("free", included_nano=300),
        plan("payg", included_nano=100, price_nano=70),
        plan("seat", price_nano=1_003, included_nano=250, included_lasts="forever"),
        plan("prepaid", price_nano=10, trial_days=9),
    ]
    life = Life(company, random.Random(seed), plans)
    for _ in range(STEPS):
        life.step()
        life.check()
    while life.held:
        life.release()
    life.wait()
    life.check()
    assert books(company)


def test_what_is_falsified_is_found(company: Company) -> None:
    grant = give(company, 100)
    with inside(company):
        entries.top_up(amount_nano=50, reference="r")
        entries.refund(reference="r", total_nano=20)
        subscriptions.subscribe(plan=plan("payg", price_nano=70), now=JAN_1)
    assert differences(company) == []
    with administrator() as admin:
        admin.execute("UPDATE billing_creditgrant SET expired_nano = 30 WHERE id = %s", (grant.id,))
        admin.execute("UPDATE billing_plancharge SET amount_nano = 71 WHERE tenant_id = %s", (company.id,))
    found = {(one.check, one.table, one.expected, one.found) for one in differences(company)}
    assert found == {
        ("credit", "billing_entry", 30, 0),
        ("credit", "billing_entry", 71, 70),
        ("funds", "billing_budget", 100, 130),
    }
    with inside(company):
        assert Account.objects.get(kind="cash").debits_nano == 50
