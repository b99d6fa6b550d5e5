"""Tenants' keys lie in their own slot, and no part can forge another tenant's."""

import asyncio
import uuid

from redis.crc import key_slot

from kernel.redis import async_redis, close, sync_redis, tenant_key

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def test_a_key_names_its_tenant_as_hash_tag() -> None:
    assert tenant_key(ONE, "room", 7) == f"parley:{{{ONE}}}:room:7"
    assert key_slot(tenant_key(ONE, "a").encode()) == key_slot(tenant_key(ONE, "b", "c").encode())
    assert key_slot(tenant_key(ONE, f"{{{TWO}}}").encode()) == key_slot(tenant_key(ONE, "x").encode())


def test_a_part_cannot_forge_another_tenants_key() -> None:
    assert not tenant_key(ONE, f"parley:{{{TWO}}}").startswith(tenant_key(TWO))


async def test_clients_are_one_per_loop_and_speak_to_one_server() -> None:
    key = tenant_key(uuid.uuid4(), "x")
    assert async_redis() is async_redis()
    await async_redis().set(key, "1", ex=10)
    assert await asyncio.to_thread(sync_redis().get, key) == b"1"
    await close()
    assert await async_redis().get(key) == b"1"
