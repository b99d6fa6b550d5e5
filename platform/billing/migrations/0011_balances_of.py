"""How several tenants' balances stand, in one call: each is read as its tenant."""

from django.db import migrations

from kernel.migrations import Definer

BALANCES_OF = """
DECLARE
    one uuid;
BEGIN
    FOREACH one IN ARRAY tenants LOOP
        PERFORM set_config('app.tenant_id', one::text, true);
        RETURN QUERY
        SELECT one,
            coalesce((
                SELECT a.debits_nano - a.credits_nano FROM public.billing_account a
                WHERE a.tenant_id = one AND a.kind = 'customer'
            ), 0),
            (
                SELECT b.limit_amount - coalesce(s.settled + s.held, 0)
                FROM public.billing_budget b
                LEFT JOIN public.billing_budgetbalance s
                    ON s.tenant_id = one AND s.budget_id = b.id AND s.period_start = '1970-01-01'
                WHERE b.tenant_id = one AND b.scope = 'funds' AND b.owner = 'plan' AND b.mode = 'hard'
            );
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_payments")]

    operations = [
        Definer(
            "balances_of",
            "tenants uuid[]",
            "TABLE (tenant uuid, owed_nano bigint, funds_nano bigint)",
            BALANCES_OF,
            volatility="VOLATILE",
            language="plpgsql",
        ),
    ]
