"""Budgets of operators and plans: the web role can't write them, and what it may call sets no limit of its own."""

import uuid
from collections.abc import Iterator

import pytest
from django.db import transaction
from psycopg import errors

from billing.models import Budget
from billing.services.funds import add_grant, limit_by_credit
from kernel.tenancy import tenant_scope
from tenants.services.provisioning import limit_tenant
from tests.isolation.probes import undone
from tests.isolation.roles import APP_ROLE, PLATFORM_ROLE, Connection, connect
from tests.support.cast import Company

COLUMNS = "id, tenant_id, name, scope, measure, period, limit_amount, mode, thresholds, owner, active, created_at"


@pytest.fixture(scope="module")
def web(database: str) -> Iterator[Connection]:
    with connect(APP_ROLE) as connection:
        yield connection


@pytest.fixture
def guarded(company: Company) -> Company:
    """A company with a limit of the operator's, and credit of its plan."""
    limit_tenant(slug=company.tenant.slug, monthly_usd="5")
    with tenant_scope(company.id), transaction.atomic():
        add_grant(amount_nano=500, source="topup", key="paid")
        limit_by_credit(is_hard=True)
        Budget.objects.create(
            tenant_id=company.id, scope="tenant", measure="nano", period="day", limit_amount=7, mode="hard"
        )
    return company


@pytest.mark.parametrize("owner", ["operator", "plan"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE billing_budget SET limit_amount = 10^15 WHERE owner = %s",
        "UPDATE billing_budget SET mode = 'shadow' WHERE owner = %s",
        "UPDATE billing_budget SET active = false WHERE owner = %s",
        "UPDATE billing_budget SET owner = 'tenant' WHERE owner = %s",
        "UPDATE billing_budget SET owner = %s WHERE owner = 'tenant'",
        "DELETE FROM billing_budget WHERE owner = %s",
    ],
)
def test_the_tenants_own_sql_cant_write_them(web: Connection, guarded: Company, owner: str, change: str) -> None:
    with undone(web, guarded.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute(change.encode(), (owner,))


@pytest.mark.parametrize("owner", ["operator", "plan"])
def test_the_tenants_own_sql_cant_make_them(web: Connection, guarded: Company, owner: str) -> None:
    with undone(web, guarded.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute(
            f"INSERT INTO billing_budget ({COLUMNS}) VALUES (gen_random_uuid(), %s, '', 'tenant', 'nano', 'month', 1, 'hard',"
            " '{}', %s, true, now())".encode(),
            (guarded.id, owner),
        )


def test_the_tenants_own_budgets_are_its_own(web: Connection, guarded: Company) -> None:
    with undone(web, guarded.id):
        assert web.execute("UPDATE billing_budget SET limit_amount = 9 WHERE owner = 'tenant'").rowcount == 1
        assert web.execute("DELETE FROM billing_budget WHERE owner = 'tenant'").rowcount == 1


def test_the_limit_of_credit_is_what_the_credit_says_whoever_asks(web: Connection, guarded: Company) -> None:
    with undone(web, guarded.id):
        assert web.execute("SELECT * FROM lookup.funds_limit(%s, 'hard')", (guarded.id,)).fetchone() == (500, False)
        found = web.execute("SELECT limit_amount, mode FROM billing_budget WHERE owner = 'plan'").fetchall()
        assert found == [(500, "hard")]


def test_nobody_reaches_another_tenants_credit_or_holds(web: Connection, guarded: Company, evil: Company) -> None:
    with undone(web, evil.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute("SELECT lookup.funds_limit(%s, 'soft')", (guarded.id,))
    with undone(web, evil.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute("SELECT lookup.funds_open(%s, %s, 'x')", (guarded.id, uuid.uuid4()))
    with undone(web, guarded.id), pytest.raises(errors.InsufficientPrivilege):
        web.execute("SELECT lookup.holds_put_off(%s, ARRAY[%s])", (guarded.id, uuid.uuid4()))
    with connect(PLATFORM_ROLE) as platform, undone(platform, evil.id), pytest.raises(errors.InsufficientPrivilege):
        platform.execute("SELECT lookup.holds_put_off(%s, ARRAY[%s])", (guarded.id, uuid.uuid4()))
