"""Clients that don't read. A server lets `send` wait while its buffer for a client is full; whoever reads nothing for
`WRITE_MAX_S` is given up, so that nobody holds a request, its slot and its upstream for as long as they like.

Nothing is set up for a single send: all that are under way are looked at now and then, while there are any."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, cast

from kernel.per_loop import PerLoop

WRITE_MAX_S = 30.0
LOOK_EVERY_S = 5.0
"""So a send may last for so much longer."""


Send = Callable[[dict[str, Any]], Awaitable[None]]


class Stalled(Exception):
    """The client reads nothing."""


class Sends:
    """One event loop's sends that are under way. A task has one at a time."""

    def __init__(self) -> None:
        self._since_s: dict[asyncio.Task[Any], float] = {}
        self._given_up: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._looking = False

    async def send(self, send: Send, message: dict[str, Any]) -> None:
        """Send a message. Raises `Stalled` once the client has read nothing for `WRITE_MAX_S`."""
        task = cast("asyncio.Task[Any]", asyncio.current_task(self._loop))
        self._since_s[task] = self._loop.time()
        if not self._looking:
            self._looking = True
            self._loop.call_later(LOOK_EVERY_S, self._look)
        try:
            await send(message)
        except asyncio.CancelledError:
            if task not in self._given_up or task.uncancel():
                raise
            raise Stalled from None
        finally:
            del self._since_s[task]
            self._given_up.discard(task)

    def send_now(self, send: Send, messages: Sequence[dict[str, Any]]) -> "asyncio.Task[None] | None":
        """Send messages in the caller's own turn. None if the server took them all at once, as it does but for clients that read
        slowly; else the task in which the rest is sent, which ends as `send` would."""
        steps = _all(send, messages).__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            return None
        rest = _Rest(steps, waits_for)
        return self._loop.create_task(self.send(lambda _: rest, {}))

    def _look(self) -> None:
        """Give up those that take too long; come again while there are any."""
        self._looking = bool(self._since_s)
        if not self._looking:
            return
        self._loop.call_later(LOOK_EVERY_S, self._look)
        before_s = self._loop.time() - WRITE_MAX_S
        for task, since_s in self._since_s.items():
            if since_s < before_s and task not in self._given_up:
                self._given_up.add(task)
                task.cancel()


async def _all(send: Send, messages: Sequence[dict[str, Any]]) -> None:
    for message in messages:
        await send(message)


class _Rest:
    """A coroutine that has begun outside of any task, and goes on in the one that waits for this."""

    __slots__ = ("_steps", "_waits_for")

    def __init__(self, steps: Generator[Any, Any, None], waits_for: object) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            while True:
                try:
                    got = yield self._waits_for
                except BaseException as error:  # noqa: BLE001 - it is handed on
                    self._waits_for = self._steps.throw(error)
                else:
                    self._waits_for = self._steps.send(got)
        except StopIteration:
            return


sends = PerLoop(Sends)
"""`sends()` are the running loop's."""
