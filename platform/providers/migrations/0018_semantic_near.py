"""The nearest entries of a large scope by one statement, which is prepared once on each connection.

A look-up had its statement put together, parsed and planned each time, in a transaction of several others. The type `vector` is
named in the body alone, which is looked at when it is first run: so the function is there without the extension, too. What the
extension's own settings are is said there as well, as only a superuser may say it of a function.
"""

from django.db import migrations

_SIGNATURE = "providers_semantic_near(uuid, bytea, text, integer, integer)"

NEAR = """
CREATE FUNCTION providers_semantic_near(of_tenant uuid, of_scope bytea, near text, ttl_s integer, most integer)
RETURNS TABLE (id uuid, membership_id uuid, confirmed boolean, cluster uuid, question bytea, cosine double precision)
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET enable_sort = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('app.tenant_id', of_tenant::text, true),
        set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '60', true);
    RETURN QUERY
    SELECT n.id, n.membership_id, n.confirmed, n.cluster, n.question, 1 - n.distance FROM (
        SELECT e.id, e.membership_id, e.confirmed, e.cluster, e.question,
            e.embedding::public.vector(384) OPERATOR(public.<=>) (SELECT near::public.vector(384)) AS distance
        FROM public.providers_semanticentry e
        WHERE e.scope = of_scope AND e.dimensions = 384 AND e.expires_at > now() AND e.size > 0
            AND e.created_at > now() - ttl_s * interval '1 second'
        ORDER BY e.embedding::public.vector(384) OPERATOR(public.<=>) (SELECT near::public.vector(384)) LIMIT most
    ) n;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("providers", "0017_results_kept")]

    operations = [
        migrations.RunSQL(
            f"{NEAR} REVOKE ALL ON FUNCTION {_SIGNATURE} FROM PUBLIC; GRANT EXECUTE ON FUNCTION {_SIGNATURE} TO parley_app;",
            f"DROP FUNCTION {_SIGNATURE}",
        )
    ]
