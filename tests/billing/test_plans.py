"""Subscriptions: begun, changed, renewed, suspended, ended."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.errors import BudgetExceeded
from billing.models import CreditGrant, Invoice, Plan, PlanCharge, Subscription
from billing.services import dunning, plan_upkeep, subscriptions
from billing.services.plans import create_plan, plan_by_slug, withdraw_plan
from kernel.errors import Conflict, InvalidRequest, NotFound
from tenants.models import AuditEvent
from tenants.notifications.models import Notice
from tenants.services.provisioning import set_time_zone
from tests.billing.plan_support import FEB_1, JAN_1, MAR_1, books, drawn, give, inside, left, plan, use
from tests.support.cast import Company

MONTH_S = 31 * 86_400


def subscribed(company: Company, to: Plan, *, at: datetime = JAN_1, seats: int = 1) -> Subscription:
    with inside(company):
        return subscriptions.subscribe(plan=to, seats=seats, now=at)


def renewed(company: Company, at: datetime) -> Subscription:
    """What a run of the job at that moment leaves."""
    plan_upkeep.look_after_subscriptions(now=at)
    with inside(company):
        return Subscription.objects.select_related("plan").get()


def charges(company: Company) -> list[tuple[str, int, int]]:
    with inside(company):
        return list(PlanCharge.objects.order_by("id").values_list("kind", "seats", "amount_nano"))


def grants(company: Company) -> list[tuple[int, datetime | None]]:
    with inside(company):
        return list(CreditGrant.objects.order_by("id").values_list("amount_nano", "expires_at"))


def told(company: Company) -> list[str]:
    with inside(company):
        return list(Notice.objects.order_by("id").values_list("topic", flat=True))


def test_new_terms_are_a_new_version_and_old_subscribers_keep_theirs(company: Company) -> None:
    first = plan("seat", price_nano=10)
    subscribed(company, first, seats=3)
    second = create_plan(slug=first.slug, name="Dearer", kind="seat", terms={"price_nano": 20})
    assert (second.version, plan_by_slug(first.slug, only_offered=True).id) == (2, second.id)
    assert renewed(company, FEB_1).plan.version == 1
    assert charges(company) == [("period", 3, 30), ("period", 3, 30)]
    withdraw_plan(slug=first.slug)
    with pytest.raises(NotFound):
        plan_by_slug(first.slug, only_offered=True)


@pytest.mark.parametrize("terms", [{"price_nano": -1}, {"markup_bps": -10_001}, {"max_seats": 0}, {"trial_days": 366}])
def test_terms_that_cant_be_are_refused(database: str, terms: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        plan("seat", **terms)


def test_a_free_plan_gives_its_credit_once_a_period_and_no_more(company: Company) -> None:
    free = plan("free", included_nano=100)
    subscribed(company, free)
    assert subscribed(company, free).state == "active"
    use(company, 90)
    with pytest.raises(BudgetExceeded):
        use(company, 60)
    renewed(company, FEB_1)
    renewed(company, FEB_1)
    assert grants(company) == [(100, FEB_1), (100, MAR_1)]
    plan_upkeep.expire_credit(now=FEB_1)
    assert left(company) == 100
    assert books(company)["breakage"] == -10


def test_credit_may_outlast_its_period(company: Company) -> None:
    subscribed(company, plan("prepaid", included_nano=5, included_lasts="next_period"))
    assert grants(company) == [(5, MAR_1)]


def test_pay_as_you_go_uses_its_credit_and_owes_the_rest(company: Company) -> None:
    subscribed(company, plan("payg", included_nano=100, price_nano=7))
    use(company, 130)
    assert drawn(company) == {f"period {JAN_1.isoformat()}": 100, "uncovered": 30}
    assert books(company)["customer"] == 130 + 7 - 100


def test_without_a_subscription_nothing_is_limited(company: Company) -> None:
    use(company, 10_000)
    assert books(company)["customer"] == 10_000


def test_an_upgrade_begins_at_once_and_is_charged_by_the_second(company: Company) -> None:
    subscribed(company, plan("seat", price_nano=1_000_003, included_nano=10), seats=2)
    dearer = plan("seat", price_nano=3_000_001, included_nano=41)
    moment = JAN_1 + timedelta(seconds=1_000_000)
    with inside(company):
        subscriptions.change_plan(plan=dearer, seats=3, now=moment)
    rest = MONTH_S - 1_000_000
    assert charges(company) == [
        ("period", 2, 2_000_006),
        ("proration_credit", 2, 2_000_006 * rest // MONTH_S),
        ("proration", 3, 9_000_003 * rest // MONTH_S),
    ]
    assert grants(company) == [(10, FEB_1), (31 * rest // MONTH_S, FEB_1)]
    revenue = 2_000_006 - 2_000_006 * rest // MONTH_S + 9_000_003 * rest // MONTH_S
    assert books(company)["revenue"] == -revenue
    with inside(company):
        subscriptions.change_plan(plan=dearer, seats=3, now=moment)
    assert len(charges(company)) == 3


def test_changing_to_and_fro_gives_included_credit_once(company: Company) -> None:
    bare, rich, richer = (plan("payg", included_nano=nano) for nano in (0, 1_000, 3_000))
    subscribed(company, bare)
    half = JAN_1 + timedelta(seconds=MONTH_S // 2)
    for chosen in (rich, bare, rich, bare, richer, rich, richer):
        with inside(company):
            half += timedelta(microseconds=1)
            subscriptions.change_plan(plan=chosen, now=half)
    assert [nano for nano, _ in grants(company)] == [499, 999]
    renewed(company, FEB_1)
    assert [nano for nano, _ in grants(company)][2:] == [3_000]


def test_a_downgrade_waits_for_the_periods_end_and_can_be_taken_back(company: Company) -> None:
    dear, cheap = plan("seat", price_nano=100), plan("seat", price_nano=10)
    subscribed(company, dear, seats=2)
    with inside(company):
        sub = subscriptions.change_plan(plan=cheap, seats=5, now=JAN_1 + timedelta(days=3))
        assert (sub.plan_id, sub.next_plan_id, sub.next_seats) == (dear.id, cheap.id, 5)
        sub = subscriptions.change_plan(plan=dear, now=JAN_1 + timedelta(days=4))
        assert (sub.plan_id, sub.next_plan_id) == (dear.id, None)
        subscriptions.change_plan(plan=cheap, now=JAN_1 + timedelta(days=5))
    assert (renewed(company, FEB_1).plan_id, charges(company)) == (
        cheap.id,
        [("period", 2, 200), ("period", 2, 20)],
    )


def test_seats_are_bounded_by_the_plan(company: Company) -> None:
    small = plan("seat", price_nano=10, max_seats=3)
    for seats in (0, 4):
        with pytest.raises(InvalidRequest):
            subscribed(company, small, seats=seats)
    with pytest.raises(InvalidRequest):
        subscribed(company, plan("seat", price_nano=10**13), seats=100_000)


def test_a_trial_costs_nothing_is_limited_and_is_had_once(company: Company) -> None:
    tried = plan("payg", price_nano=50, included_nano=12, trial_days=14)
    sub = subscribed(company, tried)
    over = JAN_1 + timedelta(days=14)
    assert (sub.state, sub.period_end, charges(company)) == ("trialing", over, [])
    with pytest.raises(BudgetExceeded):
        use(company, 30)
    renewed(company, over - timedelta(days=2))
    assert told(company) == ["subscription.trial_ending"]
    sub = renewed(company, over)
    assert (sub.state, sub.period_end, charges(company)) == (
        "active",
        datetime(2027, 2, 15, tzinfo=UTC),
        [("period", 1, 50)],
    )
    use(company, 90)
    with inside(company):
        subscriptions.cancel(at_once=True, now=over)
    assert subscribed(company, tried, at=over).state == "active"


def test_periods_that_were_missed_are_caught_up(company: Company) -> None:
    subscribed(company, plan("seat", price_nano=10), at=datetime(2027, 1, 31, 9, tzinfo=UTC))
    sub = renewed(company, datetime(2027, 4, 30, tzinfo=UTC))
    assert (sub.period_start, sub.period_end) == (datetime(2027, 4, 30, tzinfo=UTC), datetime(2027, 5, 31, tzinfo=UTC))
    assert charges(company) == [("period", 1, 10)] * 4


def test_a_new_time_zone_makes_no_period_of_hours(company: Company) -> None:
    set_time_zone(slug=company.tenant.slug, time_zone="Asia/Tokyo")
    midnight = datetime(2027, 1, 14, 15, tzinfo=UTC)
    subscribed(company, plan("payg", price_nano=10), at=midnight)
    set_time_zone(slug=company.tenant.slug, time_zone="America/New_York")
    sub = renewed(company, datetime(2027, 2, 20, tzinfo=UTC))
    assert (sub.period_start, sub.period_end) == (
        datetime(2027, 2, 14, 15, tzinfo=UTC),
        datetime(2027, 3, 15, 4, tzinfo=UTC),
    )
    assert charges(company) == [("period", 1, 10)] * 2


def test_what_isnt_paid_is_reminded_of_then_suspended_then_goes_on_when_paid(company: Company) -> None:
    subscribed(company, plan("payg", price_nano=10, grace_days=10))
    due = JAN_1 + timedelta(days=1)
    with inside(company):
        assert dunning.payment_failed(now=due).state == "past_due"
        assert dunning.payment_failed(now=due + timedelta(days=1)).past_due_since == due
    with inside(company), pytest.raises(Conflict):
        subscriptions.change_plan(plan=plan("payg", price_nano=20), now=due)
    assert renewed(company, due + timedelta(days=5)).state == "past_due"
    assert renewed(company, due + timedelta(days=10)).state == "suspended"
    # Nothing is charged meanwhile.
    assert renewed(company, MAR_1).state == "suspended"
    assert charges(company) == [("period", 1, 10)]
    with inside(company):
        sub = dunning.payment_came(now=MAR_1)
        assert (sub.state, sub.period_start) == ("active", MAR_1)
    assert charges(company) == [("period", 1, 10)] * 2
    assert told(company) == [
        "subscription.past_due",
        "subscription.past_due",
        "subscription.suspended",
        "subscription.resumed",
    ]


def suspended(company: Company, to: Plan, *, at: datetime = JAN_1) -> None:
    """Its payment didn't come."""
    subscribed(company, to, at=at)
    with inside(company):
        dunning.payment_failed(now=at + timedelta(days=1))
        dunning.suspend(now=at + timedelta(days=8))


def test_a_suspended_plan_begins_a_whole_month_when_it_is_paid(company: Company) -> None:
    suspended(company, plan("payg", price_nano=10), at=datetime(2027, 1, 15, tzinfo=UTC))
    paid = datetime(2027, 3, 14, 12, tzinfo=UTC)
    with inside(company):
        sub = dunning.payment_came(now=paid)
        assert (sub.period_start, sub.period_end) == (paid, datetime(2027, 4, 14, tzinfo=UTC))
    assert renewed(company, datetime(2027, 4, 13, tzinfo=UTC)).period_start == paid
    assert charges(company) == [("period", 1, 10)] * 2


def test_a_suspended_plan_that_is_paid_goes_on_as_its_tenant_chose(company: Company) -> None:
    dear, cheap = plan("payg", price_nano=100), plan("payg", price_nano=10)
    subscribed(company, dear)
    with inside(company):
        subscriptions.change_plan(plan=cheap, now=JAN_1)
        dunning.suspend(now=JAN_1)
        assert dunning.payment_came(now=MAR_1).plan_id == cheap.id
    assert charges(company) == [("period", 1, 100), ("period", 1, 10)]


def test_a_suspended_plan_that_was_cancelled_ends_when_it_is_paid(company: Company) -> None:
    suspended(company, plan("payg", price_nano=10))
    with inside(company):
        assert subscriptions.cancel(now=JAN_1).state == "suspended"
    assert renewed(company, FEB_1).state == "suspended"
    with inside(company):
        assert dunning.payment_came(now=MAR_1).state == "cancelled"
    assert charges(company) == [("period", 1, 10)]
    assert told(company)[-1] == "subscription.cancelled"


def test_what_was_used_before_it_was_suspended_is_for_an_invoice(company: Company) -> None:
    suspended(company, plan("payg"))
    for _ in range(2):
        renewed(company, MAR_1)
    with inside(company):
        assert [one.until for one in Invoice.objects.order_by("until")][-1] == FEB_1


def test_a_cancelled_subscription_ends_with_its_period_and_leaves_bought_credit(company: Company) -> None:
    subscribed(company, plan("payg", price_nano=10))
    give(company, 40, source="topup")
    with inside(company):
        subscriptions.cancel(now=JAN_1)
        subscriptions.keep(now=JAN_1)
        subscriptions.cancel(now=JAN_1)
    sub = renewed(company, FEB_1)
    assert (sub.state, sub.due_at, charges(company), left(company)) == ("cancelled", None, [("period", 1, 10)], 40)
    assert subscribed(company, plan("prepaid"), at=MAR_1).state == "active"
    use(company, 30)
    with pytest.raises(BudgetExceeded):
        use(company, 60)


def test_every_step_is_in_the_audit(company: Company) -> None:
    cheap, dear = plan("seat", price_nano=10), plan("seat", price_nano=20)
    subscribed(company, cheap)
    with inside(company):
        subscriptions.change_plan(plan=dear, actor=company.alice.principal, now=JAN_1)
        subscriptions.cancel(actor=company.alice.principal, at_once=True, now=JAN_1)
        events = AuditEvent.objects.filter(subject_kind="subscription").order_by("id")
        found = list(events.values_list("action", "actor_kind"))
    assert found == [
        ("subscription.started", "operator"),
        ("subscription.changed", "member"),
        ("subscription.cancelled", "member"),
    ]


def test_a_subscription_that_fails_doesnt_stop_others(company: Company, neighbour: Company) -> None:
    subscribed(company, plan("seat", price_nano=10**17))
    subscribed(neighbour, plan("free"))
    with inside(company):
        # A fee that no column holds.
        Subscription.objects.update(seats=100_000)
    assert renewed(neighbour, FEB_1).period_start == FEB_1
    with inside(company):
        assert Subscription.objects.get().period_start == JAN_1
        Subscription.objects.update(due_at=None)
