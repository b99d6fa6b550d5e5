"""The usage table, partitioned; the function that writes batches into it; and who may touch prices."""

from django.db import migrations

from kernel.migrations import IsolateByTenant, PlatformJob, force_row_security

USAGE = """
CREATE TABLE billing_usagerecord (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    attempt smallint NOT NULL CONSTRAINT usage_attempt CHECK (attempt >= 1),
    kind varchar(16) NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    status varchar(16) NOT NULL
        CONSTRAINT usage_status CHECK (status IN ('complete', 'stopped', 'failed', 'interrupted')),
    principal_kind varchar(16) NOT NULL,
    membership_id uuid NOT NULL,
    api_key_id uuid,
    subject_kind varchar(32),
    subject_id uuid,
    alias varchar(200) NOT NULL,
    provider varchar(64) NOT NULL,
    connection varchar(120) NOT NULL,
    model varchar(200) NOT NULL,
    platform_paid boolean NOT NULL,
    input bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost_nano bigint NOT NULL,
    sell_nano bigint NOT NULL,
    charge_lines jsonb NOT NULL,
    estimated boolean NOT NULL,
    streamed boolean NOT NULL,
    latency_ms integer NOT NULL,
    ttft_ms integer,
    finish_reason varchar(32),
    error_code varchar(64),
    provider_usage jsonb,
    CONSTRAINT usage_key PRIMARY KEY (tenant_id, request_id, attempt, kind),
    CONSTRAINT usage_not_negative CHECK (
        input >= 0 AND cache_read >= 0 AND cache_write >= 0 AND output >= 0 AND reasoning >= 0
        AND cost_nano >= 0 AND sell_nano >= 0 AND latency_ms >= 0 AND ttft_ms >= 0
    )
) PARTITION BY RANGE (request_id);
"""

INDEXES = [
    "CREATE INDEX usage_by_time ON billing_usagerecord (tenant_id, at)",
    "CREATE INDEX usage_by_id ON billing_usagerecord (tenant_id, id)",
    "CREATE INDEX usage_by_member ON billing_usagerecord (tenant_id, membership_id, id)",
]

APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
REVOKE ALL ON FUNCTION refuse_change() FROM PUBLIC;
"""

# A month's partition: its bounds are the first UUIDv7 of the month and of the next. What lies outside of every month made so
# far goes to the default partition, so nothing is ever refused for want of one.
PARTITIONS = """
CREATE FUNCTION billing_make_partitions(first_month date, months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since timestamptz;
    name text;
    made integer := 0;
BEGIN
    IF months NOT BETWEEN 1 AND 120 THEN
        RAISE EXCEPTION 'months: from 1 to 120';
    END IF;
    FOR step IN 0 .. months - 1 LOOP
        since := (date_trunc('month', first_month) + make_interval(months => step))::timestamp AT TIME ZONE 'UTC';
        name := 'billing_usagerecord_' || to_char(since AT TIME ZONE 'UTC', 'YYYYMM');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE public.%I PARTITION OF public.billing_usagerecord FOR VALUES FROM (%L) TO (%L)',
            name,
            (lpad(to_hex((extract(epoch FROM since) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid,
            (lpad(to_hex((extract(epoch FROM ((since AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')
                          * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
        );
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION billing_make_partitions(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_make_partitions(date, integer) TO parley_platform;
"""

# One batch may hold several tenants' events. It runs with its caller's rights: for each tenant the setting is written and the
# policy checks every row, so an event can only land in the tenant it names. A bad event fails alone; a known one is skipped.
RECORD = """
CREATE FUNCTION billing_record_usage(batch jsonb) RETURNS TABLE (refused_position integer, problem text)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    share record;
    event jsonb;
BEGIN
    FOR share IN
        SELECT e.value ->> 'tenant_id' AS tenant, jsonb_agg(e.value ORDER BY e.value -> 'position') AS events
        FROM jsonb_array_elements(batch) e GROUP BY 1 ORDER BY 1
    LOOP
        PERFORM set_config('app.tenant_id', coalesce(share.tenant, ''), true);
        BEGIN
            INSERT INTO public.billing_usagerecord
            SELECT * FROM jsonb_populate_recordset(NULL::public.billing_usagerecord, share.events)
            ON CONFLICT DO NOTHING;
        EXCEPTION WHEN OTHERS THEN
            FOR event IN SELECT * FROM jsonb_array_elements(share.events) LOOP
                BEGIN
                    INSERT INTO public.billing_usagerecord
                    SELECT * FROM jsonb_populate_record(NULL::public.billing_usagerecord, event)
                    ON CONFLICT DO NOTHING;
                EXCEPTION WHEN OTHERS THEN
                    refused_position := (event ->> 'position')::integer;
                    problem := SQLERRM;
                    RETURN NEXT;
                END;
            END LOOP;
        END;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END
$$;
REVOKE ALL ON FUNCTION billing_record_usage(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_record_usage(jsonb) TO parley_app;
"""


def append_only(table: str) -> str:
    return (
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("tenants", "0002_isolation")]

    operations = [
        migrations.RunSQL(USAGE),
        migrations.RunSQL("CREATE TABLE billing_usagerecord_default PARTITION OF billing_usagerecord DEFAULT"),
        migrations.RunSQL(force_row_security("billing_usagerecord_default")),
        migrations.RunSQL(INDEXES),
        migrations.RunSQL(PARTITIONS),
        migrations.RunSQL("SELECT billing_make_partitions((now() - interval '1 month')::date, 14)"),
        migrations.RunSQL(APPEND_ONLY),
        *(
            migrations.RunSQL(append_only(table))
            for table in ("billing_usagerecord", "billing_price", "billing_tenantprice")
        ),
        IsolateByTenant("billing_usagerecord", grants=("SELECT", "INSERT")),
        IsolateByTenant("billing_tenantprice", grants=("SELECT", "INSERT")),
        migrations.RunSQL(RECORD),
        # Prices of the platform are no tenant's secret; only operators set them.
        migrations.RunSQL("GRANT SELECT ON billing_price, billing_pricebook TO parley_app, parley_platform"),
        migrations.RunSQL("GRANT INSERT ON billing_price, billing_pricebook TO parley_platform"),
        PlatformJob("billing_tenantprice", "ops", "SELECT", within_tenant="tenant_id"),
        PlatformJob("billing_tenantprice", "ops", "INSERT", within_tenant="tenant_id"),
    ]
