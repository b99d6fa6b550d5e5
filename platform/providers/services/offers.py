"""What the platform offers, for its operators: connections with their models, what their providers say that they serve, and what
keeps a model from being used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.utils import timezone

from billing.price_book import InForce, Place, prices_in_force
from billing.types import METERS, STANDARD
from kernel.crypto import DecryptionFailed
from kernel.redis import RedisError, sync_redis
from providers import registry
from providers.models import PlatformConnection, PlatformDeployment, PlatformRouteTarget
from providers.pipeline.upkeep import alert_key
from providers.secrets import unseal
from tenants.services.provisioning import PLATFORM

log = structlog.get_logger(__name__)

PAGE = 100
"""Connections at a time."""
MODELS_MAX = 1_000
"""Of a connection."""
PAGES_MAX = 100


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model on a connection, the aliases that lead to it, and what keeps it from being used."""

    model: str
    aliases: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferedConnection:
    """A connection of the platform. `published` is what its provider last said that it serves, at `published_at`."""

    name: str
    kind: str
    base_url: str
    models: tuple[OfferedModel, ...]
    published: tuple[str, ...]
    published_at: datetime | None


def connections_offered(*, after: str = "") -> list[OfferedConnection]:
    """The platform's connections by name, at most `PAGE`, of those after a name."""
    rows = list(PlatformConnection.objects.using(PLATFORM).filter(name__gt=after).order_by("name")[:PAGE])
    found = {row.id: _deployments(row) for row in rows}
    every = [deployment for deployments in found.values() for deployment in deployments]
    prices = prices_in_force({one.price_model for one in every}, at=timezone.now(), using=PLATFORM)
    aliases = _aliases_of(every)
    refused = _refused_of_late(every)

    def shown(row: PlatformConnection) -> OfferedConnection:
        problem = _problem_of(row)
        models = tuple(
            OfferedModel(
                model=one.model,
                aliases=tuple(aliases.get(one.id, ())),
                problems=tuple(
                    text
                    for text, is_so in (
                        (problem, bool(problem)),
                        ("it has no price", not _is_priced(prices.get(one.price_model, {}))),
                        ("its provider refused the key, the model or the address within the hour", one.id in refused),
                    )
                    if is_so
                ),
            )
            for one in found[row.id]
        )
        return OfferedConnection(
            row.name, row.kind, row.base_url, models, tuple(row.published_models or ()), row.published_at
        )

    return [shown(row) for row in rows]


def tell_of_problems() -> int:
    """Write into the log which of the platform's models can't be used as they are set up. How many."""
    told, after = 0, ""
    for _ in range(PAGES_MAX):
        page = connections_offered(after=after)
        for connection in page:
            for model in connection.models:
                if model.problems:
                    told += 1
                    log.error(
                        "deployment_misconfigured",
                        deployment=f"{connection.name}/{model.model}",
                        platform=True,
                        problems=model.problems,
                    )
        if len(page) < PAGE:
            break
        after = page[-1].name
    return told


def _deployments(row: PlatformConnection) -> Sequence[PlatformDeployment]:
    return list(PlatformDeployment.objects.using(PLATFORM).filter(connection=row).order_by("model")[:MODELS_MAX])


def _problem_of(row: PlatformConnection) -> str:
    """What keeps all of a connection's models from being used; empty for nothing."""
    try:
        spec = registry.get(row.kind)
    except registry.UnknownProvider:
        return f"there is no provider {row.kind!r}"
    if row.secret is None:
        return f"{spec.title} needs a key, and there is none" if spec.needs_key else ""
    try:
        unseal(bytes(row.secret), connection_id=row.id, tenant_id=None)
    except DecryptionFailed:
        return "its key can't be read with this installation's master key"
    return ""


def _is_priced(prices: Mapping[Place, InForce]) -> bool:
    return all((STANDARD, meter) in prices for meter in METERS)


def _aliases_of(deployments: Sequence[PlatformDeployment]) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    targets = PlatformRouteTarget.objects.using(PLATFORM).filter(deployment__in=[one.id for one in deployments])
    for deployment_id, alias in targets.order_by("route__alias").values_list("deployment_id", "route__alias"):
        found.setdefault(deployment_id, []).append(alias)
    return found


def _refused_of_late(deployments: Iterable[PlatformDeployment]) -> set[object]:
    """Those that requests found misconfigured, as `providers.pipeline.upkeep` noted; nothing while Redis is away."""
    ids = [one.id for one in deployments]
    if not ids:
        return set()
    try:
        noted = sync_redis().mget([alert_key(one) for one in ids])
    except RedisError:
        return set()
    return {one for one, note in zip(ids, noted, strict=True) if note is not None}
