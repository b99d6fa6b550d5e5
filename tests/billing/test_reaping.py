"""Holds that can't be resolved: they wait longer and longer, and others don't wait for them."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from billing.ledger import admit
from billing.services.reaping import reap_holds
from kernel.loop import on_loop
from tests.billing.ledger_support import asking
from tests.isolation.roles import Connection, administrator
from tests.support.cast import Company

AGES = (timedelta(minutes=20), timedelta(hours=2), timedelta(days=3))


@pytest.fixture
def admin(company: Company) -> Iterator[Connection]:
    with administrator() as connection:
        connection.autocommit = True
        yield connection
        connection.execute("DELETE FROM billing_hold WHERE tenant_id = %s", (company.id,))


def hold(company: Company, admin: Connection, *, age: timedelta, is_known: bool = True) -> uuid.UUID:
    """A hold that was made so long ago, and has expired. What is not known of it can't be billed."""
    asked = asking(company.alice, input_tokens=20)
    on_loop(admit(asked))
    made_at = timezone.now() - age
    admin.execute(
        "UPDATE billing_hold SET created_at = %s, expires_at = %s WHERE tenant_id = %s AND request_id = %s",
        (made_at, made_at + timedelta(seconds=90), company.id, asked.request_id),
    )
    if not is_known:
        admin.execute(
            "UPDATE billing_hold SET facts = jsonb_build_object('hidden', facts) WHERE tenant_id = %s AND request_id = %s",
            (company.id, asked.request_id),
        )
    return asked.request_id


def standing(company: Company, admin: Connection) -> dict[uuid.UUID, timedelta]:
    """The holds that stand, and in how long each expires."""
    rows = admin.execute(
        "SELECT request_id, expires_at - now() FROM billing_hold WHERE tenant_id = %s", (company.id,)
    ).fetchall()
    return dict(rows)


def test_those_that_cant_be_resolved_dont_keep_others_waiting(company: Company, admin: Connection) -> None:
    reap_holds()
    stuck = [hold(company, admin, age=age, is_known=False) for age in AGES]
    good = hold(company, admin, age=timedelta(minutes=10))
    first = reap_holds(at_most=len(stuck))
    assert (first.failed, good in standing(company, admin)) == (3, True)
    second = reap_holds(at_most=len(stuck))
    assert (second.failed, second.billed, set(standing(company, admin))) == (0, 1, set(stuck))


def test_they_are_tried_again_the_later_the_older_they_are(company: Company, admin: Connection) -> None:
    reap_holds()
    stuck = [hold(company, admin, age=age, is_known=False) for age in AGES]
    assert reap_holds().failed == len(stuck)
    waits = standing(company, admin)
    minutes = [round(waits[one] / timedelta(minutes=1)) for one in stuck]
    assert minutes == [5, 30, 60]
    assert reap_holds().failed == 0
    before = standing(company, admin)
    reap_holds(now=timezone.now() + timedelta(minutes=6))
    after = standing(company, admin)
    assert [one for one in stuck if after[one] > before[one]] == stuck[:1]
    admin.execute("UPDATE billing_hold SET facts = facts -> 'hidden' WHERE tenant_id = %s", (company.id,))
    assert reap_holds(now=timezone.now() + timedelta(hours=2)).billed >= len(stuck)
    assert standing(company, admin) == {}
