"""A route's target is the tenant's own deployment or the platform's, exactly one."""

from collections.abc import Callable
from typing import Any

from tests.isolation.rows import Making, insert


def _new(table: str) -> Callable[[Making], Any]:
    """The id of a row of its own, where a table has one row for each of another's."""

    def make(making: Making) -> Any:
        row = making.factory.values(table, making.tenant_id)
        insert(making.factory.connection, table, row)
        return row["id"]

    return make


ROWS: dict[str, dict[str, Any]] = {
    "providers_routeaccess": {"route_id": _new("providers_route")},
    "providers_routetarget": {
        "platform_deployment_id": lambda making: making.row("providers_platformdeployment")["id"],
    },
    "providers_gatewaypolicy": {"capture_days": 7, "name": lambda making: f"policy-{making.number}"},
    "providers_cachenamespace": {
        "ttl_s": 3600,
        "max_bytes": 1024 * 1024,
        "semantic_rate": 0.01,
        "semantic_ttl_s": 3600,
        "semantic_max_entries": 1000,
        "semantic_tightened": 0,
    },
    # Vectors of a length that no index is for.
    "providers_semanticentry": {"dimensions": 3},
    "providers_semanticuse": {"entry_id": _new("providers_semanticentry")},
    "providers_ratelimit": {
        "subject": "model",
        "model": lambda making: f"m{making.number}",
        "tokens_per_minute": 1000,
        "requests_burst_percent": 100,
        "tokens_burst_percent": 100,
    },
}

POINTING: dict[str, dict[str, Any]] = {
    "route_target_deployment_fk": {"platform_deployment_id": None},
    "rate_limit_api_key_fk": {"subject": "api_key", "model": ""},
}
