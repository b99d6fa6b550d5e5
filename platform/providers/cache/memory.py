"""The first level: answers in this process's memory, the least recently used going first."""

import threading
from collections import OrderedDict
from functools import cache
from uuid import UUID

from django.conf import settings

from providers.cache.entries import Entry

TENANT_SHARE = 4
"""One tenant may fill a quarter of the memory, so that a busy one leaves the others theirs."""
ENTRY_OVERHEAD_BYTES = 1_500
"""What an entry takes beside its text: objects, dictionaries, the key in two of them."""


class Memory:
    """At most `max_bytes` of entries, of each tenant a share. With 0 it keeps nothing.

    Event loops of several threads may use it: what changes several dictionaries holds the lock."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._tenants: dict[UUID, OrderedDict[bytes, None]] = {}
        self._tenant_bytes: dict[UUID, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, key: bytes) -> bool:
        """Whether there is an entry, as things are."""
        return key in self._entries

    def get(self, key: bytes) -> Entry | None:
        """The entry, which thereby becomes the most recently used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                self._tenants[entry.tenant_id].move_to_end(key)
        return entry

    def put(self, entry: Entry) -> int:
        """Keep an entry in place of any older one of its key. How many others had to go."""
        entry.size += ENTRY_OVERHEAD_BYTES
        if entry.size > self.max_bytes // TENANT_SHARE:
            return 0
        with self._lock:
            self._remove(entry.key)
            self._entries[entry.key] = entry
            self._tenants.setdefault(entry.tenant_id, OrderedDict())[entry.key] = None
            self._add(entry.tenant_id, entry.size)
            return self._make_room(entry.tenant_id)

    def grew(self, entry: Entry, by_bytes: int) -> None:
        """An entry that is kept now holds more."""
        with self._lock:
            if self._entries.get(entry.key) is entry:
                entry.size += by_bytes
                self._add(entry.tenant_id, by_bytes)
                self._make_room(entry.tenant_id)

    def drop(self, key: bytes) -> None:
        """Forget one."""
        with self._lock:
            self._remove(key)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._entries.clear()
            self._tenants.clear()
            self._tenant_bytes.clear()
            self.bytes = 0

    def _make_room(self, tenant_id: UUID) -> int:
        gone = 0
        while self._tenant_bytes.get(tenant_id, 0) > self.max_bytes // TENANT_SHARE:
            self._remove(next(iter(self._tenants[tenant_id])))
            gone += 1
        while self.bytes > self.max_bytes:
            self._remove(next(iter(self._entries)))
            gone += 1
        return gone

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        keys = self._tenants[entry.tenant_id]
        del keys[key]
        self._add(entry.tenant_id, -entry.size)
        if not keys:
            del self._tenants[entry.tenant_id], self._tenant_bytes[entry.tenant_id]

    def _add(self, tenant_id: UUID, size: int) -> None:
        self.bytes += size
        self._tenant_bytes[tenant_id] = self._tenant_bytes.get(tenant_id, 0) + size


@cache
def memory() -> Memory:
    """This process's own."""
    return Memory(settings.CACHE_MEMORY_BYTES)
