"""The ledger's functions: admit, settle, checkpoint and post. Each item carries its tenant, taken from the authenticated
caller; per tenant the setting is written first, and every row that is read or written is held to it.

All that is done for one tenant is done under a lock on its `customer` account, taken in the order of tenants: what is read
of balances stays true until the transaction ends, and two batches can't wait for one another."""

from django.db import migrations

from billing.types import ACCOUNTS
from kernel.migrations import Definer

_KINDS = ", ".join(f"'{kind}'" for kind in ACCOUNTS)

# The tenant is put in force, its books are opened if they aren't yet, and locked.
OPEN_BOOKS = f"""
BEGIN
    PERFORM set_config('app.tenant_id', of_tenant::text, true);
    PERFORM 1 FROM public.billing_account WHERE tenant_id = of_tenant AND kind = 'customer' FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO public.billing_account (tenant_id, kind)
        SELECT of_tenant, unnest(ARRAY[{_KINDS}]) ON CONFLICT DO NOTHING;
        PERFORM 1 FROM public.billing_account WHERE tenant_id = of_tenant AND kind = 'customer' FOR UPDATE;
    END IF;
END
"""

# Requests are admitted one after the other against every budget that applies to them. One that doesn't fit gets a smaller
# cap of output, if the smallest that makes sense fits; else nothing is held, and the budget in its way is named.
ADMIT = """
DECLARE
    zone text;
    budget record;
    ask record;
    known uuid[];
    names text[] := '{}';
    budgets uuid[] := '{}'; scopes text[] := '{}'; starts date[] := '{}'; modes text[] := '{}'; money boolean[] := '{}';
    limits bigint[] := '{}'; used bigint[] := '{}'; added bigint[] := '{}'; shadowed bigint[] := '{}';
    number integer := 0;
    hit integer; fits bigint; fit bigint; held_nano bigint; held_tokens bigint;
    mine uuid[]; since date[]; blocker integer; bound boolean;
    refusers integer[] := '{}';
BEGIN
    SELECT array_agg(h.request_id) INTO known
    FROM public.billing_hold h
    WHERE h.tenant_id = of_tenant
      AND h.request_id IN (SELECT (a.value ->> 'request_id')::uuid FROM json_array_elements(asks) a);
    FOR budget IN
        SELECT b.id, b.name, b.scope, b.mode, b.measure, b.limit_amount, p.since,
               s.held + s.settled AS used, s.budget_id IS NULL AS fresh
        FROM public.billing_budget b
        JOIN public.tenants_tenant t ON t.id = b.tenant_id
        CROSS JOIN LATERAL (
            SELECT CASE b.period
                WHEN 'day' THEN (now() AT TIME ZONE t.timezone)::date
                WHEN 'month' THEN date_trunc('month', now() AT TIME ZONE t.timezone)::date
                ELSE DATE '1970-01-01'
            END AS since
        ) p
        LEFT JOIN public.billing_budgetbalance s
            ON s.tenant_id = of_tenant AND s.budget_id = b.id AND s.period_start = p.since
        WHERE b.tenant_id = of_tenant AND b.active AND b.scope = ANY (ARRAY(
            SELECT DISTINCT e.value
            FROM json_array_elements(asks) a CROSS JOIN LATERAL json_array_elements_text(a.value -> 'scopes') e
        ))
        ORDER BY b.id
    LOOP
        number := number + 1;
        budgets[number] := budget.id;
        names[number] := budget.name;
        scopes[number] := budget.scope;
        starts[number] := budget.since;
        modes[number] := budget.mode;
        money[number] := budget.measure = 'nano';
        limits[number] := budget.limit_amount;
        used[number] := coalesce(budget.used, 0);
        added[number] := 0;
        shadowed[number] := 0;
        IF budget.fresh THEN
            INSERT INTO public.billing_budgetbalance (tenant_id, budget_id, period_start, measure)
            VALUES (of_tenant, budget.id, budget.since, budget.measure);
        END IF;
    END LOOP;

    FOR ask IN
        SELECT * FROM json_to_recordset(asks) AS a (
            position integer, request_id uuid, scopes text[], state text, facts jsonb, cap_tokens bigint,
            least_tokens bigint, input_nano bigint, input_tokens bigint, output_nano_per_mtok bigint, amount_nano bigint
        )
    LOOP
        place := ask.position;
        refused_by := NULL;
        IF ask.request_id = ANY (known) THEN
            -- The same batch again, whose answer was lost on the way; or the same request twice in this one.
            SELECT h.cap_tokens, h.amount_nano, cardinality(h.budgets) > 0 INTO granted_tokens, granted_nano, bounded
            FROM public.billing_hold h WHERE h.tenant_id = of_tenant AND h.request_id = ask.request_id;
            RETURN NEXT;
            CONTINUE;
        END IF;
        fits := ask.cap_tokens;
        blocker := NULL;
        mine := '{}'; since := '{}'; bound := false;
        FOR hit IN 1 .. number LOOP
            CONTINUE WHEN NOT scopes[hit] = ANY (ask.scopes);
            mine := mine || budgets[hit];
            since := since || starts[hit];
            IF money[hit] THEN
                IF used[hit] + ask.amount_nano <= limits[hit] THEN
                    fit := ask.cap_tokens;
                ELSIF limits[hit] - used[hit] < ask.input_nano OR ask.output_nano_per_mtok = 0 THEN
                    fit := -1;
                ELSE
                    fit := least(ask.cap_tokens, floor(
                        (limits[hit] - used[hit] - ask.input_nano)::numeric * 1000000 / ask.output_nano_per_mtok
                    )::bigint);
                END IF;
            ELSE
                fit := least(ask.cap_tokens, limits[hit] - used[hit] - ask.input_tokens);
            END IF;
            IF modes[hit] = 'hard' THEN
                bound := true;
                IF fit < fits THEN
                    fits := fit;
                    blocker := hit;
                END IF;
            ELSIF modes[hit] = 'shadow' AND fit < ask.least_tokens THEN
                shadowed[hit] := shadowed[hit] + 1;
            END IF;
        END LOOP;
        IF fits < ask.least_tokens THEN
            granted_tokens := NULL;
            granted_nano := 0;
            bounded := true;
            refusers := refusers || blocker;
            refused_by := json_build_object(
                'budget', budgets[blocker], 'name', names[blocker], 'scope', scopes[blocker], 'limit', limits[blocker],
                'available', greatest(limits[blocker] - used[blocker], 0),
                'measure', CASE WHEN money[blocker] THEN 'nano' ELSE 'tokens' END, 'period_start', starts[blocker]
            );
            RETURN NEXT;
            CONTINUE;
        END IF;
        held_nano := CASE WHEN fits = ask.cap_tokens THEN ask.amount_nano ELSE
            least(ask.amount_nano, ask.input_nano + ceil(fits::numeric * ask.output_nano_per_mtok / 1000000)::bigint)
        END;
        held_tokens := ask.input_tokens + fits;
        FOR hit IN 1 .. number LOOP
            CONTINUE WHEN NOT scopes[hit] = ANY (ask.scopes);
            used[hit] := used[hit] + CASE WHEN money[hit] THEN held_nano ELSE held_tokens END;
            added[hit] := added[hit] + CASE WHEN money[hit] THEN held_nano ELSE held_tokens END;
        END LOOP;
        INSERT INTO public.billing_hold (
            tenant_id, request_id, state, amount_nano, tokens, cap_tokens, budgets, periods, facts, expires_at
        ) VALUES (
            of_tenant, ask.request_id, ask.state, held_nano, held_tokens, fits, mine, since, ask.facts,
            now() + make_interval(secs => stale_after_s)
        );
        known := known || ask.request_id;
        granted_tokens := fits;
        granted_nano := held_nano;
        bounded := bound;
        RETURN NEXT;
    END LOOP;

    IF number > 0 THEN
        UPDATE public.billing_budgetbalance s
        SET held = s.held + x.added, would_refuse = s.would_refuse + x.shadowed
        FROM unnest(budgets, starts, added, shadowed) AS x (budget_id, since, added, shadowed)
        WHERE s.tenant_id = of_tenant AND s.budget_id = x.budget_id AND s.period_start = x.since
          AND (x.added > 0 OR x.shadowed > 0);
    END IF;
    IF cardinality(refusers) > 0 THEN
        -- A budget's first refusal in a period is told, as the threshold 0.
        INSERT INTO public.billing_alert (tenant_id, budget_id, period_start, threshold, settled, limit_amount)
        SELECT of_tenant, s.budget_id, s.period_start, 0, s.settled, limits[r.place]
        FROM (SELECT DISTINCT unnest(refusers) AS place) r
        JOIN public.billing_budgetbalance s
            ON s.tenant_id = of_tenant AND s.budget_id = budgets[r.place] AND s.period_start = starts[r.place]
        WHERE NOT EXISTS (
            SELECT FROM public.billing_alert a
            WHERE a.tenant_id = of_tenant AND a.budget_id = s.budget_id AND a.period_start = s.period_start
              AND a.threshold = 0
        )
        ON CONFLICT DO NOTHING;
    END IF;
END
"""

# Usage is inserted once for ever; only what is new is charged. What is charged to a request that budgets bound never passes
# its hold: where more was used, the hold is raised first as far as its budgets allow, and the rest is the platform's loss.
SETTLE = """
DECLARE
    over record;
    more_nano bigint; more_tokens bigint;
BEGIN
    FOR over IN
        SELECT h.request_id, h.amount_nano, h.tokens, h.budgets, h.periods, i.sell_nano, i.used_tokens
        FROM json_to_recordset(items) AS i (request_id uuid, sell_nano bigint, used_tokens bigint, over boolean)
        JOIN public.billing_hold h ON h.tenant_id = of_tenant AND h.request_id = i.request_id
        WHERE i.over AND cardinality(h.budgets) > 0
    LOOP
        SELECT least(greatest(over.sell_nano - over.amount_nano, 0),
                     min(b.limit_amount - s.held - s.settled) FILTER (WHERE s.measure = 'nano' AND b.mode = 'hard')),
               least(greatest(over.used_tokens - over.tokens, 0),
                     min(b.limit_amount - s.held - s.settled) FILTER (WHERE s.measure = 'tokens' AND b.mode = 'hard'))
        INTO more_nano, more_tokens
        FROM public.billing_budgetbalance s
        JOIN public.billing_budget b ON b.tenant_id = s.tenant_id AND b.id = s.budget_id
        WHERE s.tenant_id = of_tenant
          AND (s.budget_id, s.period_start) IN (SELECT * FROM unnest(over.budgets, over.periods));
        more_nano := greatest(more_nano, 0);
        more_tokens := greatest(more_tokens, 0);
        UPDATE public.billing_hold h SET amount_nano = h.amount_nano + more_nano, tokens = h.tokens + more_tokens
        WHERE h.tenant_id = of_tenant AND h.request_id = over.request_id;
        UPDATE public.billing_budgetbalance s
        SET held = s.held + CASE WHEN s.measure = 'nano' THEN more_nano ELSE more_tokens END
        WHERE s.tenant_id = of_tenant
          AND (s.budget_id, s.period_start) IN (SELECT * FROM unnest(over.budgets, over.periods));
    END LOOP;

    WITH item AS MATERIALIZED (
        SELECT * FROM json_to_recordset(items) AS i (
            position integer, request_id uuid, held boolean, used_tokens bigint, usage json
        )
    ), gone AS (
        DELETE FROM public.billing_hold h USING item i
        WHERE h.tenant_id = of_tenant AND h.request_id = i.request_id AND i.held
        RETURNING h.request_id, h.amount_nano, h.tokens, h.budgets, h.periods
    ), priced AS (
        SELECT u.*, CASE
            WHEN NOT i.held OR u.sell_nano = 0 THEN u.sell_nano
            WHEN g.request_id IS NOT NULL AND cardinality(g.budgets) = 0 THEN u.sell_nano
            -- Of several attempts each is charged as far as those before it left something of the hold.
            WHEN g.request_id IS NOT NULL THEN least(u.sell_nano, greatest(0, g.amount_nano - coalesce(sum(u.sell_nano) OVER (
                PARTITION BY u.request_id, i.position ORDER BY u.attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0)))
            -- Its hold is gone: it was too late. Where budgets bind, there is nothing left to charge it to.
            WHEN EXISTS (
                SELECT FROM public.billing_budget b
                WHERE b.tenant_id = of_tenant AND b.active AND b.mode = 'hard' AND b.measure = 'nano'
            ) THEN 0
            ELSE u.sell_nano
        END AS charged_nano
        FROM item i
        CROSS JOIN LATERAL json_populate_recordset(NULL::public.billing_usagerecord, i.usage) u
        LEFT JOIN gone g ON g.request_id = i.request_id
    ), fresh AS (
        INSERT INTO public.billing_usagerecord (
            tenant_id, request_id, attempt, kind, id, at, status, principal_kind, membership_id, api_key_id, subject_kind,
            subject_id, alias, provider, connection, model, platform_paid, input, cache_read, cache_write, output, reasoning,
            cost_nano, sell_nano, loss_nano, charge_lines, estimated, streamed, latency_ms, ttft_ms, finish_reason,
            error_code, provider_usage, cache
        )
        SELECT of_tenant, p.request_id, p.attempt, p.kind, p.id, p.at, p.status, p.principal_kind, p.membership_id,
            p.api_key_id, p.subject_kind, p.subject_id, p.alias, p.provider, p.connection, p.model, p.platform_paid, p.input,
            p.cache_read, p.cache_write, p.output, p.reasoning, p.cost_nano, p.charged_nano,
            p.loss_nano + p.sell_nano - p.charged_nano, p.charge_lines, p.estimated, p.streamed, p.latency_ms, p.ttft_ms,
            p.finish_reason, p.error_code, p.provider_usage, p.cache
        FROM priced p
        ON CONFLICT DO NOTHING
        RETURNING request_id, attempt, cost_nano, sell_nano, loss_nano
    ), posted AS (
        INSERT INTO public.billing_entry (tenant_id, source_id, kind, line, debit, credit, amount_nano)
        SELECT of_tenant, f.request_id, e.kind, f.attempt, e.debit, e.credit, e.amount_nano
        FROM fresh f
        CROSS JOIN LATERAL (VALUES
            ('usage', 'customer', 'revenue', f.sell_nano),
            ('loss', 'platform_loss', 'revenue', f.loss_nano),
            ('cost', 'provider_cost', 'provider_payable', f.cost_nano)
        ) AS e (kind, debit, credit, amount_nano)
        WHERE e.amount_nano > 0
        RETURNING debit, credit, amount_nano
    ), moved AS (
        UPDATE public.billing_account a
        SET debits_nano = a.debits_nano + m.debits, credits_nano = a.credits_nano + m.credits
        FROM (
            SELECT e.kind, sum(e.debit) AS debits, sum(e.credit) AS credits
            FROM posted p CROSS JOIN LATERAL (VALUES
                (p.debit, p.amount_nano, 0), (p.credit, 0, p.amount_nano)
            ) AS e (kind, debit, credit)
            GROUP BY e.kind
        ) m
        WHERE a.tenant_id = of_tenant AND a.kind = m.kind
    ), released AS (
        -- The same request may be there twice, but its hold ends once; and what was recorded before isn't used again.
        SELECT b.budget_id, b.since, sum(g.amount_nano) AS held_nano, sum(g.tokens) AS held_tokens,
               sum(least(g.amount_nano, coalesce(f.sell_nano, 0))) AS used_nano,
               sum(CASE WHEN f.request_id IS NULL THEN 0 ELSE least(g.tokens, i.used_tokens) END) AS used_tokens
        FROM gone g
        JOIN (
            SELECT request_id, max(used_tokens) AS used_tokens FROM item GROUP BY request_id
        ) i ON i.request_id = g.request_id
        CROSS JOIN LATERAL unnest(g.budgets, g.periods) AS b (budget_id, since)
        LEFT JOIN (
            SELECT request_id, sum(sell_nano) AS sell_nano FROM fresh GROUP BY request_id
        ) f ON f.request_id = g.request_id
        GROUP BY b.budget_id, b.since
    ), settled AS (
        UPDATE public.billing_budgetbalance s
        SET held = s.held - CASE WHEN s.measure = 'nano' THEN r.held_nano ELSE r.held_tokens END,
            settled = s.settled + CASE WHEN s.measure = 'nano' THEN r.used_nano ELSE r.used_tokens END
        FROM released r
        WHERE s.tenant_id = of_tenant AND s.budget_id = r.budget_id AND s.period_start = r.since
        RETURNING s.budget_id, s.period_start, s.settled
    )
    INSERT INTO public.billing_alert (tenant_id, budget_id, period_start, threshold, settled, limit_amount)
    SELECT of_tenant, s.budget_id, s.period_start, t.threshold, s.settled, b.limit_amount
    FROM settled s
    JOIN public.billing_budget b ON b.tenant_id = of_tenant AND b.id = s.budget_id
    CROSS JOIN LATERAL unnest(b.thresholds) AS t (threshold)
    WHERE b.limit_amount > 0 AND s.settled::numeric * 100 >= t.threshold::numeric * b.limit_amount
    ON CONFLICT DO NOTHING;
END
"""

CHECKPOINT = """
    UPDATE public.billing_hold h
    SET state = c.state, checkpoint_output = greatest(h.checkpoint_output, c.output),
        expires_at = least(now() + make_interval(secs => stale_after_s), h.created_at + make_interval(secs => longest_s))
    FROM json_to_recordset(items) AS c (request_id uuid, state text, output bigint)
    WHERE h.tenant_id = of_tenant AND h.request_id = c.request_id
"""

# One round trip for all that a process has to say, whatever tenants it is of. In case of an error the tenant's items are
# taken one by one, and a bad one fails alone.
COMMIT = """
DECLARE
    share record;
    one record;
    found record;
BEGIN
    FOR share IN
        SELECT e.key::uuid AS tenant, e.value -> 'checkpoint' AS checkpoints, e.value -> 'settle' AS settles,
               e.value -> 'admit' AS admits
        FROM json_each(batch) e ORDER BY e.key::uuid
    LOOP
        BEGIN
            PERFORM lookup.ledger_open(share.tenant);
            IF share.checkpoints IS NOT NULL THEN
                PERFORM lookup.ledger_checkpoint(share.tenant, share.checkpoints, stale_after_s, longest_s);
            END IF;
            IF share.settles IS NOT NULL THEN
                PERFORM lookup.ledger_settle(share.tenant, share.settles);
            END IF;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            FOR one IN SELECT e.value AS item FROM json_array_elements(share.settles) e LOOP
                BEGIN
                    PERFORM lookup.ledger_open(share.tenant);
                    PERFORM lookup.ledger_settle(share.tenant, json_build_array(one.item));
                EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                    place := (one.item ->> 'position')::integer;
                    problem := SQLERRM;
                    RETURN NEXT;
                END;
            END LOOP;
        END;
        problem := NULL;
        IF share.admits IS NOT NULL THEN
            BEGIN
                FOR found IN SELECT * FROM lookup.ledger_admit(share.tenant, share.admits, stale_after_s) LOOP
                    place := found.place; granted_tokens := found.granted_tokens; granted_nano := found.granted_nano;
                    bounded := found.bounded; refused_by := found.refused_by;
                    RETURN NEXT;
                END LOOP;
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                -- The function's answer comes whole or not at all, so nothing was returned of this share.
                FOR one IN SELECT e.value AS item FROM json_array_elements(share.admits) e LOOP
                    BEGIN
                        PERFORM lookup.ledger_open(share.tenant);
                        FOR found IN
                            SELECT * FROM lookup.ledger_admit(share.tenant, json_build_array(one.item), stale_after_s)
                        LOOP
                            place := found.place; granted_tokens := found.granted_tokens;
                            granted_nano := found.granted_nano; bounded := found.bounded; refused_by := found.refused_by;
                            problem := NULL;
                            RETURN NEXT;
                        END LOOP;
                    EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                        place := (one.item ->> 'position')::integer;
                        problem := SQLERRM;
                        RETURN NEXT;
                    END;
                END LOOP;
                problem := NULL;
            END;
        END IF;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END
"""

# Entries of everything that is no request: payments, credit, corrections. Returns how many were new.
POST = """
DECLARE
    new_entries integer;
BEGIN
    IF of_tenant IS DISTINCT FROM current_setting('app.tenant_id')::uuid THEN
        RAISE EXCEPTION 'entries are posted within their tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM lookup.ledger_open(of_tenant);
    WITH posted AS (
        INSERT INTO public.billing_entry (tenant_id, source_id, kind, line, debit, credit, amount_nano, reverses, reason)
        SELECT of_tenant, e.source_id, e.kind, e.line, e.debit, e.credit, e.amount_nano, e.reverses, coalesce(e.reason, '')
        FROM json_to_recordset(entries) AS e (
            source_id uuid, kind text, line smallint, debit text, credit text, amount_nano bigint, reverses uuid, reason text
        )
        ON CONFLICT DO NOTHING
        RETURNING debit, credit, amount_nano
    ), moved AS (
        UPDATE public.billing_account a
        SET debits_nano = a.debits_nano + m.debits, credits_nano = a.credits_nano + m.credits
        FROM (
            SELECT e.kind, sum(e.debit) AS debits, sum(e.credit) AS credits
            FROM posted p CROSS JOIN LATERAL (VALUES
                (p.debit, p.amount_nano, 0), (p.credit, 0, p.amount_nano)
            ) AS e (kind, debit, credit)
            GROUP BY e.kind
        ) m
        WHERE a.tenant_id = of_tenant AND a.kind = m.kind
    )
    SELECT count(*) INTO new_entries FROM posted;
    RETURN new_entries;
END
"""

INSIDE = "parley_lookup"
"""Who may call what is called by `ledger_commit` alone: its owner."""
ADMITTED = "TABLE (place integer, granted_tokens bigint, granted_nano bigint, bounded boolean, refused_by json)"


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_ledger_tables")]

    operations = [
        Definer(
            "ledger_open",
            "of_tenant uuid",
            "void",
            OPEN_BOOKS,
            volatility="VOLATILE",
            language="plpgsql",
            caller=INSIDE,
        ),
        Definer(
            "ledger_admit",
            "of_tenant uuid, asks json, stale_after_s integer",
            ADMITTED,
            ADMIT,
            volatility="VOLATILE",
            language="plpgsql",
            caller=INSIDE,
        ),
        Definer(
            "ledger_settle",
            "of_tenant uuid, items json",
            "void",
            SETTLE,
            volatility="VOLATILE",
            language="plpgsql",
            caller=INSIDE,
        ),
        Definer(
            "ledger_checkpoint",
            "of_tenant uuid, items json, stale_after_s integer, longest_s integer",
            "void",
            CHECKPOINT,
            volatility="VOLATILE",
            caller=INSIDE,
        ),
        Definer(
            "ledger_commit",
            "batch json, stale_after_s integer, longest_s integer",
            "TABLE (place integer, problem text, granted_tokens bigint, granted_nano bigint, bounded boolean, "
            "refused_by json)",
            COMMIT,
            volatility="VOLATILE",
            language="plpgsql",
        ),
        Definer(
            "ledger_post", "of_tenant uuid, entries json", "integer", POST, volatility="VOLATILE", language="plpgsql"
        ),
    ]
