"""Memory, Redis, PostgreSQL: where an answer is found, how it comes back up, and what becomes of it."""

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from psycopg import AsyncConnection

from kernel import redis
from kernel.redis import async_redis
from providers.cache import shared, writes
from providers.cache.entries import COMPRESSED_FROM_BYTES, Entry, Kept, encode, pack, unpack
from providers.cache.memory import ENTRY_OVERHEAD_BYTES, TENANT_SHARE, Memory
from providers.cache.models import CacheEntry
from providers.cache.namespaces import Namespace
from providers.cache.upkeep import delete_expired
from providers.types import AnswerChoice, ChatAnswer, Extras, Usage
from tests.providers.cache.conftest import House, text_of


async def entries(house: House) -> list[CacheEntry]:
    def read() -> list[CacheEntry]:
        with house.company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            return list(CacheEntry.objects.order_by("id"))

    return await sync_to_async(read)()


async def test_an_answer_survives_a_restart_of_everything_but_postgresql(house: House) -> None:
    await house.ask("Remember me")
    await house.written()
    house.restart()
    await house.forget_redis()
    hit = await house.ask("Remember me", stream=True)
    assert hit.headers["x-parley-cache"] == "exact"
    assert text_of(hit) == "You said: Remember me"
    assert house.asked == 1
    # It has come back up, all the way.
    await house.written()
    house.restart()
    assert (await house.ask("Remember me")).headers["x-parley-cache"] == "exact"
    assert (await house.ask("Remember me")).headers["x-parley-cache"] == "exact"
    await house.written()
    counted = await house.rest("GET", "cache/stats")
    assert [counted[f"hits_{level}"] for level in ("postgres", "redis", "memory")] == [1, 1, 1]


async def test_what_postgresql_holds_is_encrypted(house: House) -> None:
    await house.ask("Nobody's business")
    await house.written()
    (entry,) = await entries(house)
    assert b"business" not in bytes(entry.body)
    assert (entry.alias, entry.size) == (house.model, len(bytes(entry.body)) - 31)
    assert entry.tokens > 0


async def test_a_miss_asks_postgresql_only_for_what_it_may_hold(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.ask("First")
    await house.written()
    house.restart()
    asked: list[str] = []
    real = AsyncConnection.execute

    async def noting(self: Any, query: Any, *args: Any, **more: Any) -> Any:
        asked.append(query.decode() if isinstance(query, bytes) else str(query))
        return await real(self, query, *args, **more)

    monkeypatch.setattr(AsyncConnection, "execute", noting)
    for number in range(5):
        assert (await house.ask(f"New {number}")).headers["x-parley-cache"] == "miss"
    await house.written()
    assert sum("string_agg" in query for query in asked) == 1
    assert not [query for query in asked if "WHERE key =" in query]


async def test_without_redis_the_other_levels_serve(house: House, settings: Any) -> None:
    await house.ask("Before")
    await house.written()
    await redis.close()
    settings.REDIS_URL = settings.REDIS_CACHE_URL = "redis://127.0.0.1:1"
    assert (await house.ask("Before")).headers["x-parley-cache"] == "exact"
    house.restart()
    assert (await house.ask("Before")).headers["x-parley-cache"] == "exact"
    first = await house.ask("During")
    assert (first.status_code, first.headers["x-parley-cache"]) == (200, "miss")
    assert (await house.ask("During")).headers["x-parley-cache"] == "exact"
    assert house.asked == 2
    await redis.close()


async def test_with_memory_off_redis_serves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    off = Memory(0)
    monkeypatch.setattr("providers.cache.lookups.memory", lambda: off)
    monkeypatch.setattr("providers.gateway.hits.memory", lambda: off)
    await house.ask("No memory")
    await house.written()
    for _ in range(2):
        assert (await house.ask("No memory")).headers["x-parley-cache"] == "exact"
    assert (await house.ask("No memory", stream=True)).headers["x-parley-cache"] == "exact"
    assert len(off) == off.bytes == 0


async def test_a_tenants_oldest_answers_go_when_its_share_is_full(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.rest("PATCH", "cache", {"max_bytes": 1024 * 1024})
    monkeypatch.setattr(writes, "pack", lambda encoded: b"\x01" + encoded)
    house.upstream.script(text="x" * 200_000, chunk=100_000)
    for number in range(8):
        await house.ask(f"Long {number}")
        await house.written()
    kept = await entries(house)
    assert 0 < sum(entry.size for entry in kept) <= 1024 * 1024
    assert len(kept) == 5
    counted = await house.rest("GET", "cache/stats")
    assert counted["evictions"] == 3
    assert (counted["entries"], counted["bytes"]) == (5, sum(entry.size for entry in kept))


async def test_what_is_too_old_is_deleted(house: House) -> None:
    await house.ask("Old")
    await house.ask("Young")
    await house.written()
    old, young = await entries(house)

    def age() -> int:
        with house.company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            CacheEntry.objects.filter(id=old.id).update(expires_at=old.created_at)
        return delete_expired()

    assert await sync_to_async(age)() >= 1
    assert [entry.id for entry in await entries(house)] == [young.id]


async def test_a_key_that_is_written_again_has_one_row(house: House) -> None:
    """Twice in a batch, and again later."""
    await asyncio.gather(*(house.ask("Same", headers={"cache-control": "no-cache"}) for _ in range(3)))
    await house.written()
    await house.ask("Same", headers={"cache-control": "no-cache"})
    await house.written()
    assert len(await entries(house)) == 1


def kept(text: str = "answer") -> Kept:
    extras = Extras("openai.chat", {"system_fingerprint": b'"fp"'})  # type: ignore[dict-item]
    return Kept(
        answer=ChatAnswer(
            "m", (AnswerChoice(text=text, finish_reason="stop"),), Usage(1, output=2), None, (b"\x00\xff",)
        ),
        created=1.5,
        expires=2.5,
        provider=extras.wire_format,
        model="m",
    )


@pytest.mark.no_database
@pytest.mark.parametrize("text", ["", "short", "long é👩‍👩‍👧 " * COMPRESSED_FROM_BYTES])
def test_what_is_packed_can_be_unpacked(text: str) -> None:
    encoded = encode(kept(text))
    assert unpack(pack(encoded)) == (kept(text), len(encoded))
    if len(encoded) > 10 * COMPRESSED_FROM_BYTES:
        assert len(pack(encoded)) < len(encoded) / 5


@pytest.mark.no_database
@pytest.mark.parametrize(
    "packed", [b"", b"\x00", b"\x01", b"\x01{}", b"\x02garbage", b"\x07" + b"x", pack(b'{"a":1}' * 200)]
)
def test_what_another_version_wrote_is_a_miss(packed: bytes) -> None:
    assert unpack(packed) is None


@pytest.mark.no_database
def test_memory_keeps_the_most_recently_used() -> None:
    size = ENTRY_OVERHEAD_BYTES
    level = Memory(TENANT_SHARE * 3 * size)
    tenants = [uuid.uuid4() for _ in range(6)]

    def put(tenant: uuid.UUID, key: bytes) -> int:
        return level.put(Entry(key, tenant, kept(), 0))

    for name in (b"a", b"b", b"c"):
        assert put(tenants[0], name) == 0
    assert level.get(b"a") is not None
    assert put(tenants[0], b"d") == 1, "a tenant has its share, and no more"
    assert level.get(b"b") is None
    assert {name for name in (b"a", b"c", b"d") if level.get(name)} == {b"a", b"c", b"d"}
    for tenant in tenants[1:]:
        for name in (b"1", b"2", b"3"):
            put(tenant, tenant.bytes + name)
    assert level.bytes <= level.max_bytes
    assert len(level) == TENANT_SHARE * 3
    assert level.get(b"a") is None, "the least recently used go first"


@pytest.mark.no_database
def test_memory_counts_what_entries_grow_by() -> None:
    level = Memory(TENANT_SHARE * 10_000)
    tenant = uuid.uuid4()
    one, other = (Entry(name, tenant, kept(), 1_000) for name in (b"1", b"2"))
    level.put(one)
    level.put(other)
    before = level.bytes
    level.grew(one, 500)
    assert level.bytes == before + 500
    level.grew(other, 9_000)
    assert (level.get(b"1"), level.get(b"2")) == (None, other) or level.bytes <= 10_000
    level.drop(b"2")
    level.clear()
    assert (len(level), level.bytes) == (0, 0)
    level.grew(one, 500)
    assert level.bytes == 0


@pytest.mark.no_database
def test_times_to_live_are_spread_but_never_longer() -> None:
    spread = {shared.with_jitter_ms(1000) for _ in range(200)}
    assert len(spread) > 100
    assert all(900_000 <= ttl <= 1_000_000 for ttl in spread)
    assert shared.with_jitter_ms(0) == 1


@pytest.mark.no_database
def test_defaults_share_with_nobody() -> None:
    assert (Namespace().sharing, Namespace().opt_in_all, Namespace().max_temperature) == ("principal", False, 0.0)


async def test_settings_reach_other_processes_by_redis(house: House) -> None:
    await house.rest("PATCH", "cache", {"ttl_s": 77})
    copy = await async_redis().get(redis.tenant_key(house.company.id, "cache", "settings"))
    assert b'"ttl_s":77' in copy
