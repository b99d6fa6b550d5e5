"""Group commit: who waits for whom."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from kernel import group_commit
from kernel.group_commit import GroupCommit
from tests.support.patience import soon

pytestmark = pytest.mark.no_database


class Written:
    """Batches that were written."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> Mapping[int, str]:
        self.batches.append(list(items))
        return {}


@pytest.fixture
def _for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience that a test can't outwait; and nothing counts as busy."""
    monkeypatch.setattr(group_commit, "PATIENCE_S", 60.0)
    monkeypatch.setattr(group_commit, "EXPECTED", 100.0)
    monkeypatch.setattr(group_commit, "BUSY", 2.0)


async def _used_to_company(writer: GroupCommit[int]) -> None:
    """So many items come, one after the other, that more are expected."""
    for _ in range(60):
        await writer.add(0)


@pytest.mark.usefixtures("_for_long")
async def test_patient_items_wait_for_one_that_is_not_and_go_with_it() -> None:
    written = Written()
    writer = GroupCommit("test", written)
    await _used_to_company(writer)
    written.batches.clear()
    patient = [writer.add(number, patient=True) for number in (1, 2)]
    writer.add_and_forget(3)
    await asyncio.sleep(0.01)
    assert written.batches == []
    assert not any(future.done() for future in patient)
    async with soon():
        await writer.add(4)
        await asyncio.gather(*patient)
    assert written.batches == [[1, 2, 3, 4]]


@pytest.mark.usefixtures("_for_long")
async def test_a_full_batch_waits_for_nobody() -> None:
    written = Written()
    writer = GroupCommit("test", written, max_batch=3)
    await _used_to_company(writer)
    written.batches.clear()
    async with soon():
        await asyncio.gather(*[writer.add(number, patient=True) for number in range(3)])
    assert written.batches == [[0, 1, 2]]


@pytest.mark.usefixtures("_for_long")
async def test_nobody_waits_where_nobody_is_expected() -> None:
    written = Written()
    writer = GroupCommit("test", written)
    async with soon():
        for number in range(3):
            await writer.add(number, patient=True)
            writer._last_s -= 10.0  # as if it had been ten seconds ago
    assert written.batches == [[0], [1], [2]]


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE_S", 0.01)
    monkeypatch.setattr(group_commit, "EXPECTED", 0.0)
    written = Written()
    writer = GroupCommit("test", written)
    async with soon():
        await asyncio.gather(writer.add(1, patient=True), writer.add(2, patient=True))
        await writer.idle()
    assert written.batches == [[1, 2]]
