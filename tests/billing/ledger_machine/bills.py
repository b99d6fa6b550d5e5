"""Bills: periods closed, invoices issued, void, issued again, and credit notes; whatever is late is on the next."""

from typing import Any

import pytest
from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from billing.invoices.closing import close_period
from billing.invoices.correcting import credit, void
from billing.invoices.gathering import CENT
from billing.invoices.issuing import issue, refresh_draft
from billing.models import BillingProfile, Invoice
from kernel.errors import Conflict
from kernel.tenancy import tenant_scope
from tests.billing.ledger_machine.money import Money
from tests.billing.plan_support import inside

TAX_BPS = 1_900
DRAFTS_MAX = 50


class Bills(Money):
    """What the tenant is asked to pay."""

    def open_the_calendar(self) -> None:
        super().open_the_calendar()
        with inside(self.company):
            BillingProfile.objects.create(tenant_id=self.company.id, tax_bps=TAX_BPS)

    @rule(looks_first=st.booleans())
    def bill(self, looks_first: bool) -> None:
        """All until now; what is billed a second time is nothing."""
        with inside(self.company):
            close_period(until=self.now)
            if looks_first:
                refresh_draft()
        self._issue()
        before = self._documents()
        with inside(self.company):
            close_period(until=self.now)
        self._issue()
        assert self._documents() == before

    @precondition(lambda self: self._bills(state="final"))
    @rule(data=st.data(), again=st.booleans())
    def make_one_void(self, data: st.DataObject, again: bool) -> None:
        """Its lines are on the new one, or given up; not once there is a credit note."""
        chosen = self.one_of(data, self._bills(state="final"))
        with inside(self.company):
            if Invoice.objects.filter(corrects=chosen).exists():
                with pytest.raises(Conflict):
                    void(chosen, reason="wrong", again=again, now=self.now)
                return
            made = void(chosen, reason="wrong", again=again, now=self.now)
            assert (made is not None) == again
            assert made is None or made.net_nano == chosen.net_nano

    @precondition(lambda self: self._bills(state__in=("final", "paid"), net_nano__gt=0))
    @rule(data=st.data(), share=st.integers(1, 100))
    def credit_some_of_one(self, data: st.DataObject, share: int) -> None:
        chosen = self.one_of(data, self._bills(state__in=("final", "paid"), net_nano__gt=0))
        with inside(self.company):
            given = sum(one.net_nano for one in Invoice.objects.filter(corrects=chosen))
            left = chosen.net_nano - given
            if left:
                cents = max(1, left // CENT * share // 100)
                assert credit(chosen, net_nano=cents * CENT, reason="kindness", now=self.now).net_nano == cents * CENT

    @invariant()
    def invoice_lines_are_what_was_used_and_charged(self) -> None:
        if hasattr(self, "company"):
            listed, expected = self.books.invoiced()
            assert listed == expected

    def _issue(self) -> None:
        """Every draft, each in a transaction of its own."""
        for _ in range(DRAFTS_MAX):
            with tenant_scope(self.company.id), transaction.atomic():
                if issue(now=self.now, at_once=True) is None and not Invoice.objects.filter(state="draft").exists():
                    return
        raise AssertionError("drafts are left")

    def _documents(self) -> list[tuple[Any, ...]]:
        with inside(self.company):
            return list(Invoice.objects.order_by("kind", "number").values_list("kind", "number", "state", "total_nano"))

    def _bills(self, **which: Any) -> list[Invoice]:
        if not hasattr(self, "company"):
            return []
        with inside(self.company):
            return list(Invoice.objects.filter(kind="invoice", replaced=False, **which).order_by("number"))
