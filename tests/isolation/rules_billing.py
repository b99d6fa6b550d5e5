"""Prices of the platform, and the usage table that is partitioned by month."""

from tests.isolation.rules import APP_ROLE, NONE, OWNER_ROLE, PLATFORM_ROLE, Function, Global, Grant, Rules, jobs

_policies, _grants = jobs("ops", {"billing_tenantprice": "SELECT INSERT"}, within_tenant=True)
_KEPT = "what was used stays on the bill when the thing is gone"

RULES = Rules(
    global_tables={
        "billing_price": Global("the platform's prices, the same for all", frozenset({"SELECT"})),
        "billing_pricebook": Global("the platform's prices, the same for all", frozenset({"SELECT"})),
    },
    policies=_policies,
    grants=(
        *_grants,
        Grant("billing_price", PLATFORM_ROLE, frozenset({"SELECT", "INSERT"})),
        Grant("billing_pricebook", PLATFORM_ROLE, frozenset({"SELECT", "INSERT"})),
    ),
    functions=(
        Function(
            "public.billing_make_partitions(date,integer)",
            "partitions belong to the owner",
            owner=OWNER_ROLE,
            callers=frozenset({PLATFORM_ROLE}),
        ),
        Function(
            "public.refuse_change()", "trigger of append-only tables", definer=False, owner=OWNER_ROLE, callers=NONE
        ),
        Function(
            "public.billing_record_usage(json)",
            "several tenants' usage in one call: the policy checks each row, as its caller",
            definer=False,
            owner=OWNER_ROLE,
            callers=frozenset({APP_ROLE}),
        ),
    ),
    triggers={
        "billing_usagerecord.append_only": "the ledger only grows",
        "billing_price.append_only": "prices are immutable",
        "billing_tenantprice.append_only": "prices are immutable",
    },
    pointers={
        "billing_usagerecord.tenant_id": _KEPT,
        "billing_usagerecord.request_id": "names the request, no row",
        "billing_usagerecord.membership_id": _KEPT,
        "billing_usagerecord.api_key_id": _KEPT,
        "billing_usagerecord.subject_id": _KEPT,
    },
)
