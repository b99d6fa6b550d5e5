"""The ledger by key: a batch costs what is in it, however many holds ended before.

Holds are looked for by their requests, with plans that are made once; what is settled and what is held go into one update of the
balances, under a lock that writes nothing. `ledger_checkpoint` and `ledger_post` stay as they are."""

from importlib import import_module

from django.db import migrations

from billing.types import ACCOUNTS
from kernel.migrations import LOOKUP, Definer, DefinersGone

LOCK_KEY = "uuid_hash_extended({tenant}, 0)"
"""Two tenants of one key wait for each other, no more."""
_KINDS = ", ".join(f"'{kind}'" for kind in ACCOUNTS)

ACCOUNTS_OPENED = f"INSERT INTO public.billing_account (tenant_id, kind) SELECT of_tenant, unnest(ARRAY[{_KINDS}]);"

# The tenant is put in force, its books are locked, and opened if they aren't yet. The lock is one of the transaction, not of a
# row: it writes nothing, and who waited for it has nothing to read again.
OPEN_BOOKS = f"""
BEGIN
    PERFORM set_config('app.tenant_id', of_tenant::text, true);
    PERFORM pg_advisory_xact_lock({LOCK_KEY.format(tenant="of_tenant")});
    IF NOT EXISTS (SELECT FROM public.billing_account WHERE tenant_id = of_tenant AND kind = 'customer') THEN
        {ACCOUNTS_OPENED}
    END IF;
END
"""

# What is posted to the accounts when usage was inserted as `fresh`.
POSTED = """
    INSERT INTO public.billing_entry (tenant_id, source_id, kind, line, debit, credit, amount_nano)
    SELECT of_tenant, f.request_id, e.kind, f.attempt, e.debit, e.credit, e.amount_nano
    FROM fresh f
    CROSS JOIN LATERAL (VALUES
        ('usage', 'customer', 'revenue', f.sell_nano),
        ('loss', 'platform_loss', 'revenue', f.loss_nano),
        ('cost', 'provider_cost', 'provider_payable', f.cost_nano)
    ) AS e (kind, debit, credit, amount_nano)
    WHERE e.amount_nano > 0
"""
ACCOUNTS_MOVED = f"""
    WHILE sold > 0 OR lost > 0 OR cost > 0 LOOP
        UPDATE public.billing_account a
        SET debits_nano = a.debits_nano + CASE a.kind
                WHEN 'customer' THEN sold WHEN 'platform_loss' THEN lost WHEN 'provider_cost' THEN cost ELSE 0 END,
            credits_nano = a.credits_nano + CASE a.kind
                WHEN 'revenue' THEN sold + lost WHEN 'provider_payable' THEN cost ELSE 0 END
        WHERE a.tenant_id = of_tenant
          AND a.kind = ANY (ARRAY['customer', 'revenue', 'provider_cost', 'provider_payable',
                                  CASE WHEN lost > 0 THEN 'platform_loss' END]);
        EXIT WHEN FOUND;
        {ACCOUNTS_OPENED}
    END LOOP;
"""

# What nearly every settlement is: its usage is new, and its hold stands and covers it. Where one isn't, all of them are taken
# one by one by `ledger_settle_with_care`. What the ended holds give back to their balances is returned, for `ledger_balance`.
SETTLE = f"""
DECLARE
    gone record;
    number integer := 0;
    place integer := 0;
    sold bigint; lost bigint; cost bigint;
    last_budgets uuid[]; last_periods date[];
    nothing bigint[];
BEGIN
    budgets := '{{}}'; periods := '{{}}';
    held_nano := '{{}}'; held_tokens := '{{}}'; used_nano := '{{}}'; used_tokens := '{{}}';
    IF cardinality(held_ids) > 0 THEN
        FOR gone IN
            DELETE FROM public.billing_hold h WHERE h.tenant_id = of_tenant AND h.request_id = ANY (held_ids)
            RETURNING h.amount_nano, h.tokens, h.budgets, h.periods, array_position(held_ids, h.request_id) AS place
        LOOP
            number := number + 1;
            CONTINUE WHEN gone.budgets = '{{}}';
            IF gone.budgets IS DISTINCT FROM last_budgets OR gone.periods IS DISTINCT FROM last_periods THEN
                last_budgets := gone.budgets;
                last_periods := gone.periods;
                nothing := array_fill(0::bigint, ARRAY[cardinality(last_budgets)]);
                place := cardinality(budgets);
                budgets := budgets || last_budgets;
                periods := periods || last_periods;
                held_nano := held_nano || nothing;
                held_tokens := held_tokens || nothing;
                used_nano := used_nano || nothing;
                used_tokens := used_tokens || nothing;
            END IF;
            FOR hit IN place + 1 .. cardinality(budgets) LOOP
                held_nano[hit] := held_nano[hit] + gone.amount_nano;
                held_tokens[hit] := held_tokens[hit] + gone.tokens;
                used_nano[hit] := used_nano[hit] + ended_nano[gone.place];
                used_tokens[hit] := used_tokens[hit] + ended_tokens[gone.place];
            END LOOP;
        END LOOP;
        IF number < cardinality(held_ids) THEN
            RAISE EXCEPTION 'a hold is gone' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF used IS NULL THEN
        RETURN;
    END IF;
    WITH fresh AS (
        INSERT INTO public.billing_usagerecord (
            tenant_id, request_id, attempt, kind, id, at, status, principal_kind, membership_id, api_key_id, subject_kind,
            subject_id, alias, provider, connection, model, platform_paid, input, cache_read, cache_write, output,
            reasoning, cost_nano, sell_nano, loss_nano, charge_lines, estimated, streamed, latency_ms, ttft_ms,
            finish_reason, error_code, provider_usage, cache
        )
        SELECT of_tenant, u.*
        FROM json_to_recordset(used) AS u (
            request_id uuid, attempt smallint, kind text, id uuid, at timestamptz, status text, principal_kind text,
            membership_id uuid, api_key_id uuid, subject_kind text, subject_id uuid, alias text, provider text,
            connection text, model text, platform_paid boolean, input bigint, cache_read bigint, cache_write bigint,
            output bigint, reasoning bigint, cost_nano bigint, sell_nano bigint, loss_nano bigint, charge_lines jsonb,
            estimated boolean, streamed boolean, latency_ms integer, ttft_ms integer, finish_reason text,
            error_code text, provider_usage jsonb, cache text
        )
        RETURNING request_id, attempt, cost_nano, sell_nano, loss_nano
    ), posted AS ({POSTED})
    SELECT sum(f.sell_nano), sum(f.loss_nano), sum(f.cost_nano) INTO sold, lost, cost FROM fresh f;
    {ACCOUNTS_MOVED}
END
"""

# Usage is inserted once for ever; only what is new is charged. What is charged to a request that budgets bound never passes
# its hold: where more was used, the hold is raised first as far as its budgets allow, and the rest is the platform's loss.
SETTLE_WITH_CARE = f"""
DECLARE
    over record;
    part record;
    more_nano bigint; more_tokens bigint;
    sold bigint := 0; lost bigint := 0; cost bigint := 0;
BEGIN
    budgets := '{{}}'; periods := '{{}}';
    held_nano := '{{}}'; held_tokens := '{{}}'; used_nano := '{{}}'; used_tokens := '{{}}';
    IF used IS NULL AND cardinality(held_ids) = 0 THEN
        RETURN;
    END IF;
    IF some_over THEN
        FOR over IN
            SELECT h.request_id, h.amount_nano, h.tokens, h.budgets, h.periods, i.all_nano, i.all_tokens
            FROM json_to_recordset(used) AS i (
                request_id uuid, attempt smallint, all_nano bigint, all_tokens bigint, over boolean
            )
            JOIN public.billing_hold h ON h.tenant_id = of_tenant AND h.request_id = i.request_id
            WHERE i.over AND cardinality(h.budgets) > 0
        LOOP
            SELECT least(greatest(over.all_nano - over.amount_nano, 0),
                         min(b.limit_amount - s.held - s.settled) FILTER (WHERE s.measure = 'nano' AND b.mode = 'hard')),
                   least(greatest(over.all_tokens - over.tokens, 0),
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
    END IF;

    FOR part IN
        WITH gone AS (
            DELETE FROM public.billing_hold h WHERE h.tenant_id = of_tenant AND h.request_id = ANY (held_ids)
            RETURNING h.request_id, h.amount_nano, h.tokens, h.budgets, h.periods
        ), item AS MATERIALIZED (
            SELECT * FROM json_to_recordset(used) AS u (
                position integer, held boolean, all_tokens bigint,
                request_id uuid, attempt smallint, kind text, id uuid, at timestamptz, status text, principal_kind text,
                membership_id uuid, api_key_id uuid, subject_kind text, subject_id uuid, alias text, provider text,
                connection text, model text, platform_paid boolean, input bigint, cache_read bigint, cache_write bigint,
                output bigint, reasoning bigint, cost_nano bigint, sell_nano bigint, loss_nano bigint, charge_lines jsonb,
                estimated boolean, streamed boolean, latency_ms integer, ttft_ms integer, finish_reason text,
                error_code text, provider_usage jsonb, cache text
            )
        ), priced AS (
            SELECT u.*, CASE
                WHEN NOT u.held OR u.sell_nano = 0 THEN u.sell_nano
                WHEN g.request_id IS NOT NULL AND cardinality(g.budgets) = 0 THEN u.sell_nano
                -- Of several attempts each is charged as far as those before it left something of the hold.
                WHEN g.request_id IS NOT NULL THEN least(u.sell_nano, greatest(0, g.amount_nano - coalesce(sum(u.sell_nano) OVER (
                    PARTITION BY u.request_id, u.position ORDER BY u.attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ), 0)))
                -- Its hold is gone: it was too late. Where budgets bind, there is nothing left to charge it to.
                WHEN EXISTS (
                    SELECT FROM public.billing_budget b
                    WHERE b.tenant_id = of_tenant AND b.active AND b.mode = 'hard' AND b.measure = 'nano'
                ) THEN 0
                ELSE u.sell_nano
            END AS charged_nano
            FROM item u LEFT JOIN gone g ON g.request_id = u.request_id
        ), fresh AS (
            INSERT INTO public.billing_usagerecord (
                tenant_id, request_id, attempt, kind, id, at, status, principal_kind, membership_id, api_key_id, subject_kind,
                subject_id, alias, provider, connection, model, platform_paid, input, cache_read, cache_write, output,
                reasoning, cost_nano, sell_nano, loss_nano, charge_lines, estimated, streamed, latency_ms, ttft_ms,
                finish_reason, error_code, provider_usage, cache
            )
            SELECT of_tenant, p.request_id, p.attempt, p.kind, p.id, p.at, p.status, p.principal_kind, p.membership_id,
                p.api_key_id, p.subject_kind, p.subject_id, p.alias, p.provider, p.connection, p.model, p.platform_paid,
                p.input, p.cache_read, p.cache_write, p.output, p.reasoning, p.cost_nano, p.charged_nano,
                p.loss_nano + p.sell_nano - p.charged_nano, p.charge_lines, p.estimated, p.streamed, p.latency_ms, p.ttft_ms,
                p.finish_reason, p.error_code, p.provider_usage, p.cache
            FROM priced p
            ON CONFLICT DO NOTHING
            RETURNING request_id, attempt, cost_nano, sell_nano, loss_nano
        ), posted AS ({POSTED})
        -- The same request may be there twice, but its hold ends once; and what was recorded before isn't used again.
        SELECT g.budgets, g.periods, sum(g.amount_nano) AS held_nano, sum(g.tokens) AS held_tokens,
               sum(least(g.amount_nano, coalesce(f.sell_nano, 0))) AS used_nano,
               sum(CASE WHEN f.request_id IS NULL THEN 0 ELSE least(g.tokens, f.all_tokens) END) AS used_tokens,
               coalesce(sum(f.sell_nano), 0) AS sold, coalesce(sum(f.loss_nano), 0) AS lost,
               coalesce(sum(f.cost_nano), 0) AS cost
        FROM gone g
        FULL JOIN (
            SELECT f.request_id, sum(f.sell_nano) AS sell_nano, sum(f.loss_nano) AS loss_nano, sum(f.cost_nano) AS cost_nano,
                   max(u.all_tokens) AS all_tokens
            FROM fresh f
            JOIN (SELECT request_id, max(all_tokens) AS all_tokens FROM item GROUP BY request_id) u
                ON u.request_id = f.request_id
            GROUP BY f.request_id
        ) f ON f.request_id = g.request_id
        GROUP BY g.budgets, g.periods
    LOOP
        sold := sold + part.sold;
        lost := lost + part.lost;
        cost := cost + part.cost;
        FOR place IN 1 .. coalesce(cardinality(part.budgets), 0) LOOP
            budgets := budgets || part.budgets[place];
            periods := periods || part.periods[place];
            held_nano := held_nano || part.held_nano::bigint;
            held_tokens := held_tokens || part.held_tokens::bigint;
            used_nano := used_nano || part.used_nano::bigint;
            used_tokens := used_tokens || part.used_tokens::bigint;
        END LOOP;
    END LOOP;
    {ACCOUNTS_MOVED}
END
"""

# Requests are admitted one after the other against every budget that applies to them. One that doesn't fit gets a smaller
# cap of output, if the smallest that makes sense fits; else nothing is held, and the budget in its way is named. What
# settlements of the same batch gave back comes first, and goes into the same update of the balances.
BALANCE = """
DECLARE
    budget record;
    ask record;
    known uuid[];
    ids uuid[] := '{}'; names text[] := '{}'; scopes text[] := '{}'; starts date[] := '{}'; modes text[] := '{}';
    money boolean[] := '{}'; limits bigint[] := '{}'; used bigint[] := '{}';
    held_more bigint[] := '{}'; used_more bigint[] := '{}'; shadowed bigint[] := '{}';
    number integer := 0;
    hit integer; fits bigint; fit bigint; held_nano bigint; held_tokens bigint; back bigint; spent bigint; level bigint;
    passed uuid[] := '{}'; passed_periods date[] := '{}';
    mine uuid[]; since date[]; blocker integer; bound boolean;
    holds public.billing_hold[] := '{}'; new_holds integer := 0;
    refusers integer[] := '{}';
    stale_at timestamptz := now() + make_interval(secs => stale_after_s);
BEGIN
    IF asks IS NOT NULL THEN
        FOR budget IN
            SELECT b.id, b.name, b.scope, b.active, b.mode, b.measure, b.limit_amount, p.since,
                   (SELECT min(t) FROM unnest(b.thresholds) t) AS first_threshold,
                   s.held, s.settled, s.budget_id IS NULL AS fresh
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
            WHERE b.tenant_id = of_tenant AND (b.active AND b.scope = ANY (of_scopes) OR b.id = ANY (back_to))
            ORDER BY b.id
        LOOP
            back := 0;
            spent := 0;
            FOR hit IN 1 .. cardinality(back_to) LOOP
                CONTINUE WHEN back_to[hit] IS DISTINCT FROM budget.id OR back_periods[hit] <> budget.since;
                IF budget.measure = 'nano' THEN
                    back := back + back_nano[hit];
                    spent := spent + spent_nano[hit];
                ELSE
                    back := back + back_tokens[hit];
                    spent := spent + spent_tokens[hit];
                END IF;
                back_to[hit] := NULL;
            END LOOP;
            IF budget.fresh THEN
                INSERT INTO public.billing_budgetbalance (tenant_id, budget_id, period_start, measure)
                VALUES (of_tenant, budget.id, budget.since, budget.measure);
            END IF;
            number := number + 1;
            ids[number] := budget.id;
            names[number] := budget.name;
            scopes[number] := CASE WHEN budget.active THEN budget.scope END;
            starts[number] := budget.since;
            modes[number] := budget.mode;
            money[number] := budget.measure = 'nano';
            limits[number] := budget.limit_amount;
            level := coalesce(budget.settled, 0) + spent;
            used[number] := coalesce(budget.held, 0) - back + level;
            held_more[number] := - back;
            used_more[number] := spent;
            shadowed[number] := 0;
            IF spent > 0 AND budget.limit_amount > 0
               AND level::numeric * 100 >= budget.limit_amount::numeric * budget.first_threshold
            THEN
                passed := passed || budget.id;
                passed_periods := passed_periods || budget.since;
            END IF;
        END LOOP;

        SELECT array_agg(h.request_id) INTO known
        FROM public.billing_hold h WHERE h.tenant_id = of_tenant AND h.request_id = ANY (ask_ids);
        FOR ask IN
            SELECT * FROM json_to_recordset(asks) AS a (
                position integer, request_id uuid, scopes text[], state text, output bigint, facts jsonb, cap_tokens bigint,
                least_tokens bigint, input_nano bigint, input_tokens bigint, output_nano_per_mtok bigint, amount_nano bigint
            )
        LOOP
            place := ask.position;
            refused_by := NULL;
            IF ask.request_id = ANY (known) THEN
                -- The same batch again, whose answer was lost on the way; or the same request twice in this one.
                SELECT h.cap_tokens, h.amount_nano, cardinality(h.budgets) > 0 INTO granted_tokens, granted_nano, bounded
                FROM (SELECT * FROM public.billing_hold UNION ALL SELECT * FROM unnest(holds)) h
                WHERE h.tenant_id = of_tenant AND h.request_id = ask.request_id;
                RETURN NEXT;
                CONTINUE;
            END IF;
            fits := ask.cap_tokens;
            blocker := NULL;
            mine := '{}'; since := '{}'; bound := false;
            FOR hit IN 1 .. number LOOP
                CONTINUE WHEN scopes[hit] IS NULL OR NOT scopes[hit] = ANY (ask.scopes);
                mine := mine || ids[hit];
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
                    'budget', ids[blocker], 'name', names[blocker], 'scope', scopes[blocker], 'limit', limits[blocker],
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
                CONTINUE WHEN scopes[hit] IS NULL OR NOT scopes[hit] = ANY (ask.scopes);
                used[hit] := used[hit] + CASE WHEN money[hit] THEN held_nano ELSE held_tokens END;
                held_more[hit] := held_more[hit] + CASE WHEN money[hit] THEN held_nano ELSE held_tokens END;
            END LOOP;
            new_holds := new_holds + 1;
            holds[new_holds] := ROW(
                of_tenant, ask.request_id, ask.state, held_nano, held_tokens, fits, mine, since, ask.output, ask.facts,
                now(), stale_at
            );
            known := known || ask.request_id;
            granted_tokens := fits;
            granted_nano := held_nano;
            bounded := bound;
            RETURN NEXT;
        END LOOP;
        INSERT INTO public.billing_hold (
            tenant_id, request_id, state, amount_nano, tokens, cap_tokens, budgets, periods, checkpoint_output, facts,
            created_at, expires_at
        )
        SELECT h.tenant_id, h.request_id, h.state, h.amount_nano, h.tokens, h.cap_tokens, h.budgets, h.periods,
               h.checkpoint_output, h.facts, h.created_at, h.expires_at
        FROM unnest(holds) h;
    END IF;

    IF number > 0 THEN
        UPDATE public.billing_budgetbalance s
        SET held = s.held + x.held_more, settled = s.settled + x.used_more, would_refuse = s.would_refuse + x.shadowed
        FROM unnest(ids, starts, held_more, used_more, shadowed) AS x (budget_id, since, held_more, used_more, shadowed)
        WHERE s.tenant_id = of_tenant AND s.budget_id = x.budget_id AND s.period_start = x.since;
    END IF;
    IF cardinality(array_remove(back_to, NULL)) > 0 THEN
        -- Nothing is asked for besides; or holds of a period that has ended since.
        FOR budget IN
            UPDATE public.billing_budgetbalance s
            SET held = s.held - CASE WHEN s.measure = 'nano' THEN x.back_nano ELSE x.back_tokens END,
                settled = s.settled + CASE WHEN s.measure = 'nano' THEN x.spent_nano ELSE x.spent_tokens END
            FROM (
                SELECT r.budget_id, r.since, sum(r.back_nano) AS back_nano, sum(r.back_tokens) AS back_tokens,
                       sum(r.spent_nano) AS spent_nano, sum(r.spent_tokens) AS spent_tokens
                FROM unnest(back_to, back_periods, back_nano, back_tokens, spent_nano, spent_tokens)
                    AS r (budget_id, since, back_nano, back_tokens, spent_nano, spent_tokens)
                GROUP BY r.budget_id, r.since
            ) x
            JOIN public.billing_budget b ON b.tenant_id = of_tenant AND b.id = x.budget_id
            WHERE s.tenant_id = of_tenant AND s.budget_id = x.budget_id AND s.period_start = x.since
            RETURNING s.budget_id, s.period_start, b.limit_amount > 0 AND s.settled::numeric * 100
                >= b.limit_amount::numeric * (SELECT min(t) FROM unnest(b.thresholds) t) AS is_passed
        LOOP
            CONTINUE WHEN NOT coalesce(budget.is_passed, false);
            passed := passed || budget.budget_id;
            passed_periods := passed_periods || budget.period_start;
        END LOOP;
    END IF;
    IF cardinality(passed) > 0 THEN
        INSERT INTO public.billing_alert (tenant_id, budget_id, period_start, threshold, settled, limit_amount)
        SELECT of_tenant, s.budget_id, s.period_start, t.threshold, s.settled, b.limit_amount
        FROM public.billing_budgetbalance s
        JOIN public.billing_budget b ON b.tenant_id = of_tenant AND b.id = s.budget_id
        CROSS JOIN LATERAL unnest(b.thresholds) AS t (threshold)
        WHERE s.tenant_id = of_tenant AND (s.budget_id, s.period_start) IN (SELECT * FROM unnest(passed, passed_periods))
          AND b.limit_amount > 0 AND s.settled::numeric * 100 >= t.threshold::numeric * b.limit_amount
        ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(refusers) > 0 THEN
        -- A budget's first refusal in a period is told, as the threshold 0.
        INSERT INTO public.billing_alert (tenant_id, budget_id, period_start, threshold, settled, limit_amount)
        SELECT of_tenant, s.budget_id, s.period_start, 0, s.settled, limits[r.place]
        FROM (SELECT DISTINCT unnest(refusers) AS place) r
        JOIN public.billing_budgetbalance s
            ON s.tenant_id = of_tenant AND s.budget_id = ids[r.place] AND s.period_start = starts[r.place]
        WHERE NOT EXISTS (
            SELECT FROM public.billing_alert a
            WHERE a.tenant_id = of_tenant AND a.budget_id = s.budget_id AND a.period_start = s.period_start
              AND a.threshold = 0
        )
        ON CONFLICT DO NOTHING;
    END IF;
END
"""

# All that a process has to say of one tenant, under its lock: a batch of one tenant comes here directly. With an error nothing
# is done, and the batch goes by `ledger_commit`.
SHARE = f"""
DECLARE
    gone record;
BEGIN
    PERFORM set_config('app.tenant_id', of_tenant::text, true),
            pg_advisory_xact_lock({LOCK_KEY.format(tenant="of_tenant")});
    IF checkpoints IS NOT NULL THEN
        PERFORM lookup.ledger_checkpoint(of_tenant, checkpoints, stale_after_s, longest_s);
    END IF;
    IF with_care THEN
        SELECT * INTO gone FROM lookup.ledger_settle_with_care(of_tenant, used, held_ids, some_over);
    ELSE
        SELECT * INTO gone FROM lookup.ledger_settle(of_tenant, used, held_ids, ended_nano, ended_tokens);
    END IF;
    IF asks IS NOT NULL OR cardinality(gone.budgets) > 0 THEN
        RETURN QUERY SELECT a.* FROM lookup.ledger_balance(
            of_tenant, asks, ask_ids, of_scopes, stale_after_s, gone.budgets, gone.periods, gone.held_nano,
            gone.held_tokens, gone.used_nano, gone.used_tokens
        ) a;
    END IF;
END
"""

# One round trip for all that a process has to say, whatever tenants it is of. In case of an error the tenant's items are
# taken one by one, and a bad one fails alone.
COMMIT = f"""
DECLARE
    share record;
    one record;
BEGIN
    FOR share IN
        SELECT e.key::uuid AS tenant, s.checkpoint, s.settle, s.usage, s.held, s.nano, s.tokens, s.over, s.admit, s.asks,
               s.scopes
        FROM json_each(batch) e
        CROSS JOIN LATERAL json_to_record(e.value) AS s (
            checkpoint json, settle json, usage json, held uuid[], nano bigint[], tokens bigint[], over boolean,
            admit json, asks uuid[], scopes text[]
        )
        ORDER BY {LOCK_KEY.format(tenant="e.key::uuid")}
    LOOP
        BEGIN
            RETURN QUERY SELECT a.place, NULL::text, a.granted_tokens, a.granted_nano, a.bounded, a.refused_by
            FROM lookup.ledger_share(
                share.tenant, share.checkpoint, share.usage, share.held, share.nano, share.tokens, share.over, share.over,
                share.admit, share.asks, share.scopes, stale_after_s, longest_s
            ) a;
            CONTINUE;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            NULL;
        END;
        -- The share's answer comes whole or not at all, so nothing was returned of it.
        FOR one IN
            SELECT i.position, i.request_id, i.held, i.over FROM json_to_recordset(share.settle)
                AS i (position integer, request_id uuid, held boolean, over boolean)
        LOOP
            BEGIN
                PERFORM lookup.ledger_share(
                    share.tenant, NULL, (
                        SELECT json_agg(u) FROM json_array_elements(share.usage) u
                        WHERE (u ->> 'position')::integer = one.position
                    ),
                    CASE WHEN one.held THEN ARRAY[one.request_id] ELSE '{{}}' END, NULL, NULL, one.over, true, NULL, '{{}}', '{{}}',
                    stale_after_s, longest_s
                );
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                RETURN QUERY SELECT one.position, SQLERRM, NULL::bigint, NULL::bigint, NULL::boolean, NULL::json;
            END;
        END LOOP;
        FOR one IN
            SELECT (a.value ->> 'position')::integer AS position, a.value ->> 'request_id' AS request_id, a.value AS item
            FROM json_array_elements(share.admit) a
        LOOP
            BEGIN
                RETURN QUERY SELECT a.place, NULL::text, a.granted_tokens, a.granted_nano, a.bounded, a.refused_by
                FROM lookup.ledger_share(
                    share.tenant, NULL, NULL, '{{}}', NULL, NULL, false, false, json_build_array(one.item), ARRAY[one.request_id::uuid],
                    share.scopes, stale_after_s, longest_s
                ) a;
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                RETURN QUERY SELECT one.position, SQLERRM, NULL::bigint, NULL::bigint, NULL::boolean, NULL::json;
            END;
        END LOOP;
    END LOOP;
    PERFORM set_config('app.tenant_id', '', true);
END
"""

# Plans for the values at hand are made anew each time, which costs more than the work itself.
GENERIC_PLANS = ("plan_cache_mode = force_generic_plan",)
GIVEN_BACK = (
    "OUT budgets uuid[], OUT periods date[], OUT held_nano bigint[], OUT held_tokens bigint[], OUT used_nano bigint[], "
    "OUT used_tokens bigint[]"
)
ADMITTED = "TABLE (place integer, granted_tokens bigint, granted_nano bigint, bounded boolean, refused_by json)"
_REPLACED = ("ledger_commit", "ledger_share", "ledger_balance", "ledger_admit", "ledger_settle", "ledger_open")
"""One version that was out had some of these already, with other arguments."""
_BEFORE = [
    operation
    for operation in import_module("billing.migrations.0007_ledger").Migration.operations
    if isinstance(operation, Definer) and operation.name in _REPLACED
]


def _part(name: str, arguments: str, returns: str, body: str) -> Definer:
    """A part of `ledger_commit`: its owner alone may call it."""
    return Definer(name, arguments, returns, body, volatility="VOLATILE", language="plpgsql", caller=LOOKUP)


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_low_credit")]

    operations = [
        DefinersGone(_BEFORE, _REPLACED),
        migrations.RunSQL(
            "DROP INDEX IF EXISTS hold_by_expiry", "CREATE INDEX hold_by_expiry ON billing_hold (tenant_id, expires_at)"
        ),
        migrations.RunSQL(
            "ALTER TABLE billing_hold RESET (fillfactor)", "ALTER TABLE billing_hold SET (fillfactor = 50)"
        ),
        _part("ledger_open", "of_tenant uuid", "void", OPEN_BOOKS),
        _part(
            "ledger_settle",
            f"of_tenant uuid, used json, held_ids uuid[], ended_nano bigint[], ended_tokens bigint[], {GIVEN_BACK}",
            "record",
            SETTLE,
        ),
        _part(
            "ledger_settle_with_care",
            f"of_tenant uuid, used json, held_ids uuid[], some_over boolean, {GIVEN_BACK}",
            "record",
            SETTLE_WITH_CARE,
        ),
        _part(
            "ledger_balance",
            "of_tenant uuid, asks json, ask_ids uuid[], of_scopes text[], stale_after_s integer, "
            "back_to uuid[], back_periods date[], back_nano bigint[], back_tokens bigint[], spent_nano bigint[], spent_tokens bigint[]",
            ADMITTED,
            BALANCE,
        ),
        Definer(
            "ledger_share",
            "of_tenant uuid, checkpoints json, used json, held_ids uuid[], ended_nano bigint[], ended_tokens bigint[], "
            "some_over boolean, with_care boolean, asks json, ask_ids uuid[], of_scopes text[], stale_after_s integer, longest_s integer",
            ADMITTED,
            SHARE,
            volatility="VOLATILE",
            language="plpgsql",
            settings=GENERIC_PLANS,
        ),
        Definer(
            "ledger_commit",
            "batch json, stale_after_s integer, longest_s integer",
            "TABLE (place integer, problem text, granted_tokens bigint, granted_nano bigint, bounded boolean, "
            "refused_by json)",
            COMMIT,
            volatility="VOLATILE",
            language="plpgsql",
            settings=GENERIC_PLANS,
        ),
    ]
