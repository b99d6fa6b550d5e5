"""What is held, what is refused, and what is given back."""

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from msgspec.structs import replace

from billing.errors import BudgetExceeded
from billing.holds import WorstCase
from billing.ledger import admit, checkpoint, settle
from billing.models import Alert, Budget, BudgetBalance
from billing.services.reaping import reap_holds
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants.services.provisioning import limit_tenant
from tests.billing.ledger_support import accounts, asking, balance, budget, entries, holds, records, used
from tests.support.cast import Company


async def test_without_a_budget_all_is_held_and_charged(company: Company) -> None:
    asked = asking(company.alice)
    hold = await admit(asked)
    assert (hold.cap_tokens, hold.amount_nano, hold.is_bounded) == (100, 100, False)
    assert [one.request_id for one in await holds(company)] == [asked.request_id]
    await settle(hold, [used(company.alice, asked, 250)])
    assert await holds(company) == []
    assert await accounts(company) == {"customer": 250, "revenue": -250, "provider_cost": 125, "provider_payable": -125}


async def test_entries_tell_what_was_sold_and_what_it_cost(company: Company) -> None:
    asked = asking(company.alice)
    await settle(await admit(asked), [used(company.alice, asked, 40)])
    assert await entries(company) == [
        ("cost", "provider_cost", "provider_payable", 20),
        ("usage", "customer", "revenue", 40),
    ]


async def test_a_budget_holds_the_worst_and_keeps_what_was_used(company: Company) -> None:
    mine = await budget(company, 150)
    asked = asking(company.alice)
    hold = await admit(asked)
    assert hold.is_bounded
    assert await balance(mine) == (100, 0)
    await settle(hold, [used(company.alice, asked, 30)])
    assert await balance(mine) == (0, 30)


async def test_a_cap_shrinks_to_the_money_left_and_then_is_refused(company: Company) -> None:
    mine = await budget(company, 150)
    await admit(asking(company.alice))
    second = await admit(asking(company.alice, input_tokens=10))
    assert (second.cap_tokens, second.amount_nano) == (40, 50)
    with pytest.raises(BudgetExceeded) as refused:
        await admit(asking(company.alice))
    assert refused.value.status == 402
    assert refused.value.details == {
        "budget": str(mine.id),
        "name": "",
        "scope": "tenant",
        "measure": "nano",
        "limit": 150,
        "available": 0,
        "period_start": "1970-01-01",
    }
    assert await balance(mine) == (150, 0)


async def test_what_is_left_to_the_last_token_is_granted_and_no_more(company: Company) -> None:
    mine = await budget(company, 100)
    hold = await admit(asking(company.alice, cap=101))
    assert (hold.cap_tokens, hold.amount_nano) == (100, 100)
    await settle(hold, ())
    assert (await admit(asking(company.alice, cap=100))).cap_tokens == 100
    assert await balance(mine) == (100, 0)


async def test_attempts_together_are_charged_no_more_than_the_hold(company: Company) -> None:
    mine = await budget(company, 100)
    asked = asking(company.alice)
    await settle(
        await admit(asked), [used(company.alice, asked, 70, attempt=1), used(company.alice, asked, 70, attempt=2)]
    )
    assert [(one.sell_nano, one.loss_nano) for one in await records(company)] == [(70, 0), (30, 40)]
    assert await balance(mine) == (0, 100)


async def test_a_settlement_twice_in_one_batch_leaves_other_holds_alone(company: Company) -> None:
    mine = await budget(company, 1_000)
    asked = asking(company.alice)
    hold = await admit(asked)
    for _ in range(3):
        await admit(asking(company.alice))
    event = used(company.alice, asked, 30)
    await asyncio.gather(settle(hold, [event]), settle(hold, [event]))
    assert await balance(mine) == (300, 30)


async def test_a_thousand_at_once_never_pass_a_budget(company: Company) -> None:
    mine = await budget(company, 1_000)
    asked = [asking(company.alice, cap=16) for _ in range(200)]
    outcomes = await asyncio.gather(*(admit(one) for one in asked), return_exceptions=True)
    granted = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(granted) == 62
    assert all(isinstance(one, BudgetExceeded) for one in outcomes if isinstance(one, BaseException))
    assert await balance(mine) == (62 * 16, 0)


async def test_every_budget_that_applies_counts(company: Company) -> None:
    group, room, key = uuid7(), uuid7(), uuid7()
    scopes = (
        "tenant",
        f"member:{company.alice.membership_id}",
        f"group:{group}",
        f"room:{room}",
        f"key:{key}",
        "model:m",
    )
    budgets = [await budget(company, 1_000 - 10 * place, scope=scope) for place, scope in enumerate(scopes)]
    other = await budget(company, 1, scope="model:other")
    asked = asking(company.alice, groups=[group], subject_kind="room", subject_id=room, api_key_id=key)
    hold = await admit(asked)
    assert [await balance(one) for one in budgets] == [(100, 0)] * 6
    await settle(hold, [used(company.alice, asked, 7)])
    assert [await balance(one) for one in budgets] == [(0, 7)] * 6
    assert await balance(other) == (0, 0)
    with pytest.raises(BudgetExceeded) as refused:
        await admit(asking(company.alice, input_tokens=945, cap=16, groups=[group], api_key_id=key))
    assert refused.value.details is not None
    assert refused.value.details["scope"] == "model:m"


async def test_tokens_are_held_where_money_is_not(company: Company) -> None:
    mine = await budget(company, 120, measure="tokens")
    asked = asking(company.alice, cap=50, input_tokens=30)
    hold = await admit(asked)
    assert await balance(mine) == (80, 0)
    shrunk = await admit(asking(company.alice, cap=50, input_tokens=10))
    assert shrunk.cap_tokens == 30
    await settle(hold, [used(company.alice, asked, 60)])
    assert await balance(mine) == (40, 60)


async def test_soft_and_shadow_budgets_refuse_nothing_but_count(company: Company) -> None:
    soft = await budget(company, 10, mode="soft")
    shadow = await budget(company, 10, mode="shadow")
    asked = asking(company.alice)
    hold = await admit(asked)
    assert not hold.is_bounded
    await settle(hold, [used(company.alice, asked, 60)])
    assert await balance(soft) == await balance(shadow) == (0, 60)

    @sync_to_async
    def would_refuse() -> dict[object, int]:
        with tenant_scope(company.id), transaction.atomic():
            return dict(BudgetBalance.objects.values_list("budget_id", "would_refuse"))

    assert await would_refuse() == {soft.id: 0, shadow.id: 1}


async def test_thresholds_alert_once_each(company: Company) -> None:
    mine = await budget(company, 100, thresholds=[50, 80, 100])

    @sync_to_async
    def alerts() -> list[int]:
        with tenant_scope(company.id), transaction.atomic():
            return sorted(Alert.objects.filter(budget_id=mine.id).values_list("threshold", flat=True))

    seen = []
    for nano in (49, 1, 5, 45):
        asked = asking(company.alice, cap=nano)
        await settle(await admit(asked), [used(company.alice, asked, nano)])
        seen.append(await alerts())
    assert seen == [[], [50], [50], [50, 80, 100]]


async def test_what_passes_the_hold_is_charged_as_far_as_the_budget_has_room(company: Company) -> None:
    mine = await budget(company, 150)
    asked = asking(company.alice)
    await settle(await admit(asked), [used(company.alice, asked, 400)])
    assert await balance(mine) == (0, 150)
    (record,) = await records(company)
    assert (record.sell_nano, record.loss_nano) == (150, 250)
    assert await accounts(company) == {
        "customer": 150,
        "platform_loss": 250,
        "revenue": -400,
        "provider_cost": 200,
        "provider_payable": -200,
    }


async def test_attempts_that_nobody_saw_are_the_platforms_loss(company: Company) -> None:
    mine = await budget(company, 150)
    asked = asking(company.alice)
    events = [
        used(company.alice, asked, 30, attempt=1, status="failed", unseen=True),
        used(company.alice, asked, 40, attempt=2),
    ]
    await settle(await admit(asked), events)
    assert await balance(mine) == (0, 40)
    assert [(one.sell_nano, one.loss_nano) for one in await records(company)] == [(0, 30), (40, 0)]


async def test_a_request_that_was_never_made_gives_its_hold_back(company: Company) -> None:
    mine = await budget(company, 150)
    await settle(await admit(asking(company.alice)), ())
    assert (await balance(mine), await records(company)) == ((0, 0), [])


async def test_the_same_settlement_twice_changes_nothing(company: Company) -> None:
    mine = await budget(company, 150)
    asked = asking(company.alice)
    hold = await admit(asked)
    event = used(company.alice, asked, 30)
    await asyncio.gather(settle(hold, [event]), settle(hold, [event]))
    await settle(hold, [event])
    assert (await balance(mine), await accounts(company)) == (
        (0, 30),
        {"customer": 30, "revenue": -30, "provider_cost": 15, "provider_payable": -15},
    )


async def test_the_same_hold_asked_for_twice_is_one(company: Company) -> None:
    mine = await budget(company, 150)
    asked = asking(company.alice)
    first = await admit(asked)
    assert await admit(asked) == first
    assert await balance(mine) == (100, 0)


async def test_a_bad_settlement_fails_alone(company: Company, neighbour: Company) -> None:
    ours, bad, theirs = asking(company.alice), asking(company.alice), asking(neighbour.alice)
    granted = await asyncio.gather(*map(admit, (ours, bad, theirs)))
    outcomes = await asyncio.gather(
        settle(granted[0], [used(company.alice, ours, 10)]),
        settle(granted[1], [used(company.alice, bad, 10, latency_ms=-1)]),
        settle(granted[2], [used(neighbour.alice, theirs, 10)]),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in outcomes] == ["NoneType", "UsageNotRecorded", "NoneType"]
    assert (len(await records(company)), len(await records(neighbour))) == (1, 1)
    assert [one.request_id for one in await holds(company)] == [bad.request_id]


async def test_holds_of_a_dead_process_are_resolved_by_what_is_known(company: Company) -> None:
    mine = await budget(company, 1_000)
    reserved = await admit(asking(company.alice, input_tokens=10, is_sent=False))
    await admit(asking(company.alice, input_tokens=20))
    streaming = await admit(asking(company.alice, input_tokens=30))
    checkpoint(streaming, output_tokens=12)
    checkpoint(reserved, output_tokens=0)
    await settle(await admit(asking(company.alice)), ())
    found = {one.request_id: one for one in await holds(company)}
    assert [one.state for one in found.values()] == ["reserved", "sent", "streaming"]
    later = max(one.expires_at for one in found.values()) + timedelta(seconds=1)
    reaped = await sync_to_async(reap_holds)(now=later)
    assert (reaped.given_back >= 1, reaped.billed >= 2) == (True, True)
    assert await holds(company) == []
    billed = await records(company)
    assert [(one.input, one.output, one.estimated, one.status) for one in billed] == [
        (20, 0, True, "interrupted"),
        (30, 12, True, "interrupted"),
    ]
    assert await balance(mine) == (0, 62)


async def test_a_settlement_after_the_reaper_is_not_billed_again(company: Company) -> None:
    mine = await budget(company, 1_000)
    asked = asking(company.alice, input_tokens=20)
    hold = await admit(asked)
    (found,) = await holds(company)
    await sync_to_async(reap_holds)(now=found.expires_at + timedelta(seconds=1))
    await settle(hold, [used(company.alice, asked, 90)])
    assert [one.sell_nano for one in await records(company)] == [20]
    assert await balance(mine) == (0, 20)


@pytest.mark.parametrize("mode", ["soft", None])
async def test_nor_is_another_attempt_of_it(company: Company, mode: str | None) -> None:
    mine = await budget(company, 1_000, mode=mode) if mode else None
    asked = asking(company.alice, input_tokens=20)
    hold = await admit(asked)
    (found,) = await holds(company)
    await sync_to_async(reap_holds)(now=found.expires_at + timedelta(seconds=1))
    failed = used(company.alice, asked, 0, attempt=1, status="failed")
    await settle(hold, [failed, used(company.alice, asked, 90, attempt=2)])
    assert [(one.sell_nano, one.loss_nano) for one in await records(company)] == [(20, 0), (0, 90)]
    assert (await accounts(company))["customer"] == 20
    if mine is not None:
        assert await balance(mine) == (0, 20)


async def test_what_costs_nothing_passes_budgets_of_money_whatever_was_used(company: Company) -> None:
    mine = await budget(company, 100, mode="soft")
    tokens = await budget(company, 300, measure="tokens")
    asked = asking(company.alice)
    await settle(await admit(asked), [used(company.alice, asked, 150)])
    await sync_to_async(_make_hard)(mine)
    with pytest.raises(BudgetExceeded):
        await admit(asking(company.alice, cap=16))
    free = replace(asking(company.alice), worst=WorstCase(10, 100, input_nano=0, output_nano_per_mtok=0))
    hold = await admit(free)
    assert (hold.cap_tokens, hold.amount_nano) == (100, 0)
    assert (await balance(mine), await balance(tokens)) == ((0, 150), (110, 150))


def _make_hard(mine: Budget) -> None:
    with tenant_scope(mine.tenant_id), transaction.atomic():
        Budget.objects.filter(id=mine.id).update(mode="hard")


async def test_the_operators_limit_is_a_hard_budget_of_the_month(company: Company) -> None:
    await sync_to_async(limit_tenant)(slug=company.tenant.slug, monthly_usd="0.000000100")
    asked = asking(company.alice)
    hold = await admit(asked)
    with pytest.raises(BudgetExceeded):
        await admit(asking(company.alice))
    await settle(hold, ())
    await sync_to_async(limit_tenant)(slug=company.tenant.slug, monthly_usd=None)
    assert (await admit(asking(company.alice, cap=10_000))).cap_tokens == 10_000
