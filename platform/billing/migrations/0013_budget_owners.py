"""Budgets of operators and plans are written by those alone: a tenant's own SQL can't, whatever code it comes by. The limit of
what was paid in advance is worked out here, from the credit there is. And holds that can't be resolved make room for others."""

from django.db import migrations

from kernel.migrations import PLATFORM, Definer, DefinersWrite

# The web role acts for tenants; operators' commands and the definer functions have roles of their own.
GUARD = """
CREATE FUNCTION billing_keep_owners() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_user = 'parley_app' AND (
        (TG_OP <> 'INSERT' AND OLD.owner <> 'tenant') OR (TG_OP <> 'DELETE' AND NEW.owner <> 'tenant')
    ) THEN
        RAISE EXCEPTION 'budgets of operators and plans are not the tenant''s to write'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN coalesce(NEW, OLD);
END
$$;
REVOKE ALL ON FUNCTION billing_keep_owners() FROM PUBLIC;
CREATE TRIGGER owners BEFORE INSERT OR UPDATE OR DELETE ON billing_budget
FOR EACH ROW EXECUTE FUNCTION billing_keep_owners();
"""
UNGUARD = """
DROP TRIGGER owners ON billing_budget;
DROP FUNCTION billing_keep_owners();
"""

_WITHIN = """
    IF of_tenant IS DISTINCT FROM current_setting('app.tenant_id')::uuid THEN
        RAISE EXCEPTION 'this is done within its tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
"""
OPEN_FUNDS = f"""
DECLARE
    found uuid;
BEGIN
    {_WITHIN}
    PERFORM lookup.ledger_open(of_tenant);
    SELECT b.id INTO found FROM public.billing_budget b
    WHERE b.tenant_id = of_tenant AND b.scope = 'funds' AND b.owner = 'plan';
    IF found IS NULL THEN
        INSERT INTO public.billing_budget (
            id, tenant_id, name, scope, measure, period, limit_amount, mode, thresholds, owner, active, created_at
        ) VALUES (
            new_id, of_tenant, named, 'funds', 'nano', 'total', 0, 'soft', '{{}}', 'plan', true, now()
        );
        found := new_id;
    END IF;
    RETURN found;
END
"""
# The limit is all credit there was, less what expired or was taken back, and what is owed beside it. It never falls below
# what is used and held: `is_short` says that it would have.
LIMIT_FUNDS = f"""
DECLARE
    mine record;
    credit bigint;
    floor_nano bigint;
BEGIN
    {_WITHIN}
    PERFORM lookup.ledger_open(of_tenant);
    SELECT b.id, b.limit_amount, b.mode, f.uncovered_nano, coalesce(s.settled + s.held, 0) AS used INTO mine
    FROM public.billing_funds f
    JOIN public.billing_budget b ON b.tenant_id = of_tenant AND b.id = f.budget_id AND b.owner = 'plan'
    LEFT JOIN public.billing_budgetbalance s
        ON s.tenant_id = of_tenant AND s.budget_id = b.id AND s.period_start = '1970-01-01'
    WHERE f.tenant_id = of_tenant;
    SELECT coalesce(sum(g.amount_nano - g.expired_nano - g.withdrawn_nano), 0) INTO credit
    FROM public.billing_creditgrant g WHERE g.tenant_id = of_tenant;
    mine.mode := coalesce(new_mode, mine.mode);
    floor_nano := CASE WHEN mine.mode = 'hard' THEN mine.used ELSE 0 END;
    limit_nano := greatest(credit + mine.uncovered_nano, floor_nano);
    is_short := credit + mine.uncovered_nano < floor_nano;
    UPDATE public.billing_budget b SET limit_amount = limit_nano, mode = mine.mode
    WHERE b.tenant_id = of_tenant AND b.id = mine.id AND (b.limit_amount, b.mode) IS DISTINCT FROM (limit_nano, mine.mode);
    RETURN NEXT;
END
"""

# A quarter of its age, so each attempt waits longer than the one before.
PUT_OFF = f"""
BEGIN
    {_WITHIN}
    UPDATE public.billing_hold h
    SET expires_at = now() + least(greatest((now() - h.created_at) / 4, interval '1 minute'), interval '1 hour')
    WHERE h.tenant_id = of_tenant AND h.request_id = ANY (requests);
END
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_invoices")]

    operations = [
        migrations.RunSQL(GUARD, UNGUARD),
        migrations.RunSQL(
            "GRANT INSERT, UPDATE ON billing_budget TO parley_lookup",
            "REVOKE INSERT, UPDATE ON billing_budget FROM parley_lookup",
        ),
        *(DefinersWrite(table, ("SELECT",)) for table in ("billing_funds", "billing_creditgrant")),
        Definer(
            "funds_open",
            "of_tenant uuid, new_id uuid, named text",
            "uuid",
            OPEN_FUNDS,
            volatility="VOLATILE",
            language="plpgsql",
        ),
        Definer(
            "funds_limit",
            "of_tenant uuid, new_mode text",
            "TABLE (limit_nano bigint, is_short boolean)",
            LIMIT_FUNDS,
            volatility="VOLATILE",
            language="plpgsql",
        ),
        Definer(
            "holds_put_off",
            "of_tenant uuid, requests uuid[]",
            "void",
            PUT_OFF,
            volatility="VOLATILE",
            language="plpgsql",
            caller=PLATFORM,
        ),
    ]
