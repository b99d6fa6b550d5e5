"""A tenant, its budgets and the price of its model; and what holds after every step."""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from zoneinfo import ZoneInfo

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from billing.holds import FUNDS, Hold, HoldRequest
from billing.ledger import drained
from billing.models import Budget
from billing.rollups import roll_up
from billing.scopes import BudgetScopes
from billing.tariffs import set_prices, tariffs_in_force
from billing.types import Tariff
from billing.verification.run import verify
from billing.verification.values import Books as VerifiedBooks
from kernel import adb
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope
from tenants.models import Tenant
from tests.billing.ledger_machine.books import Books, Standing
from tests.billing.ledger_support import RATE
from tests.isolation.roles import Connection
from tests.support.cast import Company, found_company

T = TypeVar("T")
MODES = ("hard", "hard", "soft", "shadow")
OWN_BUDGETS_MAX = 6
UNIT = 999_983
"""In nano-dollars, what amounts of money are multiples of: about a tenth of a cent, so that invoices come to cents and leave
parts of them."""


@dataclass
class Request:
    """A request that was granted its hold."""

    asked: HoldRequest
    hold: Hold
    tariff: Tariff
    budgets: tuple[uuid.UUID, ...]


class Ground(RuleBasedStateMachine):
    """The tenant, and what is known of it beside its books."""

    admin: Connection

    @initialize()
    def begin(self) -> None:
        self.company: Company = found_company(f"led-{secrets.token_hex(6)}")
        self.books = Books(self.admin, self.company.id)
        self.open: list[Request] = []
        self.ended: list[Request] = []
        self.forgotten: list[Request] = []
        self.allowed: dict[uuid.UUID, int] = {}
        """How far each hard budget of its own may be used: its limit, or what was used when it was set lower."""
        self.settled: dict[uuid.UUID, int] = defaultdict(int)
        self.own: list[uuid.UUID] = []
        self._known_budgets: list[tuple[uuid.UUID, str, str, int]] = []
        self._budgeted: BudgetScopes = frozenset()
        self.posted = 0
        """What the customer owes by entries that no table but the books tells of."""
        self.model = f"led-{secrets.token_hex(6)}"
        self.rate = 0
        """What a token costs, in nano-dollars."""
        self.change_the_price(1)
        self.make_a_budget("tenant", 2_000, "nano", "hard")
        self.open_the_calendar()

    def open_the_calendar(self) -> None:
        """What the other parts begin with."""

    # --- budgets and prices

    @rule(
        scope=st.sampled_from(("tenant", "alice", "bob", "model")),
        limit=st.integers(0, 5_000),
        measure=st.sampled_from(("nano", "tokens")),
        mode=st.sampled_from(MODES),
    )
    def make_a_budget(self, scope: str, limit: int, measure: str, mode: str) -> None:
        if len(self.own) >= OWN_BUDGETS_MAX:
            return
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
                limit_amount=limit * (UNIT if measure == "nano" else 1),
                mode=mode,
                thresholds=[50, 100],
            )
        self.own.append(made.id)
        self.allowed[made.id] = made.limit_amount

    @rule(data=st.data(), limit=st.integers(0, 3_000), mode=st.sampled_from(MODES))
    def change_a_budget(self, data: st.DataObject, limit: int, mode: str) -> None:
        if self.own:
            chosen = self.one_of(data, self.own)
            (now,) = [one for one in self.books.standing() if one.id == chosen]
            amount = limit * (UNIT if now.measure == "nano" else 1)
            with tenant_scope(self.company.id), transaction.atomic():
                Budget.objects.filter(id=chosen).update(limit_amount=amount, mode=mode)
            self.allowed[chosen] = max(amount, now.used)

    @rule(data=st.data())
    def delete_a_budget(self, data: st.DataObject) -> None:
        if len(self.own) > 2:
            chosen = self.one_of(data, self.own)
            with tenant_scope(self.company.id), transaction.atomic():
                Budget.objects.get(id=chosen).delete()
            self.own.remove(chosen)

    @rule(rate=st.sampled_from((1, 2, 5)))
    def change_the_price(self, rate: int) -> None:
        """From now on: a token costs so many units. What is under way is settled at the price that it began with."""
        if rate * UNIT == self.rate:
            return
        self.rate = rate * UNIT
        per_mtok = self.rate * RATE
        set_prices(
            model=self.model,
            input_nano_per_mtok=per_mtok,
            output_nano_per_mtok=per_mtok,
            tenant_id=None,
            using="platform",
        )
        self.tariff = on_loop(_tariff(self.model))
        assert self.tariff.rates["output"].sell_nano_per_mtok == per_mtok

    # --- what holds

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "company"):
            return
        wrong, difference, owed = self.books.accounts()
        assert (wrong, difference) == (0, 0)
        used = self.books.usage()
        assert self.books.entries() == used
        assert owed == used[0] + self.books.money() + self.posted

    @invariant()
    def no_budget_is_overspent(self) -> None:
        if not hasattr(self, "company"):
            return
        for one in self.books.standing():
            assert one.held == one.in_holds
            allowed = one.limit if one.scope == FUNDS else self.allowed[one.id]
            assert one.mode != "hard" or one.used <= allowed
            assert one.measure != "nano" or one.settled == self.settled[one.id]

    @invariant()
    def the_rollups_are_what_was_used(self) -> None:
        if not hasattr(self, "company"):
            return
        roll_up(tenant_id=self.company.id)
        rollups, records, sold, _ = self.books.rolled_up()
        assert rollups == records
        assert sold == self.books.usage()[0]

    def teardown(self) -> None:
        """In the end the nightly verification computes it all again, from the prices on."""
        if hasattr(self, "company"):
            on_loop(drained())
            tenant = Tenant.objects.using("platform").get(id=self.company.id)
            told = VerifiedBooks(tenant.id, tenant.slug, ZoneInfo("UTC"), tenant.created_at, None)
            assert verify(told).findings.differences == []

    # --- helpers

    def one_of(self, data: st.DataObject, things: Sequence[T]) -> T:
        """One of these."""
        return things[data.draw(st.integers(0, len(things) - 1))]

    def budgeted(self) -> BudgetScopes:
        """What there are budgets for, as a process knows it that reads them anew after every change."""
        now = [(one.id, one.scope, one.mode, one.limit) for one in self.books.standing()]
        if now != self._known_budgets:
            self._known_budgets, self._budgeted = now, frozenset(one.scope for one in self.books.standing())
        return self._budgeted

    def applying(self, asked: HoldRequest) -> list[Standing]:
        """The budgets that a hold is held against."""
        return [one for one in self.books.standing() if one.scope in asked.scopes]


async def _tariff(model: str) -> Tariff:
    async with adb.tenantless() as connection:
        tariffs, _ = await tariffs_in_force(connection, platform_models=[model], tenant_models=[])
    return tariffs[model]
