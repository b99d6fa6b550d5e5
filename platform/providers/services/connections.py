"""Offer models: a connection, its deployments, a route per alias, and prices. What an operator's `add_provider` does."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Max

from billing.tariffs import set_prices
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from providers import registry
from providers.models import (
    Connection,
    Deployment,
    PlatformConnection,
    PlatformDeployment,
    PlatformRoute,
    PlatformRouteTarget,
    Route,
    RouteTarget,
)
from providers.secrets import seal
from providers.services.terms import check_prompt_format, check_region
from tenants.services.audit import record
from tenants.services.provisioning import PLATFORM, tenant_by_slug

_MAX_MODELS = 500


@dataclass(frozen=True, slots=True)
class Offer:
    """A connection to add. `models` pairs the alias that callers use with the upstream's name. `region` and `prompt_format`
    (of each model) stay as they are with None, and are taken away with an empty text. `other_prices` are
    by tier and meter, where these cost neither as input nor as output. With `keeps_prices` the prices are only for what has
    none yet."""

    kind: str
    name: str
    base_url: str
    api_key: str = field(repr=False)
    models: Sequence[tuple[str, str]]
    input_nano_per_mtok: int
    output_nano_per_mtok: int
    region: str | None = None
    max_output_tokens: int | None = None
    prompt_format: str | None = None
    other_prices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    keeps_prices: bool = False


@dataclass(frozen=True, slots=True)
class Offered:
    """What was added."""

    connection_id: uuid.UUID
    aliases: tuple[str, ...]


def add_provider(offer: Offer, *, tenant_slug: str | None = None) -> Offered:
    """Add a connection with its deployments, routes and prices, for every tenant or for one.

    A connection of that name is brought up to date; an alias that exists gets the new deployment as its last fallback.
    Raises `InvalidRequest` for an unknown kind, region or prompt format, a bad URL or no model, and `NotFound` for an unknown
    tenant.
    """
    _check(offer)
    with transaction.atomic(using=PLATFORM):
        if tenant_slug is None:
            return _add(offer, _PLATFORM_TABLES, tenant_id=None)
        tenant = tenant_by_slug(tenant_slug)
        with tenant_scope(tenant.id):
            added = _add(offer, _TENANT_TABLES, tenant_id=tenant.id)
            record(
                action="connection.added",
                subject_kind="connection",
                subject_id=added.connection_id,
                data={"name": offer.name, "kind": offer.kind},
                using=PLATFORM,
            )
    return added


@dataclass(frozen=True, slots=True)
class _Tables:
    connection: type[Any]
    deployment: type[Any]
    route: type[Any]
    target: type[Any]


_PLATFORM_TABLES = _Tables(PlatformConnection, PlatformDeployment, PlatformRoute, PlatformRouteTarget)
_TENANT_TABLES = _Tables(Connection, Deployment, Route, RouteTarget)


def _check(offer: Offer) -> None:
    if offer.kind not in registry.names():
        raise InvalidRequest(f"There is no provider {offer.kind!r}. Known: {', '.join(registry.names())}.")
    if urlsplit(offer.base_url).scheme not in ("http", "https") or not urlsplit(offer.base_url).hostname:
        raise InvalidRequest("The base URL must begin with http:// or https:// and name a host.")
    if not 1 <= len(offer.models) <= _MAX_MODELS:
        raise InvalidRequest(f"From 1 to {_MAX_MODELS} models are needed, each as ALIAS or ALIAS=UPSTREAM.")
    check_region(offer.region or "")
    check_prompt_format(offer.prompt_format or "")


def _add(offer: Offer, tables: _Tables, *, tenant_id: uuid.UUID | None) -> Offered:
    owned = {"tenant_id": tenant_id} if tenant_id else {}
    connection_id = _ensure_connection(offer, tables, owned, tenant_id)
    for alias, model in offer.models:
        price_model = f"{offer.name}/{model}"
        deployment, _ = tables.deployment.objects.using(PLATFORM).get_or_create(
            connection_id=connection_id, model=model, **owned, defaults={"id": uuid7(), "price_model": price_model}
        )
        if offer.prompt_format is not None and deployment.prompt_format != offer.prompt_format:
            deployment.prompt_format = offer.prompt_format
            deployment.save(using=PLATFORM, update_fields=["prompt_format"])
        set_prices(
            model=price_model,
            input_nano_per_mtok=offer.input_nano_per_mtok,
            output_nano_per_mtok=offer.output_nano_per_mtok,
            tenant_id=tenant_id,
            using=PLATFORM,
            others=offer.other_prices,
            only_if_unpriced=offer.keeps_prices,
        )
        route, _ = tables.route.objects.using(PLATFORM).get_or_create(alias=alias, **owned, defaults={"id": uuid7()})
        if offer.max_output_tokens is not None and route.max_output_tokens != offer.max_output_tokens:
            route.max_output_tokens = offer.max_output_tokens
            route.save(using=PLATFORM, update_fields=["max_output_tokens"])
        targets = tables.target.objects.using(PLATFORM).filter(route=route)
        if not targets.filter(deployment=deployment).exists():
            last = targets.aggregate(last=Max("position"))["last"]
            tables.target.objects.using(PLATFORM).create(
                route=route, deployment=deployment, position=0 if last is None else last + 1, **owned
            )
    return Offered(connection_id=connection_id, aliases=tuple(alias for alias, _ in offer.models))


def _ensure_connection(
    offer: Offer, tables: _Tables, owned: dict[str, uuid.UUID], tenant_id: uuid.UUID | None
) -> uuid.UUID:
    rows = tables.connection.objects.using(PLATFORM)
    known = rows.filter(name=offer.name, **owned).first()
    connection_id: uuid.UUID = known.id if known else uuid7()
    values: dict[str, Any] = {
        "kind": offer.kind,
        "base_url": offer.base_url.rstrip("/"),
        "secret": seal(offer.api_key, connection_id=connection_id, tenant_id=tenant_id) if offer.api_key else None,
    }
    if tenant_id:
        values["vouched"] = True
    if offer.region is not None:
        values["region"] = offer.region
    if known:
        rows.filter(id=connection_id).update(**values)
    else:
        rows.create(id=connection_id, name=offer.name, **owned, **values)
    return connection_id
