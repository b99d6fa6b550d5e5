"""Plans, credit and use for tests. Amounts are nano-dollars."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from billing.ledger import admit, settle
from billing.models import Account, CreditGrant, Entry, Plan
from billing.services import funds
from billing.services.plans import create_plan
from kernel.loop import on_loop
from kernel.tenancy import tenant_scope
from tests.billing.ledger_support import asking, used
from tests.support.cast import Company

JAN_1 = datetime(2027, 1, 1, tzinfo=UTC)
FEB_1 = datetime(2027, 2, 1, tzinfo=UTC)
MAR_1 = datetime(2027, 3, 1, tzinfo=UTC)


@contextmanager
def inside(company: Company) -> Iterator[None]:
    """A transaction of the company's."""
    with tenant_scope(company.id), transaction.atomic():
        yield


def plan(kind: str = "payg", **terms: Any) -> Plan:
    """A plan of its own."""
    return create_plan(slug=f"p-{secrets.token_hex(6)}", name="A plan", kind=kind, terms=terms)


def use(company: Company, nano: int, *, most: int | None = None) -> None:
    """Have alice use so much, of a hold of `most`."""
    asked = asking(company.alice, cap=most or nano)
    hold = on_loop(admit(asked))
    on_loop(settle(hold, [used(company.alice, asked, nano)]))


def left(company: Company) -> int:
    """The credit that is left."""
    with inside(company):
        standing = funds.standing()
    assert standing is not None
    return standing.left_nano


def drawn(company: Company) -> dict[str, int]:
    """What was drawn of each grant, by its key, and what none covers."""
    with inside(company):
        mine = funds.bring_up_to_date()
        found = {grant.key: grant.allocated_nano for grant in CreditGrant.objects.all()}
    return {**found, "uncovered": mine.uncovered_nano}


def give(company: Company, nano: int, **terms: Any) -> CreditGrant:
    """Give credit."""
    with inside(company):
        grant, _ = funds.add_grant(
            **{"amount_nano": nano, "source": "gift", "key": secrets.token_hex(4), **terms}  # type: ignore[arg-type]
        )
    return grant


def books(company: Company) -> dict[str, int]:
    """Each account's balance (debits less credits), without those at zero; they are what the entries say, and add up to
    nothing."""
    with inside(company):
        rows = {row.kind: row.debits_nano - row.credits_nano for row in Account.objects.all()}
        entries = list(Entry.objects.all())
    told = dict.fromkeys(rows, 0)
    for entry in entries:
        told[entry.debit] += entry.amount_nano
        told[entry.credit] -= entry.amount_nano
    assert told == rows
    assert sum(rows.values()) == 0
    return {kind: amount for kind, amount in rows.items() if amount}
