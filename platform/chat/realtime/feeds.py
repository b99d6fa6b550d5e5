"""One room's events as this process hears them, in order and whole, and the sockets they go to.

A feed hears the room's channel. An event out of turn (something was missed) stops the feed until what is missing was read
from the stream or from PostgreSQL; what comes meanwhile waits. So every attachment of the feed stands where the feed
stands.
"""

import asyncio
import time
import uuid
from collections import deque
from typing import Protocol

import structlog

from chat import selectors
from chat.bounds import EPHEMERAL_PER_S, FEED_BACKLOG_MAX, FILL_EVENTS_MAX
from chat.events import events_after
from chat.realtime import streams
from chat.realtime.envelopes import Envelope, delta_payload, event_payload, open_payload
from chat.realtime.outbox import Frame
from chat.realtime.presence import RoomPresence, Shown
from chat.snapshots import live_parts
from chat.store import transaction
from kernel.ending import end
from kernel.errors import NotFound, ParleyError
from kernel.redis import RedisError

log = structlog.get_logger(__name__)

_RETRY_S = 0.5


class Attached(Protocol):
    """A socket's place in a feed. Neither method blocks or raises."""

    @property
    def shows(self) -> tuple[uuid.UUID, Shown] | None:
        """Who is there by it, and how; None for one that isn't shown."""
        ...

    def on_envelope(self, envelope: Envelope, frame: Frame) -> None:
        """Something happened in the room."""
        ...

    def on_gone(self) -> None:
        """There is no such room any more."""
        ...


class Feed:
    """The feed of one room."""

    def __init__(self, tenant_id: uuid.UUID, room_id: uuid.UUID) -> None:
        self.tenant_id = tenant_id
        self.room_id = room_id
        self.channel = streams.channel(tenant_id, room_id)
        self.epoch = ""
        self.head = -1
        self.attached: set[Attached] = set()
        self.admitted: set[uuid.UUID] = set()
        """Memberships known to be in the room: they were let in, and nothing was heard since of their leaving."""
        self._departed: set[uuid.UUID] = set()
        """Those that were heard to leave, and not to come back."""
        self.presence = RoomPresence(tenant_id, room_id)
        self.present: dict[uuid.UUID, Shown] = {}
        """Who is there, as far as this process has heard."""
        self.idle_since: float | None = None
        self.subscribed = asyncio.Event()
        self.opened = asyncio.Event()
        self._backlog: deque[Envelope] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._deltas_missed = False
        self._fleeting = 0.0
        self._fleeting_at = 0.0

    @property
    def whole(self) -> bool:
        """Whether everything that happened was heard."""
        return self.opened.is_set() and self._filling is None

    def open_at(self, *, epoch: str, head: int) -> None:
        """Begin to follow after `head`, which was read while subscribed."""
        self.head = max(self.head, head)
        self.epoch = epoch or self.epoch
        self.opened.set()
        self._drain_backlog()

    def admit(self, membership_id: uuid.UUID) -> None:
        """Know a membership as in the room, as it was found to be while the feed was open. Raises `NotFound` for one that has
        left meanwhile."""
        if membership_id in self._departed:
            raise NotFound
        self.admitted.add(membership_id)

    def on_payload(self, payload: bytes) -> None:
        """Something was published in the room."""
        try:
            envelope = open_payload(payload)
        except ValueError:
            log.error("payload_not_understood", channel=self.channel)
            return
        if self._filling is not None or not self.opened.is_set():
            if len(self._backlog) >= FEED_BACKLOG_MAX:
                # What is dropped here shows as a gap, and deltas by their offsets.
                self._backlog.popleft()
            self._backlog.append(envelope)
            return
        self._take(envelope)

    def on_subscribed(self) -> None:
        """The channel is heard, perhaps again after a loss."""
        if self.opened.is_set():
            # Sockets were let in, or stayed, while nobody heard the channel.
            self._deltas_missed = True
            self.fill()
        self.subscribed.set()

    def fill(self) -> None:
        """Read what may have been missed, and hold back what comes until then."""
        if self._filling is None and self.opened.is_set():
            self._filling = asyncio.create_task(self._fill(), name=f"fill {self.room_id}")

    async def filled(self) -> None:
        """Until nothing is being filled."""
        while self._filling is not None:
            await asyncio.wait([self._filling])

    async def close(self) -> None:
        """Stop filling."""
        if self._filling is not None:
            await end([self._filling])

    def _take(self, envelope: Envelope) -> None:
        if envelope.kind == "event":
            if envelope.seq <= self.head:
                return
            if envelope.seq > self.head + 1:
                self._backlog.appendleft(envelope)
                self.fill()
                return
            self.head = envelope.seq
            self.epoch = envelope.epoch
        elif envelope.kind == "presence":
            self._know(envelope)
        elif envelope.kind == "typing" and not self._affordable():
            return
        self._deliver(envelope)

    def _know(self, envelope: Envelope) -> None:
        """Keep who is there."""
        if envelope.subject is None:
            return
        if envelope.type == "offline":
            self.present.pop(envelope.subject, None)
            self.presence.heard_offline(envelope.subject)
        else:
            self.present[envelope.subject] = "online" if envelope.type == "online" else "away"

    def _affordable(self) -> bool:
        """Whether what nobody misses may be delivered, so that a crowd that types costs no more than so much."""
        now = time.monotonic()
        self._fleeting = max(0.0, self._fleeting - (now - self._fleeting_at) * EPHEMERAL_PER_S)
        self._fleeting_at = now
        if self._fleeting > EPHEMERAL_PER_S:
            return False
        self._fleeting += len(self.attached)
        return True

    def _deliver(self, envelope: Envelope) -> None:
        if envelope.type == "member.left" and envelope.subject is not None:
            self.admitted.discard(envelope.subject)
            self._departed.add(envelope.subject)
        elif envelope.type == "member.joined" and envelope.subject is not None:
            self._departed.discard(envelope.subject)
        elif envelope.kind == "gone":
            self.admitted.clear()
        frame = Frame.of(envelope)
        for place in tuple(self.attached):
            place.on_envelope(envelope, frame)

    async def _fill(self) -> None:
        try:
            while True:
                if await self._filled_once() and await self._texts_shown():
                    break
                await asyncio.sleep(_RETRY_S)
        finally:
            self._filling = None
        self._step_over_hole()
        self._drain_backlog()
        if self._deltas_missed:
            # The channel was heard anew while the last of it was read.
            self.fill()

    def _step_over_hole(self) -> None:
        """Events that nobody has any more must not hold up those that come: clients notice the gap, and resume."""
        waiting = next((envelope for envelope in self._backlog if envelope.kind == "event"), None)
        if waiting is not None and waiting.seq > self.head + 1:
            log.error("room_has_hole", room_id=str(self.room_id), head=self.head, next=waiting.seq)
            self.head = waiting.seq - 1

    async def _filled_once(self) -> bool:
        """Whether all that PostgreSQL has was delivered."""
        try:
            payloads = await self._missing()
        except NotFound:
            self.admitted.clear()
            for place in tuple(self.attached):
                place.on_gone()
            return True
        except ParleyError as error:
            log.warning("feed_not_filled", room_id=str(self.room_id), error=repr(error))
            return False
        except Exception:
            log.exception("feed_not_filled", room_id=str(self.room_id))
            return False
        for payload in payloads:
            envelope = open_payload(payload)
            if envelope.seq == self.head + 1:
                self.head, self.epoch = envelope.seq, envelope.epoch
                self._deliver(envelope)
        return len(payloads) < FILL_EVENTS_MAX

    async def _texts_shown(self) -> bool:
        """Whether every live answer was delivered from its beginning, if pieces may have been missed.

        Clients drop what they hold already.
        """
        if not self._deltas_missed:
            return True
        try:
            async with transaction(self.tenant_id) as connection:
                live = await selectors.live_generation_ids(connection, self.room_id)
            held = await live_parts(self.tenant_id, self.room_id, live)
        except ParleyError as error:
            log.warning("feed_not_filled", room_id=str(self.room_id), error=repr(error))
            return False
        self._deltas_missed = False
        for gid, parts in held.items():
            for number, part in enumerate(parts):
                slice_ = delta_payload(self.room_id, gid=gid, part=number, kind=part.kind, offset=0, text=part.text)
                self._deliver(open_payload(slice_))
        return True

    async def _missing(self) -> list[bytes]:
        try:
            held = await streams.read_after(self.tenant_id, self.room_id, seq=self.head, limit=FILL_EVENTS_MAX)
        except RedisError:
            held = None
        if held is not None and held.payloads:
            return list(held.payloads)
        head, events = await events_after(self.tenant_id, self.room_id, seq=self.head, limit=FILL_EVENTS_MAX)
        return [event_payload(self.room_id, epoch=head.epoch, event=event) for event in events]

    def _drain_backlog(self) -> None:
        while self._backlog and self._filling is None:
            self._take(self._backlog.popleft())
