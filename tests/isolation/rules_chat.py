"""Rooms: the reaper looks for late generations across tenants."""

from tests.isolation.rules import PLATFORM_ROLE, Grant, Policy, Rules

_SEEN = ("id", "tenant_id", "status", "lease_until", "started_at")

RULES = Rules(
    policies=(Policy("chat_generation", "reap_generations_select", "SELECT", PLATFORM_ROLE, "true"),),
    grants=(Grant("chat_generation", PLATFORM_ROLE, frozenset(f"SELECT({column})" for column in _SEEN)),),
    pointers={
        "chat_generation.request_id": "names the request, whose usage outlives the room",
    },
)
