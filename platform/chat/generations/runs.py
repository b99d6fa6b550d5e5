"""The generations that this process writes, per event loop, and how others reach them."""

import asyncio
import contextlib
import uuid

import structlog

from chat.generations import leases
from chat.generations.offers import OFFERS, offer
from chat.generations.runner import GenerationRun
from chat.realtime.subscriptions import subscriptions
from kernel.ending import end
from kernel.errors import ParleyError
from kernel.ids import parse_uuid, uuid7
from kernel.per_loop import PerLoop
from kernel.redis import RedisError, async_redis
from tenants.acting import acting_principal
from tenants.principals import Principal

log = structlog.get_logger(__name__)

INTERRUPTED_END_S = 2.0
"""Of the time to drain, what is kept for interrupted generations to write their end."""


def control_channel(owner: uuid.UUID) -> str:
    """Where the process that owns leases as `owner` is told to stop generations. Not a tenant's: only ids travel on it."""
    return f"parley:process:{owner}"


class Runs:
    """Starts runs, keeps them alive until they end, and ends them when the process does."""

    def __init__(self) -> None:
        self.owner = uuid7()
        self._runs: dict[uuid.UUID, tuple[GenerationRun, asyncio.Task[None]]] = {}
        self._listening = False
        self._draining = False
        self._taking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._runs)

    async def start(self, *, principal: Principal, generation_id: uuid.UUID) -> None:
        """Write a queued generation. A process that is going down offers it to the others instead."""
        if self._draining:
            await offer(principal.tenant_id, generation_id)
            return
        if generation_id in self._runs:
            return
        await self.listen()
        run = GenerationRun(principal=principal, generation_id=generation_id, owner=self.owner)
        task = asyncio.create_task(run.run(), name=f"generation {generation_id}")
        self._runs[generation_id] = (run, task)
        task.add_done_callback(lambda _: self._runs.pop(generation_id, None))

    async def listen(self) -> None:
        """Hear from now on what other processes ask of this one, and what they offer."""
        if not self._listening:
            self._listening = True
            await subscriptions().subscribe(control_channel(self.owner), self)
            await subscriptions().subscribe(OFFERS, self)

    async def stop(self, generation_id: uuid.UUID, *, owner: uuid.UUID | None) -> None:
        """Have the owner of a lease stop it now; it would see the request within a second anyway."""
        if generation_id in self._runs:
            self._runs[generation_id][0].stop()
        elif owner is not None:
            with contextlib.suppress(RedisError):
                await async_redis().publish(control_channel(owner), str(generation_id))

    def on_payload(self, payload: bytes) -> None:
        """Another process was asked to stop one of ours, or offers one."""
        tenant, _, offered = payload.decode("ascii", "replace").partition(" ")
        tenant_id, offered_id = parse_uuid(tenant), parse_uuid(offered)
        if tenant_id is not None and offered_id is not None:
            if self._draining:
                return
            task = asyncio.create_task(self._take(tenant_id, offered_id), name=f"take {offered}")
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
            return
        found = self._runs.get(parse_uuid(payload.decode("ascii", "replace")) or self.owner)
        if found is not None:
            found[0].stop()

    async def _take(self, tenant_id: uuid.UUID, generation_id: uuid.UUID) -> None:
        try:
            subject = await leases.asked_by(tenant_id, generation_id)
            if subject is not None:
                await self.start(principal=await acting_principal(subject), generation_id=generation_id)
        except ParleyError as error:
            # Whoever asked may not any more, or the database is away: it is ended when it is late.
            log.warning("generation_not_taken", generation_id=str(generation_id), error=repr(error))
        except Exception:
            log.exception("generation_not_taken", generation_id=str(generation_id))

    def on_subscribed(self) -> None:
        """What was missed shows in the leases."""

    async def idle(self) -> None:
        """Until nothing runs."""
        while self._runs:
            await asyncio.wait([task for _, task in self._runs.values()])

    async def drain(self, timeout_s: float) -> None:
        """Start no more; give those that run until shortly before `timeout_s`, then end them as interrupted."""
        self._draining = True
        if self._runs:
            await asyncio.wait(
                [task for _, task in self._runs.values()], timeout=max(0.0, timeout_s - INTERRUPTED_END_S)
            )
        left = list(self._runs.values())
        for run, _ in left:
            run.interrupt()
        if left:
            await asyncio.wait([task for _, task in left], timeout=min(timeout_s, INTERRUPTED_END_S))

    async def close(self) -> None:
        """Abandon what still runs, for the reaper."""
        tasks = [*self._taking, *(task for _, task in self._runs.values())]
        await end(tasks)
        if self._listening:
            await subscriptions().unsubscribe(control_channel(self.owner), self)
            await subscriptions().unsubscribe(OFFERS, self)


runs = PerLoop(Runs)
"""`runs()` is this event loop's."""


async def listen() -> None:
    """Have this event loop's listen."""
    await runs().listen()


async def drain(timeout_s: float) -> None:
    """Drain this event loop's."""
    await runs().drain(timeout_s)


async def close() -> None:
    """Close this event loop's."""
    found = runs.pop()
    if found is not None:
        await found.close()
