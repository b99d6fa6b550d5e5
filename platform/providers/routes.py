"""From a model alias to the deployments that serve it, with prices: what `accept` resolves.

Resolved routes are kept per process for `ROUTE_TTL_S`; an alias that isn't there is looked for each time, so a new model
works at once, and a change within the TTL.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.db import connection

from billing.errors import NoPlan, UnknownPrice
from billing.standing import plan_terms
from billing.tariffs import known_tariff, tariffs_in_force
from billing.types import Tariff
from kernel import adb
from kernel.errors import NotFound
from kernel.kept import Kept
from providers import route_rows
from providers.access import Allowed, ByRoute, allowed_by_route, allowed_by_route_sync
from providers.profiles import Capability, profile
from providers.route_rows import patterns
from providers.secrets import unseal
from tenants.principals import Principal

ROUTE_TTL_S = 5.0
ANY_MODEL = "*"
"""The model of a deployment that takes whatever name the caller asked for."""
DEFAULT_MODEL = "default"
"""The name that stands for the tenant's model for chats, where no route is called so; `default/title` is that for
titles, and so on for each role."""
_MAX_ROUTES = 10_000
MAX_MODELS_LISTED = 1000
MAX_HOPS = 8
"""How many routes one alias may come to by way of fallbacks, itself included."""


class ModelNotFound(NotFound):
    """There is no such model, or it isn't for you."""

    code = "model_not_found"


@dataclass(frozen=True, slots=True)
class ResolvedDeployment:
    """A deployment that can be called, and what it costs. `platform` tells the operator's from the tenant's own.

    `model` is the upstream's name for what was asked for; `any_model` says that it is the caller's name, passed on."""

    id: uuid.UUID
    provider: str
    connection: str
    base_url: str
    model: str
    platform: bool
    tariff: Tariff
    secret: str | None = field(repr=False)
    any_model: bool = False
    weight: int = 1
    region: str = ""
    prompt_format: str = ""
    guarded: bool = False
    """Whether a tenant chose its address, which must then be a public one."""

    @property
    def name(self) -> str:
        """What errors call it. How an operator calls its accounts, and what it buys under an alias, is not for tenants to
        read there."""
        return self.provider if self.platform else f"{self.connection}/{self.model}"


@dataclass(frozen=True, slots=True)
class Group:
    """Deployments among which `strategy` chooses. Each must have the capabilities that the route `requires`. They are for
    those `allowed`, None for all."""

    strategy: str
    deployments: tuple[ResolvedDeployment, ...]
    requires: tuple[Capability, ...] = ()
    allowed: Allowed | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """What an alias comes to: its own deployments, then those of its fallbacks. `matched` is the alias of the route
    that was found, which may be a wildcard."""

    alias: str
    matched: str
    groups: tuple[Group, ...]
    deployments: tuple[ResolvedDeployment, ...]
    max_output_tokens: int | None = None
    """How long an answer may be where the caller doesn't say; None for what is usual."""
    allowed: Allowed | None = None
    """Whom the route itself is for, None for all; of the fallbacks each group says so."""
    is_unpaid: bool = False
    """Whether it would come to the platform's connections alone, which the tenant's plan has no part in any more."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model as a caller sees it."""

    alias: str
    provider: str
    created: int
    context_tokens: int | None


_kept: Kept[tuple[uuid.UUID, str], ResolvedRoute] = Kept(ttl_s=lambda: ROUTE_TTL_S, max_keys=_MAX_ROUTES)


async def resolve_route(principal: Principal, alias: str) -> ResolvedRoute:
    """The route of an alias, for this caller. Raises `ModelNotFound`, and `UnknownPrice` for a model without one."""
    if not principal.may_use(alias):
        raise _missing(alias)
    if not alias.isprintable():
        # Among such are NUL and half surrogate pairs, which PostgreSQL can't even be asked for.
        raise _missing(alias)
    key = (principal.tenant_id, alias)
    read = partial(_read, principal.tenant_id, alias)
    route = _kept.look(key, read) or await _kept.get(key, read)
    return _checked(route, principal)


def _checked(route: ResolvedRoute, principal: Principal) -> ResolvedRoute:
    """The route, if it is for this caller, without the fallbacks that aren't: to others they don't exist."""
    if route.allowed is not None and not route.allowed.admits(principal):
        raise _missing(route.alias)
    if route.is_unpaid:
        raise NoPlan
    if all(group.allowed is None or group.allowed.admits(principal) for group in route.groups):
        return route
    groups = tuple(group for group in route.groups if group.allowed is None or group.allowed.admits(principal))
    if not groups:
        raise _missing(route.alias)
    return replace(route, groups=groups, deployments=tuple(one for group in groups for one in group.deployments))


async def model_of_role(principal: Principal, role: str) -> str | None:
    """The alias that the tenant has chosen for a role, such as `title`; None where it has chosen none."""
    async with adb.transaction(principal.tenant_id) as opened:
        row = await (await opened.execute(route_rows.ROLE, (role,))).fetchone()
    return row["alias"] if row else None


def forget_routes(tenant_id: uuid.UUID) -> None:
    """Read this tenant's routes anew, in this process; others do so within `ROUTE_TTL_S`."""
    _kept.forget_where(lambda key: key[0] == tenant_id)


async def list_models(principal: Principal) -> Sequence[ModelEntry]:
    """The models this caller may use, by alias; at most `MAX_MODELS_LISTED`."""
    async with adb.transaction(principal.tenant_id) as opened:
        cursor = await opened.execute(route_rows.LIST, (MAX_MODELS_LISTED,))
        rows = await cursor.fetchall()
        allowed = await allowed_by_route(opened)
    return _entries(principal, rows, allowed)


async def find_model(principal: Principal, alias: str) -> ModelEntry:
    """The model of this name: one that is listed, or what a wildcard or the tenant's choice makes of it. Raises
    `ModelNotFound`, and what else `resolve_route` does."""
    listed = {entry.alias: entry for entry in await list_models(principal)}
    if alias in listed:
        return listed[alias]
    route = await resolve_route(principal, alias)
    if not route.deployments:
        raise _missing(alias)
    first, matched = route.deployments[0], listed.get(route.matched)
    created = matched.created if matched else 0
    return ModelEntry(alias, first.provider, created, profile(first.model).context_tokens)


def models_of_tenant(principal: Principal) -> Sequence[ModelEntry]:
    """The same, for threads, in the transaction of the caller's tenant."""
    with connection.cursor() as cursor:
        cursor.execute(route_rows.LIST, [MAX_MODELS_LISTED])
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return _entries(principal, rows, allowed_by_route_sync())


def _entries(principal: Principal, rows: Sequence[Mapping[str, Any]], allowed_by_id: ByRoute) -> Sequence[ModelEntry]:
    return [
        ModelEntry(
            alias=row["alias"],
            provider=row["kind"] or "",
            created=int(row["created_at"].timestamp()),
            context_tokens=profile(row["model"] or "").context_tokens,
        )
        for row in rows
        if principal.may_use(row["alias"])
        and ((allowed := allowed_by_id.get(row["route_id"])) is None or allowed.admits(principal))
    ]


async def _read(tenant_id: uuid.UUID, alias: str) -> ResolvedRoute:
    async with adb.transaction(tenant_id) as opened:
        rows = await _rows(opened, alias)
        if not rows and alias.partition("/")[0] == DEFAULT_MODEL:
            purpose = alias.partition("/")[2] or "chat"
            role = await (await opened.execute(route_rows.ROLE, (purpose,))).fetchone()
            alias = role["alias"] if role else DEFAULT_MODEL
            rows = await _rows(opened, alias)
        if not rows:
            raise _missing(alias)
        found = [(alias, rows)]
        wanted = [name for name in rows[0]["fallbacks"] if isinstance(name, str)]
        seen = {alias}
        while wanted and len(found) < MAX_HOPS:
            name = wanted.pop(0)
            if name not in seen:
                seen.add(name)
                if more := await _rows(opened, name):
                    found.append((name, more))
                    wanted.extend(more[0]["fallbacks"])
        allowed = await allowed_by_route(opened, [more[0]["route_id"] for _, more in found])
        targets = [row for _, more in found for row in more if row["id"] is not None]
        terms = await plan_terms(opened)
        tariffs = await tariffs_in_force(
            opened,
            markup_bps=terms.markup_bps,
            platform_models=[row["price_model"] for row in targets if row["platform"]],
            tenant_models=[row["price_model"] for row in targets if not row["platform"]],
        )
    return _resolved(tenant_id, alias, found, tariffs, allowed, refuses_platform=terms.is_refused)


async def _rows(opened: adb.Connection, name: str) -> list[dict[str, Any]]:
    cursor = await opened.execute(route_rows.ROUTE, {"patterns": list(patterns(name))})
    return await cursor.fetchall()


Found = Sequence[tuple[str, Sequence[Mapping[str, Any]]]]


def _resolved(
    tenant_id: uuid.UUID,
    alias: str,
    found: Found,
    tariffs: tuple[dict[str, Tariff], dict[str, Tariff]],
    allowed: ByRoute,
    *,
    refuses_platform: bool = False,
) -> ResolvedRoute:
    """Each deployment once, where it comes first. One without a price is left out, unless none has any; the platform's,
    where it `refuses_platform`."""
    is_unpaid = False
    seen: set[uuid.UUID] = set()
    groups: list[Group] = []
    unpriced: UnknownPrice | None = None
    for name, rows in found:
        deployments: list[ResolvedDeployment] = []
        for row in rows:
            if row["id"] is None or row["id"] in seen:
                continue
            seen.add(row["id"])
            if refuses_platform and row["platform"]:
                is_unpaid = True
                continue
            try:
                deployments.append(_deployment(tenant_id, name, row, tariffs))
            except UnknownPrice as error:
                unpriced = error
        if deployments:
            whom = allowed.get(rows[0]["route_id"])
            groups.append(Group(rows[0]["strategy"], tuple(deployments), tuple(rows[0]["requires"]), whom))
    if not groups and unpriced is not None:
        raise unpriced
    if not groups and not is_unpaid:
        raise _missing(alias)
    every = tuple(deployment for group in groups for deployment in group.deployments)
    first = found[0][1][0]
    return ResolvedRoute(
        alias=alias,
        matched=first["alias"],
        groups=tuple(groups),
        deployments=every,
        max_output_tokens=first["max_output_tokens"],
        allowed=allowed.get(first["route_id"]),
        is_unpaid=not groups,
    )


def _deployment(
    tenant_id: uuid.UUID, name: str, row: Mapping[str, Any], tariffs: tuple[dict[str, Tariff], dict[str, Tariff]]
) -> ResolvedDeployment:
    any_model = row["model"] == ANY_MODEL
    return ResolvedDeployment(
        id=row["id"],
        provider=row["kind"],
        connection=row["name"],
        base_url=row["base_url"],
        model=name if any_model else row["model"],
        any_model=any_model,
        platform=row["platform"],
        tariff=known_tariff(tariffs[0] if row["platform"] else tariffs[1], row["price_model"]),
        secret=unseal(
            row["secret"], connection_id=row["connection_id"], tenant_id=None if row["platform"] else tenant_id
        ),
        weight=row["weight"],
        region=row["region"],
        prompt_format=row["prompt_format"],
        guarded=not (row["platform"] or row["vouched"]),
    )


def _missing(alias: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model {alias[:200]!r} does not exist, or you may not use it.", details={"model": alias[:200]}
    )
