"""Checkpoints: once a second, how far each request has come that takes longer than that is noted with its hold, so that it is
billed by it when this process dies. One task per event loop, while there is anything to note."""

import asyncio

from billing.ledger import checkpoint
from kernel.per_loop import PerLoop
from providers.pipeline.pumps import pumps

EVERY_S = 1.0


class _Ticker:
    """One event loop's."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """See that there is a task."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="checkpoints of holds")

    async def _run(self) -> None:
        seen: set[int] = set()
        while len(pumps):
            await asyncio.sleep(EVERY_S)
            running = list(pumps.running())
            for pump in running:
                held = pump.job.hold
                # One that began since the last time is young.
                if held is not None and id(pump) in seen:
                    checkpoint(held, output_tokens=pump.output_tokens())
            seen = {id(pump) for pump in running}


_ticker = PerLoop(_Ticker)


def keep_checkpoints() -> None:
    """See to it that requests under way have checkpoints."""
    _ticker().keep()
