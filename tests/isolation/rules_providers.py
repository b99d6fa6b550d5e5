"""What an operator offers to every tenant stands beside each tenant's own."""

from config.databases import PLATFORM_ROLE
from tests.isolation.rules import OWNER_ROLE, Function, Global, Grant, Policy, Rules, jobs

_OFFERED = "an operator's, offered to every tenant; its secret is encrypted"
_PLATFORM_TABLES = (
    "providers_platformconnection",
    "providers_platformdeployment",
    "providers_platformroute",
    "providers_platformroutetarget",
)
_policies, _grants = jobs(
    "ops",
    dict.fromkeys(
        ("providers_connection", "providers_deployment", "providers_route", "providers_routetarget"),
        "SELECT INSERT UPDATE",
    ),
    within_tenant=True,
)
_cache_policies = tuple(
    Policy(table, f"expire_cache_{command.lower()}", command, PLATFORM_ROLE, "true")
    for table in ("providers_cacheentry", "providers_semanticentry", "providers_semanticaudit")
    for command in ("SELECT", "DELETE")
)

_response_policies = tuple(
    Policy("providers_storedresponse", f"expire_responses_{command.lower()}", command, PLATFORM_ROLE, "true")
    for command in ("SELECT", "DELETE")
)

_expiry_policies, _ = jobs("expiry", {"providers_requestlog": "SELECT DELETE"}, within_tenant=False)

_calibrate_policies, _ = jobs(
    "calibrate",
    {"providers_cachenamespace": "SELECT"},
    within_tenant=False,
)

_batch_policies = (
    *(
        Policy("providers_file", f"expire_files_{command.lower()}", command, PLATFORM_ROLE, "true")
        for command in ("SELECT", "DELETE")
    ),
    *(
        Policy("providers_batch", f"batches_{command.lower()}", command, PLATFORM_ROLE, "true")
        for command in ("SELECT", "DELETE")
    ),
)
_batch_grants = (
    Grant(
        "providers_file",
        PLATFORM_ROLE,
        frozenset({"SELECT(id)", "SELECT(tenant_id)", "SELECT(expires_at)", "DELETE"}),
    ),
    Grant(
        "providers_batch",
        PLATFORM_ROLE,
        frozenset(
            {
                *(
                    f"SELECT({column})"
                    for column in ("id", "tenant_id", "status", "lease_until", "turn_at", "created_at")
                ),
                "DELETE",
            }
        ),
    ),
)
_OWNED = "a key or a membership, which may be gone; what was theirs goes by itself"

_LOGGED = "who asked stays in the log when they are gone"

RULES = Rules(
    global_tables={table: Global(_OFFERED, frozenset({"SELECT"})) for table in _PLATFORM_TABLES},
    policies=(
        *_policies,
        *_expiry_policies,
        *_cache_policies,
        *_calibrate_policies,
        *_response_policies,
        *_batch_policies,
    ),
    grants=(
        *_grants,
        *_batch_grants,
        Grant(
            "providers_cachenamespace",
            PLATFORM_ROLE,
            frozenset({"SELECT(tenant_id)", "SELECT(enabled)", "SELECT(semantic)"}),
        ),
        Grant("providers_requestlog", PLATFORM_ROLE, frozenset({"SELECT(at)", "SELECT(content_until)", "DELETE"})),
        Grant("providers_cacheentry", PLATFORM_ROLE, frozenset({"SELECT(id)", "SELECT(expires_at)", "DELETE"})),
        Grant("providers_semanticentry", PLATFORM_ROLE, frozenset({"SELECT(id)", "SELECT(expires_at)", "DELETE"})),
        Grant("providers_semanticaudit", PLATFORM_ROLE, frozenset({"SELECT(id)", "SELECT(at)", "DELETE"})),
        Grant("providers_storedresponse", PLATFORM_ROLE, frozenset({"SELECT(id)", "SELECT(expires_at)", "DELETE"})),
        *(
            Grant(table, PLATFORM_ROLE, frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}))
            for table in _PLATFORM_TABLES
        ),
    ),
    functions=(
        Function(
            "public.providers_semantic_near(uuid,bytea,text,integer,integer)",
            "keeps the plan of a look-up in the semantic cache, and says whose it is; the caller's policies hold",
            definer=False,
            owner=OWNER_ROLE,
        ),
    ),
    indexes={
        "file_expires": "the job that deletes what is too old goes across tenants",
        "batch_due": "the job that finds what waits goes across tenants",
        "batch_made": "the job that deletes what is too old goes across tenants",
        "cache_entry_expires": "the job that deletes what is too old goes across tenants",
        "semantic_entry_expires": "the job that deletes what is too old goes across tenants",
        "semantic_audit_at": "the job that deletes what is too old goes across tenants",
        "semantic_entry_near": "its order is that of distances; the rows it yields pass the policy, one by one",
        "stored_response_expires": "the job that deletes what is too old goes across tenants",
    },
    pointers={
        "providers_cacheentry.subject_id": "the room that asked, which providers know nothing of",
        "providers_file.principal_id": _OWNED,
        "providers_batch.principal_id": _OWNED,
        "providers_batch.membership_id": _OWNED,
        "providers_batch.api_key_id": _OWNED,
        "providers_batch.input_file_id": "may be deleted before the batch, which fails then",
        "providers_batch.output_file_id": "may be deleted, and is after 30 days",
        "providers_batch.error_file_id": "may be deleted, and is after 30 days",
        "providers_batch.lease_owner": "a worker's turn",
        "providers_requestlog.membership_id": _LOGGED,
        "providers_requestlog.api_key_id": _LOGGED,
        "providers_semanticentry.subject_id": "a room, which may be gone; the entry goes with it",
        "providers_semanticaudit.subject_id": "a room, which may be gone; the audit goes with it",
        "providers_semanticentry.membership_id": "whose request was answered; the entry outlives nobody for long",
        "providers_storedresponse.principal_id": "a key or a membership; the response is gone 30 days later",
        "providers_storedresponse.previous_id": "the response before this one, which may be deleted without it",
    },
)
