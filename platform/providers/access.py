"""Who may use a route: what `resolve_route` and the lists of models go by."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from kernel import adb
from tenants.principals import Principal

_SQL = """
    SELECT coalesce(route_id, platform_route_id) AS route,
           array_remove(array_agg(role::text), NULL) AS roles,
           array_remove(array_agg(group_id), NULL) AS groups,
           array_remove(array_agg(membership_id), NULL) AS memberships,
           array_remove(array_agg(api_key_id), NULL) AS api_keys
    FROM providers_routeaccess
    WHERE %(ids)s::uuid[] IS NULL OR coalesce(route_id, platform_route_id) = ANY(%(ids)s)
    GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Whom a route is for: members by role, by group or by themselves, and keys. A key also counts as its owner."""

    roles: frozenset[str] = frozenset()
    groups: frozenset[uuid.UUID] = frozenset()
    memberships: frozenset[uuid.UUID] = frozenset()
    api_keys: frozenset[uuid.UUID] = frozenset()

    def admits(self, principal: Principal) -> bool:
        """Whether this caller may use the route."""
        return (
            principal.role in self.roles
            or principal.membership_id in self.memberships
            or not self.groups.isdisjoint(principal.groups)
            or principal.api_key_id in self.api_keys
        )


ByRoute = Mapping[uuid.UUID, Allowed]
"""Routes that aren't for all, by their id (the tenant's own or the platform's)."""


async def allowed_by_route(opened: adb.Connection, route_ids: Sequence[uuid.UUID] | None = None) -> ByRoute:
    """Whom the tenant's routes are for (these, or all), of those that aren't for everybody."""
    cursor = await opened.execute(_SQL, {"ids": None if route_ids is None else list(route_ids)})
    return _by_route(await cursor.fetchall())


def allowed_by_route_sync() -> ByRoute:
    """The same, for threads, in the transaction of the tenant in scope."""
    with connection.cursor() as cursor:
        cursor.execute(_SQL, {"ids": None})
        names = [column.name for column in cursor.description]
        return _by_route(dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _by_route(rows: Iterable[Mapping[str, Any]]) -> ByRoute:
    return {
        row["route"]: Allowed(
            roles=frozenset(row["roles"]),
            groups=frozenset(row["groups"]),
            memberships=frozenset(row["memberships"]),
            api_keys=frozenset(row["api_keys"]),
        )
        for row in rows
    }
