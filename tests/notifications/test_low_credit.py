"""Little credit is left: people are told once each time it falls below the mark, and only where credit is what limits them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.services import funds, plan_upkeep
from billing.services.low_credit import watch_credit
from billing.tasks import roll_up
from tests.billing.marks import others_ended
from tests.billing.plan_support import give, inside, use
from tests.support.cast import Actor, Company

Told = Callable[[Actor], list[dict[str, Any]]]


@pytest.fixture
def told(work_off: Callable[[], int]) -> Told:
    """What somebody was told of credit, newest first."""

    def told_of_credit(who: Actor) -> list[dict[str, Any]]:
        work_off()
        found = who.client.get("/api/v1/notifications").json()["data"]
        return [one for one in found if one["type"] == "credit.low"]

    return told_of_credit


def limit(company: Company) -> None:
    """Let the company use no more than its credit."""
    with inside(company):
        funds.limit_by_credit(is_hard=True)


def test_it_is_told_once_for_each_time_that_it_falls_low(company: Company, told: Told) -> None:
    limit(company)
    give(company, 1_000)
    use(company, 800)
    watch_credit(company.id)
    assert told(company.alice) == []
    use(company, 100)
    for _ in range(2):
        watch_credit(company.id)
    (notice,) = told(company.alice)
    assert notice["subject"] == "Little credit is left"
    assert "$0.0000001 are left" in notice["text"]
    give(company, 900)
    watch_credit(company.id)
    use(company, 750)
    watch_credit(company.id)
    assert len(told(company.alice)) == 1
    use(company, 60)
    watch_credit(company.id)
    assert len(told(company.alice)) == 2


def test_usage_that_is_rolled_up_is_what_has_it_looked_at(company: Company, told: Told) -> None:
    limit(company)
    give(company, 100)
    use(company, 90)
    others_ended()
    roll_up.apply()
    assert len(told(company.alice)) == 1


def test_credit_that_expires_leaves_less(company: Company, told: Told) -> None:
    limit(company)
    give(company, 10)
    give(company, 90, expires_at=timezone.now() + timedelta(days=1))
    plan_upkeep.expire_credit(now=timezone.now() + timedelta(days=2))
    assert len(told(company.alice)) == 1


def test_whom_credit_does_not_limit_is_not_told_nor_who_does_not_look_after_it(company: Company, told: Told) -> None:
    give(company, 100)
    use(company, 95)
    watch_credit(company.id)
    assert told(company.alice) == []
    limit(company)
    watch_credit(company.id)
    assert (len(told(company.alice)), told(company.bob), told(company.vera)) == (1, [], [])
