"""A tenant's settings of the cache, as the hot path reads them: from this process, at most a second old.

PostgreSQL holds them; Redis has a copy, which whoever changes them overwrites after the commit. A process looks at Redis
about every `KEPT_S` per tenant, and only while the tenant asks for something. With Redis away PostgreSQL is read as
often; with both away nothing is cached."""

import uuid
from collections.abc import Mapping
from functools import partial
from typing import Literal

import msgspec
import structlog
from django.db import transaction
from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.kept import Kept
from kernel.redis import RedisError, line, sync_redis, tenant_key
from providers.cache.models import (
    DEFAULT_AUDIT_SHARE,
    DEFAULT_BYTES,
    DEFAULT_ENTRIES,
    DEFAULT_NAME,
    DEFAULT_RATE,
    DEFAULT_SEMANTIC_TTL_S,
    DEFAULT_TTL_S,
    CacheNamespace,
)
from providers.semantic.embedders import DEFAULT as DEFAULT_EMBEDDER

log = structlog.get_logger(__name__)

KEPT_S = 0.9
"""For so long the settings are used."""
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
    semantic: bool = False
    semantic_rate: float = DEFAULT_RATE
    semantic_ttl_s: int = DEFAULT_SEMANTIC_TTL_S
    semantic_audit_share: float = DEFAULT_AUDIT_SHARE
    semantic_max_entries: int = DEFAULT_ENTRIES
    semantic_embedder: str = DEFAULT_EMBEDDER
    semantic_calibration: str = ""
    semantic_tightened: int = 0

    def generations(self, alias: str) -> tuple[int, int]:
        """The tenant's generation and the model's."""
        return self.generation, self.model_generations.get(alias, 0)

    @property
    def effective_rate(self) -> float:
        """The rate that semantic hits are held to: the stated one, halved each time that audits found more."""
        return self.semantic_rate * 0.5**self.semantic_tightened


OFF = Namespace(enabled=False)
_COLUMNS = ", ".join(Namespace.__struct_fields__)
_SQL = f"SELECT {_COLUMNS} FROM providers_cachenamespace WHERE name = %s"  # noqa: S608 - names of fields
_decode = msgspec.json.Decoder(Namespace).decode


_kept: Kept[uuid.UUID, Namespace] = Kept(ttl_s=lambda: KEPT_S, max_keys=_MAX_TENANTS)


async def namespace_of(tenant_id: uuid.UUID) -> Namespace:
    """A tenant's settings. Never fails: what can't be read is `OFF`."""
    read = partial(_read, tenant_id)
    return _kept.look(tenant_id, read) or await _kept.get(tenant_id, read)


def forget(tenant_id: uuid.UUID) -> None:
    """Look again at the next request."""
    _kept.forget(tenant_id)


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


async def announce_now(tenant_id: uuid.UUID) -> None:
    """The same from the event loop, of a change that has been committed. Raises psycopg's errors and `Unavailable`."""
    namespace = await _read_row(tenant_id)
    forget(tenant_id)
    try:
        await line().call("SET", _key(tenant_id), msgspec.json.encode(namespace), "EX", SHARED_S)
    except RedisError:
        log.warning("cache_settings_not_announced", tenant_id=str(tenant_id))


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
