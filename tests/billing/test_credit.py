"""What is had in advance: which credit pays, what expires, what is taken back."""

import random
import uuid
from datetime import timedelta

import pytest

from billing.allocation import Pot, draw
from billing.errors import BudgetExceeded
from billing.ledger import admit, settle
from billing.models import CreditGrant
from billing.services import funds, plan_upkeep
from kernel.errors import InvalidRequest
from kernel.loop import on_loop
from tenants.notifications.models import Notice
from tests.billing.ledger_support import asking, used
from tests.billing.plan_support import FEB_1, JAN_1, books, drawn, give, inside, left, use
from tests.support.cast import Company


def limit(company: Company) -> None:
    """Let the company use no more than its credit."""
    with inside(company):
        funds.limit_by_credit(is_hard=True)


@pytest.mark.no_database
def test_what_is_drawn_doesnt_depend_on_the_order_of_grants() -> None:
    chance = random.Random(7)
    for _ in range(200):
        pots = [
            Pot(uuid.UUID(int=number), chance.randrange(3), chance.choice([None, JAN_1, FEB_1]), chance.randrange(50))
            for number in range(6)
        ]
        amount = chance.randrange(200)
        found = draw(amount, pots)
        assert found == draw(amount, chance.sample(pots, len(pots)))
        taken, rest = found
        assert sum(taken.values()) + rest == amount
        assert rest == max(0, amount - sum(pot.left_nano for pot in pots))
        emptied = [pot for pot in sorted(pots, key=lambda one: one.rank) if pot.left_nano]
        whole = [taken.get(pot.id) == pot.left_nano for pot in emptied]
        assert whole == sorted(whole, reverse=True), "a pot was begun before the one ahead of it was empty"


def test_credit_is_drawn_by_priority_then_expiry(company: Company) -> None:
    give(company, 100, key="bought", source="topup")
    give(company, 50, key="later", expires_at=FEB_1)
    give(company, 30, key="sooner", expires_at=JAN_1)
    use(company, 60)
    assert drawn(company) == {"bought": 0, "later": 30, "sooner": 30, "uncovered": 0}
    assert left(company) == 120
    assert books(company) == {
        "credit_given": 180,
        "customer": -120,
        "revenue": -60,
        "provider_cost": 30,
        "provider_payable": -30,
    }


def test_a_hard_limit_refuses_what_no_credit_covers(company: Company) -> None:
    limit(company)
    with pytest.raises(BudgetExceeded) as refused:
        use(company, 20)
    assert refused.value.details is not None
    assert refused.value.details["scope"] == "funds"
    give(company, 20)
    use(company, 20)
    assert left(company) == 0
    with pytest.raises(BudgetExceeded):
        use(company, 16)


def test_what_no_credit_covers_is_owed_and_later_credit_is_for_later(company: Company) -> None:
    give(company, 10, key="first")
    use(company, 25)
    assert left(company) == -15
    give(company, 100, key="second")
    assert drawn(company) == {"first": 10, "second": 0, "uncovered": 15}
    assert left(company) == 100
    use(company, 5)
    assert drawn(company) == {"first": 10, "second": 5, "uncovered": 15}


def test_the_same_key_gives_once(company: Company) -> None:
    first = give(company, 10, key="k")
    with inside(company):
        again, is_new = funds.add_grant(amount_nano=10, source="gift", key="k")
    assert (again.id, is_new, left(company)) == (first.id, False, 10)


@pytest.mark.parametrize("amount", [0, -1, 10**17 + 1])
def test_an_absurd_amount_is_refused(company: Company, amount: int) -> None:
    with pytest.raises(InvalidRequest):
        give(company, amount)


def test_what_expires_is_what_was_not_used(company: Company) -> None:
    limit(company)
    give(company, 100, key="old", expires_at=JAN_1)
    give(company, 40, key="new")
    use(company, 30)
    plan_upkeep.expire_credit(now=JAN_1 - timedelta(seconds=1))
    assert left(company) == 110
    assert plan_upkeep.expire_credit(now=JAN_1) >= 1
    plan_upkeep.expire_credit(now=FEB_1)
    assert left(company) == 40
    found = books(company)
    assert (found["breakage"], found["customer"]) == (-70, -40)
    use(company, 40)
    assert drawn(company) == {"old": 30, "new": 40, "uncovered": 0}


def test_what_is_held_expires_when_it_was_not_needed(company: Company) -> None:
    limit(company)
    give(company, 100, expires_at=JAN_1)
    asked = asking(company.alice, cap=60)
    hold = on_loop(admit(asked))
    with inside(company):
        assert funds.expire_grants(now=JAN_1) == 40
    with pytest.raises(BudgetExceeded):
        use(company, 16)
    on_loop(settle(hold, [used(company.alice, asked, 25)]))
    with inside(company):
        assert funds.expire_grants(now=JAN_1) == 35
        assert not CreditGrant.objects.get().is_open
    assert left(company) == 0
    assert books(company)["breakage"] == -75


def test_credit_taken_back_is_owed_as_far_as_it_was_used(company: Company) -> None:
    limit(company)
    grant = give(company, 100, source="topup", key="bought")
    use(company, 80)
    with inside(company):
        assert funds.take_back(grant, amount_nano=100) == 80
    assert drawn(company) == {"bought": 0, "uncovered": 80}
    assert left(company) == 0
    with pytest.raises(BudgetExceeded):
        use(company, 16)
    with inside(company):
        funds.give_again(grant, amount_nano=100, owed_nano=80)
    assert drawn(company) == {"bought": 80, "uncovered": 0}
    assert left(company) == 20


def test_taking_back_leaves_room_for_what_is_held(company: Company) -> None:
    limit(company)
    grant = give(company, 100, source="topup")
    asked = asking(company.alice, cap=60)
    hold = on_loop(admit(asked))
    with inside(company):
        funds.take_back(grant, amount_nano=100)
        assert funds.open_funds().needs_check
    on_loop(settle(hold, [used(company.alice, asked, 25)]))
    assert plan_upkeep.expire_credit(now=JAN_1) >= 1
    with inside(company):
        assert not funds.open_funds().needs_check
    assert (left(company), drawn(company)["uncovered"]) == (0, 25)


def test_people_are_told_of_credit_that_expires_soon_once(company: Company) -> None:
    give(company, 2_500_000_000, expires_at=JAN_1)
    for days, times in ((8, 0), (6, 1), (5, 1)):
        plan_upkeep.tell_of_expiring_credit(now=JAN_1 - timedelta(days=days))
        with inside(company):
            told = list(Notice.objects.values_list("text", flat=True))
        assert len(told) == times
    assert told[0].startswith("2.50 US dollars")


def test_however_much_expires_at_once_all_of_it_is_told(
    company: Company, neighbour: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_upkeep, "MAX_TENANTS", 1)
    for who in (company, neighbour):
        for _ in range(6):
            give(who, 10, expires_at=JAN_1)
    plan_upkeep.tell_of_expiring_credit(now=JAN_1 - timedelta(days=1))
    for who in (company, neighbour):
        with inside(who):
            assert Notice.objects.filter(topic="credit.expiring").count() == 6


def test_credit_is_seen_by_its_own_tenant_alone(company: Company, neighbour: Company) -> None:
    give(company, 10)
    with inside(neighbour):
        assert (funds.standing(), CreditGrant.objects.count()) == (None, 0)
