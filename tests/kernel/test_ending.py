"""Tasks are ended, also those that a cancellation is lost on."""

import asyncio

import pytest

from kernel.ending import end
from tests.support.patience import soon

pytestmark = pytest.mark.no_database


async def test_a_lost_cancellation_is_said_again() -> None:
    told: list[str] = []

    async def deaf() -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("once more")
        await asyncio.Event().wait()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with soon():
        await end([task])
    assert task.cancelled()
    assert len(told) == 2


async def test_what_has_ended_is_not_waited_for() -> None:
    async def done() -> int:
        return 1

    task = asyncio.create_task(done())
    await task
    await end([task])
    assert task.result() == 1
