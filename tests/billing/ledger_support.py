"""Holds and budgets for tests, and the books read back."""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.holds import HoldRequest, WorstCase, scopes_of
from billing.models import Account, Budget, BudgetBalance, Entry, Hold, UsageRecord
from billing.orphans import OrphanFacts
from billing.types import METERS, Charge, Payer, Rate, Tariff, Tokens, UsageEvent
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tests.billing.events import usage_event
from tests.support.cast import Actor, Company

RATE = 1_000_000
"""A nano-dollar a token, so that tokens and money are the same number."""
TARIFF = Tariff("m", {meter: Rate(uuid7(), RATE, RATE) for meter in METERS})


def asking(
    who: Actor,
    *,
    cap: int = 100,
    input_tokens: int = 0,
    groups: Sequence[uuid.UUID] = (),
    alias: str = "m",
    is_sent: bool = True,
    tariff: Tariff = TARIFF,
    **payer: Any,
) -> HoldRequest:
    """A hold of `input_tokens + cap` nano-dollars and as many tokens. By `tariff` it is billed if its process dies."""
    paying = Payer(tenant_id=who.tenant_id, principal_kind="member", membership_id=who.membership_id, **payer)
    request_id = uuid7()
    facts = OrphanFacts(
        payer=paying,
        request_id=request_id,
        alias=alias,
        provider="fake",
        connection="c",
        model="m",
        platform=True,
        rates=tariff.rates,
        input_tokens=input_tokens,
    )
    return HoldRequest(
        payer=paying,
        request_id=request_id,
        scopes=scopes_of(paying, groups=groups, alias=alias),
        worst=WorstCase(input_tokens, cap, input_nano=input_tokens, output_nano_per_mtok=RATE),
        facts=msgspec.Raw(msgspec.json.encode(facts)),
        is_sent=is_sent,
    )


def used(who: Actor, asked: HoldRequest, nano: int, **changes: Any) -> UsageEvent:
    """What a request used: so many tokens of output, a nano-dollar each."""
    charge = Charge(cost_nano=nano // 2, sell_nano=nano, lines=())
    return usage_event(who, charge=charge, tokens=Tokens(output=nano), request_id=asked.request_id, **changes)


@sync_to_async
def budget(company: Company, limit: int, **changes: Any) -> Budget:
    """A hard budget of the company for ever, of money."""
    values: dict[str, Any] = {"scope": "tenant", "measure": "nano", "period": "total", "mode": "hard"}
    with tenant_scope(company.id), transaction.atomic():
        return Budget.objects.create(tenant_id=company.id, limit_amount=limit, **{**values, **changes})


@sync_to_async
def balance(of: Budget) -> tuple[int, int]:
    """What is held and what is settled of a budget, in all periods."""
    with tenant_scope(of.tenant_id), transaction.atomic():
        rows = list(BudgetBalance.objects.filter(budget_id=of.id))
    return sum(row.held for row in rows), sum(row.settled for row in rows)


@sync_to_async
def accounts(company: Company) -> dict[str, int]:
    """Each account's balance (debits less credits), without those at zero."""
    with tenant_scope(company.id), transaction.atomic():
        rows = list(Account.objects.all())
    return {row.kind: row.debits_nano - row.credits_nano for row in rows if row.debits_nano != row.credits_nano}


@sync_to_async
def holds(company: Company) -> list[Hold]:
    """The holds that stand."""
    with tenant_scope(company.id), transaction.atomic():
        return list(Hold.objects.order_by("request_id"))


@sync_to_async
def records(company: Company) -> list[UsageRecord]:
    """What is on the bill, oldest first."""
    with tenant_scope(company.id), transaction.atomic():
        return list(UsageRecord.objects.order_by("id"))


@sync_to_async
def entries(company: Company) -> list[tuple[str, str, str, int]]:
    """The entries, as (kind, debit, credit, amount)."""
    with tenant_scope(company.id), transaction.atomic():
        rows = Entry.objects.order_by("source_id", "kind", "line")
        return [(row.kind, row.debit, row.credit, row.amount_nano) for row in rows]
