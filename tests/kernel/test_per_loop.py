"""One of something per event loop, also while a thread is pinned to its loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from kernel import per_loop
from kernel.per_loop import PerLoop

pytestmark = pytest.mark.no_database


@pytest.fixture
def made() -> Iterator[PerLoop[object]]:
    yield PerLoop(object)
    per_loop.unpin()


async def _ask(made: Callable[[], object]) -> list[object]:
    return [made(), made()]


def test_each_loop_has_its_own(made: PerLoop[object]) -> None:
    (first, again), (other, _) = asyncio.run(_ask(made)), asyncio.run(_ask(made))

    assert first is again
    assert first is not other


def test_another_thread_has_its_own_beside_a_pinned_one(made: PerLoop[object]) -> None:
    async def main() -> tuple[list[object], list[object]]:
        before = made()
        per_loop.pin()
        elsewhere: list[object] = []
        thread = threading.Thread(target=lambda: elsewhere.extend(asyncio.run(_ask(made))))
        thread.start()
        await asyncio.to_thread(thread.join, 10)
        return [before, *await _ask(made)], elsewhere

    here, elsewhere = asyncio.run(main())

    assert len(set(map(id, here))) == 1
    assert len(set(map(id, elsewhere))) == 1
    assert here[0] is not elsewhere[0]


def test_what_was_taken_out_is_made_anew(made: PerLoop[object]) -> None:
    async def main() -> tuple[object, object, object]:
        per_loop.pin()
        return made(), made.pop(), made()

    first, popped, anew = asyncio.run(main())

    assert first is popped
    assert first is not anew


def test_a_loop_after_a_pinned_one_has_its_own(made: PerLoop[object]) -> None:
    async def pinned() -> object:
        per_loop.pin()
        try:
            return made()
        finally:
            per_loop.unpin()

    first = asyncio.run(pinned())

    assert asyncio.run(_ask(made))[0] is not first
