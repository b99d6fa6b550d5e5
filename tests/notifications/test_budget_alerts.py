"""Budgets that pass a threshold, or begin to refuse, are told of: once, to those whom it concerns."""

from collections.abc import Callable

import pytest
from django.db import transaction

from billing.errors import BudgetExceeded
from billing.ledger import admit, settle
from billing.models import Alert
from billing.services.alerting import amount_text, tell_alerts
from kernel.loop import on_loop
from tests.billing.ledger_support import asking, budget, used
from tests.isolation.roles import administrator
from tests.notifications.test_inbox import told
from tests.support.cast import Company


async def _spend(company: Company, nano: int) -> None:
    asked = asking(company.alice, cap=nano)
    await settle(await admit(asked), [used(company.alice, asked, nano)])


def _alerts(company: Company) -> list[tuple[int, bool]]:
    with company.scope(), transaction.atomic():
        return [(one.threshold, one.told_at is not None) for one in Alert.objects.order_by("id")]


def test_each_threshold_is_told_once(company: Company, work_off: Callable[[], int]) -> None:
    on_loop(budget(company, 200, thresholds=[50, 100], name="Research"))
    for nano in (80, 30, 40):
        on_loop(_spend(company, nano))
        tell_alerts()
        work_off()
    (one,) = told(company.alice)
    assert one["subject"] == "50 % of the budget “Research” is used"
    assert one["text"] == "$0.00000011 of $0.0000002 are used in all."
    assert (one["type"], one["link"]) == ("budget.threshold_reached", "/console/budgets")
    assert told(company.bob) == []
    on_loop(_spend(company, 50))
    assert _alerts(company) == [(50, True), (100, False)]
    tell_alerts()
    work_off()
    assert [each["subject"][:3] for each in told(company.alice)] == ["100", "50 "]
    assert "Requests that don't fit are refused." in told(company.alice)[0]["text"]
    assert _alerts(company) == [(50, True), (100, True)]


def test_whom_a_budget_binds_is_told_too(company: Company, work_off: Callable[[], int]) -> None:
    on_loop(budget(company, 100, thresholds=[1], scope=f"member:{company.alice.membership_id}"))
    on_loop(budget(company, 100, thresholds=[50], scope=f"member:{company.bob.membership_id}"))
    asked = asking(company.bob, cap=60)

    async def spend() -> None:
        await settle(await admit(asked), [used(company.bob, asked, 60)])

    on_loop(spend())
    tell_alerts()
    work_off()
    assert [one["subject"] for one in told(company.bob)] == ["50 % of the budget for a member is used"]
    assert len(told(company.alice)) == 1
    assert told(company.vera) == []


def test_the_first_refusal_of_a_period_is_told(company: Company, work_off: Callable[[], int]) -> None:
    on_loop(budget(company, 100, measure="tokens", name="Tokens"))
    on_loop(_spend(company, 90))
    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            on_loop(admit(asking(company.alice, cap=50)))
        tell_alerts()
        work_off()
    (one,) = told(company.alice)
    assert (one["type"], one["subject"]) == ("budget.refused", "The budget “Tokens” refuses requests")
    assert one["text"].startswith("A request was refused: 90 tokens of 100 tokens are used in all")
    listed = company.alice.client.get("/api/v1/billing/alerts").json()["data"]
    assert [(each["kind"], each["threshold"], each["settled"]) for each in listed] == [("refused", None, 90)]
    assert company.bob.client.get("/api/v1/billing/alerts").json()["data"] == listed


def test_an_alert_handed_over_again_is_told_once(company: Company, work_off: Callable[[], int]) -> None:
    on_loop(budget(company, 100, thresholds=[50]))
    on_loop(_spend(company, 70))
    for _ in range(2):
        assert tell_alerts() >= 1
        with administrator() as admin:
            # As if the process had died before it could note it.
            admin.execute("UPDATE billing_alert SET told_at = NULL WHERE tenant_id = %s", (company.id,))
    work_off()
    assert len(told(company.alice)) == 1


def test_an_alert_that_cant_be_told_now_doesnt_stop_others(
    company: Company, neighbour: Company, work_off: Callable[[], int]
) -> None:
    for one in (company, neighbour):
        on_loop(budget(one, 100, thresholds=[50]))
        on_loop(_spend(one, 60))
    with administrator() as slow:
        # Another process tells the first of them, and takes its time.
        slow.execute(
            "INSERT INTO tenants_notice (id, tenant_id, topic, once_key, permission, memberships, addresses, subject, text, "
            "html, link, data, attachments, created_at) SELECT gen_random_uuid(), tenant_id, 'budget.threshold_reached', "
            "'budget ' || budget_id || ' ' || period_start || ' ' || threshold, '', '{}', '{}', 's', 't', '', '', '{}', "
            "'[]', now() FROM billing_alert WHERE tenant_id = %s",
            (company.id,),
        )
        tell_alerts()
        slow.rollback()
    assert (_alerts(company), _alerts(neighbour)) == ([(50, False)], [(50, True)])
    tell_alerts()
    work_off()
    assert _alerts(company) == [(50, True)]
    assert len(told(company.alice)) == 1


def test_a_deleted_budget_has_nothing_to_tell(company: Company, work_off: Callable[[], int]) -> None:
    mine = on_loop(budget(company, 100, thresholds=[50]))
    on_loop(_spend(company, 70))
    assert company.alice.client.delete(f"/api/v1/billing/budgets/{mine.id}").status_code == 204
    tell_alerts()
    work_off()
    assert told(company.alice) == []


@pytest.mark.parametrize(
    ("measure", "amount", "said"),
    [
        ("tokens", 1_234_567, "1,234,567 tokens"),
        ("nano", 1_234_567_890_000, "$1,234.57"),
        ("nano", 10_000_000, "$0.01"),
        ("nano", 9_999_999, "$0.009999999"),
        ("nano", 100, "$0.0000001"),
        ("nano", 0, "$0.00"),
    ],
)
def test_amounts_are_said_for_people(measure: str, amount: int, said: str) -> None:
    assert amount_text(measure, amount) == said
