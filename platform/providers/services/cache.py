"""Look after a tenant's cache: its settings, what it holds, what it did."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from kernel.errors import InvalidRequest, NotFound, Unavailable
from kernel.redis import RedisError, sync_cache_redis, sync_redis
from kernel.tenancy import current_tenant_id, tenant_scope
from providers.cache import namespaces, shared
from providers.cache.models import DEFAULT_NAME, CacheEntry, CacheNamespace
from providers.cache.stats import NAMES, SINCE, stats_key
from providers.cache.stored import TRIM, opened
from providers.services import semantic
from tenants.principals import Principal
from tenants.services.audit import record
from tenants.services.provisioning import all_tenants, tenant_by_slug

MAX_EVICTED = 1_000
"""Keys of deleted entries that are remembered one by one; beyond that the whole tenant's cache is forgotten instead."""
MAX_MODEL_GENERATIONS = 1_000
MAX_WARMED = 1_000

CHANGEABLE = frozenset(
    {
        "enabled",
        "ttl_s",
        "sharing",
        "max_bytes",
        "opt_in_all",
        "max_temperature",
        "semantic",
        "semantic_rate",
        "semantic_ttl_s",
        "semantic_audit_share",
        "semantic_max_entries",
        "semantic_embedder",
    }
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a tenant's cache did since a time (in seconds since 1970; None: nothing yet), and what PostgreSQL holds of
    it now."""

    counters: Mapping[str, int]
    since: int | None
    entries: int
    size: int


def settings_now() -> CacheNamespace:
    """The settings in force; unsaved where they are the defaults."""
    return CacheNamespace.objects.filter(name=DEFAULT_NAME).first() or CacheNamespace(tenant_id=current_tenant_id())


def change_settings(*, caller: Principal, changes: Mapping[str, Any]) -> CacheNamespace:
    """Change some settings, for every process within a second."""
    row = settings_locked()
    changes = {name: value for name, value in changes.items() if name in CHANGEABLE}
    for name, value in changes.items():
        setattr(row, name, value)
    semantic.prepare_change(row, changes)
    row.save()
    _trim(row.max_bytes)
    record(action="cache.settings_changed", subject_kind="cache", subject_id=row.id, actor=caller, data=dict(changes))
    namespaces.announce(row)
    return row


def invalidate(*, caller: Principal | None, model: str | None) -> int:
    """Forget every answer of a model (by alias), or of all. How many PostgreSQL held; memory and Redis lose theirs by
    a new generation of keys, which is in the scope of semantic entries, too. Without `caller` an operator wants it."""
    row = settings_locked()
    if model is None or len(row.model_generations) >= MAX_MODEL_GENERATIONS:
        row.generation += 1
        row.model_generations, row.evicted = {}, {}
    else:
        row.model_generations[model] = row.model_generations.get(model, 0) + 1
    row.save()
    entries = CacheEntry.objects.all() if model is None else CacheEntry.objects.filter(alias=model)
    deleted = entries.delete()[0] + semantic.forget_alias(model)
    record(action="cache.invalidated", subject_kind="cache", subject_id=row.id, actor=caller, data={"model": model})
    namespaces.announce(row)
    return deleted


def invalidate_prefix(*, caller: Principal, prefix: str) -> int:
    """Forget what was answered to questions that begin so. Only the semantic cache knows questions: the exact cache forgets
    the answers of those. How many."""
    row = settings_locked()
    deleted, keys = semantic.forget_prefix(prefix)
    _evict(row, keys)
    record(action="cache.invalidated", subject_kind="cache", subject_id=row.id, actor=caller, data={"prefix": True})
    namespaces.announce(row)
    return deleted


def invalidate_tenants(*, slug: str | None, model: str | None) -> int:
    """The same for one tenant or, without `slug`, for each; as an operator. How many tenants. Raises NotFound."""
    tenants = [tenant_by_slug(slug)] if slug is not None else list(all_tenants())
    for tenant in tenants:
        with tenant_scope(tenant.id), transaction.atomic():
            invalidate(caller=None, model=model)
    return len(tenants)


def delete_entry(*, caller: Principal, entry_id: uuid.UUID) -> None:
    """Forget one answer, of the exact cache or the semantic, wherever it is kept. Raises NotFound."""
    entry = CacheEntry.objects.filter(id=entry_id).first()
    key = bytes(entry.key) if entry is not None else semantic.forget_entry(entry_id)
    if key is None:
        raise NotFound("There is no such entry.")
    semantic.forget_exact(key)
    row = settings_locked()
    _evict(row, [key])
    record(action="cache.entry_deleted", subject_kind="cache_entry", subject_id=entry_id, actor=caller)
    namespaces.announce(row)


def evict(keys: Sequence[bytes]) -> None:
    """Have every process, and every store, forget the answers under these keys of the tenant's."""
    row = settings_locked()
    _evict(row, keys)
    namespaces.announce(row)


def forget_disliked(request_id: uuid.UUID) -> bool:
    """Somebody in a room calls an answer wrong: what the semantic cache served, or kept, of it is served no more, and not by
    the exact cache either. Whether there was any."""
    key = semantic.report_wrong_answer(request_id)
    if key is not None:
        evict([key])
    return key is not None


def snapshot() -> Snapshot:
    """What the cache did and holds. Raises Unavailable with Redis away: it holds the counters."""
    return _snapshot(reset=False)


def reset() -> Snapshot:
    """The same, and counting begins anew."""
    return _snapshot(reset=True)


def warm_up(*, limit: int) -> int:
    """Bring the newest answers that PostgreSQL holds to Redis, at most `limit`. How many. Raises Unavailable with Redis
    away."""
    if not 1 <= limit <= MAX_WARMED:
        raise InvalidRequest(f"limit: a whole number from 1 to {MAX_WARMED} is needed.", details={"param": "limit"})
    tenant_id = current_tenant_id()
    now = timezone.now()
    warmed = 0
    try:
        with sync_cache_redis().pipeline(transaction=False) as pipe:
            for entry in CacheEntry.objects.filter(expires_at__gt=now).order_by("-id")[:limit].iterator(100):
                packed = opened(tenant_id, entry.id, bytes(entry.body))
                if packed is not None:
                    left_s = (entry.expires_at - now).total_seconds()
                    pipe.set(
                        shared.redis_key(tenant_id, bytes(entry.key)), packed, px=shared.with_jitter_ms(left_s), nx=True
                    )
                    warmed += 1
            pipe.execute()
    except RedisError as error:
        raise Unavailable("Redis is away, so there is nothing to warm up.") from error
    return warmed


def _snapshot(*, reset: bool) -> Snapshot:
    key = stats_key(current_tenant_id())
    try:
        with sync_redis().pipeline(transaction=True) as pipe:
            pipe.hgetall(key)
            if reset:
                pipe.delete(key)
                pipe.hset(key, SINCE, str(int(time.time())))
            found: dict[bytes, bytes] = pipe.execute()[0]
    except RedisError as error:
        raise Unavailable("Redis is away, and with it the counters.") from error
    held = CacheEntry.objects.filter(expires_at__gt=timezone.now()).aggregate(entries=Count("id"), size=Sum("size"))
    since = found.get(SINCE.encode())
    return Snapshot(
        counters={name: int(found.get(name.encode(), 0)) for name in NAMES},
        since=int(since) if since is not None else None,
        entries=held["entries"],
        size=held["size"] or 0,
    )


def settings_locked() -> CacheNamespace:
    """The tenant's row, made if there is none yet, for whoever changes it."""
    tenant_id = current_tenant_id()
    CacheNamespace.objects.bulk_create([CacheNamespace(tenant_id=tenant_id)], ignore_conflicts=True)
    return CacheNamespace.objects.select_for_update().get(name=DEFAULT_NAME)


def _evict(row: CacheNamespace, keys: Sequence[bytes]) -> None:
    """Have the answers under some of the exact cache's keys forgotten, wherever they are kept."""
    now = time.time()
    # What was deleted longer ago than anything may live needs no mention any more.
    row.evicted = {key: at for key, at in row.evicted.items() if at > now - row.ttl_s}
    if len(row.evicted) + len(keys) > MAX_EVICTED:
        row.generation += 1
        row.model_generations, row.evicted = {}, {}
    else:
        row.evicted |= dict.fromkeys((key.hex() for key in keys), now)
    row.save()
    for start in range(0, len(keys), MAX_EVICTED):
        CacheEntry.objects.filter(key__in=keys[start : start + MAX_EVICTED]).delete()
    names = [shared.redis_key(row.tenant_id, key) for key in keys]
    transaction.on_commit(lambda: _forget(names))


def _trim(max_bytes: int) -> None:
    with transaction.get_connection().cursor() as cursor:
        cursor.execute(TRIM, [max_bytes])


def _forget(names: Sequence[str]) -> None:
    """Spare Redis what nobody will read; it would go by itself."""
    if not names:
        return
    try:
        sync_cache_redis().delete(*names)
    except RedisError:
        return
