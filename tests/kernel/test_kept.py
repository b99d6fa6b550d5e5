"""What is kept for a while: read by one for all, and anew before it is too old."""

import asyncio
import time

import pytest

from kernel import kept
from kernel.errors import NotFound, ParleyError, Unavailable
from kernel.kept import AHEAD, Kept

pytestmark = pytest.mark.no_database

TTL_S = 1000.0


class Store:
    """A slow store: counts its readings, and answers when it is let."""

    def __init__(self) -> None:
        self.readings = 0
        self.value = "old"
        self.error: ParleyError | None = None
        self.open = asyncio.Event()

    async def read(self) -> str:
        """What was there when the reading began."""
        self.readings += 1
        value = self.value
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return value


def _kept(ttl_s: float = TTL_S, max_keys: int = 10) -> Kept[str, str]:
    return Kept(ttl_s=lambda: ttl_s, max_keys=max_keys)


def _aged(values: Kept[str, str], value: str, *, share: float) -> None:
    """Keep a value of which such a share of its time has passed."""
    values.keep("a", value, began_s=time.monotonic() - share * TTL_S)


async def _turn() -> None:
    """Let everything that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thousand_who_ask_at_once_read_once() -> None:
    values, store = _kept(), Store()
    asking = [asyncio.create_task(values.get("a", store.read)) for _ in range(1000)]
    await _turn()
    store.open.set()
    assert set(await asyncio.gather(*asking)) == {"old"}
    assert store.readings == 1


async def test_who_leaves_takes_the_reading_from_nobody() -> None:
    values, store = _kept(), Store()
    first, second = (asyncio.create_task(values.get("a", store.read)) for _ in range(2))
    await _turn()
    first.cancel()
    await _turn()
    store.open.set()
    assert await second == "old"
    assert store.readings == 1


async def test_what_is_about_to_be_too_old_is_read_behind_the_back_of_who_has_it() -> None:
    values, store = _kept(), Store()
    _aged(values, "old", share=AHEAD + 0.01)
    store.value = "new"
    assert [values.look("a", store.read) for _ in range(3)] == ["old"] * 3
    await _turn()
    assert store.readings == 1
    store.open.set()
    await _turn()
    assert values.look("a", store.read) == "new"
    assert store.readings == 1


async def test_what_is_too_old_is_not_given_out() -> None:
    values, store = _kept(), Store()
    _aged(values, "old", share=1.01)
    store.value = "new"
    store.open.set()
    assert values.peek("a") is None
    assert values.last("a") == "old"
    assert await values.get("a", store.read) == "new"


async def test_what_was_read_before_a_change_is_not_kept() -> None:
    values, store = _kept(), Store()
    before = asyncio.create_task(values.get("a", store.read))
    await _turn()
    store.value = "new"
    values.forget("a")
    after = asyncio.create_task(values.get("a", store.read))
    await _turn()
    store.open.set()
    assert await before == "old"
    assert await after == "new"
    assert values.peek("a") == "new"


async def test_forgetting_some_forgets_no_others() -> None:
    values, store = _kept(), Store()
    for key in ("a1", "a2", "b1"):
        values.keep(key, key, began_s=time.monotonic())
    reading = asyncio.create_task(values.get("b2", store.read))
    await _turn()
    values.forget_where(lambda key: key.startswith("a"))
    store.open.set()
    await reading
    assert [values.peek(key) for key in ("a1", "a2", "b1", "b2")] == [None, None, "b1", "old"]


async def test_newer_waits_for_a_reading_that_began_late_enough() -> None:
    values, store = _kept(), Store()
    early = asyncio.create_task(values.get("a", store.read))
    await _turn()
    store.value = "new"
    late = [asyncio.create_task(values.newer("a", store.read, than_s=time.monotonic())) for _ in range(100)]
    await _turn()
    store.open.set()
    assert await early == "old"
    assert set(await asyncio.gather(*late)) == {"new"}
    assert store.readings == 2


async def test_all_who_wait_get_the_error_and_the_next_one_asks_again() -> None:
    values, store = _kept(), Store()
    store.error = Unavailable()
    store.open.set()
    asking = (values.get("a", store.read) for _ in range(10))
    assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*asking, return_exceptions=True))
    store.error = None
    assert await values.get("a", store.read) == "old"
    assert store.readings == 2


async def test_a_value_outlives_its_store_for_its_time() -> None:
    values, store = _kept(), Store()
    store.open.set()
    store.error = Unavailable()
    _aged(values, "old", share=0.9)
    for _ in range(10):
        assert values.look("a", store.read) == "old"
        await _turn()
    assert store.readings == 1, "it isn't asked without a pause"


async def test_a_value_does_not_outlive_its_end() -> None:
    values, store = _kept(), Store()
    store.open.set()
    store.error = NotFound()
    _aged(values, "old", share=0.9)
    assert values.look("a", store.read) == "old"
    await _turn()
    assert values.look("a", store.read) is None


async def test_no_more_is_kept_than_may_be() -> None:
    values, store = _kept(max_keys=3), Store()
    store.open.set()
    for number in range(10):
        await values.get(str(number), store.read)
    assert len(values) == 3
    assert "9" in values


async def test_closing_ends_what_is_still_read() -> None:
    values, store = _kept(), Store()
    asking = asyncio.create_task(values.get("a", store.read))
    await _turn()
    await kept.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert values.last("a") is None
