"""A tenant's settings of the cache, as the hot path reads them: from this process, at most a second old.

PostgreSQL holds them; Redis has a copy, which whoever changes them overwrites after the commit. A process looks at Redis
at most every `FRESH_S` per tenant, and only while the tenant asks for something. With Redis away PostgreSQL is read as
often; with both away nothing is cached."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import msgspec
import structlog
from django.db import transaction
from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.redis import RedisError, line, sync_redis, tenant_key
from providers.cache.models import DEFAULT_BYTES, DEFAULT_NAME, DEFAULT_TTL_S, CacheNamespace

log = structlog.get_logger(__name__)

FRESH_S = 0.4
"""For so long nobody looks again."""
KEPT_S = 0.9
"""For so long the settings are used while somebody looks again."""
SHARED_S = 60
"""How long Redis holds its copy."""
_MAX_TENANTS = 10_000

Sharing = Literal["principal", "group", "tenant"]


class Namespace(msgspec.Struct, frozen=True):
    """A tenant's settings; see `providers.cache.models.CacheNamespace`."""

    enabled: bool = True
    ttl_s: int = DEFAULT_TTL_S
    sharing: Sharing = "principal"
    max_bytes: int = DEFAULT_BYTES
    opt_in_all: bool = False
    max_temperature: float = 0.0
    generation: int = 0
    model_generations: Mapping[str, int] = {}
    evicted: Mapping[str, float] = {}

    def generations(self, alias: str) -> tuple[int, int]:
        """The tenant's generation and the model's."""
        return self.generation, self.model_generations.get(alias, 0)


OFF = Namespace(enabled=False)
_SQL = """
    SELECT enabled, ttl_s, sharing, max_bytes, opt_in_all, max_temperature, generation, model_generations, evicted
    FROM providers_cachenamespace WHERE name = %s
"""
_decode = msgspec.json.Decoder(Namespace).decode


class _Kept:
    __slots__ = ("looking", "namespace", "read_at")

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.read_at = time.monotonic()
        self.looking = False


_kept: "OrderedDict[uuid.UUID, _Kept]" = OrderedDict()


async def namespace_of(tenant_id: uuid.UUID) -> Namespace:
    """A tenant's settings. Never fails: what can't be read is `OFF`."""
    kept = _kept.get(tenant_id)
    if kept is not None:
        age_s = time.monotonic() - kept.read_at
        if age_s < FRESH_S or (kept.looking and age_s < KEPT_S):
            return kept.namespace
        kept.looking = True
    namespace = await _read(tenant_id)
    _kept[tenant_id] = _Kept(namespace)
    _kept.move_to_end(tenant_id)
    while len(_kept) > _MAX_TENANTS:
        _kept.popitem(last=False)
    return namespace


def forget(tenant_id: uuid.UUID) -> None:
    """Look again at the next request."""
    _kept.pop(tenant_id, None)


def announce(row: CacheNamespace) -> None:
    """Tell every process, once the present transaction has committed."""
    tenant_id, settings_now = row.tenant_id, msgspec.json.encode(of_row(row))

    def tell() -> None:
        forget(tenant_id)
        try:
            sync_redis().set(_key(tenant_id), settings_now, ex=SHARED_S)
        except RedisError:
            # Processes read PostgreSQL while Redis is away; an old copy that it still has runs out.
            log.warning("cache_settings_not_announced", tenant_id=str(tenant_id))

    transaction.on_commit(tell)


def of_row(row: CacheNamespace) -> Namespace:
    """The settings in a row."""
    return msgspec.convert({name: getattr(row, name) for name in Namespace.__struct_fields__}, Namespace)


async def _read(tenant_id: uuid.UUID) -> Namespace:
    key = _key(tenant_id)
    try:
        if (copy := await line().call("GET", key)) is not None:
            return _decode(copy)
        namespace = await _read_row(tenant_id)
        # Only where there is none: whoever changed them meanwhile has written newer ones.
        await line().call("SET", key, msgspec.json.encode(namespace), "EX", SHARED_S, "NX")
    except (RedisError, msgspec.DecodeError):
        pass
    except (Error, Unavailable):
        return OFF
    else:
        return namespace
    try:
        return await _read_row(tenant_id)
    except (Error, Unavailable):
        return OFF


async def _read_row(tenant_id: uuid.UUID) -> Namespace:
    async with adb.transaction(tenant_id) as connection:
        cursor = await connection.execute(_SQL, (DEFAULT_NAME,))
        row = await cursor.fetchone()
    return msgspec.convert(row, Namespace) if row else Namespace()


def _key(tenant_id: uuid.UUID) -> str:
    return tenant_key(tenant_id, "cache", "settings")
