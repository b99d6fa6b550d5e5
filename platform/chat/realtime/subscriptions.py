"""One Redis subscription per process and event loop, shared by all who listen.

After the connection was lost, everything is subscribed again, and each listener is told that it may have missed something.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as ConnectionLost

from kernel.ending import end
from kernel.per_loop import PerLoop
from kernel.redis import RedisError, subscribing_redis

log = structlog.get_logger(__name__)

_RECONNECT_S = 0.2


class Listener(Protocol):
    """Who listens to a channel. Both are called on the loop, in the order of publishing, and must not block."""

    def on_payload(self, payload: bytes) -> None:
        """Something was published."""
        ...

    def on_subscribed(self) -> None:
        """From now on everything is heard; before now something may have been missed."""
        ...


class Subscriptions:
    """The subscription of one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[bytes, Listener] = {}
        self._pubsub: PubSub | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._asking = asyncio.Lock()
        """Held by who sends on the connection, or closes it."""

    async def subscribe(self, channel: str, listener: Listener) -> None:
        """Have `listener` hear a channel. Returns at once; `on_subscribed` tells when it does."""
        name = channel.encode()
        self._listeners[name] = listener
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="redis-subscriptions")
        else:
            await self._ask(lambda pubsub: pubsub.subscribe(name))

    async def unsubscribe(self, channel: str, listener: Listener) -> None:
        """Have `listener` hear a channel no more. Whoever has taken its place there stays."""
        name = channel.encode()
        heard = self._listeners.get(name) is listener
        if heard:
            del self._listeners[name]
        if not self._listeners:
            # Before anything is waited for: who listens would else find nothing to listen to, and that it is wanted, for ever.
            self._wanted.clear()
        if heard:
            await self._ask(lambda pubsub: pubsub.unsubscribe(name))

    async def close(self) -> None:
        """Stop."""
        self._listeners.clear()
        self._wanted.clear()
        if self._task is not None:
            await end([self._task])
        self._task = None

    async def _ask(self, command: Callable[[PubSub], Awaitable[object]]) -> None:
        """Send a command on the connection. Where there is none, or none any more, the next one subscribes to all."""
        async with self._asking:
            pubsub = self._pubsub
            if pubsub is None:
                return
            try:
                _require_connected(pubsub)
                await command(pubsub)
            except (RedisError, OSError):
                # Who listens finds out by itself, and makes the next.
                self._pubsub = None

    async def _run(self) -> None:
        client = subscribing_redis()
        try:
            while True:
                await self._wanted.wait()
                try:
                    await self._listen(client)
                except (RedisError, OSError) as error:
                    log.warning("redis_subscription_lost", error=repr(error))
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            await client.aclose()

    async def _listen(self, client: Redis) -> None:
        pubsub = client.pubsub()
        try:
            asked: set[bytes] = set()
            while missing := self._listeners.keys() - asked:
                # More may be wanted while these are asked for.
                await pubsub.subscribe(*missing)
                asked |= missing
            self._pubsub = pubsub
            while self._listeners:
                if self._pubsub is not pubsub:
                    raise ConnectionLost("a command could not be sent")
                _require_connected(pubsub)
                await self._hear(pubsub)
        finally:
            async with self._asking:
                self._pubsub = None
                with contextlib.suppress(RedisError, OSError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _hear(self, pubsub: PubSub) -> None:
        message = await pubsub.get_message(timeout=None)
        if message is None:
            return
        listener = self._listeners.get(message["channel"])
        if listener is None:
            return
        try:
            if message["type"] == "message":
                listener.on_payload(message["data"])
            elif message["type"] == "subscribe":
                listener.on_subscribed()
        except Exception:
            log.exception("listener_failed")


def _require_connected(pubsub: PubSub) -> None:
    """Raises `ConnectionLost`. redis-py would connect again, and nobody would know that something was missed."""
    connection: Any = pubsub.connection
    if connection is None or not connection.is_connected:
        raise ConnectionLost("the connection was lost")


subscriptions = PerLoop(Subscriptions)
"""`subscriptions()` is this event loop's."""


async def close() -> None:
    """Stop this event loop's."""
    found = subscriptions.pop()
    if found is not None:
        await found.close()
