"""How the deployments are that a tenant may use, for its admins: by what this process knows, and what others told."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from kernel.redis import RedisError, sync_redis
from providers.models import Deployment, PlatformDeployment, PlatformRouteTarget
from providers.pipeline.health import DeploymentHealth, Snapshot, health
from providers.pipeline.sharing import KEY, Word, read_word
from providers.routes import DEFAULT_MODEL

USABLE = ("healthy", "recovering", "misconfigured")
_UNTRIED = Snapshot("healthy", "closed", 0, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Order:
    """The providers of the platform's default route: as configured, and the one that would be asked first now."""

    primary: str | None
    fallbacks: tuple[str, ...]
    current: str | None


def default_order() -> Order:
    """Who is to serve the platform's default route, and who does."""
    targets = list(
        PlatformRouteTarget.objects.filter(route__alias=DEFAULT_MODEL)
        .order_by("position")
        .values_list("deployment_id", "deployment__connection__kind")
    )
    words = words_of([deployment_id for deployment_id, _ in targets])
    usable = (kind for deployment_id, kind in targets if condition_of(deployment_id, words) in USABLE)
    return Order(settings.LLM_PRIMARY_PROVIDER, tuple(settings.LLM_FALLBACK_PROVIDERS), next(usable, None))


def condition_of(deployment_id: uuid.UUID, words: Mapping[uuid.UUID, Word]) -> str:
    """A deployment's condition in one word."""
    return str(status_body(deployment_id, words)["health"])


def status_body(deployment_id: uuid.UUID, words: Mapping[uuid.UUID, Word]) -> dict[str, Any]:
    """What is known of a deployment's health."""
    known: DeploymentHealth | None = health.known(deployment_id)
    seen = known.snapshot() if known else _UNTRIED
    word = words.get(deployment_id)
    now = datetime.now(UTC).timestamp()
    if word is not None and seen.breaker == "closed" and word.state == "open" and word.until > now:
        seen = replace(seen, condition="failing", breaker="open", last_error=seen.last_error or word.error)
    elif word is not None and seen.condition == "healthy" and word.paused_until > now:
        seen = replace(seen, condition="pausing", last_error=seen.last_error or word.error)
    return {
        "health": seen.condition,
        "breaker": seen.breaker,
        "in_flight": seen.in_flight,
        "latency_ms": seen.latency_ms,
        "median_ms": seen.median_ms,
        "last_error": seen.last_error,
        "last_error_at": None if seen.last_error_at is None else datetime.fromtimestamp(seen.last_error_at, UTC),
    }


def deployment_body(deployment: Deployment | PlatformDeployment, words: Mapping[uuid.UUID, Word]) -> dict[str, Any]:
    """A deployment and its health; of the platform's no more than names."""
    return {
        "id": str(deployment.id),
        "provider": deployment.connection.kind,
        "connection": deployment.connection.name,
        "model": deployment.model,
        "region": deployment.connection.region,
        "platform": isinstance(deployment, PlatformDeployment),
        **status_body(deployment.id, words),
    }


def words_of(deployments: Sequence[uuid.UUID]) -> dict[uuid.UUID, Word]:
    """What the processes say of these; nothing while Redis is away."""
    if not deployments:
        return {}
    try:
        said = sync_redis().hmget(KEY, [str(one) for one in deployments])
    except (RedisError, OSError):
        return {}
    words = {one: read_word(text) for one, text in zip(deployments, said, strict=True) if text}  # type: ignore[arg-type]
    return {one: word for one, word in words.items() if word is not None}
