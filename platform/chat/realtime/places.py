"""A socket's place in a room, and how it gets there without a hole.

The place is taken first, and holds back what happens; then what the client missed is replayed, from the stream or from
PostgreSQL; then what was held back follows, without what the replay already said. What can't be replayed whole becomes a
`reset`: never a part.
"""

import uuid
from typing import Protocol

from chat.bounds import ATTACH_BUFFER_FRAMES_MAX, REPLAY_EVENTS_MAX
from chat.events import events_after
from chat.realtime import streams
from chat.realtime.envelopes import Envelope, event_payload, open_payload
from chat.realtime.feeds import Feed
from chat.realtime.frames import Delta, Position, encode, reset
from chat.realtime.outbox import Frame
from chat.snapshots import live_texts
from kernel.redis import RedisError

_REPLAY_ROUNDS_MAX = 10


class Recipient(Protocol):
    """The socket that a place belongs to."""

    @property
    def membership_id(self) -> uuid.UUID:
        """Whose socket it is."""
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
    """A socket's place in a room's feed."""

    def __init__(self, recipient: Recipient, feed: Feed) -> None:
        self.feed = feed
        self.seq = feed.head
        self._recipient = recipient
        self._held: list[tuple[Envelope, Frame]] | None = None
        self._overflowed = False
        feed.attached.add(self)

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
        self._recipient.offer(Frame(encode(reset(self.feed.room_id, "deleted")), barrier=True))
        self._end()

    async def resume(self, position: Position) -> None:
        """Bring the client from its position to now. Raises `Unavailable`; the place is as good as new then."""
        self._held, self._overflowed = [], False
        try:
            if not position.seq and position.epoch is None:
                raise CantReplay("fresh")
            replayed = await self._replay(position)
            ends = await self._slices(position, replayed)
            if self._overflowed:
                raise CantReplay("busy")
            self._release(ends)
        except CantReplay as outcome:
            self.seq = self.feed.head
            self._held = None
            await self._recipient.put(Frame(encode(reset(self.feed.room_id, outcome.reason)), barrier=True))
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

    async def _slices(self, position: Position, replayed: list[Envelope]) -> dict[str, int]:
        """Send each live answer from where the client holds it; answers how far each was sent."""
        gens: dict[uuid.UUID, int] = {gid: offsets.get(0, 0) for gid, offsets in position.gens.items()}
        for envelope in replayed:
            if envelope.subject is not None and envelope.type == "generation.started":
                gens.setdefault(envelope.subject, 0)
            elif envelope.subject is not None and envelope.type == "generation.finished":
                gens.pop(envelope.subject, None)
        held = await live_texts(self.feed.tenant_id, self.feed.room_id, list(gens))
        ends: dict[str, int] = {}
        for gid, offset in gens.items():
            text = held.get(gid)
            if text is None:
                continue
            if offset > len(text):
                raise CantReplay("behind")
            if offset < len(text):
                await self._recipient.put(_slice(self.feed.room_id, gid, offset, text[offset:]))
            ends[str(gid)] = len(text)
        return ends

    def _release(self, ends: dict[str, int]) -> None:
        held, self._held = self._held or [], None
        for envelope, frame in held:
            if envelope.kind == "delta" and envelope.part == 0 and envelope.end <= ends.get(envelope.gid, -1):
                continue
            self._pass(envelope, frame)

    def _pass(self, envelope: Envelope, frame: Frame) -> None:
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
            case "typing":
                if not self._recipient.busy:
                    self._recipient.offer(frame)
            case "gone":
                self._recipient.offer(frame)
                self._end()

    def _end(self) -> None:
        self.leave()
        self._recipient.left(self.feed.room_id)


def _slice(room_id: uuid.UUID, gid: uuid.UUID, offset: int, text: str) -> Frame:
    delta = Delta(room=room_id, gid=gid, part=0, kind="text", off=offset, text=text)
    return Frame(encode(delta), delta=(str(gid), 0))
