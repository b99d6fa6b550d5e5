"""Dedupe: one answer in flight, and all who listen to it.

A request that would have the same key as one that is already on its way to a provider, in this process, follows it
instead: it gets the same events from the beginning. The flight goes on while anyone listens; who leaves, leaves alone.
Who began it holds its cost, and pays what the provider charges, also after leaving. All the others have a record of their
own, of no cost, so what was used is recorded once.

For `DEDUPE_WINDOW_S` after its end a whole answer is still given to those who come late."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

from django.conf import settings
from msgspec.structs import replace

from kernel.errors import ParleyError, Unavailable
from kernel.per_loop import PerLoop
from providers.assemble import told
from providers.cache.acknowledge import acknowledge
from providers.cache.lookups import Place, remember
from providers.cache.stats import stats
from providers.guardrails.outward import Outward
from providers.pipeline.answering import Answering, Take
from providers.pipeline.pump import OnDisconnect, Remember
from providers.pipeline.pumps import pumps
from providers.pipeline.record import record_result, sold_nano
from providers.pipeline.values import Candidate, Job, Result, Status
from providers.scheduling.fair_queue import Class
from providers.scheduling.priority import priority_of
from providers.types import (
    NO_USAGE,
    ChatAnswer,
    Finished,
    OpaqueDelta,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Vectors,
)

MAX_LOG_CHARS = 1_000_000
"""A flight whose answer is longer takes no more followers, and lets go of listeners who lag."""
MAX_READY_EVENTS = 256
"""How many of them a listener takes at a time."""
MAX_LAG_EVENTS = 256
"""How far a listener to such a flight may be behind the provider."""


FlightKey = tuple[bytes, Class, float | None]


def flight_key(job: Job, place: Place) -> FlightKey:
    """Whom a job may follow: those who ask the same, and wait for it as it would. Otherwise the one who waits for nothing
    would be sent away on behalf of all, and the one in a hurry would wait behind a batch."""
    return place.key, priority_of(job), job.wishes.deadline_s


class Flight:
    """One job's pump, and its events kept for all listeners: an `Outlet` for which the pump never waits."""

    def __init__(
        self,
        job: Job,
        place: Place,
        on_disconnect: OnDisconnect,
        *,
        remembers: Sequence[Remember],
        outward: Outward | None,
    ) -> None:
        self.place = place
        self.key = flight_key(job, place)
        self.job = job
        """The leader's: that of whoever came first."""
        self.listeners: list[Listener] = []
        self._events: list[StreamEvent] = []
        self._whole: ChatAnswer | None = None
        self.dropped_events = 0
        self.ended = False
        self.last: Finished | None = None
        self.error: ParleyError | None = None
        self._chars = 0
        self._stopped = False
        self.join(job, on_disconnect)
        self.pump = pumps.start(
            job=job,
            settle=record_result,
            on_disconnect="continue",
            remember=(partial(remember, place), *remembers),
            outlet=self,
            outward=outward,
        )

    @property
    def events(self) -> list[StreamEvent]:
        """Those that there are, from number `dropped_events` on. Of an answer that came whole they are made for the first
        who asks."""
        if self._whole is not None:
            self._events.extend(told(self._whole))
            self._whole = None
        return self._events

    @property
    def end(self) -> int:
        """The number of the event after the last that came."""
        return self.dropped_events + len(self._events)

    @property
    def takes_followers(self) -> bool:
        """Whether a newcomer can still have all of the answer."""
        return self._chars <= MAX_LOG_CHARS and (self.pump.result is None or self.pump.result.status == "complete")

    def join(self, job: Job, on_disconnect: OnDisconnect) -> "Listener":
        """A new listener, from the beginning."""
        listener = Listener(self, job, on_disconnect)
        if self.ended:
            listener.conclude(pays=False)
        else:
            self.listeners.append(listener)
        return listener

    def leave(self, listener: "Listener") -> None:
        """A listener is gone. The last one takes the flight with it."""
        if self._stopped or listener not in self.listeners:
            return
        if len(self.listeners) == 1:
            self._stopped = True
            _flights().forget(self)
            self.pump.stop()
            return
        self.listeners.remove(listener)
        listener.leave()

    # --- what the pump sees

    @property
    def full(self) -> bool:
        return False

    async def writable(self) -> None:
        return

    def abandon(self) -> None:
        """It is for each listener to leave."""

    def put(self, events: Sequence[StreamEvent]) -> None:
        self._events.extend(events)
        self._chars += sum(map(_chars, events))
        if self._chars > MAX_LOG_CHARS:
            self._let_go_of_laggards()
        for listener in self.listeners:
            listener.hear(events)

    def close(
        self, *, whole: ChatAnswer | None = None, last: Finished | None = None, error: ParleyError | None = None
    ) -> None:
        if whole is not None:
            self._whole = whole
            self._chars = _length(whole)
        self.last, self.error, self.ended = last, error, True
        for listener in tuple(self.listeners):
            listener.conclude(pays=listener.job is self.job)
        # They know the flight: that it also knew them would leave a ring for the collector of garbage, at each request.
        self.listeners.clear()
        _flights().ended(self)

    def _let_go_of_laggards(self) -> None:
        """Drop what everybody has read, after letting go of those who are too far behind."""
        _flights().forget(self)
        end = self.end
        for listener in tuple(self.listeners):
            if end - listener.position > MAX_LAG_EVENTS:
                listener.lagged = True
                listener.wake()
                if not listener.continues:
                    self.leave(listener)
        read = min((one.position for one in self.listeners if not one.lagged), default=end)
        del self._events[: read - self.dropped_events]
        self.dropped_events = read


class Listener(Answering):
    """One request's share in a flight. `position` counts the events it has read; `lagged` says that it read too slowly
    to go on."""

    def __init__(self, flight: Flight, job: Job, on_disconnect: OnDisconnect) -> None:
        self.job = job
        self.flight = flight
        self.position = 0
        self.lagged = False
        self.continues = on_disconnect == "continue"
        self.result: Result | None = None
        self._left = False
        self._take: Take | None = None
        self._wakeup: asyncio.Future[None] | None = None

    async def events(self) -> AsyncIterator[StreamEvent]:
        flight = self.flight
        while not self._left and not self.lagged:
            if self.position - flight.dropped_events < len(flight.events):
                event = flight.events[self.position - flight.dropped_events]
                self.position += 1
                yield event
            elif flight.ended:
                break
            else:
                await self._until_woken()
        if self.lagged:
            raise Unavailable("The answer was read too slowly.")
        if self._left:
            yield Finished("stop", NO_USAGE)
        elif flight.error is not None:
            raise flight.error
        elif flight.last is not None:
            yield flight.last

    def ready(self) -> Sequence[StreamEvent]:
        flight = self.flight
        if self._left or self.lagged or self.position == flight.end:
            return ()
        start = self.position - flight.dropped_events
        events = flight.events[start : start + MAX_READY_EVENTS]
        self.position += len(events)
        return events

    def hand_to(self, take: Take | None) -> None:
        self._take = take

    async def answer(self) -> ChatAnswer:
        while self.result is None:
            self.position = self.flight.end
            await self._until_woken()
        if self.flight.error is not None and not self._left:
            raise self.flight.error
        return self.result.answer

    def serving(self) -> tuple[Candidate, float] | None:
        if self.flight.job is not self.job:
            self.job.report.dropped[:] = self.flight.job.report.dropped
        return self.flight.pump.serving()

    def stop(self) -> None:
        self.flight.leave(self)

    def interrupt(self) -> None:
        """The process goes down, for all of them."""
        self.flight.pump.interrupt()

    def disconnect(self) -> None:
        if not self.continues:
            self.flight.leave(self)

    def hear(self, events: Sequence[StreamEvent]) -> None:
        """These are the newest."""
        end = self.flight.end
        has_read_all = self.position == end - len(events) and not (self._left or self.lagged)
        if self._take is not None and has_read_all and self._take(events):
            self.position = end
        else:
            self.wake()

    def wake(self) -> None:
        """There is something new."""
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def leave(self) -> None:
        """End here, while the flight goes on for others."""
        self._left = True
        self.result = Result(job=self.job, status="stopped", attempts=(), answer=self.flight.pump.so_far())
        if self.job is not self.flight.job:
            # The leader's record comes with the flight's end.
            self._acknowledge("stopped")
        self.wake()

    def conclude(self, *, pays: bool) -> None:
        """End with the flight. Who doesn't pay for it has a record of its own."""
        ended = self.flight.pump.result
        if ended is None:
            raise RuntimeError("a flight ends after its pump has a result")
        if pays and ended.job is self.job:
            self.result = ended
        else:
            self.result = replace(ended, job=self.job, attempts=ended.attempts if pays else ())
        if not pays:
            stats().hit(self.flight.place.tenant_id, "hits_dedupe", ended.answer.usage, saved_nano=sold_nano(ended))
            self._acknowledge(ended.status)
        self.wake()

    def _acknowledge(self, status: Status) -> None:
        serving = self.flight.pump.serving()
        target = serving[0].target if serving else self.job.candidates[0].target
        last = self.flight.last
        acknowledge(
            self.job,
            cache="dedupe",
            provider=target.provider,
            model=target.model,
            status=status,
            finish_reason=last.finish_reason if last else None,
        )

    async def _until_woken(self) -> None:
        self._wakeup = asyncio.get_running_loop().create_future()
        await self._wakeup


class _Flights:
    """One event loop's, by key."""

    def __init__(self) -> None:
        self._by_key: dict[FlightKey, Flight] = {}

    def get(self, key: FlightKey) -> Flight | None:
        return self._by_key.get(key)

    def add(self, flight: Flight) -> None:
        self._by_key[flight.key] = flight

    def ended(self, flight: Flight) -> None:
        """Keep a whole answer for the window."""
        if self._by_key.get(flight.key) is flight and settings.DEDUPE_WINDOW_S and flight.takes_followers:
            asyncio.get_running_loop().call_later(settings.DEDUPE_WINDOW_S, self.forget, flight)
        else:
            self.forget(flight)

    def forget(self, flight: Flight) -> None:
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]


_flights = PerLoop(_Flights)


def follow(job: Job, place: Place, on_disconnect: OnDisconnect) -> Answering | None:
    """Follow a flight of the same key, if there is one."""
    if not place.reads:
        return None
    flight = _flights().get(flight_key(job, place))
    if flight is None or not flight.takes_followers:
        return None
    job.report.cache = "dedupe"
    return flight.join(job, on_disconnect)


def lead(
    job: Job,
    place: Place,
    *,
    on_disconnect: OnDisconnect,
    remembers: Sequence[Remember] = (),
    outward: Outward | None = None,
) -> Answering:
    """Begin a flight that others may follow; where nobody may, a pump. Raises Unavailable once the process is going
    down."""
    if not place.reads:
        return pumps.start(
            job=job,
            settle=record_result,
            on_disconnect=on_disconnect,
            remember=(partial(remember, place), *remembers),
            outward=outward,
        )
    flight = Flight(job, place, on_disconnect, remembers=remembers, outward=outward)
    _flights().add(flight)
    return flight.listeners[0]


def _chars(event: StreamEvent) -> int:
    match event:
        case TextDelta() | ReasoningDelta():
            return len(event.text)
        case ToolCallDelta():
            return len(event.arguments)
        case OpaqueDelta():
            return sum(map(len, event.extras.fields.values()))
        case Vectors():
            return sum(map(len, event.vectors))
    return 0


def _length(answer: ChatAnswer) -> int:
    """What `_chars` of its events come to, near enough."""
    calls = sum(len(call.arguments) for choice in answer.choices for call in choice.tool_calls)
    said = sum(len(choice.text) + len(choice.reasoning) for choice in answer.choices)
    return said + calls + sum(map(len, answer.vectors))
