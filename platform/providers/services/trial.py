"""Try a connection: one small call to its provider, to see whether address and secret are right."""

import time
import uuid
from dataclasses import dataclass
from typing import cast

import structlog
from django.conf import settings

from kernel.errors import RateLimited
from kernel.redis import RedisError, sync_redis, tenant_key
from providers import registry
from providers.base import Adapter, Target, Timeouts
from providers.errors import ProviderError
from providers.services.own_connections import access_connection, secret_of
from providers.services.published import names_of
from providers.types import ChatRequest, user_message
from tenants.principals import Principal
from tenants.services.audit import record

log = structlog.get_logger(__name__)

TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=15.0, between_tokens_s=15.0, total_s=15.0)
LIST_TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=5.0, between_tokens_s=5.0, total_s=5.0)
"""For the list of models after a word that came."""
_WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went. `problem` is the class of what went wrong (`providers.errors`) and `reason` says it in our own words;
    `models` counts those that the provider lists, when the test asked for them. `published` are their names, as they are to
    be kept; None where the provider didn't say."""

    latency_ms: int
    problem: str | None = None
    reason: str | None = None
    models: int | None = None
    published: tuple[str, ...] | None = None


def begin_trial(*, caller: Principal, connection_id: uuid.UUID, model: str | None) -> Target:
    """Where the call goes. Raises `NotFound`, and `RateLimited` when there were too many within a minute."""
    row = access_connection(connection_id=connection_id)
    _count(caller.tenant_id)
    record(action="connection.tested", subject_kind="connection", subject_id=row.id, actor=caller)
    return Target(row.kind, row.base_url, model or "", secret=secret_of(row), guarded=not row.vouched)


async def make_trial(target: Target) -> Trial:
    """Ask for the models, or of `target.model` for a word and then for the models. Takes 20 s at most; its connections end
    with it."""
    adapter = registry.get(target.provider).adapter()
    started = time.monotonic()
    try:
        if not target.model:
            models = await adapter.list_models(target, TIMEOUTS)
            return Trial(latency_ms=_since_ms(started), models=len(models), published=names_of(models))
        asked = ChatRequest(model=target.model, messages=(user_message("Hi"),), max_output_tokens=1)
        await adapter.complete(asked, target, TIMEOUTS)
        latency_ms = _since_ms(started)
        return Trial(latency_ms=latency_ms, published=await _published(adapter, target))
    except ProviderError as error:
        return Trial(latency_ms=_since_ms(started), problem=error.code, reason=error.reason)
    finally:
        await adapter.close()


async def _published(adapter: Adapter, target: Target) -> tuple[str, ...] | None:
    """The names of what the provider lists; not every one has a list."""
    try:
        return names_of(await adapter.list_models(target, LIST_TIMEOUTS))
    except ProviderError:
        return None


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _count(tenant_id: uuid.UUID) -> None:
    """Trials knock at addresses that somebody typed in: few a minute are enough."""
    key = tenant_key(tenant_id, "connection-trials")
    try:
        with sync_redis().pipeline(transaction=False) as pipe:
            pipe.set(key, 0, ex=_WINDOW_S, nx=True)
            pipe.incr(key)
            pipe.ttl(key)
            _, count, ttl = pipe.execute()
    except RedisError:
        log.warning("connection_trials_not_counted")
        return
    if count > settings.CONNECTION_TRIALS_PER_MINUTE:
        raise RateLimited("Too many tests of connections. Try again later.", retry_after_s=cast("int", ttl))
