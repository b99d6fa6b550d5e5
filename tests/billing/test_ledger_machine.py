"""The ledger under whatever may happen to it, in whatever order: after every step the books balance, no budget is overspent,
and rollups and invoices' lines are what was used.

`LEDGER_EXAMPLES` and `LEDGER_STEPS` make it longer than it is in the suite.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from billing import allowances, ledger
from billing.holds import WorstCase
from tests.billing.ledger_machine.bills import Bills
from tests.billing.ledger_machine.ground import Ground
from tests.billing.ledger_machine.money import Money, some_plans
from tests.billing.ledger_machine.requests import Requests
from tests.isolation.roles import administrator

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "6"))
STEPS = int(os.environ.get("LEDGER_STEPS", "40"))


class Ledger(Requests, Bills):
    """All that may happen to a tenant's books."""


@pytest.fixture
def _watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ledger, "ROOM", 1)
    monkeypatch.setattr(allowances, "OFTEN_PER_S", 0.0)
    monkeypatch.setattr(allowances, "REFUSED_FOR_S", 0.0)
    for name in ("LASTS_S", "IDLE_S"):
        monkeypatch.setattr(allowances, name, 300.0)
    monkeypatch.setattr(allowances._Demand, "wanted", _for_three)
    with administrator() as admin:
        admin.autocommit = True
        Ground.admin = admin
        Money.plans = some_plans()
        yield


def _for_three(demand: allowances._Demand) -> WorstCase:
    return WorstCase(0, int(3 * demand.tokens) + 1, input_nano=int(3 * demand.nano) + 1, output_nano_per_mtok=0)


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
