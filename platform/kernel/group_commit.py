"""Group commit: many small writes, one round trip.

While a batch is on its way the next one gathers, so the busier the process the larger the batches, and one that isn't waits
for nothing. Patient items, whose writing keeps nobody from anything, wait a moment for others where others are likely to come.
An item that can't be written fails alone. One `GroupCommit` belongs to one event loop (`kernel.per_loop`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import structlog
from psycopg import Error

from kernel import metrics
from kernel.errors import Unavailable

log = structlog.get_logger(__name__)

Item = TypeVar("Item")

MAX_BATCH = 256
MAX_WAITING = 10_000
RETRIES = 3
RETRY_AFTER_S = 0.2
LINGER_S, LINGER_STEP_S, LINGER_MAX_S = 0.003, 0.001, 0.010
"""How long a busy process gathers before its next batch: at least, then step by step while more comes, and at most. A round
trip and a flush to disk cost the same for one item as for many; and when nothing comes any more, all are waiting for it."""
PATIENCE_S = 0.02
"""How long patient items wait for company."""
EXPECTED = 2.0
"""They do where so many come in that time, as of late."""
_LATELY = 0.1
"""What one gap between two items counts for in their average."""
BUSY = 0.6
"""The part of a CPU from which a process counts as busy. Below that there is time for small batches, and nobody waits."""
BUSY_OVER_S = 0.2
"""Over how long that is seen."""


class NotWritten(Unavailable):
    """An item could not be written: the database did not take it, or more wait than may."""


class GroupCommit(Generic[Item]):
    """Gathers items for `write`, which writes a batch, may be called again with the same one, and returns the positions
    that were refused with the reason. Holds at most `MAX_WAITING` items; failures are logged under `name`.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Item]], Awaitable[Mapping[int, str]]],
        *,
        max_batch: int = MAX_BATCH,
        failure: type[NotWritten] = NotWritten,
    ) -> None:
        self._name = name
        self._write = write
        self._max_batch = max_batch
        self._sizes = metrics.batch_sizes.labels(name)
        self._failure = failure
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._running: asyncio.Task[None] | None = None
        self._hurries = False
        self._gathering: asyncio.Future[None] | None = None
        self._gap_s, self._last_s = 1.0, 0.0
        self._load = _Load()
        self.is_failing = False
        """Whether the last attempt to write a batch failed."""

    def add(self, item: Item, *, patient: bool = False) -> "asyncio.Future[None]":
        """Have an item written. The future is done when it is, or fails by `NotWritten`; who cancels it leaves the item
        to be written. A patient item may wait `PATIENCE_S` for others; any that isn't takes it along.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        if len(self._waiting) >= MAX_WAITING:
            written.set_exception(self._failure())
            return written
        self._waiting.append((item, written))
        now = loop.time()
        self._gap_s += _LATELY * (min(1.0, now - self._last_s) - self._gap_s)
        self._last_s = now
        if not patient or len(self._waiting) >= self._max_batch:
            self._hurries = True
            if self._gathering is not None and not self._gathering.done():
                self._gathering.set_result(None)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=f"group commit of {self._name}")
        return written

    def add_and_forget(self, item: Item) -> None:
        """Have an item written that nobody waits for: a crash may lose what is under way. What can't be written is
        logged.
        """
        self.add(item, patient=True).add_done_callback(retrieve)

    async def idle(self) -> None:
        """Until nothing waits to be written."""
        while self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            while self._waiting:
                if not self._hurries and self._gap_s * EXPECTED < PATIENCE_S:
                    await self._gather()
                self._hurries = len(self._waiting) > self._max_batch
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                self._sizes.observe(len(batch))
                await self._written(batch)
                if self._load.part() >= BUSY:
                    await self._linger()
        finally:
            self._running = None

    async def _gather(self) -> None:
        """Until somebody is in a hurry, but no longer than anybody's patience."""
        loop = asyncio.get_running_loop()
        self._gathering = loop.create_future()
        timer = loop.call_later(PATIENCE_S, _over, self._gathering)
        try:
            await self._gathering
        finally:
            timer.cancel()
            self._gathering = None

    async def _linger(self) -> None:
        loop = asyncio.get_running_loop()
        until, step = loop.time() + LINGER_MAX_S, LINGER_S
        while (waiting := len(self._waiting)) < self._max_batch and loop.time() < until:
            await asyncio.sleep(step)
            if step == LINGER_STEP_S and len(self._waiting) == waiting:
                return
            step = LINGER_STEP_S

    async def _written(self, batch: "list[tuple[Item, asyncio.Future[None]]]") -> None:
        try:
            problems = await self._tried([item for item, _ in batch])
        except (Error, Unavailable) as error:
            log.error("batch_not_written", of=self._name, items=len(batch), exc_info=error)
            problems = dict.fromkeys(range(len(batch)), "the database did not take the batch")
        for position, (_, written) in enumerate(batch):
            if position in problems:
                log.error("item_not_written", of=self._name, problem=problems[position])
            if written.done():
                continue
            if position in problems:
                written.set_exception(self._failure())
            else:
                written.set_result(None)

    async def _tried(self, items: list[Item]) -> Mapping[int, str]:
        for attempt in range(1, RETRIES + 1):
            try:
                problems = await self._write(items)
                self.is_failing = False
                return problems
            except (Error, Unavailable):
                self.is_failing = True
                if attempt == RETRIES:
                    raise
                await asyncio.sleep(RETRY_AFTER_S * attempt)
        raise AssertionError("unreachable")


class _Load:
    """What part of a CPU this thread takes."""

    def __init__(self) -> None:
        self._part = 0.0
        self._since_s, self._used_s = time.monotonic(), time.thread_time()

    def part(self) -> float:
        """As of the last `BUSY_OVER_S`, or somewhat longer."""
        passed_s = time.monotonic() - self._since_s
        if passed_s >= BUSY_OVER_S:
            used_s = time.thread_time()
            self._part = (used_s - self._used_s) / passed_s
            self._since_s, self._used_s = self._since_s + passed_s, used_s
        return self._part


def retrieve(written: "asyncio.Future[None]") -> None:
    """Nobody waits for this item: its failure was logged where it happened."""
    if not written.cancelled():
        written.exception()


def _over(gathering: "asyncio.Future[None]") -> None:
    if not gathering.done():
        gathering.set_result(None)
