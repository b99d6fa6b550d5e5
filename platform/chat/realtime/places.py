"""A socket's place in a room, and how it gets there without a hole.

The place is taken first, and holds back what happens; then what the client missed is replayed, from the stream or from
PostgreSQL; then what was held back follows, without what the replay already said. What can't be replayed whole becomes a
`reset`: never a part.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Protocol

from chat.bounds import ATTACH_BUFFER_FRAMES_MAX, PRESENCE_SHOWN_MAX, REPLAY_EVENTS_MAX, TYPING_EVERY_S
from chat.events import events_after
from chat.parts import Part
from chat.realtime import streams
from chat.realtime.envelopes import Envelope, event_payload, open_payload
from chat.realtime.feeds import Feed
from chat.realtime.frames import Delta, Position, Presence, reset
from chat.realtime.outbox import Frame
from chat.realtime.presence import Shown
from chat.snapshots import live_parts
from kernel.redis import RedisError

_REPLAY_ROUNDS_MAX = 10


class Recipient(Protocol):
    """The socket that a place belongs to."""

    @property
    def membership_id(self) -> uuid.UUID:
        """Whose socket it is."""
        ...

    @property
    def shows(self) -> tuple[uuid.UUID, Shown] | None:
        """Who is there by it, and how; None for one that isn't shown."""
        ...

    @property
    def busy(self) -> bool:
        """Whether it should be spared what isn't needed."""
        ...

    def offer(self, frame: Frame) -> None:
        """Queue a frame, or be closed for being too slow."""
        ...

    async def put(self, frame: Frame) -> None:
        """Queue a frame when there is room."""
        ...

    def left(self, room_id: uuid.UUID) -> None:
        """The place is no more."""
        ...


class CantReplay(Exception):
    """What the client missed can't be replayed; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Place:
    """A socket's place in a room's feed. Raises `NotFound` for a member who has just left the room."""

    def __init__(self, recipient: Recipient, feed: Feed) -> None:
        feed.admit(recipient.membership_id)
        self.feed = feed
        self.seq = feed.head
        self._recipient = recipient
        self._held: list[tuple[Envelope, Frame]] | None = None
        self._overflowed = False
        self._typed_at = float("-inf")
        self._has_ended = False
        feed.attached.add(self)

    @property
    def shows(self) -> tuple[uuid.UUID, Shown] | None:
        """Who is there by it, and how."""
        return self._recipient.shows

    def show_present(self) -> None:
        """Tell who is in the room, where they are few."""
        if len(self.feed.present) <= PRESENCE_SHOWN_MAX:
            for who, state in self.feed.present.items():
                self._recipient.offer(Frame.saying(Presence(room=self.feed.room_id, who=who, state=state)))

    def may_type(self) -> bool:
        """Whether it is time to tell again that somebody types here."""
        now = time.monotonic()
        if now - self._typed_at < TYPING_EVERY_S:
            return False
        self._typed_at = now
        return True

    def leave(self) -> None:
        """Hear nothing more."""
        self.feed.attached.discard(self)

    def on_envelope(self, envelope: Envelope, frame: Frame) -> None:
        """Something happened in the room."""
        if self._held is None:
            self._pass(envelope, frame)
        elif len(self._held) < ATTACH_BUFFER_FRAMES_MAX:
            self._held.append((envelope, frame))
        else:
            self._overflowed = True

    def on_gone(self) -> None:
        """There is no such room any more: its snapshot will say so."""
        self._recipient.offer(Frame.saying(reset(self.feed.room_id, "deleted"), barrier=True))
        self._end()

    def hold(self) -> None:
        """Hold back what happens from now on, until the client has caught up."""
        if self._held is None:
            self._held, self._overflowed = [], False

    async def resume(self, position: Position) -> None:
        """Bring the client from its position to now. Raises `Unavailable`; the place is as good as new then."""
        await self.catch_up(position, replay=True)

    async def catch_up(self, position: Position, *, replay: bool) -> None:
        """The same, with the events that were missed or only with the answers that the position names."""
        self.hold()
        try:
            if replay and not position.seq and position.epoch is None:
                raise CantReplay("fresh")
            replayed = await self._replay(position) if replay else []
            ends = await self._slices(position, replayed)
            if self._overflowed:
                raise CantReplay("busy")
            self._release(ends)
        except CantReplay as outcome:
            self.seq = self.feed.head
            self._held = None
            await self._recipient.put(Frame.saying(reset(self.feed.room_id, outcome.reason), barrier=True))
        except BaseException:
            self._held = None
            raise

    async def _replay(self, position: Position) -> list[Envelope]:
        self.seq = position.seq or 0
        replayed: list[Envelope] = []
        payloads = await self._from_stream(position)
        if payloads is None:
            payloads = await self._from_postgres()
        for _ in range(_REPLAY_ROUNDS_MAX):
            for payload in payloads:
                envelope = open_payload(payload)
                if envelope.seq == self.seq + 1:
                    await self._recipient.put(Frame.of(envelope))
                    self.seq = envelope.seq
                    replayed.append(envelope)
            if self.seq >= self.feed.head:
                return replayed
            # The feed has heard more than was there to read a moment ago.
            payloads = await self._from_postgres()
        raise CantReplay("busy")

    async def _from_stream(self, position: Position) -> list[bytes] | None:
        feed = self.feed
        try:
            held = await streams.read_after(feed.tenant_id, feed.room_id, seq=self.seq)
        except RedisError:
            return None
        if held is None or str(position.epoch) != str(held.head.epoch) or self.seq > held.head.seq:
            return None
        return list(held.payloads)

    async def _from_postgres(self) -> list[bytes]:
        feed = self.feed
        head, events = await events_after(feed.tenant_id, feed.room_id, seq=self.seq, limit=REPLAY_EVENTS_MAX + 1)
        if self.seq > head.seq:
            raise CantReplay("ahead")
        if len(events) > REPLAY_EVENTS_MAX:
            raise CantReplay("too_far")
        return [event_payload(feed.room_id, epoch=head.epoch, event=event) for event in events]

    async def _slices(self, position: Position, replayed: list[Envelope]) -> dict[tuple[str, int], int]:
        """Send each part of each live answer from where the client holds it; answers how far each was sent."""
        gens: dict[uuid.UUID, Mapping[int, int]] = dict(position.gens)
        for envelope in replayed:
            if envelope.subject is not None and envelope.type == "generation.started":
                gens.setdefault(envelope.subject, {})
            elif envelope.subject is not None and envelope.type == "generation.finished":
                gens.pop(envelope.subject, None)
        held = await live_parts(self.feed.tenant_id, self.feed.room_id, list(gens))
        ends: dict[tuple[str, int], int] = {}
        for gid, offsets in gens.items():
            parts = held.get(gid)
            if parts is None:
                continue
            if any(
                offset > (len(parts[number].text) if number < len(parts) else 0) for number, offset in offsets.items()
            ):
                raise CantReplay("behind")
            for number, part in enumerate(parts):
                offset = offsets.get(number, 0)
                if offset < len(part.text):
                    await self._recipient.put(part_slice(self.feed.room_id, gid, number, part, offset))
                ends[str(gid), number] = len(part.text)
        return ends

    def _release(self, ends: dict[tuple[str, int], int]) -> None:
        held, self._held = self._held or [], None
        for envelope, frame in held:
            if envelope.kind == "delta" and envelope.end <= ends.get((envelope.gid, envelope.part), -1):
                continue
            self._pass(envelope, frame)

    def _pass(self, envelope: Envelope, frame: Frame) -> None:
        if self._has_ended:
            # What was held back may have come after the end.
            return
        match envelope.kind:
            case "event":
                if envelope.seq <= self.seq:
                    return
                self.seq = envelope.seq
                self._recipient.offer(frame)
                if envelope.type == "member.left" and envelope.subject == self._recipient.membership_id:
                    self._end()
            case "delta":
                self._recipient.offer(frame)
            case "typing" | "presence":
                if not self._recipient.busy:
                    self._recipient.offer(frame)
            case "gone":
                self._recipient.offer(frame)
                self._end()

    def _end(self) -> None:
        self._has_ended = True
        self.leave()
        self._recipient.left(self.feed.room_id)


def part_slice(room_id: uuid.UUID, gid: uuid.UUID, number: int, part: Part, offset: int) -> Frame:
    """What a part says from `offset` on, in one delta."""
    delta = Delta(room=room_id, gid=gid, part=number, kind=part.kind, off=offset, text=part.text[offset:])
    return Frame.of_delta(delta)
