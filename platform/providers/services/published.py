"""What the providers of connections say that they serve: asked for now and then, and kept for admins to pick from.

A provider that doesn't answer is asked again after a pause that doubles with each failure (`pause_s`). Who failed how often
is in Redis; without it every connection is asked every time.
"""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from kernel.crypto import DecryptionFailed
from kernel.redis import RedisError, sync_redis, tenant_key
from kernel.tenancy import current_tenant_id, tenant_scope
from providers import registry
from providers.base import Adapter, Target, Timeouts
from providers.errors import ProviderError
from providers.models import Connection, PlatformConnection
from providers.secrets import unseal
from providers.types import ModelInfo
from tenants.models import Tenant
from tenants.services.provisioning import PLATFORM

log = structlog.get_logger(__name__)

TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=10.0, between_tokens_s=10.0, total_s=10.0)
ASK_S = 12.0
"""The longest that one provider is waited for, whatever its adapter does."""
MAX_AT_ONCE = 8
MAX_CONNECTIONS = 2 * MAX_AT_ONCE
"""How many connections, of a tenant or of the platform, are asked in one go, which takes no longer than two of them do: of those
that aren't left alone for a while, those that were asked longest ago. So each has its turn, however many never answer."""
MAX_GOES = 64
"""So many make a round at most: the rest is asked first in the next."""
MAX_LOOKED_AT = 10_000
"""Among how many connections, those asked longest ago, a round looks for some to ask."""
MAX_MODELS = 1_000
MAX_NAME_CHARS = 200
EVERY_S = 3_600
LONGEST_PAUSE_S = 24 * 3_600
_SOONER_S = 600
"""A pause ends so much before the round at which the provider is to be asked again."""
_FAILURES_KEPT_S = 3 * LONGEST_PAUSE_S


@dataclass(frozen=True, slots=True)
class Account:
    """A connection to ask: its row, the tenant whose it is (None for the platform's), and where the call goes."""

    id: uuid.UUID
    tenant_id: uuid.UUID | None
    target: Target | None = field(repr=False)
    """None for one whose secret can't be read."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How a go went: how many connections were `asked`, and how many of these `failed`."""

    asked: int
    failed: int

    @property
    def is_full(self) -> bool:
        """Whether there may be others whose turn it is in the same round."""
        return self.asked >= MAX_CONNECTIONS


def tenants_with_connections() -> list[uuid.UUID]:
    """The active tenants that have connections of their own. For a job across tenants."""
    active = Tenant.objects.using(PLATFORM).filter(status=Tenant.Status.ACTIVE)
    return [tenant_id for tenant_id in active.values_list("id", flat=True) if _has_connections(tenant_id)]


def refresh_platform_models(*, not_since: datetime | None = None) -> Refreshed:
    """Ask the providers of the platform's connections, and keep what they say; with `not_since` of those that weren't asked
    since then. For a job across tenants."""
    return _refresh(_turn_of(PlatformConnection.objects.using(PLATFORM), None, not_since))


def refresh_own_models(*, not_since: datetime | None = None) -> Refreshed:
    """The same of the connections of the tenant in scope."""
    with transaction.atomic():
        accounts = _turn_of(Connection.objects.all(), current_tenant_id(), not_since)
    return _refresh(accounts)


def keep_published(*, connection_id: uuid.UUID, target: Target, models: Sequence[str]) -> None:
    """Keep what the provider of a connection of the tenant in scope said at `target`, if the connection is still there."""
    account = Account(connection_id, current_tenant_id(), target)
    _keep(account, models)
    _forget_failures(account)


def names_of(models: Iterable[ModelInfo]) -> tuple[str, ...]:
    """The models' names, each once and in the provider's order: `MAX_MODELS` of those that could be a deployment's."""
    fit = (model.id for model in models if 1 <= len(model.id) <= MAX_NAME_CHARS and model.id.isprintable())
    return tuple(dict.fromkeys(fit))[:MAX_MODELS]


def pause_s(failures: int) -> int:
    """For how long a provider is left alone that failed so often in a row: 2, 4, 8, … rounds, a day at most."""
    return min(EVERY_S << min(failures, 16), LONGEST_PAUSE_S)


def _has_connections(tenant_id: uuid.UUID) -> bool:
    with tenant_scope(tenant_id), transaction.atomic(using=PLATFORM):
        return Connection.objects.using(PLATFORM).filter(tenant_id=tenant_id).exists()


def _turn_of(
    rows: QuerySet[Connection] | QuerySet[PlatformConnection],
    tenant_id: uuid.UUID | None,
    not_since: datetime | None,
) -> list[Account]:
    """The connections whose turn it is, noted as asked: whatever becomes of this go, the next begins with others."""
    waiting = rows if not_since is None else rows.filter(Q(models_asked_at=None) | Q(models_asked_at__lt=not_since))
    longest = waiting.order_by(F("models_asked_at").asc(nulls_first=True), "id").values_list("id", flat=True)
    due = _not_paused(list(longest[:MAX_LOOKED_AT]), tenant_id)[:MAX_CONNECTIONS]
    chosen = rows.filter(id__in=due)
    chosen.update(models_asked_at=timezone.now())
    return [_account(row, tenant_id) for row in chosen]


def _account(row: Connection | PlatformConnection, tenant_id: uuid.UUID | None) -> Account:
    stored = None if row.secret is None else bytes(row.secret)
    try:
        secret = unseal(stored, connection_id=row.id, tenant_id=tenant_id)
    except DecryptionFailed:
        return Account(row.id, tenant_id, None)
    guarded = isinstance(row, Connection) and not row.vouched
    return Account(row.id, tenant_id, Target(row.kind, row.base_url, "", secret=secret, guarded=guarded))


def _refresh(accounts: Sequence[Account]) -> Refreshed:
    failed = 0
    for account, models in zip(accounts, async_to_sync(_ask_all)(accounts), strict=True):
        if models is None:
            failed += 1
            _count_failure(account)
        else:
            _keep(account, models)
            _forget_failures(account)
    return Refreshed(asked=len(accounts), failed=failed)


async def _ask_all(accounts: Sequence[Account]) -> list[tuple[str, ...] | None]:
    adapters: dict[str, Adapter] = {}
    turn = asyncio.Semaphore(MAX_AT_ONCE)
    try:
        return await asyncio.gather(*(_ask(account, adapters, turn) for account in accounts))
    finally:
        for adapter in adapters.values():
            await adapter.close()


async def _ask(account: Account, adapters: dict[str, Adapter], turn: asyncio.Semaphore) -> tuple[str, ...] | None:
    """The names of the provider's models; None if it didn't say."""
    target = account.target
    if target is None:
        return None
    try:
        async with turn, asyncio.timeout(ASK_S):
            adapter = adapters.get(target.provider)
            if adapter is None:
                adapter = adapters[target.provider] = registry.get(target.provider).adapter()
            return names_of(await adapter.list_models(target, TIMEOUTS))
    except (ProviderError, registry.UnknownProvider, TimeoutError) as error:
        log.info("models_not_published", connection=str(account.id), error=type(error).__name__)
        return None


def _keep(account: Account, models: Sequence[str]) -> None:
    """Only for the address that was asked: a connection may have moved meanwhile."""
    target = account.target
    if target is None:
        return
    using = "default" if account.tenant_id else PLATFORM
    rows = Connection.objects if account.tenant_id else PlatformConnection.objects
    with transaction.atomic(using=using):
        asked = rows.using(using).filter(id=account.id, kind=target.provider, base_url=target.base_url)
        asked.update(published_models=list(models), published_at=timezone.now())


def _key(tenant_id: uuid.UUID | None, name: str, connection_id: uuid.UUID) -> str:
    if tenant_id is None:
        return f"parley:{name}:{connection_id}"
    return tenant_key(tenant_id, name, connection_id)


def _pause_of(account: Account) -> str:
    return _key(account.tenant_id, "models-pause", account.id)


def _failures_of(account: Account) -> str:
    return _key(account.tenant_id, "models-failures", account.id)


def _not_paused(ids: Sequence[uuid.UUID], tenant_id: uuid.UUID | None) -> list[uuid.UUID]:
    if not ids:
        return []
    try:
        pauses = sync_redis().mget([_key(tenant_id, "models-pause", one) for one in ids])
    except RedisError:
        return list(ids)
    return [one for one, pause in zip(ids, pauses, strict=True) if pause is None]


def _count_failure(account: Account) -> None:
    failures = _failures_of(account)
    with suppress(RedisError), sync_redis().pipeline(transaction=False) as pipe:
        pipe.incr(failures)
        pipe.expire(failures, _FAILURES_KEPT_S)
        count, _ = pipe.execute()
        sync_redis().set(_pause_of(account), count, ex=pause_s(count) - _SOONER_S)


def _forget_failures(account: Account) -> None:
    with suppress(RedisError):
        sync_redis().delete(_failures_of(account), _pause_of(account))
