"""What is read from a slow store and kept in this process for a while: read by one for all who ask meanwhile, and read anew
before it is too old.

If everybody who finds a record too old read it, then at 1,000 requests a second one slow second of the database would send it a
thousand queries for one row, every connection would be taken by them, and it would not become quick again.

What is kept is the process's, also for its threads; the reading is each event loop's own."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from kernel.ending import end
from kernel.errors import ParleyError, Unavailable
from kernel.per_loop import PerLoop

AHEAD = 0.8
"""From this part of its time on a value that is asked for is read anew, behind the backs of those who have it meanwhile."""
RETRY = 0.05
"""A reading that failed is tried again after this part of that time."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Read = Callable[[], Awaitable[Value]]


class _Entry(Generic[Value]):
    __slots__ = ("ahead_s", "began_s", "until_s", "value")

    def __init__(self, value: Value, *, began_s: float, ttl_s: float) -> None:
        self.value = value
        self.began_s = began_s
        self.ahead_s = began_s + AHEAD * ttl_s
        self.until_s = began_s + ttl_s


class _Flight(Generic[Value]):
    """A reading under way. Once something `changed` since it began, nobody joins it, and what it reads is not kept."""

    __slots__ = ("began_s", "changed", "task")

    task: "asyncio.Task[Value]"

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self.changed = False


_tasks: "PerLoop[set[asyncio.Task[object]]]" = PerLoop(set)


async def close() -> None:
    """End what this event loop still reads: no query outlives the pools."""
    await end(set(_tasks()))


class Kept(Generic[Key, Value]):
    """At most `max_keys` values, none older than `ttl_s()` seconds when it is given out, counted from when its reading began.

    `read` is given by who asks, and reads what belongs to the key; it doesn't return None. What it raises everybody gets who
    waits for it. A value is kept on while the store is away (`Unavailable`, and what isn't of our making), up to its time; it is
    dropped when any other ParleyError says that there is none any more."""

    def __init__(self, *, ttl_s: Callable[[], float], max_keys: int) -> None:
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._flights: PerLoop[dict[Key, _Flight[Value]]] = PerLoop(dict)
        self._under_way: dict[Key, list[_Flight[Value]]] = {}
        """Of all loops."""
        self._lock = threading.Lock()

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self, key: Key) -> Value | None:
        """What is kept and not too old; None if nothing is. For threads: nothing is read."""
        entry = self._entries.get(key)
        return entry.value if entry is not None and time.monotonic() < entry.until_s else None

    def last(self, key: Key) -> Value | None:
        """What is kept, however old."""
        entry = self._entries.get(key)
        return entry.value if entry is not None else None

    def look(self, key: Key, read: "Read[Value]") -> Value | None:
        """What is kept and not too old, on an event loop: what is about to be too old is read anew meanwhile."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now_s = time.monotonic()
        if now_s < entry.ahead_s:
            return entry.value
        if now_s >= entry.until_s:
            return None
        self._flight(key, read)
        return entry.value

    async def get(self, key: Key, read: "Read[Value]") -> Value:
        """What is kept, or else what is read, by one for all who ask. Raises what `read` does."""
        value = self.look(key, read)
        return await asyncio.shield(self._flight(key, read).task) if value is None else value

    async def newer(self, key: Key, read: "Read[Value]", *, than_s: float) -> Value:
        """What was read no earlier than at `than_s` (of `time.monotonic`). Raises what `read` does."""
        while True:
            entry = self._entries.get(key)
            if entry is not None and entry.began_s >= than_s:
                return entry.value
            flight = self._flight(key, read)
            if flight.began_s >= than_s:
                return await asyncio.shield(flight.task)
            await asyncio.wait({flight.task})

    def keep(self, key: Key, value: Value, *, began_s: float) -> None:
        """Keep what a thread read, which began at `began_s`."""
        entries = self._entries
        entries[key] = _Entry(value, began_s=began_s, ttl_s=self._ttl_s())
        entries.move_to_end(key)
        while len(entries) > self._max_keys:
            entries.popitem(last=False)

    def forget(self, key: Key) -> None:
        """It has changed: read it anew when next asked. What is being read now is not kept."""
        with self._lock:
            for flight in self._under_way.get(key, ()):
                flight.changed = True
            self._entries.pop(key, None)

    def forget_where(self, changed: Callable[[Key], bool]) -> None:
        """The same for all keys of which `changed` is true."""
        with self._lock:
            keys = [key for key in (*self._under_way, *self._entries) if changed(key)]
        for key in keys:
            self.forget(key)

    def _flight(self, key: Key, read: "Read[Value]") -> _Flight[Value]:
        """The reading that is under way, or one that begins now."""
        flights = self._flights()
        flight = flights.get(key)
        if flight is not None and not flight.changed and not flight.task.done():
            return flight
        flight = flights[key] = _Flight()
        with self._lock:
            self._under_way.setdefault(key, []).append(flight)
        task = flight.task = asyncio.ensure_future(self._fetch(key, read, flight))
        tasks = _tasks()
        tasks.add(task)

        def ended(task: "asyncio.Task[Value]") -> None:
            tasks.discard(task)
            self._landed(key, flight)
            if flights.get(key) is flight:
                del flights[key]
            if not task.cancelled():
                # Perhaps nobody waited for it; whoever did has it.
                task.exception()

        task.add_done_callback(ended)
        return flight

    def _landed(self, key: Key, flight: _Flight[Value]) -> None:
        with self._lock:
            others = [other for other in self._under_way[key] if other is not flight]
            if others:
                self._under_way[key] = others
            else:
                del self._under_way[key]

    async def _fetch(self, key: Key, read: "Read[Value]", flight: _Flight[Value]) -> Value:
        try:
            value = await read()
        except Exception as error:
            if not flight.changed:
                self._failed(key, gone=isinstance(error, ParleyError) and not isinstance(error, Unavailable))
            # The failed task keeps this frame: with the flight, which keeps the task, they would be a ring.
            del flight
            raise
        with self._lock:
            if not flight.changed:
                self.keep(key, value, began_s=flight.began_s)
        return value

    def _failed(self, key: Key, *, gone: bool) -> None:
        """A reading came to nothing: what is kept goes on for its time, and is tried again a little later."""
        entry = self._entries.get(key)
        if gone:
            self._entries.pop(key, None)
        elif entry is not None:
            entry.ahead_s = time.monotonic() + RETRY * self._ttl_s()
