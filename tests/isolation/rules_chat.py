"""Rooms: all of it tenants' own; one job looks across."""

from config.databases import PLATFORM_ROLE
from tests.isolation.rules import Grant, Policy, Rules

RULES = Rules(
    policies=(Policy("chat_generation", "reap_generations_select", "SELECT", PLATFORM_ROLE, "true"),),
    grants=(
        Grant(
            "chat_generation",
            PLATFORM_ROLE,
            frozenset(f"SELECT({name})" for name in ("id", "tenant_id", "status", "lease_until", "started_at")),
        ),
    ),
    pointers={
        "chat_generation.request_id": "names the request, as usage does; no row",
    },
)
