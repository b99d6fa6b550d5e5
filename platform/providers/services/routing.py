"""A tenant's own routes, and the models it uses for each purpose."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction

from kernel.errors import Conflict, InvalidRequest, NotFound
from providers.models import (
    Deployment,
    ModelRole,
    PlatformDeployment,
    PlatformRoute,
    Route,
    RouteAccess,
    RouteTarget,
    Strategy,
)
from providers.profiles import CAPABILITIES
from providers.route_rows import patterns
from providers.routes import MAX_HOPS, forget_routes
from providers.services.access import inherit_access, leave_access
from tenants.principals import Principal
from tenants.services.audit import record

MAX_TARGETS = 20
MAX_ROUTES = 1_000
MAX_WEIGHT = 1_000
_ALIAS = re.compile(r"(?=.)[\w./:@+-]{0,199}\*?")


UNCHANGED = -1
"""Of the cap of answers, for which None means the usual one."""
MAX_OUTPUT_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deployment, the tenant's own or the platform's, and its weight."""

    deployment_id: uuid.UUID
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RouteWish:
    """What a route should be like. None leaves it as it is."""

    alias: str | None = None
    strategy: str | None = None
    targets: Sequence[Wanted] | None = None
    fallbacks: Sequence[str] | None = None
    requires: Sequence[str] | None = None
    max_output_tokens: int | None = UNCHANGED


def access_route(*, route_id: uuid.UUID) -> Route:
    """The only way from an id to a tenant's route. Raises NotFound."""
    route = Route.objects.filter(id=route_id).first()
    if route is None:
        raise NotFound
    return route


def create_route(*, caller: Principal, wish: RouteWish) -> Route:
    """A new route. Raises InvalidRequest, naming what is wrong, and Conflict for an alias that is taken."""
    if not wish.alias:
        raise _bad("alias", "An alias is needed.")
    if Route.objects.count() >= MAX_ROUTES:
        raise Conflict(f"There may be {MAX_ROUTES} routes.")
    route = Route(tenant_id=caller.tenant_id)
    _apply(route, wish)
    _save(route)
    inherit_access(route=route)
    _set_targets(route, wish.targets or ())
    _check_serves(route)
    _changed(caller, route, "route.created")
    return route


def change_route(*, caller: Principal, route_id: uuid.UUID, wish: RouteWish) -> Route:
    """Change what the wish names. Raises as `create_route`, and NotFound."""
    route = access_route(route_id=route_id)
    before = route.alias
    if wish.alias not in (None, before):
        leave_access(route=route)
    _apply(route, wish)
    _save(route)
    if route.alias != before and not RouteAccess.objects.filter(route=route).exists():
        inherit_access(route=route)
    if wish.targets is not None:
        _set_targets(route, wish.targets)
    _check_serves(route)
    _changed(caller, route, "route.changed")
    return route


def delete_route(*, caller: Principal, route_id: uuid.UUID) -> None:
    """Delete a route; the platform's of the same name, if there is one, is seen again. Raises NotFound."""
    route = access_route(route_id=route_id)
    _changed(caller, route, "route.deleted")
    leave_access(route=route)
    RouteTarget.objects.filter(route=route).delete()
    Route.objects.filter(id=route.id).delete()


def model_roles() -> dict[str, str | None]:
    """The alias of each role, None where none was chosen."""
    chosen = dict(ModelRole.objects.values_list("role", "alias"))
    return {role: chosen.get(role) for role in ModelRole.Role.values}


def set_model_roles(*, caller: Principal, roles: Mapping[str, str | None]) -> dict[str, str | None]:
    """Choose an alias for the roles named, or None for no choice. Raises InvalidRequest for one that isn't there."""
    for role, alias in roles.items():
        if role not in ModelRole.Role.values:
            raise _bad("roles", f"There is no role {role[:32]!r}. Known: {', '.join(ModelRole.Role.values)}.")
        if alias is None:
            ModelRole.objects.filter(role=role).delete()
            continue
        if not _exists(alias):
            raise _bad("roles", f"There is no model {alias[:200]!r}.")
        ModelRole.objects.update_or_create(
            tenant_id=caller.tenant_id, role=role, defaults={"alias": alias}, create_defaults={"alias": alias}
        )
    record(
        action="model_roles.changed",
        subject_kind="model_role",
        subject_id=None,
        actor=caller,
        data={"roles": dict(roles)},
    )
    transaction.on_commit(lambda: forget_routes(caller.tenant_id))
    return model_roles()


def _apply(route: Route, wish: RouteWish) -> None:
    if wish.alias is not None:
        if not _ALIAS.fullmatch(wish.alias):
            raise _bad("alias", "Letters, digits and . / : @ + - _ are allowed, at most 200, and one * at the end.")
        route.alias = wish.alias
    if wish.strategy is not None:
        if wish.strategy not in Strategy.values:
            raise _bad("strategy", f"One of these is needed: {', '.join(Strategy.values)}.")
        route.strategy = wish.strategy
    if wish.requires is not None:
        unknown = [name for name in wish.requires if name not in CAPABILITIES]
        if unknown:
            raise _bad("requires", f"There is no capability {unknown[0][:32]!r}. Known: {', '.join(CAPABILITIES)}.")
        route.requires = list(dict.fromkeys(wish.requires))
    if wish.max_output_tokens != UNCHANGED:
        route.max_output_tokens = wish.max_output_tokens
    if wish.fallbacks is not None:
        route.fallbacks = list(dict.fromkeys(wish.fallbacks))
        _check_fallbacks(route)


def _check_fallbacks(route: Route) -> None:
    if len(route.fallbacks) >= MAX_HOPS:
        raise _bad("fallbacks", f"At most {MAX_HOPS - 1} fallbacks are allowed.")
    for name in route.fallbacks:
        if not _exists(name):
            raise _bad("fallbacks", f"There is no model {name[:200]!r}.")
    waiting, seen = list(route.fallbacks), set()
    while waiting:
        name = waiting.pop()
        if name == route.alias:
            raise _bad("fallbacks", f"By way of its fallbacks {route.alias!r} would come back to itself.")
        if name not in seen:
            seen.add(name)
            waiting.extend(_fallbacks_of(name))


def _fallbacks_of(alias: str) -> list[str]:
    for table in (Route, PlatformRoute):
        found = table.objects.filter(alias=alias).values_list("fallbacks", flat=True).first()
        if found is not None:
            return [name for name in found if isinstance(name, str)]
    return []


def _exists(name: str) -> bool:
    """Whether some route, the tenant's or the platform's, fits this name."""
    fitting = list(patterns(name)) if name.isprintable() else []
    return any(table.objects.filter(alias__in=fitting).exists() for table in (Route, PlatformRoute))


def _save(route: Route) -> None:
    try:
        with transaction.atomic():
            route.save()
    except IntegrityError as error:
        raise Conflict(f"There is a route {route.alias!r} already.") from error


def _set_targets(route: Route, targets: Sequence[Wanted]) -> None:
    """The targets in the order given, which are their positions."""
    if len(targets) > MAX_TARGETS:
        raise _bad("targets", f"At most {MAX_TARGETS} targets are allowed.")
    wanted = [one.deployment_id for one in targets]
    if len(set(wanted)) != len(wanted):
        raise _bad("targets", "Each deployment can be a target once.")
    own = set(Deployment.objects.filter(id__in=wanted).values_list("id", flat=True))
    platforms = set(PlatformDeployment.objects.filter(id__in=wanted).values_list("id", flat=True))
    RouteTarget.objects.filter(route=route).delete()
    for position, one in enumerate(targets):
        if not 1 <= one.weight <= MAX_WEIGHT:
            raise _bad("targets", f"A weight is from 1 to {MAX_WEIGHT}.")
        if one.deployment_id not in own | platforms:
            raise _bad("targets", f"There is no deployment {one.deployment_id}.")
        RouteTarget.objects.create(
            tenant_id=route.tenant_id,
            route=route,
            deployment_id=one.deployment_id if one.deployment_id in own else None,
            platform_deployment_id=None if one.deployment_id in own else one.deployment_id,
            position=position,
            weight=one.weight,
        )


def _check_serves(route: Route) -> None:
    if not route.fallbacks and not RouteTarget.objects.filter(route=route).exists():
        raise _bad("targets", "A route needs a target or a fallback.")


def _changed(caller: Principal, route: Route, action: str) -> None:
    data = {"alias": route.alias, "strategy": route.strategy}
    record(action=action, subject_kind="route", subject_id=route.id, actor=caller, data=data)
    transaction.on_commit(lambda: forget_routes(caller.tenant_id))


def _bad(param: str, words: str) -> InvalidRequest:
    return InvalidRequest(f"{param}: {words}", details={"param": param})


def describe_targets(routes: Sequence[Route]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    """The targets of routes, in order, each with its deployment's names. No addresses, no secrets."""
    rows = (
        RouteTarget.objects.filter(route_id__in=[route.id for route in routes])
        .order_by("position")
        .select_related("deployment__connection", "platform_deployment__connection")
    )
    found: dict[uuid.UUID, list[dict[str, Any]]] = {route.id: [] for route in routes}
    for row in rows:
        deployment = row.deployment or row.platform_deployment
        if deployment is None:
            continue
        found[row.route_id].append(
            {
                "deployment": str(deployment.id),
                "connection": deployment.connection.name,
                "provider": deployment.connection.kind,
                "model": deployment.model,
                "platform": row.platform_deployment_id is not None,
                "weight": row.weight,
            }
        )
    return found
