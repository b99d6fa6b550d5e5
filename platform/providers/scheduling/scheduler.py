"""The gates of an event loop, and waiting for them. A slot that is free costs no task, no future and no lock."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kernel.lag import lag
from kernel.per_loop import PerLoop
from providers.errors import Overloaded, ProviderError, is_pushback
from providers.pipeline.values import Candidate, Job
from providers.scheduling.fair_queue import Class
from providers.scheduling.gate import Gate, Refusal
from providers.scheduling.limiter import Signal
from providers.scheduling.priority import priority_of
from providers.types import EmbeddingRequest

DEADLINE_S = 30.0
MAX_GATES = 10_000


class _Turn:
    """Someone's wait for a slot. `granted` is true once the slot is theirs, even if they never get to know."""

    __slots__ = ("future", "granted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self.granted = False


def _grant(turn: _Turn) -> bool:
    if turn.future.done():
        return False
    turn.granted = True
    turn.future.set_result(None)
    return True


class Slot:
    """A place at a deployment. `release` gives it back, however the attempt ended."""

    __slots__ = ("_answered", "_epoch", "_gate", "_loop", "_rank", "_signal", "_since_s", "_tenant")

    def __init__(
        self, gate: Gate[_Turn], loop: asyncio.AbstractEventLoop, *, rank: Class, tenant: uuid.UUID, signal: Signal
    ) -> None:
        self._gate = gate
        self._loop = loop
        self._rank = rank
        self._tenant = tenant
        self._signal: Signal = signal
        self._epoch = gate.epoch
        self._since_s = loop.time()
        self._answered = False

    def answered(self) -> None:
        """The first content is here; later calls mean nothing."""
        if self._answered:
            return
        self._answered = True
        self._gate.answered(self._loop.time() - self._since_s, signal=self._signal, epoch=self._epoch)

    def release(self, error: BaseException | None = None) -> None:
        """Give the place back; `error` is what ended the attempt before its time, if something did."""
        gate = self._gate
        if is_pushback(error):
            gate.limiter.refused(epoch=self._epoch, in_flight=gate.in_flight)
        now_s = self._loop.time()
        # How long an attempt took that was refused or not made says nothing of how soon others end.
        held_s = now_s - self._since_s if self._answered or not isinstance(error, ProviderError) else None
        gate.leave(self._rank, tenant=self._tenant, answered=self._answered, held_s=held_s, now_s=now_s)


@dataclass(frozen=True, slots=True)
class GateState:
    """What a gate is at: for metrics and operators."""

    limit: int
    in_flight: int
    queued: Mapping[str, int]


class Scheduler:
    """One event loop's gates, by deployment."""

    def __init__(self) -> None:
        self._gates: dict[uuid.UUID, Gate[_Turn]] = {}
        self.lag = lag()

    async def take_slot(self, candidate: Candidate, job: Job) -> Slot:
        """A slot at a candidate, as soon as it is this job's turn; how long that took is added to `job.report`. Release it.

        Raises Overloaded when it can't be in time, PermissionDenied for a priority the caller may not have."""
        rank = priority_of(job)
        loop = asyncio.get_running_loop()
        gate = self._gates.get(candidate.deployment.id) or self._new_gate(candidate.deployment.id, loop)
        tenant = job.payer.tenant_id
        if not gate.enter(rank, tenant=tenant, now_s=loop.time()):
            await self._wait(gate, job, rank, loop)
        return Slot(gate, loop, rank=rank, tenant=tenant, signal=_signal(job))

    def is_free(self, candidate: Candidate) -> bool:
        """Whether a request would not have to wait for a slot at a candidate, as things are."""
        gate = self._gates.get(candidate.deployment.id)
        return gate is None or (gate.in_flight < gate.limiter.limit and not len(gate.queue))

    async def _wait(self, gate: Gate[_Turn], job: Job, rank: Class, loop: asyncio.AbstractEventLoop) -> None:
        tenant = job.payer.tenant_id
        began_s = loop.time()
        patience_s = (job.wishes.deadline_s or DEADLINE_S) - job.report.queued_ms / 1000
        refusal = gate.refusal(
            tenant=tenant, rank=rank, patience_s=patience_s, now_s=began_s, overload=self.lag.overload
        )
        if refusal is not None:
            raise _overloaded(refusal)
        turn = _Turn(loop)
        waiting = gate.wait(turn, tenant=tenant, rank=rank)

        def give_up() -> None:
            if not turn.future.done():
                turn.future.set_exception(_overloaded(gate.too_late(tenant=tenant, now_s=loop.time())))

        timer = loop.call_later(patience_s, give_up)
        try:
            await turn.future
        except BaseException:
            gate.give_up(waiting)
            if turn.granted:
                gate.leave(rank, tenant=tenant, answered=False, held_s=None, now_s=loop.time())
            raise
        finally:
            timer.cancel()
            job.report.queued_ms += (loop.time() - began_s) * 1000

    def _new_gate(self, deployment_id: uuid.UUID, loop: asyncio.AbstractEventLoop) -> Gate[_Turn]:
        if len(self._gates) >= MAX_GATES:
            self._gates = {known: gate for known, gate in self._gates.items() if not gate.idle}
        gate = self._gates[deployment_id] = Gate(_grant, now_s=loop.time())
        return gate

    def states(self) -> Mapping[uuid.UUID, GateState]:
        """Every gate's state, by deployment."""
        return MappingProxyType(
            {
                known: GateState(
                    limit=gate.limiter.limit,
                    in_flight=gate.in_flight,
                    queued={rank.name.lower(): gate.queue.count(rank) for rank in Class},
                )
                for known, gate in self._gates.items()
            }
        )


scheduler = PerLoop(Scheduler)
"""`scheduler()` is the running loop's."""


def _signal(job: Job) -> Signal:
    if isinstance(job.request, EmbeddingRequest):
        return "embed"
    return "stream" if job.request.stream else "whole"


def _overloaded(refusal: Refusal) -> Overloaded:
    return Overloaded(over_share=refusal.over_share, retry_after_s=refusal.retry_after_s)
