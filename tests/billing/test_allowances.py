"""Requests that draw their holds from an allowance: nobody waits, nothing is overspent, and all is billed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone
from msgspec.structs import replace

from billing import allowances, commits, journal, ledger
from billing.allowances import Allowance, Drawn
from billing.errors import BudgetExceeded
from billing.holds import HoldRequest, WorstCase
from billing.journal import Journal
from billing.ledger import admit, checkpoint, drained, settle
from billing.models import Budget, BudgetBalance
from billing.recovery import recover
from billing.services.reaping import reap_holds
from kernel.ids import uuid7
from tests.billing.ledger_support import accounts, asking, balance, budget, holds, records, used
from tests.support.cast import Company
from tests.support.patience import soon

AMOUNT = 1_000
"""Of each allowance, in nano-USD and in tokens."""


@pytest.fixture(autouse=True)
async def folder(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Where journals are, of this test alone. Every request is often enough, and an allowance lasts till it is ended."""
    journal.close()
    settings.JOURNAL_FOLDER = tmp_path / "journal"
    monkeypatch.setattr(allowances, "OFTEN_PER_S", 0.0)
    for name in ("LASTS_S", "IDLE_S"):
        monkeypatch.setattr(allowances, name, 300.0)
    wanted = WorstCase(0, AMOUNT, input_nano=AMOUNT, output_nano_per_mtok=0)
    monkeypatch.setattr(allowances._Demand, "wanted", lambda _: wanted)
    yield tmp_path / "journal"
    await drained()
    journal.close()


async def open_one(company: Company) -> Allowance:
    """The first request asks the ledger, and has an allowance asked for."""
    asked = asking(company.alice)
    hold = await admit(asked)
    assert not isinstance(hold, Drawn)
    await settle(hold, ())
    async with soon():
        while not (found := [one.allowance for one in ledger._allowances()._known.values() if one.allowance]):
            await asyncio.sleep(0.005)
    assert found[0].asked.payer.tenant_id == company.id
    return found[0]


async def draw(asked: HoldRequest) -> Drawn:
    """A hold that nobody waited for."""
    hold = await admit(asked)
    assert isinstance(hold, Drawn)
    return hold


async def states(company: Company) -> Sequence[tuple[str, int]]:
    return sorted((one.state, one.amount_nano) for one in await holds(company))


async def test_requests_draw_and_what_they_use_is_billed(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    assert await states(company) == [("allowance", AMOUNT)]
    asked = [asking(company.alice, input_tokens=10) for _ in range(4)]
    drawn = [await draw(one) for one in asked]
    assert {(one.amount_nano, one.cap_tokens, one.is_bounded) for one in drawn} == {(110, 100, True)}
    assert await balance(mine) == (AMOUNT, 0)
    await settle(drawn[0], [used(company.alice, asked[0], 30)])
    assert await states(company) == [("allowance", AMOUNT - 110)]
    assert await balance(mine) == (AMOUNT - 110, 30)
    await asyncio.gather(*(settle(drawn[n], [used(company.alice, asked[n], 30)]) for n in (1, 2)))
    await settle(drawn[3], ())
    assert await balance(mine) == (AMOUNT - 330, 90)
    await drained()
    assert (await states(company), await balance(mine)) == ([], (0, 90))
    assert sorted(one.sell_nano for one in await records(company)) == [30, 30, 30]
    assert (await accounts(company))["customer"] == 90


async def test_what_is_given_back_can_be_drawn_again(company: Company) -> None:
    await budget(company, 100_000)
    allowance = await open_one(company)
    for _ in range(3):
        hold = await draw(asking(company.alice, cap=AMOUNT))
        assert allowance.free_nano == 0
        await settle(hold, ())
        assert allowance.free_nano == allowance.free_tokens == AMOUNT


async def test_one_that_does_not_fit_asks_the_ledger(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    hold = await admit(asking(company.alice, cap=AMOUNT + 1))
    assert not isinstance(hold, Drawn)
    assert await balance(mine) == (2 * AMOUNT + 1, 0)
    await settle(hold, ())


async def test_one_that_takes_long_has_a_hold_of_its_own(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    asked = asking(company.alice)
    hold = await draw(asked)
    checkpoint(hold, output_tokens=7)
    async with soon():
        while await states(company) != [("allowance", AMOUNT - 100), ("streaming", 100)]:
            await asyncio.sleep(0.01)
    assert await balance(mine) == (AMOUNT, 0)
    await drained()
    assert await states(company) == [("streaming", 100)]
    assert [one.checkpoint_output for one in await holds(company)] == [7]
    await settle(hold, [used(company.alice, asked, 12)])
    assert (await states(company), await balance(mine)) == ([], (0, 12))


async def test_those_under_way_keep_theirs_when_the_allowance_ends(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    sent, waiting = asking(company.alice), asking(company.alice, is_sent=False)
    first, second = await draw(sent), await draw(waiting)
    await drained()
    assert await states(company) == [("reserved", 100), ("sent", 100)]
    assert await balance(mine) == (200, 0)
    await settle(first, [used(company.alice, sent, 60)])
    await settle(second, ())
    assert (await states(company), await balance(mine)) == ([], (0, 60))


async def test_what_was_used_beyond_the_hold_is_charged_as_far_as_there_is_money(company: Company) -> None:
    limit = AMOUNT * 30
    mine = await budget(company, limit)
    await open_one(company)
    asked = asking(company.alice)
    await settle(await draw(asked), [used(company.alice, asked, 250)])
    assert await balance(mine) == (AMOUNT - 100, 250)
    asked = asking(company.alice)
    await settle(await draw(asked), [used(company.alice, asked, AMOUNT * 40)])
    await drained()
    assert await balance(mine) == (0, limit - (AMOUNT - 200))
    charged = [(one.sell_nano, one.loss_nano) for one in await records(company)]
    assert sum(sell for sell, _ in charged) == limit - (AMOUNT - 200)
    assert sum(sell + loss for sell, loss in charged) == 250 + AMOUNT * 40


async def test_a_batch_whose_answer_was_lost_changes_nothing_the_second_time(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    plain, over = asking(company.alice), asking(company.alice)
    long = asking(company.alice)
    batches: list[list[commits.Item]] = []
    for asked, nano in ((plain, 40), (over, 150)):
        hold = await draw(asked)
        hold.written()
        events = [used(company.alice, asked, nano)]
        batches.append([commits.Settlement(company.id, asked.request_id, events, hold, hold.told())])
    lasting = await draw(long)
    lasting.written()
    batches.append([commits.Checkpoint(lasting, 5, lasting.told())])
    batches.append([item for batch in batches for item in batch])
    for batch in batches:
        for _ in range(2):
            assert await commits.commit("ledger 0", batch) == {}
    assert await states(company) == [("allowance", AMOUNT - 300), ("streaming", 100)]
    assert await balance(mine) == (AMOUNT - 200, 190)
    assert sorted(one.sell_nano for one in await records(company)) == [40, 150]
    await settle(lasting, ())


async def test_settled_twice_at_once_it_is_billed_once(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    asked = asking(company.alice)
    hold = await draw(asked)
    event = used(company.alice, asked, 30)
    await asyncio.gather(*(settle(hold, [event]) for _ in range(3)))
    await settle(hold, [event])
    await drained()
    assert (await states(company), await balance(mine)) == ([], (0, 30))


async def test_asked_twice_at_once_there_is_one_hold(company: Company) -> None:
    await budget(company, 100_000)
    await open_one(company)
    asked = asking(company.alice)
    first, second = await asyncio.gather(admit(asked), admit(asked))
    assert first is second
    # The ledger is being asked already.
    large = asking(company.alice, cap=AMOUNT + 1)
    asking_ledger = asyncio.create_task(admit(large))
    await asyncio.sleep(0)
    again = await admit(replace(large, worst=replace(large.worst, cap_tokens=10)))
    assert not isinstance(again, Drawn)
    assert again.amount_nano == (await asking_ledger).amount_nano == AMOUNT + 1
    await settle(first, ())
    await settle(again, ())


async def test_a_budget_with_little_left_gives_none(company: Company) -> None:
    await budget(company, AMOUNT * allowances.ROOM - 1)
    for _ in range(3):
        hold = await admit(asking(company.alice))
        assert not isinstance(hold, Drawn)
        await settle(hold, ())
        await asyncio.sleep(0.02)
    assert await states(company) == []


@pytest.mark.parametrize("mode", ["soft", "shadow"])
async def test_what_only_tells_goes_on_telling(company: Company, mode: str) -> None:
    """A shadow budget that is used up gives no allowance, or it would not count whom it would have refused."""
    mine = await budget(company, 150, mode=mode)
    for _ in range(4):
        asked = asking(company.alice)
        hold = await admit(asked)
        assert not hold.is_bounded
        await settle(hold, [used(company.alice, asked, 100)])
        await asyncio.sleep(0.03)
    await drained()
    assert await balance(mine) == (0, 400)

    def would_refuse() -> int:
        with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            return BudgetBalance.objects.get(budget_id=mine.id).would_refuse

    assert await sync_to_async(would_refuse)() == (2 if mode == "shadow" else 0)


async def other_process(company: Company, amount: int) -> Allowance:
    """An allowance of another process."""
    asked = replace(asking(company.alice), request_id=uuid7(), worst=WorstCase(0, amount, amount, 0))
    ledger_room = ledger.ROOM
    ledger.ROOM = 1
    try:
        given = await ledger._take(asked)
    finally:
        ledger.ROOM = ledger_room
    assert given is True
    return Allowance(asked, is_bounded=given, now=0.0)


@pytest.mark.parametrize("limit", [AMOUNT, AMOUNT + 50])
async def test_who_is_short_waits_for_allowances_to_end(company: Company, limit: int) -> None:
    """It is neither refused nor cut short: the other gives back what nobody drew."""
    mine = await budget(company, limit)
    theirs = await other_process(company, AMOUNT)
    asked = asking(company.alice)
    waiting = asyncio.create_task(admit(asked))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    ledger._end(theirs)
    hold = await waiting
    assert (hold.cap_tokens, hold.amount_nano) == (100, 100)
    assert await balance(mine) == (100, 0)
    await settle(hold, ())


async def test_one_own_allowance_makes_way_at_once(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "ROOM", 1)
    await budget(company, AMOUNT + 300)
    await open_one(company)
    hold = await admit(asking(company.alice, cap=AMOUNT + 200))
    assert hold.amount_nano == AMOUNT + 200
    await settle(hold, ())


async def test_who_is_short_of_another_budget_is_refused_at_once(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WAITS_S", (300.0,))
    await budget(company, 100_000)
    small = await budget(company, 10, scope=f"member:{company.bob.membership_id}")
    await open_one(company)
    with pytest.raises(BudgetExceeded) as refused:
        async with soon():
            await admit(asking(company.bob))
    assert (refused.value.details or {})["budget"] == str(small.id)


async def test_an_allowance_that_nobody_gives_back_keeps_nobody_for_long(company: Company) -> None:
    """Its process has died: who is short is refused in the end, as by any hold of a dead process."""
    await budget(company, AMOUNT + 10)
    await other_process(company, AMOUNT)
    with pytest.raises(BudgetExceeded):
        await admit(asking(company.alice))
    for _ in range(2):
        hold = await admit(asking(company.alice, cap=10))
        await settle(hold, ())


async def test_a_budget_that_was_changed_binds_the_next_request(company: Company) -> None:
    mine = await budget(company, 100_000)

    def asked(budgeted: frozenset[str]) -> HoldRequest:
        return replace(asking(company.alice), budgeted=budgeted)

    before, after = frozenset({"tenant", "funds"}), frozenset({"funds", "tenant"})
    assert before is not after
    await settle(await admit(asked(before)), ())
    async with soon():
        while not any(one.allowance for one in ledger._allowances()._known.values()):
            await asyncio.sleep(0.005)
    await settle(await draw(asked(before)), ())
    await sync_to_async(lower)(company, mine, 5)
    with pytest.raises(BudgetExceeded):
        await admit(asked(after))


def lower(company: Company, mine: Budget, limit: int) -> None:
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        Budget.objects.filter(id=mine.id).update(limit_amount=limit)


def die(*drawn: Drawn) -> None:
    """What a process leaves that is killed: its file, and nothing in memory."""
    dying = Journal()
    for one in drawn:
        assert dying.note(one.line()) is not None
    dying.close()
    for demand in ledger._allowances()._known.values():
        demand.allowance = None


async def test_what_a_killed_process_drew_is_held_and_billed_by_estimate(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    lost = asking(company.alice, input_tokens=30)
    drawn = await draw(lost)
    journal.close()
    die(drawn)
    assert await recover() >= 1
    assert ("sent", 130) in await states(company)
    assert await balance(mine) == (AMOUNT, 0)
    later = timezone.now() + timedelta(seconds=commits.LONGEST_S)
    await sync_to_async(reap_holds)(now=later)
    assert (await states(company), await balance(mine)) == ([], (0, 30))
    (record,) = await records(company)
    assert (record.sell_nano, record.estimated, record.error_code) == (30, True, "process_died")


async def test_what_comes_to_light_after_its_allowance_is_the_platforms_loss(company: Company) -> None:
    mine = await budget(company, 100_000)
    await open_one(company)
    lost = asking(company.alice, input_tokens=30)
    drawn = await draw(lost)
    journal.close()
    die(drawn)
    later = timezone.now() + timedelta(seconds=commits.LONGEST_S)
    await sync_to_async(reap_holds)(now=later)
    assert await states(company) == []
    assert await recover() >= 1
    (record,) = await records(company)
    assert (record.sell_nano, record.loss_nano) == (0, 30)
    assert (await states(company), await balance(mine)) == ([], (0, 0))


def only_journal(folder: Path) -> bytes:
    (left,) = folder.glob(f"*{journal.SUFFIX}")
    return left.read_bytes()


async def test_what_was_given_back_after_all_is_not_billed_when_its_process_dies(
    company: Company, folder: Path
) -> None:
    await budget(company, 100_000)
    await open_one(company)
    asked = asking(company.alice, input_tokens=30)
    hold = await draw(asked)
    checkpoint(hold, output_tokens=3)
    await settle(hold, ())
    lines = only_journal(folder)
    await drained()
    journal.close()
    (folder / f"{uuid7()}{journal.SUFFIX}").write_bytes(lines)
    assert await recover() == 0
    assert (await records(company), await states(company)) == ([], [])
