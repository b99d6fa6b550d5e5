"""From a model alias to the deployments that serve it, with prices: what `accept` resolves.

Resolved routes are kept per process for `ROUTE_TTL_S`; an alias that isn't there is looked for each time, so a new model
works at once, and a change within the TTL.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from billing.tariffs import known_tariff, tariffs_in_force
from billing.types import Tariff
from kernel import adb
from kernel.errors import NotFound
from providers.access import Allowed, ByRoute, allowed_by_route, allowed_by_route_sync
from providers.profiles import profile
from providers.secrets import unseal
from tenants.principals import Principal

ROUTE_TTL_S = 5.0
ANY_MODEL = "*"
"""The model of a deployment that takes whatever name the caller asked for."""
_MAX_ROUTES = 10_000
MAX_MODELS_LISTED = 1000


class ModelNotFound(NotFound):
    """There is no such model, or it isn't for you."""

    code = "model_not_found"


@dataclass(frozen=True, slots=True)
class ResolvedDeployment:
    """A deployment that can be called, and what it costs. `platform` tells the operator's from the tenant's own."""

    id: uuid.UUID
    provider: str
    connection: str
    base_url: str
    model: str
    platform: bool
    tariff: Tariff
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """An alias and its deployments, in the order in which they are tried. It is for those `allowed`, None for all."""

    alias: str
    deployments: tuple[ResolvedDeployment, ...]
    allowed: Allowed | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as a caller sees it."""

    alias: str
    provider: str
    created: int
    context_tokens: int | None


# A tenant's own alias hides the platform's.
_SQL = """
    WITH own AS (
        SELECT t.position, d.id, d.model, d.price_model, c.id AS connection_id, c.name, c.kind, c.base_url, c.secret,
               false AS platform, r.id AS route_id
        FROM providers_route r
        JOIN providers_routetarget t ON t.tenant_id = r.tenant_id AND t.route_id = r.id
        JOIN providers_deployment d ON d.tenant_id = t.tenant_id AND d.id = t.deployment_id
        JOIN providers_connection c ON c.tenant_id = d.tenant_id AND c.id = d.connection_id
        WHERE r.alias = %(alias)s
        UNION ALL
        SELECT t.position, d.id, d.model, d.price_model, c.id, c.name, c.kind, c.base_url, c.secret, true, r.id
        FROM providers_route r
        JOIN providers_routetarget t ON t.tenant_id = r.tenant_id AND t.route_id = r.id
        JOIN providers_platformdeployment d ON d.id = t.platform_deployment_id
        JOIN providers_platformconnection c ON c.id = d.connection_id
        WHERE r.alias = %(alias)s
    )
    SELECT * FROM own
    UNION ALL
    SELECT t.position, d.id, d.model, d.price_model, c.id, c.name, c.kind, c.base_url, c.secret, true, r.id
    FROM providers_platformroute r
    JOIN providers_platformroutetarget t ON t.route_id = r.id
    JOIN providers_platformdeployment d ON d.id = t.deployment_id
    JOIN providers_platformconnection c ON c.id = d.connection_id
    WHERE r.alias = %(alias)s AND NOT EXISTS (SELECT FROM providers_route WHERE alias = %(alias)s)
    ORDER BY position
    LIMIT 20
"""

_LIST_SQL = """
    SELECT DISTINCT ON (alias) alias, route_id, kind, model, created_at FROM (
        SELECT r.alias, r.id AS route_id, coalesce(c.kind, pc.kind) AS kind, coalesce(d.model, pd.model) AS model, r.created_at,
               t.position, 0 AS rank
        FROM providers_route r
        JOIN providers_routetarget t ON t.tenant_id = r.tenant_id AND t.route_id = r.id
        LEFT JOIN providers_deployment d ON d.tenant_id = t.tenant_id AND d.id = t.deployment_id
        LEFT JOIN providers_connection c ON c.tenant_id = d.tenant_id AND c.id = d.connection_id
        LEFT JOIN providers_platformdeployment pd ON pd.id = t.platform_deployment_id
        LEFT JOIN providers_platformconnection pc ON pc.id = pd.connection_id
        UNION ALL
        SELECT r.alias, r.id, c.kind, d.model, r.created_at, t.position, 1
        FROM providers_platformroute r
        JOIN providers_platformroutetarget t ON t.route_id = r.id
        JOIN providers_platformdeployment d ON d.id = t.deployment_id
        JOIN providers_platformconnection c ON c.id = d.connection_id
    ) models
    ORDER BY alias, rank, position
    LIMIT %s
"""

_kept: "OrderedDict[tuple[uuid.UUID, str], tuple[float, ResolvedRoute]]" = OrderedDict()


async def resolve_route(principal: Principal, alias: str) -> ResolvedRoute:
    """The route of an alias, for this caller. Raises `ModelNotFound`, and `UnknownPrice` for a model without one."""
    if not principal.may_use(alias):
        raise _missing(alias)
    if not alias.isprintable():
        # Among such are NUL and half surrogate pairs, which PostgreSQL can't even be asked for.
        raise _missing(alias)
    key = (principal.tenant_id, alias)
    kept = _kept.get(key)
    if kept is not None and time.monotonic() - kept[0] < ROUTE_TTL_S:
        return _checked(kept[1], principal)
    route = await _read(principal.tenant_id, alias)
    _kept[key] = (time.monotonic(), route)
    _kept.move_to_end(key)
    while len(_kept) > _MAX_ROUTES:
        _kept.popitem(last=False)
    return _checked(route, principal)


def _checked(route: ResolvedRoute, principal: Principal) -> ResolvedRoute:
    """The route, if it is for this caller: to others it doesn't exist."""
    if route.allowed is not None and not route.allowed.admits(principal):
        raise _missing(route.alias)
    return route


async def list_models(principal: Principal) -> Sequence[ModelEntry]:
    """The models this caller may use, by alias; at most `MAX_MODELS_LISTED`."""
    async with adb.transaction(principal.tenant_id) as opened:
        cursor = await opened.execute(_LIST_SQL, (MAX_MODELS_LISTED,))
        rows = await cursor.fetchall()
        allowed = await allowed_by_route(opened)
    return _entries(principal, rows, allowed)


def models_of_tenant(principal: Principal) -> Sequence[ModelEntry]:
    """The same, for threads, in the transaction of the caller's tenant."""
    with connection.cursor() as cursor:
        cursor.execute(_LIST_SQL, [MAX_MODELS_LISTED])
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return _entries(principal, rows, allowed_by_route_sync())


def _entries(principal: Principal, rows: Sequence[Mapping[str, Any]], allowed_by_id: ByRoute) -> Sequence[ModelEntry]:
    return [
        ModelEntry(
            alias=row["alias"],
            provider=row["kind"],
            created=int(row["created_at"].timestamp()),
            context_tokens=profile(row["model"]).context_tokens,
        )
        for row in rows
        if principal.may_use(row["alias"])
        and ((allowed := allowed_by_id.get(row["route_id"])) is None or allowed.admits(principal))
    ]


async def _read(tenant_id: uuid.UUID, alias: str) -> ResolvedRoute:
    async with adb.transaction(tenant_id) as opened:
        cursor = await opened.execute(_SQL, {"alias": alias})
        rows = await cursor.fetchall()
        if not rows:
            raise _missing(alias)
        route_id = rows[0]["route_id"]
        allowed = (await allowed_by_route(opened, [route_id])).get(route_id)
        platform_tariffs, tenant_tariffs = await tariffs_in_force(
            opened,
            platform_models=[row["price_model"] for row in rows if row["platform"]],
            tenant_models=[row["price_model"] for row in rows if not row["platform"]],
        )
    return ResolvedRoute(
        alias=alias,
        allowed=allowed,
        deployments=tuple(
            ResolvedDeployment(
                id=row["id"],
                provider=row["kind"],
                connection=row["name"],
                base_url=row["base_url"],
                model=row["model"],
                platform=row["platform"],
                tariff=known_tariff(platform_tariffs if row["platform"] else tenant_tariffs, row["price_model"]),
                secret=unseal(
                    row["secret"],
                    connection_id=row["connection_id"],
                    tenant_id=None if row["platform"] else tenant_id,
                ),
            )
            for row in rows
        ),
    )


def _missing(alias: str) -> ModelNotFound:
    return ModelNotFound(f"The model {alias!r} does not exist, or you may not use it.", details={"model": alias[:200]})
