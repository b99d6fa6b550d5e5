"""The pool of an event loop ends with it, whatever it was doing."""

import asyncio
import threading

import pytest

from kernel import adb


async def _ask() -> None:
    async with adb.tenantless() as connection:
        await connection.execute("SELECT 1")


@pytest.mark.parametrize("steps", range(0, 30, 3))
def test_a_loop_may_end_while_a_connection_is_being_made(steps: int) -> None:
    async def begin() -> bool:
        asking = asyncio.create_task(_ask())
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        return asking.done()

    ended: list[bool] = []
    running = threading.Thread(target=lambda: ended.append(asyncio.run(begin())), daemon=True)
    running.start()
    running.join(20)
    assert ended, "the loop did not end"
