"""Any API's completion, plain and streaming: from a caller's body to the answer, by way of the pipeline."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from kernel.errors import ParleyError
from providers.cache.served import Served
from providers.gateway.hits import hit_headers, send_hit
from providers.gateway.http import ClientGone, Request, Responder, dropped_header
from providers.gateway.pace import paced
from providers.gateway.surface import Asked, FrameWriter, Surface
from providers.gateway.wishes import read_wishes
from providers.limits.headers import answer_headers
from providers.pipeline import run
from providers.pipeline.accept import accept
from providers.pipeline.answering import Answering
from providers.pipeline.values import Job
from providers.requests.record import record_refusal
from providers.types import Finished, StreamEvent
from tenants.principals import Principal

PING_AFTER_S = 15.0
WATCH_AFTER_S = 0.05
TOGETHER_S = 0.001
"""Events that come within so little time are sent together."""


async def complete(request: Request, responder: Responder, principal: Principal, surface: Surface[Asked]) -> None:
    """Run one completion and answer it. A client that leaves ends it; what was used is still recorded."""
    began = time.perf_counter()
    asked = surface.parse(await request.body(), request.headers)
    await answer_request(request, responder, principal, surface, asked, began=began)


async def answer_request(
    request: Request, responder: Responder, principal: Principal, surface: Surface[Asked], asked: Asked, *, began: float
) -> Answering:
    """Answer what was asked in this API's format. `began` is `time.perf_counter()` at the start of the request."""
    job: Job | None = None
    answering: Answering | None = None
    try:
        job = await accept(
            principal=principal,
            request=asked,
            request_id=request.id,
            surface=surface.name,
            wishes=read_wishes(request.headers),
        )
        answering = await run.start(job)
        await _answer(request, responder, surface, asked, answering, began=began)
    except ParleyError as error:
        if job is not None:
            responder.headers = answer_headers(job.report.rate_limits, surface=surface.name)
        if answering is None or _was_never_tried(answering):
            record_refusal(
                principal=principal,
                request_id=request.id,
                surface=surface.name,
                alias=asked.model,
                error=error,
                latency_s=time.perf_counter() - began,
            )
        raise
    return answering


def _was_never_tried(answering: Answering) -> bool:
    """Whether a job ended before any attempt, so that no usage record tells of it. Who followed another's has one."""
    result = answering.result
    return result is not None and not result.attempts and answering.job.report.cache != "dedupe"


async def _answer(
    request: Request, responder: Responder, surface: Surface[Asked], asked: Asked, answering: Answering, *, began: float
) -> None:
    if isinstance(answering, Served) and not (asked.stream and _pace_of(answering) is not None):
        await send_hit(responder, answering, surface, asked, headers=hit_headers(answering, began))
        return
    created = int(time.time())
    async with _NoticingDisconnect(request, responder, answering):
        if asked.stream:
            writer = surface.writer(asked, request_id=request.id, created=created)
            await _stream(responder, answering, writer, surface.ping, began)
            return
        answer = await answering.answer()
        body = surface.answer(answer, asked, request_id=request.id, created=created)
        await responder.whole(200, body, headers=_headers(answering, began))


async def _stream(responder: Responder, answering: Answering, writer: FrameWriter, ping: bytes, began: float) -> None:
    """Nothing is sent before the first event, so what fails before it is answered with its own status; unless a provider
    lets the caller wait for so long that the connection has to be kept open."""
    batches = _batches(answering)
    async with (
        _Pinging(responder, ping, answering, began) as stream,
        _Direct(responder, answering, writer, stream) as direct,
    ):
        try:
            async for events in batches:
                # What comes while these are on their way comes after them.
                direct.waits = True
                await stream.begin()
                await _write(responder, writer, events)
                direct.waits = False
            await stream.begin()
        except ParleyError as error:
            if not responder.started:
                raise
            await stream.begin()
            await responder.chunk(writer.error(error))
    await responder.end_stream()


async def _batches(answering: Answering) -> AsyncIterator[Sequence[StreamEvent]]:
    """The events as they come: those that come at once, together."""
    pace = _pace_of(answering)
    if pace is not None:
        async for event in paced(answering.events(), tokens_per_s=pace):
            yield (event,)
        return
    async for event in answering.events():
        yield (event, *answering.ready())


def _pace_of(answering: Answering) -> int | None:
    principal = answering.job.principal
    return principal.pace_tokens_per_s if principal is not None else None


async def _write(responder: Responder, writer: FrameWriter, events: Sequence[StreamEvent]) -> None:
    if frames := b"".join(map(writer.write, events)):
        await responder.chunk(frames, last=isinstance(events[-1], Finished))


class _NoticingDisconnect:
    """`async with` it around an answer: tells the job as soon as the client is gone, and raises `ClientGone` in place of
    what follows from that.

    The client is watched from `WATCH_AFTER_S` on: most answers are there before that, and need no watcher.
    """

    __slots__ = ("_answering", "_gone", "_request", "_responder", "_timer", "_watcher")

    def __init__(self, request: Request, responder: Responder, answering: Answering) -> None:
        self._request = request
        self._responder = responder
        self._answering = answering
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._watcher is not None:
                self._watcher.cancel()
                with suppress(asyncio.CancelledError):
                    await self._watcher
        finally:
            # Also when the server cancels this request: the pump must not wait for a reader that won't come.
            self._answering.disconnect()
        if self._gone and (
            isinstance(error, ParleyError | OSError) or (error is None and not self._responder.finished)
        ):
            raise ClientGone from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await self._request.wait_for_disconnect()
        # Servers also say so when the answer is whole.
        self._gone = not self._responder.finished
        self._answering.disconnect()


class _Pinging:
    """`async with` it around a stream: sends a comment whenever nothing was sent for `PING_AFTER_S`, so that proxies keep the
    connection open. A timer looks after that; there is a task only while there is something to be sent. The first comment
    begins the stream, once a provider has been asked: what still waits for its turn may yet be refused."""

    __slots__ = ("_answering", "_began", "_comment", "_has_begun", "_responder", "_sending", "_since_s", "_timer")

    def __init__(self, responder: Responder, comment: bytes, answering: Answering, began: float) -> None:
        self._responder = responder
        self._comment = comment
        self._answering = answering
        self._began = began
        self._since_s = 0.0
        self._has_begun = False
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._since_s = time.monotonic()
        self._look_in(PING_AFTER_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            with suppress(asyncio.CancelledError, OSError, ClientGone):
                await self._sending

    async def begin(self) -> None:
        """Send the head of the stream, unless a comment has."""
        if self._sending is not None and not self._has_begun:
            # It sends the head. What fails of it fails the stream; a comment that fails later doesn't.
            await self._sending
        if not self._responder.started:
            await self._begin()

    @property
    def is_silent(self) -> bool:
        """Whether there is no comment on its way, nor one that failed to send the head."""
        return self._sending is None or (self._has_begun and self._sending.done())

    def headers(self) -> Mapping[str, str]:
        """Those that the stream begins with."""
        return _headers(self._answering, self._began)

    async def _begin(self) -> None:
        await self._responder.begin_stream(headers=self.headers())
        self._has_begun = True

    def _look_in(self, wait_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look)

    def _look(self) -> None:
        left_s = PING_AFTER_S - (time.monotonic() - max(self._since_s, self._responder.last_sent_at))
        if left_s > 0:
            self._look_in(left_s)
        elif self._responder.started or self._answering.is_tried:
            self._sending = asyncio.create_task(self._ping())
        else:
            self._look_in(PING_AFTER_S)

    async def _ping(self) -> None:
        if not self._responder.started:
            await self._begin()
        self._has_begun = True
        await self._responder.comment(self._comment)
        self._look_in(PING_AFTER_S)


class _Direct:
    """`async with` it around a stream: writes what comes in the turn of the pump that has it, where that is possible at once.
    To wake the request's own task for it takes the loop another turn, in which the first token waits for whatever else is due.

    Left to that task are all events while something else is being sent, or that task `waits` to send some, what follows another
    event within `TOGETHER_S`, and the end."""

    __slots__ = ("_answering", "_last_s", "_now", "_responder", "_stream", "_writer", "waits")

    def __init__(self, responder: Responder, answering: Answering, writer: FrameWriter, stream: _Pinging) -> None:
        self._responder = responder
        self._answering = answering
        self._writer = writer
        self._stream = stream
        self._now = asyncio.get_running_loop().time
        self._last_s = 0.0
        self.waits = False

    async def __aenter__(self) -> Self:
        if _pace_of(self._answering) is None:
            self._answering.hand_to(self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._answering.hand_to(None)
        await self._responder.let_go()

    def _take(self, events: Sequence[StreamEvent]) -> bool:
        responder, now_s = self._responder, self._now()
        since_s, self._last_s = now_s - self._last_s, now_s
        if since_s < TOGETHER_S or self.waits or not responder.is_free or not self._stream.is_silent:
            return False
        try:
            headers = None if responder.started else self._stream.headers()
            frames = b"".join(map(self._writer.write, events))
        except Exception:  # noqa: BLE001 - the request's own task meets it again, where it can be answered
            return False
        if frames:
            responder.chunk_now(frames, headers=headers)
            if responder.rest is not None:
                responder.rest.add_done_callback(self._sent)
        return True

    def _sent(self, rest: "asyncio.Future[None]") -> None:
        """Of a client that can't be sent anything the job is told at once: the request's task waits for events that may never
        come."""
        if rest.cancelled() or rest.exception() is not None:
            self._answering.disconnect()


def _headers(answering: Answering, began: float) -> dict[str, str]:
    """What the answer's headers say of how it was made."""
    report = answering.job.report
    headers = {"x-parley-cache": report.cache, **report.headers}
    if report.dropped:
        headers["x-parley-dropped"] = dropped_header(report.dropped)
    serving = answering.serving()
    if serving is None:
        return headers
    candidate, upstream_s = serving
    overhead_ms = max(0.0, (time.perf_counter() - began - upstream_s) * 1000)
    return headers | {
        "x-parley-provider": candidate.target.provider,
        "x-parley-model": candidate.target.model,
        "x-parley-overhead-ms": f"{overhead_ms:.1f}",
    }
