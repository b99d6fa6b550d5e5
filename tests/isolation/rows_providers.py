"""A route's target is the tenant's own deployment or the platform's, exactly one."""

from typing import Any

from tests.isolation.rows import Making, insert


def _new_route(making: Making) -> Any:
    route = making.factory.values("providers_route", making.tenant_id)
    insert(making.factory.connection, "providers_route", route)
    return route["id"]


ROWS: dict[str, dict[str, Any]] = {
    "providers_routeaccess": {"route_id": _new_route},
    "providers_routetarget": {
        "platform_deployment_id": lambda making: making.row("providers_platformdeployment")["id"],
    },
    "providers_gatewaypolicy": {"capture_days": 7, "name": lambda making: f"policy-{making.number}"},
    "providers_cachenamespace": {"ttl_s": 3600, "max_bytes": 1024 * 1024},
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
