"""A process that ends tells whoever holds something open, and gives them their time."""

import asyncio
from typing import Any

import pytest

from kernel import lifecycle

pytestmark = pytest.mark.no_database


@pytest.fixture(autouse=True)
def _alive(monkeypatch: Any) -> None:
    monkeypatch.setattr(lifecycle, "_state", {"draining": False})
    monkeypatch.setattr(lifecycle, "_callbacks", [])


async def test_everybody_is_told_once_and_a_failure_stops_nobody(caplog: Any) -> None:
    told: list[tuple[str, float]] = []

    async def fails(timeout_s: float) -> None:
        told.append(("fails", timeout_s))
        raise RuntimeError("could not let go")

    async def lets_go(timeout_s: float) -> None:
        told.append(("lets go", timeout_s))

    lifecycle.on_drain(fails)
    lifecycle.on_drain(lets_go)
    lifecycle.on_drain(lets_go)
    assert not lifecycle.is_draining()
    await lifecycle.drain(timeout_s=5)
    await lifecycle.drain(timeout_s=5)
    assert lifecycle.is_draining()
    assert told == [("fails", 5), ("lets go", 5)]


async def test_who_takes_too_long_is_cut_off() -> None:
    cut = asyncio.Event()

    async def hangs(timeout_s: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    lifecycle.on_drain(hangs)
    await asyncio.wait_for(lifecycle.drain(timeout_s=0.01), 5)
    assert cut.is_set()


async def test_nobody_to_tell_is_no_trouble() -> None:
    await lifecycle.drain(timeout_s=5)
    assert lifecycle.is_draining()
