"""Which keys of a tenant PostgreSQL may hold, so that a miss needs no query.

Each process keeps the first 8 bytes of every key in one sorted array per tenant: 8 bytes a key, found by bisection. It
is read once per tenant, whole; after that, what was added since is read behind the callers' backs."""

import array
import asyncio
import sys
import time
import uuid
from bisect import bisect_left
from collections import OrderedDict
from typing import Any

from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.per_loop import PerLoop

PREFIX_BYTES = 8
MAX_KEYS = 50_000
"""Of a tenant: the newest. What is older may be missed."""
MAX_ADDED = 5_000
"""Beyond so many, the array is read anew."""
REFRESH_S = 10.0
RETRY_S = 5.0
_MAX_TENANTS = 500

_WHOLE = """
    SELECT string_agg(prefix, ''::bytea ORDER BY prefix) AS prefixes, (array_agg(id ORDER BY id DESC))[1] AS last
    FROM (SELECT substring(key FROM 1 FOR 8) AS prefix, id FROM providers_cacheentry
          WHERE expires_at > now() ORDER BY id DESC LIMIT %s) newest
"""
_SINCE = "SELECT id, substring(key FROM 1 FOR 8) AS prefix FROM providers_cacheentry WHERE id > %s ORDER BY id LIMIT %s"


class _Known:
    __slots__ = ("added", "last", "looking", "prefixes", "read_at")

    def __init__(self, prefixes: "array.array[int]", last: uuid.UUID | None) -> None:
        self.prefixes = prefixes
        self.last = last
        self.added: set[int] = set()
        self.read_at = time.monotonic()
        self.looking: asyncio.Task[None] | None = None

    def holds(self, prefix: int) -> bool:
        at = bisect_left(self.prefixes, prefix)
        return (at < len(self.prefixes) and self.prefixes[at] == prefix) or prefix in self.added


class KnownKeys:
    """One event loop's. It may say yes for a key that is gone; it says no for a key that was written elsewhere in the
    last `REFRESH_S`."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[uuid.UUID, _Known] = OrderedDict()
        self._reading: dict[uuid.UUID, asyncio.Task[_Known]] = {}
        self._retry_at = 0.0

    async def may_hold(self, tenant_id: uuid.UUID, key: bytes) -> bool:
        """Whether it is worth asking for a key. With PostgreSQL away it isn't."""
        known = self._tenants.get(tenant_id)
        now = time.monotonic()
        if known is None:
            if now < self._retry_at:
                return False
            try:
                known = await self._read_once(tenant_id)
            except (Error, Unavailable):
                self._retry_at = now + RETRY_S
                return False
        elif now - known.read_at > REFRESH_S and known.looking is None:
            known.looking = asyncio.create_task(self._refresh(tenant_id, known))
        return known.holds(_number(key))

    def add(self, tenant_id: uuid.UUID, key: bytes) -> None:
        """A key was written here."""
        if (known := self._tenants.get(tenant_id)) is not None:
            known.added.add(_number(key))

    def forget(self, tenant_id: uuid.UUID) -> None:
        """Read a tenant's keys anew when next asked."""
        self._tenants.pop(tenant_id, None)

    async def close(self) -> None:
        """Let no query outlive the pools."""
        looking: list[asyncio.Task[Any]] = [
            known.looking for known in self._tenants.values() if known.looking is not None
        ]
        looking += self._reading.values()
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    async def _read_once(self, tenant_id: uuid.UUID) -> _Known:
        """One query for all who ask meanwhile. Who leaves doesn't end it."""
        task = self._reading.get(tenant_id)
        if task is None:
            task = self._reading[tenant_id] = asyncio.create_task(self._read(tenant_id))
            task.add_done_callback(lambda _: self._reading.pop(tenant_id, None))
        return await asyncio.shield(task)

    async def _read(self, tenant_id: uuid.UUID) -> _Known:
        async with adb.transaction(tenant_id) as connection:
            cursor = await connection.execute(_WHOLE, (MAX_KEYS,))
            row: Any = await cursor.fetchone()
        prefixes = array.array("Q", row["prefixes"] or b"")
        if sys.byteorder == "little":
            prefixes.byteswap()
        known = self._tenants[tenant_id] = _Known(prefixes, row["last"])
        self._tenants.move_to_end(tenant_id)
        while len(self._tenants) > _MAX_TENANTS:
            self._tenants.popitem(last=False)
        return known

    async def _refresh(self, tenant_id: uuid.UUID, known: _Known) -> None:
        try:
            if len(known.added) > MAX_ADDED:
                await self._read(tenant_id)
                return
            async with adb.transaction(tenant_id) as connection:
                cursor = await connection.execute(_SINCE, (known.last or uuid.UUID(int=0), MAX_ADDED))
                rows = await cursor.fetchall()
            known.added.update(int.from_bytes(row["prefix"], "big") for row in rows)
            known.last = rows[-1]["id"] if rows else known.last
        except (Error, Unavailable):
            self._retry_at = time.monotonic() + RETRY_S
        finally:
            known.read_at = time.monotonic()
            known.looking = None


def _number(key: bytes) -> int:
    return int.from_bytes(key[:PREFIX_BYTES], "big")


known_keys = PerLoop(KnownKeys)
