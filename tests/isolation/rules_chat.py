"""Rooms: all of it tenants' own; one job looks across, and search looks past the policies."""

from config.databases import PLATFORM_ROLE
from tests.isolation import rules_chat_files as files
from tests.isolation import rules_chat_rooms as rooms
from tests.isolation.rules import Grant, Policy, Rules

RULES = Rules(
    policies=(
        Policy("chat_generation", "reap_generations_select", "SELECT", PLATFORM_ROLE, "true"),
        *rooms.POLICIES,
        *files.POLICIES,
    ),
    grants=(
        Grant(
            "chat_generation",
            PLATFORM_ROLE,
            frozenset(f"SELECT({name})" for name in ("id", "tenant_id", "status", "lease_until", "started_at")),
        ),
        *rooms.GRANTS,
        *files.GRANTS,
    ),
    functions=rooms.FUNCTIONS,
    indexes={**rooms.INDEXES, **files.INDEXES},
    pointers={
        **files.POINTERS,
        "chat_summary.request_id": "names the request, as usage does; no row",
        "chat_room.last_id": "an upper bound of ids, no row",
        "chat_generation.requested_key_id": "names the API key, as usage does; it may be gone",
        "chat_generation.request_id": "names the request, as usage does; no row",
    },
    extensions={"btree_gin": "let the first index of words begin with the tenant"},
)
