"""Route access: say whom a route is for."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db.models import Q, QuerySet
from django.utils import timezone

from kernel.errors import InvalidRequest, NotFound
from kernel.tenancy import current_tenant_id
from providers.models import PlatformRoute, Route, RouteAccess
from tenants.models import ApiKey, Group, Membership
from tenants.permissions import BUILTIN_ROLES
from tenants.principals import Principal
from tenants.services.audit import record

MAX_SUBJECTS = 200


@dataclass(frozen=True, slots=True)
class Access:
    """Whom the route of an alias is for: everybody (`is_open`), or those named."""

    alias: str
    is_open: bool
    roles: tuple[str, ...] = ()
    groups: tuple[uuid.UUID, ...] = ()
    members: tuple[uuid.UUID, ...] = ()
    api_keys: tuple[uuid.UUID, ...] = ()


def access_route(*, caller: Principal, alias: str) -> Route | PlatformRoute:
    """The route of an alias: the tenant's own, else the platform's. Raises `NotFound`, also to a key that isn't for it."""
    if not caller.may_use(alias) or not alias.isprintable():
        raise NotFound
    route = Route.objects.filter(alias=alias).first() or PlatformRoute.objects.filter(alias=alias).first()
    if route is None:
        raise NotFound
    return route


def route_access(*, caller: Principal, alias: str) -> Access:
    """Whom an alias is for."""
    route = access_route(caller=caller, alias=alias)
    return _access(alias, RouteAccess.objects.filter(_of(route)))


def closed_routes() -> QuerySet[RouteAccess]:
    """One row for each route that isn't for everybody: the one that names nobody."""
    nobody = RouteAccess.objects.filter(role=None, group=None, membership=None, api_key=None)
    return nobody.select_related("route", "platform_route")


def accesses(*, closed: Sequence[RouteAccess]) -> list[Access]:
    """Whom some of `closed_routes` are for."""
    ids = [_route_id(row) for row in closed]
    found: dict[uuid.UUID, list[RouteAccess]] = {route_id: [] for route_id in ids}
    for row in RouteAccess.objects.filter(Q(route__in=ids) | Q(platform_route__in=ids)).order_by("id"):
        found[_route_id(row)].append(row)
    return [_access(_alias(row), found[route_id]) for row, route_id in zip(closed, ids, strict=True)]


def set_route_access(*, caller: Principal, access: Access) -> Access:
    """Say whom an alias is for, in place of what was said before. Within 5 s nobody else can use it.

    Raises `NotFound` for an alias that has no route, and `InvalidRequest` for a role, group, member or key that isn't.
    """
    route = access_route(caller=caller, alias=access.alias)
    subjects = [] if access.is_open else [{}, *_subjects(access)]
    RouteAccess.objects.filter(_of(route)).delete()
    RouteAccess.objects.bulk_create(
        RouteAccess(tenant_id=current_tenant_id(), **_pointing(route), **subject) for subject in subjects
    )
    said = {
        "alias": access.alias,
        "open": access.is_open,
        "roles": sorted(access.roles),
        "groups": sorted(map(str, access.groups)),
        "members": sorted(map(str, access.members)),
        "api_keys": sorted(map(str, access.api_keys)),
    }
    record(action="route_access.set", subject_kind="route", subject_id=route.id, actor=caller, data=said)
    return route_access(caller=caller, alias=access.alias)


def inherit_access(*, route: Route) -> None:
    """Have a tenant's new route, which hides the platform's of its alias, be for the same people as that was."""
    _copy(RouteAccess.objects.filter(platform_route__alias=route.alias), route=route)


def leave_access(*, route: Route) -> None:
    """Have the platform's route that is seen again once this one no longer hides it be for the same people, unless that was
    for all: only who says so opens a model."""
    rows = RouteAccess.objects.filter(route=route)
    hidden = PlatformRoute.objects.filter(alias=route.alias).first()
    if hidden is None or not rows.exists():
        return
    RouteAccess.objects.filter(platform_route=hidden).delete()
    _copy(rows, platform_route=hidden)


def pass_on_access(old: ApiKey, new: ApiKey) -> None:
    """Have a rotated key's successor be named wherever that was, in place of those of its line that have ended."""
    over = RouteAccess.objects.filter(
        api_key__replaced_by__isnull=False, api_key__expires_at__lte=timezone.now(), api_key__in=[old.id, *new.bound_by]
    )
    for row in RouteAccess.objects.filter(api_key=old):
        RouteAccess.objects.create(
            tenant_id=current_tenant_id(), route_id=row.route_id, platform_route_id=row.platform_route_id, api_key=new
        )
    over.delete()


def _copy(rows: Iterable[RouteAccess], **to: Route | PlatformRoute) -> None:
    """Say of a route what these say of another."""
    RouteAccess.objects.bulk_create(
        RouteAccess(
            tenant_id=current_tenant_id(),
            role_id=row.role_id,
            group_id=row.group_id,
            membership_id=row.membership_id,
            api_key_id=row.api_key_id,
            **to,
        )
        for row in rows
    )


def _subjects(access: Access) -> list[dict[str, Any]]:
    """The column that names each, once they are known to be the tenant's."""
    count = len(access.roles) + len(access.groups) + len(access.members) + len(access.api_keys)
    if count > MAX_SUBJECTS:
        raise InvalidRequest(f"A model is for at most {MAX_SUBJECTS} roles, groups, members and keys, or for all.")
    active = Membership.objects.filter(status=Membership.Status.ACTIVE)
    _check("roles", access.roles, BUILTIN_ROLES)
    _check("groups", access.groups, _ids(Group.objects.filter(id__in=access.groups)))
    _check("members", access.members, _ids(active.filter(id__in=access.members)))
    _check("api_keys", access.api_keys, _ids(ApiKey.objects.filter(id__in=access.api_keys)))
    return [
        *({"role_id": each} for each in set(access.roles)),
        *({"group_id": each} for each in set(access.groups)),
        *({"membership_id": each} for each in set(access.members)),
        *({"api_key_id": each} for each in set(access.api_keys)),
    ]


def _check(param: str, given: Iterable[Any], known: Collection[Any]) -> None:
    if not all(each in known for each in given):
        raise InvalidRequest(f"{param}: not all of these exist.", details={"param": param})


def _ids(rows: "QuerySet[Any]") -> set[uuid.UUID]:
    return set(rows.values_list("id", flat=True))


def _pointing(route: Route | PlatformRoute) -> dict[str, uuid.UUID]:
    return {"route_id" if isinstance(route, Route) else "platform_route_id": route.id}


def _of(route: Route | PlatformRoute) -> Q:
    return Q(**_pointing(route))


def _route_id(row: RouteAccess) -> uuid.UUID:
    # One of the two is set: the constraint route_access_one_route.
    return cast("uuid.UUID", row.route_id or row.platform_route_id)


def _alias(row: RouteAccess) -> str:
    return cast("Route | PlatformRoute", row.route or row.platform_route).alias


def _access(alias: str, rows: Iterable[RouteAccess]) -> Access:
    found = list(rows)
    return Access(
        alias=alias,
        is_open=not found,
        roles=tuple(sorted(row.role_id for row in found if row.role_id)),
        groups=tuple(row.group_id for row in found if row.group_id),
        members=tuple(row.membership_id for row in found if row.membership_id),
        api_keys=tuple(row.api_key_id for row in found if row.api_key_id),
    )
