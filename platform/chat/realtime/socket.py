"""One open socket: what it may, what it waits for, and what waits to be sent to it."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from billing.watched import Balance
from chat.bounds import (
    CLOSE_WAIT_S,
    EXPIRING_S,
    FRAMES_BURST,
    FRAMES_PER_S,
    HEARTBEAT_S,
    HELLO_S,
    SILENCE_S,
)
from chat.realtime.frames import CloseCode, Expiring, Note, Ping
from chat.realtime.outbox import Frame, Outbox, TooSlow
from chat.realtime.places import Place
from chat.realtime.presence import Shown
from chat.realtime.sessions import Session
from kernel.errors import NotAuthenticated

log = structlog.get_logger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_REASON_BYTES_MAX = 120


class Socket:
    """A connection from its accept to its close. Made by the consumer; looked after by the hub."""

    hears_notes = True

    def __init__(self, *, send: Send, address: str) -> None:
        self.sid = uuid.uuid4().hex
        self.address = address
        self.session: Session | None = None
        self.places: dict[uuid.UUID, Place] = {}
        self.noted_seq = 0
        self.state: Shown = "online"
        self.opened_at = self._heard_at = time.monotonic()
        self._send = send
        self._outbox = Outbox()
        self._closing: tuple[int, str] | None = None
        self._is_lost = False
        self._sender: asyncio.Task[None] | None = None
        self._pinged = False
        self._warned = False
        self._tokens = FRAMES_BURST
        self._refilled_at = self.opened_at

    @property
    def membership_id(self) -> uuid.UUID:
        """Whose socket it is."""
        if self.session is None:
            raise NotAuthenticated
        return self.session.principal.membership_id

    @property
    def shows(self) -> tuple[uuid.UUID, Shown] | None:
        """Who is there by this socket, and how. A program isn't."""
        if self.session is None or self.session.key is not None:
            return None
        return self.session.principal.membership_id, self.state

    @property
    def busy(self) -> bool:
        """Whether it should be spared what isn't needed."""
        return self._outbox.half_full

    @property
    def closing(self) -> bool:
        """Whether it is being closed."""
        return self._closing is not None

    # --- sending ------------------------------------------------------------------------------------------------------

    def say(self, frame: msgspec.Struct) -> None:
        """Queue a frame for this socket alone."""
        self.offer(Frame.saying(frame))

    def balance(self, balance: Balance) -> None:
        """Tell the member a balance: it stands between the notes, under the number of the last."""
        self.say(Note(seq=self.noted_seq, type="balance", at=datetime.now(UTC), body=balance))

    def noted(self, note: Note) -> None:
        """Tell the member a note, unless this or a later one was told."""
        if note.seq > self.noted_seq:
            self.noted_seq = note.seq
            self.say(note)

    def offer(self, frame: Frame) -> None:
        """Queue a frame; a socket that is too slow for it is closed, and resumes."""
        if self._closing is not None:
            return
        try:
            self._outbox.offer(frame)
        except TooSlow:
            self.close(CloseCode.TOO_SLOW, "too slow")

    async def put(self, frame: Frame) -> None:
        """Queue a frame when there is room."""
        if self._closing is None:
            await self._outbox.put(frame)

    async def send_all(self) -> None:
        """Send what is queued until the socket closes; then close it."""
        self._sender = asyncio.current_task()
        try:
            while self._closing is None:
                frame = await self._outbox.get()
                await self._deliver(frame)
        except asyncio.CancelledError:
            if self._closing is None or self._sender is None:
                raise
            self._sender.uncancel()
        except (OSError, RuntimeError) as error:
            # The peer is gone, which the reader learns too.
            log.debug("socket_lost", sid=self.sid, error=repr(error))
            return
        await self._say_goodbye()

    async def _deliver(self, frame: Frame) -> None:
        await self._send(frame.message)

    async def _end(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _say_goodbye(self) -> None:
        if self._closing is None:
            return
        code, reason = self._closing
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._end(code, reason)
        except (OSError, RuntimeError, TimeoutError) as error:
            log.debug("socket_lost", sid=self.sid, error=repr(error))

    def close(self, code: int, reason: str) -> None:
        """Close it, dropping what is queued: whoever resumes misses nothing. The first reason counts."""
        if self._closing is not None:
            return
        self._closing = (code, reason.encode()[:_REASON_BYTES_MAX].decode("utf-8", "ignore"))
        self._outbox.clear()
        self.leave_all()
        if self._sender is not None and self._sender is not asyncio.current_task():
            self._sender.cancel()

    # --- rooms --------------------------------------------------------------------------------------------------------

    def enter(self, place: Place) -> None:
        """Take a place; a former one in the same room is given up."""
        room_id = place.feed.room_id
        if (former := self.places.pop(room_id, None)) is not None:
            former.leave()
        if self._closing is not None or self._is_lost:
            place.leave()
            return
        self.places[room_id] = place

    def left(self, room_id: uuid.UUID) -> None:
        """The place in a room is no more."""
        if (place := self.places.pop(room_id, None)) is not None:
            place.leave()

    def lost(self) -> None:
        """The connection is no more. A command that is being carried out gets no place by it."""
        self._is_lost = True
        self.leave_all()

    def leave_all(self) -> None:
        """Give up all places."""
        for place in self.places.values():
            place.leave()
        self.places.clear()

    # --- time ---------------------------------------------------------------------------------------------------------

    def heard(self) -> bool:
        """Something came from the client; False when too much does."""
        now = time.monotonic()
        self._heard_at, self._pinged = now, False
        self._tokens = min(FRAMES_BURST, self._tokens + (now - self._refilled_at) * FRAMES_PER_S)
        self._refilled_at = now
        self._tokens -= 1
        return self._tokens >= 0

    def renewed(self, session: Session) -> None:
        """A session was opened, or a fresh token came."""
        self.session, self._warned = session, False

    def tick(self, now: float) -> None:
        """A second has passed."""
        if self._closing is not None:
            return
        if self.session is None:
            if now - self.opened_at > HELLO_S:
                self.close(CloseCode.TIMED_OUT, "no hello came")
            return
        self._mind_silence(now)
        self._mind_expiry(self.session)

    def _mind_silence(self, now: float) -> None:
        silent_s = now - self._heard_at
        if silent_s > SILENCE_S:
            self.close(CloseCode.TIMED_OUT, "the heartbeat stopped")
        elif silent_s > HEARTBEAT_S and not self._pinged:
            self._pinged = True
            self.say(Ping(t=round(time.time() * 1000)))

    def _mind_expiry(self, session: Session) -> None:
        if session.expires_at is None:
            return
        left_s = (session.expires_at - datetime.now(UTC)).total_seconds()
        if left_s <= 0:
            self.close(CloseCode.UNAUTHENTICATED, "the token has expired")
        elif left_s <= EXPIRING_S and not self._warned:
            self._warned = True
            self.say(Expiring(in_s=int(left_s)))
