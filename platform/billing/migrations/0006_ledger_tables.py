"""The ledger's tables, partitioned where they grow for ever, and who may write them: the definer functions alone."""

from django.db import migrations

from billing.types import ACCOUNTS
from kernel.migrations import DefinersWrite, IsolateByTenant, PlatformJob, force_row_security

_KINDS = ", ".join(f"'{kind}'" for kind in ACCOUNTS)

TABLES = [
    f"""
    CREATE TABLE billing_account (
        tenant_id uuid NOT NULL REFERENCES tenants_tenant (id),
        kind varchar(20) NOT NULL CONSTRAINT account_kind CHECK (kind IN ({_KINDS})),
        debits_nano bigint NOT NULL DEFAULT 0,
        credits_nano bigint NOT NULL DEFAULT 0,
        CONSTRAINT account_key PRIMARY KEY (tenant_id, kind),
        CONSTRAINT account_not_negative CHECK (debits_nano >= 0 AND credits_nano >= 0)
    ) WITH (fillfactor = 50)
    """,
    f"""
    CREATE TABLE billing_entry (
        tenant_id uuid NOT NULL,
        source_id uuid NOT NULL,
        kind varchar(20) NOT NULL,
        line smallint NOT NULL CONSTRAINT entry_line CHECK (line >= 0),
        debit varchar(20) NOT NULL CONSTRAINT entry_debit CHECK (debit IN ({_KINDS})),
        credit varchar(20) NOT NULL CONSTRAINT entry_credit CHECK (credit IN ({_KINDS})),
        amount_nano bigint NOT NULL CONSTRAINT entry_amount CHECK (amount_nano > 0),
        at timestamptz NOT NULL DEFAULT now(),
        reverses uuid,
        reason varchar(200) NOT NULL DEFAULT '',
        CONSTRAINT entry_key PRIMARY KEY (tenant_id, source_id, kind, line),
        CONSTRAINT entry_two_accounts CHECK (debit <> credit)
    ) PARTITION BY RANGE (source_id)
    """,
    """
    CREATE TABLE billing_hold (
        tenant_id uuid NOT NULL,
        request_id uuid NOT NULL,
        state varchar(16) NOT NULL
            CONSTRAINT hold_state CHECK (state IN ('reserved', 'sent', 'streaming')),
        amount_nano bigint NOT NULL,
        tokens bigint NOT NULL,
        cap_tokens bigint NOT NULL,
        budgets uuid[] NOT NULL,
        periods date[] NOT NULL,
        checkpoint_output bigint NOT NULL DEFAULT 0,
        facts jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT hold_key PRIMARY KEY (tenant_id, request_id),
        CONSTRAINT hold_not_negative CHECK (
            amount_nano >= 0 AND tokens >= 0 AND cap_tokens >= 0 AND checkpoint_output >= 0
        )
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
    """,
    "CREATE INDEX hold_by_expiry ON billing_hold (tenant_id, expires_at)",
    """
    CREATE TABLE billing_budgetbalance (
        tenant_id uuid NOT NULL,
        budget_id uuid NOT NULL,
        period_start date NOT NULL,
        measure varchar(8) NOT NULL,
        held bigint NOT NULL DEFAULT 0,
        settled bigint NOT NULL DEFAULT 0,
        would_refuse bigint NOT NULL DEFAULT 0,
        CONSTRAINT balance_key PRIMARY KEY (tenant_id, budget_id, period_start),
        CONSTRAINT balance_budget FOREIGN KEY (tenant_id, budget_id)
            REFERENCES billing_budget (tenant_id, id) ON DELETE CASCADE,
        CONSTRAINT balance_not_negative CHECK (held >= 0 AND settled >= 0 AND would_refuse >= 0)
    ) WITH (fillfactor = 50)
    """,
    """
    -- Lists are by id, a UUIDv7: the time in ms goes before random bits, and the version into its place.
    CREATE TABLE billing_alert (
        tenant_id uuid NOT NULL,
        budget_id uuid NOT NULL,
        period_start date NOT NULL,
        threshold smallint NOT NULL,
        id uuid NOT NULL DEFAULT encode(set_bit(set_bit(overlay(
            uuid_send(gen_random_uuid())
            PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6
        ), 52, 1), 53, 1), 'hex')::uuid,
        settled bigint NOT NULL,
        limit_amount bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        told_at timestamptz,
        CONSTRAINT alert_key PRIMARY KEY (tenant_id, budget_id, period_start, threshold),
        CONSTRAINT alert_budget FOREIGN KEY (tenant_id, budget_id)
            REFERENCES billing_budget (tenant_id, id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX alert_untold ON billing_alert (tenant_id) WHERE told_at IS NULL",
]

# Where a watermark stands is a transaction id: a record counts once every transaction before its own has ended.
USAGE = [
    "ALTER TABLE billing_usagerecord ADD COLUMN loss_nano bigint NOT NULL DEFAULT 0 "
    "CONSTRAINT usage_loss CHECK (loss_nano >= 0)",
    "ALTER TABLE billing_usagerecord ADD COLUMN tx xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE INDEX usage_by_tx ON billing_usagerecord (tenant_id, tx)",
    "DROP FUNCTION billing_record_usage(json)",
    "REVOKE INSERT ON billing_usagerecord FROM parley_app",
]

# As before, for the two tables that are partitioned by month of a UUIDv7.
PARTITIONS = """
CREATE OR REPLACE FUNCTION billing_make_partitions(first_month date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parent text;
    since timestamptz;
    name text;
    made integer := 0;
BEGIN
    IF months NOT BETWEEN 1 AND 120 THEN
        RAISE EXCEPTION 'months: from 1 to 120';
    END IF;
    FOREACH parent IN ARRAY ARRAY['billing_usagerecord', 'billing_entry'] LOOP
        FOR step IN 0 .. months - 1 LOOP
            since := (date_trunc('month', first_month) + make_interval(months => step))::timestamp AT TIME ZONE 'UTC';
            name := parent || '_' || to_char(since AT TIME ZONE 'UTC', 'YYYYMM');
            CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
            EXECUTE format(
                'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                name,
                parent,
                (lpad(to_hex((extract(epoch FROM since) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid,
                (lpad(to_hex((extract(epoch FROM ((since AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')
                              * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
            );
            EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
            EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
"""

READ_ONLY = ("billing_account", "billing_entry", "billing_hold", "billing_budgetbalance", "billing_alert")


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_budgets"), ("tenants", "0004_groups")]

    operations = [
        *(migrations.RunSQL(table) for table in TABLES),
        migrations.RunSQL("CREATE TABLE billing_entry_default PARTITION OF billing_entry DEFAULT"),
        migrations.RunSQL(force_row_security("billing_entry_default")),
        migrations.RunSQL(USAGE),
        migrations.RunSQL(PARTITIONS),
        migrations.RunSQL("SELECT billing_make_partitions((now() - interval '1 month')::date, 14)"),
        migrations.RunSQL(
            "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_entry "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        ),
        *(IsolateByTenant(table, grants=("SELECT",)) for table in READ_ONLY),
        IsolateByTenant("billing_budget"),
        DefinersWrite("billing_usagerecord", ("SELECT", "INSERT")),
        DefinersWrite("billing_entry", ("SELECT", "INSERT")),
        DefinersWrite("billing_account", ("SELECT", "INSERT", "UPDATE")),
        DefinersWrite("billing_budgetbalance", ("SELECT", "INSERT", "UPDATE")),
        DefinersWrite("billing_hold", ("SELECT", "INSERT", "UPDATE", "DELETE")),
        DefinersWrite("billing_alert", ("SELECT", "INSERT")),
        DefinersWrite("billing_budget", ("SELECT",)),
        migrations.RunSQL("GRANT SELECT (timezone) ON tenants_tenant TO parley_lookup"),
        PlatformJob("billing_hold", "reaper", "SELECT"),
        PlatformJob("billing_alert", "alerts", "SELECT"),
        PlatformJob("billing_alert", "alerts", "UPDATE", columns="told_at"),
        PlatformJob("billing_budget", "ops", "SELECT", within_tenant="tenant_id"),
        PlatformJob("billing_budget", "ops", "INSERT", within_tenant="tenant_id"),
        PlatformJob("billing_budget", "ops", "UPDATE", within_tenant="tenant_id"),
        PlatformJob("billing_budget", "ops", "DELETE", within_tenant="tenant_id"),
        PlatformJob("billing_budgetbalance", "ops", "SELECT", within_tenant="tenant_id"),
    ]
