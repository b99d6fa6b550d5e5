"""Identity: what is global, what definer functions read, and what an operator's commands may do."""

from config.databases import LOOKUP_ROLE
from tests.isolation.rules import APP_ROLE, OWNER_ROLE, Function, Global, Grant, Policy, Rules, gather, jobs, lookups

_SELF = "(id = ( SELECT (NULLIF(current_setting('app.person_id'::text, true), ''::text))::uuid AS \"nullif\"))"
_FELLOW_OR_SELF = (
    f"CASE WHEN {_SELF} THEN true ELSE (EXISTS ( SELECT FROM tenants_membership m WHERE ((m.person_id = tenants_person.id) "
    "AND (m.tenant_id = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))))) END"
)

_policies, _grants = gather(
    lookups(
        {
            "tenants_tenant": "id slug name status epoch timezone",
            "tenants_person": "id email is_active",
            "tenants_membership": "id tenant_id person_id role status epoch",
            "tenants_apikey": "id tenant_id membership_id lookup_id digest scopes allowed_models allowed_networks "
            "expires_at revoked_at epoch max_priority pace_tokens_per_s",
        }
    ),
    jobs(
        "ops",
        {
            "tenants_tenant": "SELECT INSERT UPDATE",
            "tenants_person": "SELECT INSERT",
            "tenants_credential": "INSERT",
        },
        within_tenant=False,
    ),
    jobs(
        "ops",
        {
            "tenants_membership": "SELECT INSERT UPDATE",
            "tenants_apikey": "SELECT INSERT",
            "tenants_auditevent": "SELECT INSERT",
        },
        within_tenant=True,
    ),
    (jobs("expire_deliveries", {"tenants_webhookdelivery": "SELECT DELETE"}, within_tenant=False)[0], ()),
    (jobs("expire_notices", {"tenants_notice": "SELECT DELETE"}, within_tenant=False)[0], ()),
)

RULES = Rules(
    global_tables={
        "tenants_person": Global(
            "one person, many tenants; seen by fellow members and oneself", frozenset({"SELECT", "UPDATE(name)"})
        ),
        "tenants_credential": Global("password hashes: definer functions alone"),
        "tenants_refreshtoken": Global("sessions begin before a tenant is known: definer functions alone"),
        "tenants_builtinrole": Global("the same roles for all", frozenset({"SELECT"})),
    },
    keyed_otherwise={"tenants_tenant": "id"},
    policies=(
        *_policies,
        Policy("tenants_tenant", "migrations_list", "SELECT", OWNER_ROLE, "true"),
        Policy("tenants_person", "fellow_or_self", "SELECT", APP_ROLE, _FELLOW_OR_SELF),
        Policy("tenants_person", "self", "UPDATE", APP_ROLE, _SELF, _SELF),
        Policy("tenants_credential", "lookup_only", "ALL", LOOKUP_ROLE, "true", "true"),
        Policy("tenants_refreshtoken", "lookup_only", "ALL", LOOKUP_ROLE, "true", "true"),
    ),
    grants=(
        *_grants,
        Grant("tenants_webhookdelivery", "parley_platform", frozenset({"SELECT(id)", "DELETE"})),
        Grant("tenants_notice", "parley_platform", frozenset({"SELECT(id)", "DELETE"})),
        Grant("tenants_builtinrole", "parley_platform", frozenset({"SELECT"})),
        Grant("tenants_credential", LOOKUP_ROLE, frozenset({"SELECT"})),
        Grant("tenants_refreshtoken", LOOKUP_ROLE, frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})),
    ),
    functions=(
        Function("lookup.credential(text)", "log-in, before any tenant is known"),
        Function("lookup.api_key(text,bytea)", "a key names its tenant only once it is found"),
        Function("lookup.my_memberships()", "the tenants of the person in force"),
        Function("lookup.session_start(uuid,bytea,uuid,uuid,timestamp with time zone)", "the first token of a family"),
        Function(
            "lookup.session_rotate(bytea,uuid,bytea,timestamp with time zone,interval)",
            "claims a token, mints its child",
        ),
        Function("lookup.session_end(bytea)", "log-out"),
        Function("lookup.sessions_end(uuid)", "a member of the tenant in force is removed"),
        Function(
            "lookup.sessions_expire(integer)", "tokens whose time is over", callers=frozenset({"parley_platform"})
        ),
    ),
    indexes={
        "tenants_apikey_lookup_id_key": "found before the tenant is known; the ids are random and say nothing",
        "tenants_apikey_lookup_id_12902d55_like": "Django's companion of the one above",
        "tenants_membership_person_id_f85c26cc": "my_memberships looks across tenants by person",
        "tenants_tenant_slug_key": "slugs name tenants platform-wide",
        "tenants_tenant_slug_0a9b71e6_like": "Django's companion of the one above",
    },
    pointers={
        "tenants_webhookdelivery.event_id": "names the event to its receiver; a notice, which may be gone, or a test",
        "tenants_auditevent.actor_id": "a member, a key or an operator; the trail outlives what it names",
        "tenants_auditevent.subject_id": "any kind of thing; the trail outlives what it names",
        "tenants_apikey.lookup_id": "the key's public name, no pointer",
    },
)
