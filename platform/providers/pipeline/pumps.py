"""The pumps that run in this process."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from kernel.errors import Unavailable
from providers.guardrails.outward import Outward
from providers.pipeline.channel import Outlet
from providers.pipeline.pump import SETTLE_S, OnDisconnect, Pump, Remember
from providers.pipeline.settle import Settle
from providers.pipeline.values import Job

SETTLE_RESERVE_S = 2.0
"""Of the time to drain, what is kept for settling those that had to be interrupted."""


class Pumps:
    """Starts pumps, keeps them alive until they end, and ends them when the process does."""

    def __init__(self) -> None:
        self._pumps: dict[UUID, Pump] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._pumps)

    def start(
        self,
        *,
        job: Job,
        settle: Settle,
        on_disconnect: OnDisconnect = "stop",
        remember: Sequence[Remember] = (),
        outward: Outward | None = None,
        outlet: Outlet | None = None,
    ) -> Pump:
        """Run a job in a pump of its own, which hands its events to `outlet` if one is given. Raises Unavailable once
        the process is going down."""
        if self._draining:
            raise Unavailable("This process is about to restart. Try again.")
        pump = Pump(
            job=job, settle=settle, on_disconnect=on_disconnect, remember=remember, outlet=outlet, outward=outward
        )
        self._pumps[job.request_id] = pump
        pump.task.add_done_callback(lambda _: self._pumps.pop(job.request_id, None))
        return pump

    def running(self) -> Iterable[Pump]:
        """Those that have not ended."""
        return self._pumps.values()

    def get(self, request_id: UUID) -> Pump | None:
        """The running pump of this request."""
        return self._pumps.get(request_id)

    async def drain(self, timeout_s: float) -> None:
        """Take no more jobs; give those that run most of `timeout_s` to end, then interrupt them. All are settled after."""
        self._draining = True
        if self._pumps:
            await asyncio.wait(
                {pump.task for pump in self._pumps.values()}, timeout=max(0.0, timeout_s - SETTLE_RESERVE_S)
            )
        left = list(self._pumps.values())
        for pump in left:
            pump.interrupt()
        if left:
            await asyncio.wait({pump.task for pump in left}, timeout=SETTLE_S + 1)


pumps = Pumps()
"""This process's own."""
