"""The pump: a task of its own that runs one job to its end, whatever becomes of who asked for it.

It owns the upstream connection and always ends in settle, once: complete, stopped, failed or interrupted. The
consumer reads from a bounded queue; while that is full the pump waits, and the upstream with it, but no
longer than `timeouts.between_tokens_s`: a consumer that slow counts as gone. The end of the answer is seen
after settle, never before."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal

import msgspec

from kernel.errors import InternalError, ParleyError, Unavailable, without_frames
from providers.assemble import reason_of
from providers.guardrails.outward import Outward
from providers.measure import result_settled
from providers.pipeline.answering import Answering, Take
from providers.pipeline.channel import Channel, Outlet
from providers.pipeline.execute import Execution, comes_whole
from providers.pipeline.settle import Settle
from providers.pipeline.tracing import completion_span, describe
from providers.pipeline.values import Candidate, Job, Result, Status
from providers.types import NO_USAGE, ChatAnswer, Finished, StreamEvent

logger = logging.getLogger(__name__)

OnDisconnect = Literal["stop", "continue"]
MAX_QUEUED_EVENTS = 256
SETTLE_S = 30.0
CANCEL_AGAIN_S = 0.1
COUNT_S = 10.0
"""To count tokens that no provider counted, with what has to be loaded for that."""
REMEMBER_S = 5.0

Remember = Callable[[Result], Awaitable[None] | None]
"""Something to be done with a settled result once its caller has it: caches, corrections of limits, logs. What it returns
is waited for, if anything."""


class Pump(Answering):
    """Runs one job. Made by `Pumps.start`."""

    def __init__(
        self,
        *,
        job: Job,
        settle: Settle,
        on_disconnect: OnDisconnect,
        remember: Sequence[Remember] = (),
        outward: Outward | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        self.job = job
        self._settle = settle
        self._on_disconnect = on_disconnect
        self._remember = remember
        self._outward = outward
        self._execution = Execution(job)
        self._channel = Channel(MAX_QUEUED_EVENTS)
        self._outlet: Outlet = outlet or self._channel
        self._comes_whole = comes_whole(job.request)
        self._relaying = False
        self._ending: Status | None = None
        self._last: Finished | None = None
        self.task = asyncio.create_task(self._run(), name=f"pump {job.request_id}")

    async def events(self) -> AsyncIterator[StreamEvent]:
        """The answer as it comes, for one consumer; the last is Finished unless the job was interrupted or
        failed, which raises the error for the caller. A consumer that leaves early must say so by
        `disconnect`."""
        while (event := await self._channel.get()) is not None:
            yield event

    def ready(self) -> Sequence[StreamEvent]:
        return self._channel.ready()

    def hand_to(self, take: Take | None) -> None:
        self._channel.take = take

    async def answer(self) -> ChatAnswer:
        """The whole answer, once it is settled. Raises the error for the caller."""
        await self._channel.closed()
        return self.result.answer if self.result else self.so_far()

    def so_far(self) -> ChatAnswer:
        """The answer as far as it has come."""
        answer = self._execution.answer()
        return self._outward.answer(answer) if self._outward else answer

    def output_tokens(self) -> int:
        """An estimate of how many tokens have come so far."""
        return self._execution.output_tokens()

    def serving(self) -> tuple[Candidate, float] | None:
        """Whose answer is seen, and the seconds that its provider took to its first content."""
        return self._execution.serving()

    @property
    def is_tried(self) -> bool:
        return self._execution.is_tried

    def stop(self) -> None:
        """End the answer here, because someone asked. Nothing happens if it has ended."""
        self._end("stopped")

    def interrupt(self) -> None:
        """End the answer here, because the process goes down."""
        self._end("interrupted")

    def disconnect(self) -> None:
        """The consumer is gone. By the job's policy the answer ends here, or goes on without anyone
        listening."""
        self._outlet.abandon()
        if self._on_disconnect == "stop":
            self.stop()

    async def wait(self) -> None:
        """Until the job is settled. To be cancelled here doesn't cancel the job."""
        await asyncio.wait({self.task})

    def _end(self, status: Status) -> None:
        if self._ending is not None or self.task.done():
            return
        self._ending = status
        if self._relaying:
            self.task.cancel()

    async def _run(self) -> None:
        with completion_span(self.job) as span:
            result, settled = await self._run_and_settle()
            describe(span, result)
        result_settled(result)
        self.result = result
        self._close(result, settled=settled)
        if settled:
            await self._remembered(result)
        self._let_go()

    def _let_go(self) -> None:
        """Know nothing any more of those who know this pump: rings are left to the collector of garbage, which takes its
        time for each."""
        self._outlet = self._channel
        self._remember = ()

    def _close(self, result: Result, *, settled: bool) -> None:
        """Let the end of the answer be seen; of one that came whole, all of it."""
        if self._outward is not None and (rest := tuple(self._outward.rest())):
            self._outlet.put(rest)
        if not settled:
            self._outlet.close(error=Unavailable("The answer could not be recorded."))
        elif result.error is not None:
            self._outlet.close(error=result.error)
        else:
            reason = self._last.finish_reason if self._last else "stop"
            whole = result.answer if self._comes_whole and self._last else None
            self._outlet.close(whole=whole, last=Finished(reason, result.answer.usage))

    async def _remembered(self, result: Result) -> None:
        """What comes after the caller has its answer. Nothing here can spoil it."""
        for remember in self._remember:
            try:
                remembering = remember(result)
                if remembering is not None:
                    async with asyncio.timeout(REMEMBER_S):
                        await remembering
            except Exception:
                logger.exception("a result could not be remembered")

    async def _run_and_settle(self) -> tuple[Result, bool]:
        """How the job ended, and whether that could be recorded."""
        status, error = await self._relay()
        await self._counted()
        attempts = self._execution.outcomes(status)
        usage = next((attempt.usage for attempt in attempts if attempt.visible), NO_USAGE)
        result = Result(
            job=self.job,
            status=status,
            attempts=attempts,
            answer=msgspec.structs.replace(self.so_far(), usage=usage),
            error=error,
        )
        return result, await self._settled(result)

    async def _relay(self) -> tuple[Status, ParleyError | None]:
        """Hand over the events of the job until it ends; say how it did."""
        try:
            self._relaying = True
            if self._ending is None:
                await self._hand_over()
        except asyncio.CancelledError:
            self.task.uncancel()
            if self._last is None:
                self._ending = self._ending or "interrupted"
        except ParleyError as error:
            return "failed", without_frames(error)
        except Exception:
            logger.exception("a job failed unexpectedly")
            return "failed", InternalError()
        finally:
            self._relaying = False
        if self._last is not None or self._ending is None:
            return "complete", None
        if self._ending == "interrupted":
            return "interrupted", Unavailable("The answer was interrupted by a restart.")
        return self._ending, None

    async def _hand_over(self) -> None:
        if self._comes_whole:
            answer = await self._execution.whole()
            self._last = Finished(reason_of(answer), answer.usage)
            return
        async with aclosing(self._execution.events()) as events:
            async for came in events:
                if isinstance(last := came[-1], Finished):
                    self._last = last
                    self._put(came[:-1])
                    return
                if self._outlet.full:
                    await self._wait_for_consumer()
                self._put(came)

    def _put(self, events: Sequence[StreamEvent]) -> None:
        if self._outward is not None:
            events = [seen for event in events for seen in self._outward.feed(event)]
        if events:
            self._outlet.put(events)

    async def _wait_for_consumer(self) -> None:
        try:
            async with asyncio.timeout(self.job.timeouts.between_tokens_s):
                await self._outlet.writable()
        except TimeoutError:
            self.disconnect()

    async def _counted(self) -> None:
        """Have the tokens counted that the upstream didn't. Without that they are estimated by the length of texts."""
        if self._execution.is_counted:
            return
        task = await _finished(self._execution.count(), within_s=COUNT_S)
        if task.cancelled() or task.exception() is not None:
            failure = None if task.cancelled() else task.exception()
            logger.warning("tokens could not be counted, and are estimated by length", exc_info=failure)

    async def _settled(self, result: Result) -> bool:
        """Whether settle has recorded the result."""
        task = await _finished(self._settle(result), within_s=SETTLE_S)
        if task.cancelled():
            logger.error("a result could not be settled in %s s", SETTLE_S)
            return False
        failure = task.exception()
        if failure is not None:
            logger.error("a result could not be settled", exc_info=failure)
        return failure is None


async def _finished(work: Coroutine[None, None, None], *, within_s: float) -> "asyncio.Task[None]":
    """A task that has done what cancelling the pump can't cancel any more, or was given up."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    timer = loop.call_later(within_s, _give_up, task, loop)
    while not task.done():
        # `asyncio.wait` does the same for many, at several times the cost.
        over: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(partial(_over, over))
        try:
            await over
        except asyncio.CancelledError:
            continue
    timer.cancel()
    return task


def _give_up(task: "asyncio.Task[None]", loop: asyncio.AbstractEventLoop) -> None:
    """Cancel it until it ends: a library may take a cancellation for its own, and go on."""
    if not task.done():
        task.cancel()
        loop.call_later(CANCEL_AGAIN_S, _give_up, task, loop)


def _over(over: "asyncio.Future[None]", _: object) -> None:
    if not over.done():
        over.set_result(None)
