"""A request leaves no rings of objects behind, however it ends: the collector of garbage stops everything while it looks for
those, for the longer the more there are."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from billing.ledger import drained
from providers.scheduling import gate
from tests.providers.cache.conftest import House

OURS = ("billing.", "kernel.", "providers.", "tenants.", "chat.")
TIMES = 5


@contextmanager
def collecting() -> Iterator[Counter[str]]:
    """What of ours was left in rings by what is done inside, by type."""
    left: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        names = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        left.update(name for name in names if name.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def full(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(gate, "MAX_QUEUED", 0)
    monkeypatch.setattr(gate.Gate, "enter", lambda *_, **__: False)
    return 503


async def answered(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    return 200


async def of_no_model(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    house.model = "no-such-model"
    return 404


async def failing(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    house.upstream.script(fault="401")
    return 502


async def over_its_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    await house.rest("POST", "limits", {"subject": "tenant", "requests_per_minute": 1}, status=201)
    return 429


async def over_its_budget(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    body = {"scope": {"kind": "tenant"}, "limit": 1}
    await house.rest("POST", "billing/budgets", body, status=201)
    return 402


ENDINGS = (answered, full, of_no_model, failing, over_its_limit, over_its_budget)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_however_a_request_ends_it_leaves_no_rings(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    ending: Callable[[House, pytest.MonkeyPatch], Awaitable[int]],
    stream: bool,
) -> None:
    status = await ending(house, monkeypatch)

    async def ask(number: int) -> None:
        answer = await house.ask(f"Question {number}", stream=stream)
        assert answer.status_code == status, answer.text

    for number in range(2):
        await house.ask(f"Before {number}", stream=stream)
    await settled()
    with collecting() as left:
        for number in range(TIMES):
            await ask(number)
        await settled()
    assert left == {}


async def settled() -> None:
    """Until what follows an answer is done."""
    await drained()
    await asyncio.sleep(0.2)
