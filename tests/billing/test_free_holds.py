"""Requests that no budget binds: nobody waits for their holds, and the journal has them until the ledger knows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from msgspec.structs import replace

from billing import journal, ledger
from billing.holds import Hold, HoldRequest
from billing.journal import Journal
from billing.ledger import admit, admit_free, checkpoint, settle, settle_soon
from billing.recovery import recover
from billing.services.reaping import reap_holds
from tests.billing.ledger_support import asking, holds, records, used
from tests.support.cast import Company


@pytest.fixture(autouse=True)
async def folder(tmp_path: Path, settings: Any) -> AsyncIterator[Path]:
    """Where journals are, of this test alone."""
    journal.close()
    settings.JOURNAL_FOLDER = tmp_path / "journal"
    yield tmp_path / "journal"
    journal.close()


def begin(asked: HoldRequest) -> Hold:
    """As a request does that no budget binds."""
    cap = asked.worst.cap_tokens
    hold = admit_free(asked.payer, asked.request_id, cap_tokens=cap, facts=asked.facts)
    assert hold is not None
    return hold


def left(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{journal.SUFFIX}"))


def abandon(*noted: HoldRequest, taken_back: HoldRequest | None = None, cut: HoldRequest | None = None) -> None:
    """What a process leaves that is killed: its file, which it had locked until then."""
    dying = Journal()
    for asked in noted:
        assert dying.note(bytes(asked.facts)) is not None
    if taken_back is not None:
        part = dying.note(bytes(taken_back.facts))
        assert part is not None
        dying.take_back(part, taken_back.request_id)
        dying.done(part)
    if cut is not None:
        assert dying.note(bytes(cut.facts)[:40]) is not None
    dying.close()


async def test_a_quick_request_is_recorded_and_was_never_held(company: Company, folder: Path) -> None:
    asked = asking(company.alice)
    hold = begin(asked)
    assert (hold.cap_tokens, hold.is_bounded) == (100, False)
    assert await holds(company) == []
    assert bytes(asked.facts) in left(folder)[0].read_bytes()
    await settle(hold, [used(company.alice, asked, 40)])
    assert [(one.request_id, one.sell_nano) for one in await records(company)] == [(asked.request_id, 40)]
    journal.close()
    assert left(folder) == []


async def test_one_that_takes_long_is_held_with_what_has_come(company: Company) -> None:
    asked = asking(company.alice)
    hold = begin(asked)
    checkpoint(hold, output_tokens=7)
    await ledger.drained()
    ((held),) = await holds(company)
    assert (held.request_id, held.state, held.checkpoint_output) == (asked.request_id, "streaming", 7)
    checkpoint(hold, output_tokens=9)
    await ledger.drained()
    assert [one.checkpoint_output for one in await holds(company)] == [9]
    await settle(hold, [used(company.alice, asked, 12)])
    assert await holds(company) == []
    assert [one.sell_nano for one in await records(company)] == [12]


async def test_one_that_waits_for_its_turn_is_noted_when_it_is_sent(company: Company, folder: Path) -> None:
    asked = asking(company.alice)
    hold = admit_free(asked.payer, asked.request_id, cap_tokens=100, facts=asked.facts, is_sent=False)
    assert hold is not None
    checkpoint(hold, output_tokens=0)
    await ledger.drained()
    assert (await holds(company), left(folder)) == ([], [])
    hold.is_sent = True
    checkpoint(hold, output_tokens=0)
    await ledger.drained()
    assert await holds(company) == []
    assert bytes(asked.facts) in left(folder)[0].read_bytes()
    checkpoint(hold, output_tokens=0)
    await ledger.drained()
    assert [one.state for one in await holds(company)] == ["sent"]
    await settle(hold, [used(company.alice, asked, 3)])
    assert await holds(company) == []


async def test_one_that_was_never_sent_leaves_nothing(company: Company, folder: Path) -> None:
    hold = begin(asking(company.alice))
    settle_soon(hold, ())
    await ledger.drained()
    assert (await holds(company), await records(company)) == ([], [])
    journal.close()
    assert left(folder) == []


async def test_what_a_killed_process_had_begun_is_held_and_billed_once(company: Company, folder: Path) -> None:
    unknown, settled, held, unsent, cut = (asking(company.alice, input_tokens=30) for _ in range(5))
    await settle(None, [used(company.alice, settled, 5)])
    known = await admit(held)
    abandon(unknown, settled, held, taken_back=unsent, cut=cut)
    assert await recover() == 1
    assert left(folder) == []
    assert {one.request_id for one in await holds(company)} == {unknown.request_id, held.request_id}
    assert await recover() == 0
    await settle(known, ())
    later = timezone.now() + timedelta(minutes=2)
    await sync_to_async(reap_holds)(now=later)
    assert await holds(company) == []
    billed = {one.request_id: one for one in await records(company)}
    assert set(billed) == {unknown.request_id, settled.request_id}
    orphan = billed[unknown.request_id]
    assert (orphan.status, orphan.error_code, orphan.estimated) == ("interrupted", "process_died", True)
    assert (orphan.input, orphan.output, orphan.sell_nano) == (30, 0, 30)


async def test_a_request_that_cant_be_held_keeps_no_other(company: Company, folder: Path) -> None:
    good, gone, later = (asking(company.alice) for _ in range(3))
    # PostgreSQL has no such character.
    facts = msgspec.json.decode(bytes(gone.facts)) | {"alias": "m\0"}
    stuck = replace(gone, facts=msgspec.Raw(msgspec.json.encode(facts)))
    abandon(stuck, good)
    abandon(later)
    assert await recover() == 2
    assert {one.request_id for one in await holds(company)} == {good.request_id, later.request_id}
    assert len(left(folder)) == 1
    assert await recover() == 0


async def test_a_file_that_cant_be_read_keeps_no_other(company: Company, folder: Path) -> None:
    asked = asking(company.alice, input_tokens=20)
    abandon(asked)
    unreadable = folder / f"0000{journal.SUFFIX}"
    unreadable.mkdir()
    assert await recover() == 1
    assert left(folder) == [unreadable]
    assert [one.request_id for one in await holds(company)] == [asked.request_id]


async def test_a_living_processs_file_is_left_alone(company: Company, folder: Path) -> None:
    asked = asking(company.alice)
    hold = begin(asked)
    assert await recover() == 0
    assert len(left(folder)) == 1
    await settle(hold, [used(company.alice, asked, 1)])


async def test_files_are_bounded_and_go_when_all_of_them_is_known(
    company: Company, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FILE_MAX_BYTES", 100)
    monkeypatch.setattr(journal, "FILES_MAX", 3)
    asked = [asking(company.alice) for _ in range(3)]
    granted = [begin(one) for one in asked]
    assert len(left(folder)) == 3
    beyond = asking(company.alice)
    assert admit_free(beyond.payer, beyond.request_id, cap_tokens=1, facts=beyond.facts) is None
    await asyncio.gather(
        *(settle(hold, [used(company.alice, one, 1)]) for hold, one in zip(granted, asked, strict=True))
    )
    assert left(folder) == []
    assert len(await records(company)) == 3


async def test_without_a_journal_there_is_no_such_hold(company: Company, settings: Any) -> None:
    settings.JOURNAL_FOLDER = Path("/dev/null/journal")
    asked = asking(company.alice)
    assert admit_free(asked.payer, asked.request_id, cap_tokens=1, facts=asked.facts) is None
