"""Search: one function that reads ids, dates and word lists, never a text. And the job that finds whose messages expire."""

from config.databases import APP_ROLE, LOOKUP_ROLE, PLATFORM_ROLE
from tests.isolation.rules import OWNER_ROLE, Function, Grant, Policy, gather, lookups

_EXPIRING = {
    "chat_roompolicy": "tenant_id retention_days",
    "chat_room": "tenant_id retention_days deleted_at erased_at",
    "chat_share": "tenant_id expires_at",
}
POLICIES, GRANTS = gather(
    lookups(
        {
            "chat_room": "id tenant_id head_seq last_message_at last_id deleted_at",
            "chat_roommember": "tenant_id room_id membership_id left_at",
            "chat_roompolicy": "tenant_id sharing",
            "chat_share": ("tenant_id room_id created_by_id digest title messages created_at expires_at revoked_at"),
            "chat_message": "id tenant_id room_id author_membership_id created_at deleted_at search",
        }
    ),
    (
        tuple(Policy(table, "expire_messages_select", "SELECT", PLATFORM_ROLE, "true") for table in _EXPIRING),
        tuple(
            Grant(table, PLATFORM_ROLE, frozenset(f"SELECT({name})" for name in columns.split()))
            for table, columns in _EXPIRING.items()
        ),
    ),
)
INDEXES = {
    "share_digest_key": "a link is found before its tenant is known",
    "message_search": "each word in it bears the tenant's mark; and two that both begin with the tenant are never combined",
}
FUNCTIONS = (
    Function(
        "public.chat_access(uuid,uuid[])",
        "keeps the plan of who is in which rooms; the caller's policies hold",
        definer=False,
        owner=OWNER_ROLE,
    ),
    Function(
        "public.chat_newest_leaf(uuid)",
        "keeps the plans of where a room ends; the caller's policies hold",
        definer=False,
        owner=OWNER_ROLE,
    ),
    Function(
        "public.chat_speak(uuid,uuid,integer,timestamp with time zone,uuid,uuid)",
        "keeps the plans of what each message asks while it locks its room; the caller's policies hold",
        definer=False,
        owner=OWNER_ROLE,
    ),
    Function(
        "public.search_keys(uuid,tsvector)",
        "what the index of words holds, computed from its arguments alone",
        definer=False,
        owner=OWNER_ROLE,
        callers=frozenset({APP_ROLE, LOOKUP_ROLE}),
    ),
    Function("lookup.share(bytea)", "a shared conversation by the whole digest of its link; at most one"),
    Function(
        "lookup.search_messages(text,uuid,uuid,timestamp with time zone,timestamp with time zone,real,uuid,integer)",
        "`@@` isn't leakproof; takes no tenant and no person: searches the rooms of whom the transaction acts for",
    ),
)
