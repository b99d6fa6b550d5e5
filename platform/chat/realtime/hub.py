"""The hub: all feeds and sockets of one event loop, and what is looked after from second to second."""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from django.conf import settings

from chat.access import room_access
from chat.bounds import (
    BALANCES_EVERY_S,
    EPOCH_CHECK_S,
    GAP_CHECK_S,
    IDLE_FEED_S,
    SOCKETS_PER_MEMBER_MAX,
    SOCKETS_UNAUTHENTICATED_MAX,
    SOCKETS_UNAUTHENTICATED_PER_ADDRESS_MAX,
    SUBSCRIBE_WAIT_S,
)
from chat.events import head_of, heads_of
from chat.realtime import streams
from chat.realtime.balances import BalanceNotes
from chat.realtime.feeds import Feed
from chat.realtime.frames import CloseCode
from chat.realtime.noted import NoteFeeds
from chat.realtime.presence import read_present, tell_all
from chat.realtime.sessions import check_sessions
from chat.realtime.socket import Socket
from chat.realtime.subscriptions import subscriptions
from chat.store import transaction
from kernel.ending import end
from kernel.errors import NotFound, ParleyError, PermissionDenied
from kernel.per_loop import PerLoop
from kernel.redis import RedisError
from tenants.principals import Principal

log = structlog.get_logger(__name__)

TICK_S = 1.0
DRAIN_RESERVE_S = 1.0
Key = tuple[uuid.UUID, uuid.UUID]


class Hub:
    """One event loop's."""

    def __init__(self) -> None:
        self.sockets: set[Socket] = set()
        self.draining = False
        self._process = uuid.uuid4()
        self._feeds: dict[Key, Feed] = {}
        self._opening: dict[Key, asyncio.Task[Feed]] = {}
        self._balances = BalanceNotes()
        self.notes = NoteFeeds(self.sockets)
        self._noter: asyncio.Task[None] | None = None
        self._repeating: dict[str, asyncio.Task[None]] = {}
        self._carrying: set[asyncio.Task[None]] = set()

    # --- sockets ------------------------------------------------------------------------------------------------------

    def refusal(self, *, address: str) -> tuple[int, str] | None:
        """Why a new socket can't be had now: a close code and a reason."""
        if self.draining:
            return CloseCode.DRAINING, "draining"
        waiting = [socket for socket in self.sockets if socket.session is None]
        if (
            len(self.sockets) >= settings.SOCKETS_PER_PROCESS
            or len(waiting) >= SOCKETS_UNAUTHENTICATED_MAX
            or Counter(socket.address for socket in waiting)[address] >= SOCKETS_UNAUTHENTICATED_PER_ADDRESS_MAX
        ):
            return CloseCode.RATE_LIMITED, "too many connections"
        return None

    def add(self, socket: Socket) -> None:
        """Look after a socket from now on."""
        self.sockets.add(socket)
        # Each by itself: none waits for another that waits for Redis or PostgreSQL.
        self._repeat("ticks", TICK_S, self._tick)
        self._repeat("sessions", EPOCH_CHECK_S, self._check_sessions)
        self._repeat("gaps", GAP_CHECK_S, self._check_gaps)
        self._repeat("notes", GAP_CHECK_S, self.notes.check)
        self._repeat("balances", BALANCES_EVERY_S, self._tell_balances)
        if self._noter is None or self._noter.done():
            self._noter = asyncio.create_task(self.notes.run(), name="hub-notes")

    def remove(self, socket: Socket) -> None:
        """The socket is closed."""
        self.sockets.discard(socket)
        socket.lost()

    async def carry_out(self, command: Coroutine[Any, Any, None]) -> None:
        """Carry out what a socket asked for. Whatever becomes of the socket it goes on: what was committed has to be told."""
        task = asyncio.create_task(command)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        await asyncio.shield(task)

    def make_way(self, newest: Socket) -> bool:
        """Whether there is a place for a socket that has just said who it is; its member's oldest may have to go."""
        session = newest.session
        if session is None:
            return False
        others = [socket for socket in self.sockets if socket is not newest and socket.session is not None]
        of_tenant = [
            socket
            for socket in others
            if socket.session and socket.session.subject.tenant_id == session.subject.tenant_id
        ]
        of_member = [
            socket
            for socket in of_tenant
            if socket.session and socket.session.subject.membership_id == session.subject.membership_id
        ]
        if len(of_member) >= SOCKETS_PER_MEMBER_MAX:
            oldest = min(of_member, key=lambda socket: socket.opened_at)
            oldest.close(CloseCode.REPLACED, "replaced by a newer session")
            return True
        return len(of_tenant) < settings.SOCKETS_PER_TENANT

    # --- feeds --------------------------------------------------------------------------------------------------------

    async def feed(self, tenant_id: uuid.UUID, room_id: uuid.UUID) -> Feed:
        """The feed of a room, subscribed and open. Raises `NotFound`, `Unavailable`."""
        key = (tenant_id, room_id)
        if (feed := self._feeds.get(key)) is not None:
            feed.idle_since = None
            return feed
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._open(key))
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        return await asyncio.shield(opening)

    async def feed_for(self, member: Principal, room_id: uuid.UUID) -> Feed:
        """The feed of a room that the member is in. Raises `NotFound`, `PermissionDenied`, `Unavailable`.

        It is heard before they are looked up, so nobody who is taken out meanwhile gets a place in it. Whom it knows to be in
        the room, PostgreSQL isn't asked for: a crowd that comes back costs it nothing."""
        member.require("rooms.read")
        feed = await self.feed(member.tenant_id, room_id)
        if not feed.whole or member.membership_id not in feed.admitted:
            await room_access(member=member, room_id=room_id)
        return feed

    async def _open(self, key: Key) -> Feed:
        feed = Feed(*key)
        await subscriptions().subscribe(feed.channel, feed)
        try:
            with contextlib.suppress(TimeoutError):
                # With Redis away the feed begins from PostgreSQL, and is filled when the subscription comes.
                async with asyncio.timeout(SUBSCRIBE_WAIT_S):
                    await feed.subscribed.wait()
            try:
                head = await streams.stream_head(*key)
            except RedisError:
                head = None
            if head is None:
                async with transaction(feed.tenant_id) as connection:
                    head = await head_of(connection, feed.room_id)
            if head is None:
                raise NotFound
        except BaseException:
            await subscriptions().unsubscribe(feed.channel, feed)
            raise
        with contextlib.suppress(RedisError):
            feed.present |= await read_present(*key)
        feed.open_at(epoch=str(head.epoch), head=head.seq)
        self._feeds[key] = feed
        return feed

    # --- from second to second ----------------------------------------------------------------------------------------

    def _repeat(self, name: str, every_s: float, check: Callable[[], Awaitable[None]]) -> None:
        """Have something looked after as long as there are sockets or feeds."""
        task = self._repeating.get(name)
        if task is None or task.done():
            self._repeating[name] = asyncio.create_task(self._repeated(name, every_s, check), name=f"hub-{name}")

    async def _repeated(self, name: str, every_s: float, check: Callable[[], Awaitable[None]]) -> None:
        while self.sockets or self._feeds:
            await asyncio.sleep(every_s)
            try:
                await check()
            except Exception:
                log.exception("hub_check_failed", check=name)

    async def _tick(self) -> None:
        now = time.monotonic()
        for socket in tuple(self.sockets):
            socket.tick(now)
        await tell_all(
            ((feed.presence, feed.attached) for feed in tuple(self._feeds.values())), process=self._process, now=now
        )
        await self._drop_idle(now)

    async def _tell_balances(self) -> None:
        await self._balances.tell(tuple(self.sockets))

    async def _drop_idle(self, now: float) -> None:
        for key, feed in list(self._feeds.items()):
            if feed.attached or not feed.presence.idle:
                feed.idle_since = None
            elif feed.idle_since is None:
                feed.idle_since = now
            elif now - feed.idle_since > IDLE_FEED_S:
                del self._feeds[key]
                await subscriptions().unsubscribe(feed.channel, feed)
                await feed.close()

    async def _check_sessions(self) -> None:
        open_ = [(socket, socket.session) for socket in self.sockets if socket.session is not None]
        try:
            checked = await check_sessions({session for _, session in open_})
        except ParleyError as error:
            log.warning("sessions_not_checked", error=repr(error))
            return
        except Exception:
            log.exception("sessions_not_checked")
            return
        for socket, session in open_:
            if socket.session is not session:
                # One that was renewed meanwhile was checked then.
                continue
            if (why := checked.over.get(session)) is not None:
                denied = isinstance(why, PermissionDenied)
                socket.close(CloseCode.FORBIDDEN if denied else CloseCode.UNAUTHENTICATED, why.message)
            elif session in checked.changed:
                socket.renewed(checked.changed[session])

    async def _check_gaps(self) -> None:
        """Compare the feeds with PostgreSQL: an event whose process died before it told anybody is in no stream, either."""
        followed: dict[uuid.UUID, list[Feed]] = {}
        for feed in self._feeds.values():
            if feed.attached:
                followed.setdefault(feed.tenant_id, []).append(feed)
        for tenant_id, feeds in followed.items():
            try:
                async with transaction(tenant_id) as connection:
                    heads = await heads_of(connection, [feed.room_id for feed in feeds])
            except ParleyError as error:
                log.warning("gaps_not_checked", error=repr(error))
                continue
            for feed in feeds:
                head = heads.get(feed.room_id)
                if head is None or head > feed.head:
                    feed.fill()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> None:
        """Let go of all sockets, spread over the time given, so that they don't all come back at once elsewhere."""
        self.draining = True
        leaving = list(self.sockets)
        pause_s = max(0.0, timeout_s - DRAIN_RESERVE_S) / max(1, len(leaving))
        for socket in leaving:
            socket.close(CloseCode.DRAINING, "draining")
            await asyncio.sleep(min(pause_s, 0.1))

    async def close(self) -> None:
        """Stop looking after anything."""
        noter = (self._noter,) if self._noter else ()
        await end([*self._carrying, *self._opening.values(), *self._repeating.values(), *noter])
        await self.notes.close()
        for feed in self._feeds.values():
            await feed.close()
        self._feeds.clear()


hub = PerLoop(Hub)
"""`hub()` is this event loop's."""


async def drain(timeout_s: float) -> None:
    """Drain this event loop's."""
    await hub().drain(timeout_s)


async def close() -> None:
    """Close this event loop's."""
    found = hub.pop()
    if found is not None:
        await found.close()
