"""How an answer was come by (a provider, a cache, another's answer in flight), and a batch writer that reads it."""

from django.db import migrations

COLUMN = """
ALTER TABLE billing_usagerecord ADD COLUMN cache varchar(16) NOT NULL DEFAULT 'bypass'
    CONSTRAINT usage_cache CHECK (cache IN ('exact', 'semantic', 'dedupe', 'miss', 'bypass'));
DROP FUNCTION billing_record_usage(jsonb);
"""

# The batch is an object: a tenant's id → the list of its events. As before it runs with its caller's rights: for each tenant
# the setting is written and the policy checks every row, so an event can only land in the tenant it is listed under. A bad
# event fails alone; a known one is skipped. `json`, not `jsonb`: each event is read once, where it is inserted.
RECORD = """
CREATE FUNCTION billing_record_usage(batch json) RETURNS TABLE (refused_position integer, problem text)
LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    share record;
    event json;
BEGIN
    FOR share IN SELECT key AS tenant, value AS events FROM json_each(batch) ORDER BY key LOOP
        PERFORM set_config('app.tenant_id', share.tenant, true);
        BEGIN
            INSERT INTO public.billing_usagerecord
            SELECT * FROM json_populate_recordset(NULL::public.billing_usagerecord, share.events)
            ON CONFLICT DO NOTHING;
        EXCEPTION WHEN OTHERS THEN
            FOR event IN SELECT * FROM json_array_elements(share.events) LOOP
                BEGIN
                    INSERT INTO public.billing_usagerecord
                    SELECT * FROM json_populate_record(NULL::public.billing_usagerecord, event)
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
REVOKE ALL ON FUNCTION billing_record_usage(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_record_usage(json) TO parley_app;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_usage")]

    operations = [migrations.RunSQL(COLUMN), migrations.RunSQL(RECORD)]
