"""Prices of the platform, and the usage table that is partitioned by month."""

from tests.isolation.rules import (
    IN_TENANT,
    LOOKUP_ROLE,
    NONE,
    OWNER_ROLE,
    PLATFORM_ROLE,
    Function,
    Global,
    Grant,
    Policy,
    Rules,
    gather,
    jobs,
    lookups,
)

_WRITTEN = {
    "billing_usagerecord": "SELECT INSERT",
    "billing_entry": "SELECT INSERT",
    "billing_account": "SELECT INSERT UPDATE",
    "billing_budgetbalance": "SELECT INSERT UPDATE",
    "billing_hold": "SELECT INSERT UPDATE DELETE",
    "billing_alert": "SELECT INSERT",
    "billing_budget": "SELECT INSERT UPDATE",
    "billing_funds": "SELECT",
    "billing_creditgrant": "SELECT",
}
"""What the ledger's functions, and nobody else, write: bound to the tenant in force."""
_policies, _grants = gather(
    lookups({"billing_paymentcustomer": "tenant_id provider external_id"}),
    jobs(
        "ops",
        {
            "billing_tenantprice": "SELECT INSERT",
            "billing_budget": "SELECT INSERT UPDATE DELETE",
            "billing_budgetbalance": "SELECT",
        },
        within_tenant=True,
    ),
    jobs("reaper", {"billing_hold": "SELECT"}, within_tenant=False),
    jobs("rollups", {"billing_rollupmark": "SELECT"}, within_tenant=False),
    jobs("verify", {"billing_verification": "SELECT"}, within_tenant=False),
    (
        (Policy("billing_usagerecord", "rollups_select", "SELECT", PLATFORM_ROLE, "true"),),
        (Grant("billing_usagerecord", PLATFORM_ROLE, frozenset({"SELECT(tenant_id)", "SELECT(tx)"})),),
    ),
    (
        tuple(Policy(table, "definers_write", "ALL", LOOKUP_ROLE, IN_TENANT, IN_TENANT) for table in _WRITTEN),
        tuple(Grant(table, LOOKUP_ROLE, frozenset(text.split())) for table, text in _WRITTEN.items()),
    ),
    (
        (
            Policy("billing_alert", "alerts_select", "SELECT", PLATFORM_ROLE, "true"),
            Policy("billing_alert", "alerts_update", "UPDATE", PLATFORM_ROLE, "true", "true"),
        ),
        (Grant("billing_alert", PLATFORM_ROLE, frozenset({"SELECT", "UPDATE(told_at)"})),),
    ),
)
_DUE = {
    "billing_subscription": "tenant_id due_at",
    "billing_funds": "tenant_id needs_check",
    "billing_creditgrant": "tenant_id is_open expires_at source",
}
"""What the jobs that look after plans see across tenants: whose turn it is."""
_plan_policies, _ = jobs("plans", dict.fromkeys(_DUE, "SELECT"), within_tenant=False)
_DUE_INVOICES = "id tenant_id kind state number until until_tx finalize_at final_at due_at overdue_at written_at"
_invoice_policies, _schedule_grants = jobs(
    "invoices", {"billing_invoice": "SELECT", "billing_invoiceschedule": "SELECT"}, within_tenant=False
)
_KEPT = "what was used stays on the bill when the thing is gone"

RULES = Rules(
    global_tables={
        "billing_price": Global("the platform's prices, the same for all", frozenset({"SELECT"})),
        "billing_pricebook": Global("the platform's prices, the same for all", frozenset({"SELECT"})),
        "billing_plan": Global("what the platform offers, the same for all", frozenset({"SELECT"})),
    },
    policies=(*_policies, *_plan_policies, *_invoice_policies),
    grants=(
        *_grants,
        *(
            Grant(table, PLATFORM_ROLE, frozenset(f"SELECT({column})" for column in columns.split()))
            for table, columns in {**_DUE, "billing_invoice": _DUE_INVOICES}.items()
        ),
        *(grant for grant in _schedule_grants if grant.table == "billing_invoiceschedule"),
        Grant("billing_plan", PLATFORM_ROLE, frozenset({"SELECT", "INSERT", "UPDATE(is_offered)"})),
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
            "public.billing_note_tightening()",
            "trigger of budgets",
            definer=False,
            owner=OWNER_ROLE,
            callers=NONE,
        ),
        Function(
            "public.billing_keep_owners()",
            "trigger of budgets",
            definer=False,
            owner=OWNER_ROLE,
            callers=NONE,
        ),
        Function("lookup.funds_open(uuid,uuid,text)", "makes the budget of credit, within its tenant"),
        Function("lookup.funds_limit(uuid,text)", "sets that budget to what the credit says, within its tenant"),
        Function(
            "lookup.holds_put_off(uuid,uuid[])",
            "lets holds wait that can't be resolved, within their tenant",
            callers=frozenset({PLATFORM_ROLE}),
        ),
        Function(
            "public.billing_guard_invoice()", "trigger of invoices", definer=False, owner=OWNER_ROLE, callers=NONE
        ),
        Function(
            "public.billing_guard_lines()", "trigger of invoices' lines", definer=False, owner=OWNER_ROLE, callers=NONE
        ),
        Function(
            "lookup.ledger_commit(json,integer,integer)", "admits and settles several tenants' requests in one call"
        ),
        Function(
            "lookup.ledger_share(uuid,json,json,uuid[],bigint[],bigint[],boolean,boolean,json,uuid[],text[],integer,integer)",
            "admits and settles one tenant's requests",
        ),
        Function(
            "lookup.tenant_of_payment_customer(text,text)",
            "what a payment provider tells names its customer, no tenant",
        ),
        Function(
            "lookup.balances_of(uuid[])", "balances of the tenants whose people have a socket open, each read as itself"
        ),
        Function("lookup.ledger_post(uuid,json)", "entries of what is no request, within their tenant"),
        *(
            Function(f"lookup.{signature}", "a part of ledger_commit", callers=NONE)
            for signature in (
                "ledger_open(uuid)",
                "ledger_balance(uuid,json,uuid[],text[],integer,uuid[],date[],bigint[],bigint[],bigint[],bigint[])",
                "ledger_settle(uuid,json,uuid[],bigint[],bigint[])",
                "ledger_settle_with_care(uuid,json,uuid[],boolean)",
                "ledger_checkpoint(uuid,json,integer,integer)",
            )
        ),
    ),
    indexes={
        "payment_customer_key": "a provider's customer is one tenant's",
        "subscription_due": "the job that renews goes across tenants",
        **{
            f"invoice_{what}": "the job that makes invoices goes across tenants"
            for what in ("drafts", "due", "unwritten")
        },
        "credit_grant_expiry": "the job that lets credit expire goes across tenants",
    },
    triggers={
        "billing_budget.owners": "budgets of operators and plans are not the tenant's to write",
        "billing_budget.tightening": "notes when a limit began to bind, which its check has to know",
        "billing_usagerecord.append_only": "the ledger only grows",
        "billing_invoice.guard": "what is final stays as it is",
        "billing_invoiceline.guard_inserted": "what is final gets no more lines",
        "billing_invoiceline.guard_deleted": "what is final keeps its lines",
        "billing_invoiceline.no_update": "lines are written anew, never changed",
        "billing_invoicepayment.append_only": "what was paid is undone by another row",
        "billing_entry.append_only": "the ledger only grows",
        "billing_price.append_only": "prices are immutable",
        "billing_tenantprice.append_only": "prices are immutable",
    },
    pointers={
        "billing_usagerecord.tenant_id": _KEPT,
        "billing_entry.tenant_id": _KEPT,
        **{
            f"billing_{table}.external_id": "what a payment provider calls it"
            for table in ("checkout", "payment", "paymentcustomer", "paymentevent", "paymentreturn")
        },
        "billing_checkout.membership_id": "who began it, who may be gone",
        "billing_entry.source_id": "names what it was posted for, in whichever table",
        "billing_hold.tenant_id": "goes with its request",
        "billing_hold.request_id": "names the request, no row",
        "billing_usagerecord.request_id": "names the request, no row",
        "billing_usagerecord.membership_id": _KEPT,
        "billing_usagerecord.api_key_id": _KEPT,
        "billing_usagerecord.subject_id": _KEPT,
        "billing_billingprofile.tax_id": "what the tax authority calls the company",
        "billing_invoiceline.membership_id": _KEPT,
        "billing_invoiceline.api_key_id": _KEPT,
        "billing_usagerollup.membership_id": _KEPT,
        "billing_usagerollup.api_key_id": _KEPT,
        "billing_usagerollup.subject_id": _KEPT,
    },
)
