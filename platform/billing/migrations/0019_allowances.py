"""Allowances: a process holds a part of a tenant's budgets for its next requests, which then needn't ask for theirs
(`billing.allowances`, docs/adr/0016-allowances.md).

An allowance is a hold of state `allowance`. A request's own hold is taken out of it when the ledger hears of the request: with
its settlement, or its first checkpoint."""

from importlib import import_module

from django.db import migrations

from kernel.migrations import Definer, DefinersGone

_BY_KEY = import_module("billing.migrations.0015_ledger_by_key")
_ONCE = import_module("billing.migrations.0018_ledger_charges_once")
_FIRST = import_module("billing.migrations.0007_ledger")
_REPLACED = ("ledger_checkpoint", "ledger_balance", "ledger_share", "ledger_commit")
_changed = _ONCE._changed

# A request's hold is what it was granted of its allowance: nothing changes for the budgets. Of an allowance that is gone nothing
# can be taken, and then its settlement finds no hold. All is looked for by its key: no plan reads the holds that ended.
CHECKPOINT = """
DECLARE
    lender record;
    nano bigint; taken bigint;
BEGIN
    FOR lender IN
        SELECT l.request_id AS id, l.budgets, l.periods
        FROM (
            SELECT DISTINCT c.allowance FROM json_to_recordset(items) AS c (allowance uuid) WHERE c.allowance IS NOT NULL
        ) a
        CROSS JOIN LATERAL (
            SELECT h.request_id, h.budgets, h.periods FROM public.billing_hold h
            WHERE h.tenant_id = of_tenant AND h.request_id = a.allowance LIMIT 1
        ) l
    LOOP
        WITH drawn AS (
            INSERT INTO public.billing_hold (
                tenant_id, request_id, state, amount_nano, tokens, cap_tokens, budgets, periods, checkpoint_output, facts,
                created_at, expires_at
            )
            SELECT of_tenant, c.request_id, c.state, c.amount_nano, c.tokens, c.cap_tokens, lender.budgets, lender.periods,
                   c.output, c.facts, now(), now() + make_interval(secs => stale_after_s)
            FROM json_to_recordset(items) AS c (
                request_id uuid, state text, output bigint, allowance uuid, amount_nano bigint, tokens bigint,
                cap_tokens bigint, facts jsonb
            )
            WHERE c.allowance = lender.id
            ON CONFLICT DO NOTHING
            RETURNING amount_nano, tokens
        )
        SELECT sum(d.amount_nano), sum(d.tokens) INTO nano, taken FROM drawn d;
        UPDATE public.billing_hold h SET amount_nano = h.amount_nano - nano, tokens = h.tokens - taken
        WHERE h.tenant_id = of_tenant AND h.request_id = lender.id AND nano IS NOT NULL;
    END LOOP;

    IF EXISTS (SELECT FROM json_to_recordset(items) AS c (allowance uuid) WHERE c.allowance IS NULL) THEN
        UPDATE public.billing_hold h
        SET state = c.state, checkpoint_output = greatest(h.checkpoint_output, c.output),
            expires_at = least(now() + make_interval(secs => stale_after_s), h.created_at + make_interval(secs => longest_s))
        FROM json_to_recordset(items) AS c (request_id uuid, state text, output bigint, allowance uuid)
        WHERE c.allowance IS NULL AND h.tenant_id = of_tenant AND h.request_id = c.request_id;
    END IF;
END
"""

ALLOWANCES_LAST_S = 3
"""An allowance that is older belongs to a process that is gone or stands still; nobody waits for it."""

BALANCE = _ONCE.BALANCE
for was, now in (
    (
        "mine uuid[]; since date[]; blocker integer; bound boolean;",
        "mine uuid[]; since date[]; blocker integer; bound boolean;\n"
        "    quiet boolean[] := '{}'; short uuid[]; short_since date[]; warned integer[];",
    ),
    (
        "s.held, s.settled, s.budget_id IS NULL AS fresh",
        "s.held, s.settled, s.budget_id IS NULL AS fresh, coalesce(s.no_allowance_until > now(), false) AS quiet",
    ),
    (
        "            limits[number] := budget.limit_amount;\n",
        "            limits[number] := budget.limit_amount;\n            quiet[number] := budget.quiet;\n",
    ),
    (
        "least_tokens bigint, input_nano bigint, input_tokens bigint, output_nano_per_mtok bigint, amount_nano bigint\n",
        "least_tokens bigint, input_nano bigint, input_tokens bigint, output_nano_per_mtok bigint, amount_nano bigint,\n"
        "                room integer, waits boolean\n",
    ),
    (
        "            mine := '{}'; since := '{}'; bound := false;\n",
        "            mine := '{}'; since := '{}'; bound := false;\n"
        "            short := '{}'; short_since := '{}'; warned := '{}';\n",
    ),
    # An allowance is given where so many would fit.
    (
        "                IF money[hit] THEN\n                    IF ask.amount_nano = 0",
        """                IF ask.room IS NOT NULL THEN
                    bound := bound OR modes[hit] = 'hard';
                    IF modes[hit] <> 'soft' AND (quiet[hit] OR used[hit]::numeric + ask.room::numeric
                        * CASE WHEN money[hit] THEN ask.amount_nano ELSE ask.cap_tokens END > limits[hit])
                    THEN
                        fits := -1;
                    END IF;
                    CONTINUE;
                END IF;
                IF money[hit] THEN
                    IF ask.amount_nano = 0""",
    ),
    (
        """                        fits := fit;
                        blocker := hit;
                    END IF;
                ELSIF modes[hit] = 'shadow' AND fit < ask.least_tokens THEN
                    shadowed[hit] := shadowed[hit] + 1;
                END IF;
            END LOOP;
""",
        f"""                        fits := fit;
                        blocker := hit;
                    END IF;
                ELSIF modes[hit] = 'shadow' AND fit < ask.least_tokens THEN
                    warned := warned || hit;
                END IF;
                IF modes[hit] = 'hard' AND fit < ask.cap_tokens OR modes[hit] = 'shadow' AND fit < ask.least_tokens THEN
                    short := short || ids[hit];
                    short_since := short_since || starts[hit];
                END IF;
            END LOOP;
            IF fits < 0 AND ask.room IS NOT NULL OR coalesce(ask.waits, false) AND cardinality(short) > 0 AND EXISTS (
                SELECT FROM public.billing_hold h
                WHERE h.tenant_id = of_tenant AND h.state = 'allowance' AND h.budgets && short
                  AND h.created_at > now() - interval '{ALLOWANCES_LAST_S} s'
            ) THEN
                -- No allowance; or one that was given has what is missing here, and ends within a second: nobody gets another.
                UPDATE public.billing_budgetbalance s
                SET no_allowance_until = now() + interval '{ALLOWANCES_LAST_S} s'
                WHERE s.tenant_id = of_tenant
                  AND (s.budget_id, s.period_start) IN (SELECT * FROM unnest(short, short_since));
                granted_tokens := NULL;
                granted_nano := 0;
                bounded := true;
                RETURN NEXT;
                CONTINUE;
            END IF;
            FOREACH hit IN ARRAY warned LOOP
                shadowed[hit] := shadowed[hit] + 1;
            END LOOP;
""",
    ),
):
    BALANCE = _changed(BALANCE, was, now)

# Where the items of a tenant are taken one by one, holds are taken out of their allowances first.
COMMIT = _changed(
    _BY_KEY.COMMIT,
    "        -- The share's answer comes whole or not at all, so nothing was returned of it.\n",
    """        -- The share's answer comes whole or not at all, so nothing was returned of it.
        FOR one IN SELECT c.value AS item FROM json_array_elements(share.checkpoint) c LOOP
            BEGIN
                PERFORM lookup.ledger_share(
                    share.tenant, json_build_array(one.item), NULL, '{}', NULL, NULL, false, true, NULL, '{}', '{}',
                    stale_after_s, longest_s
                );
            EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
                NULL;
            END;
        END LOOP;
""",
)

# A batch may come again, whose answer was lost on the way: of what it settled, nothing is taken a second time. Settlements of the
# plain way fail then, and come with care.
SHARE = _changed(
    _BY_KEY.SHARE,
    """    IF checkpoints IS NOT NULL THEN
""",
    """    IF with_care AND checkpoints IS NOT NULL THEN
        SELECT json_agg(c.value) INTO checkpoints
        FROM json_array_elements(checkpoints) c
        WHERE c.value ->> 'allowance' IS NULL OR (
            SELECT true FROM public.billing_usagerecord r
            WHERE r.tenant_id = of_tenant AND r.request_id = (c.value ->> 'request_id')::uuid LIMIT 1
        ) IS NULL;
    END IF;
    IF checkpoints IS NOT NULL THEN
""",
)

STATES = ("reserved", "sent", "streaming")


def _checked(*states: str) -> str:
    named = ", ".join(f"'{state}'" for state in states)
    return f"ALTER TABLE billing_hold DROP CONSTRAINT hold_state, ADD CONSTRAINT hold_state CHECK (state IN ({named}))"


def _of(module: object, *names: str) -> list[Definer]:
    return [
        operation
        for operation in module.Migration.operations  # type: ignore[attr-defined]
        if isinstance(operation, Definer) and operation.name in names
    ]


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_ledger_charges_once")]

    operations = [
        migrations.RunSQL(_checked(*STATES, "allowance"), _checked(*STATES)),
        migrations.RunSQL(
            "CREATE INDEX hold_allowances ON billing_hold (tenant_id) WHERE state = 'allowance'",
            "DROP INDEX hold_allowances",
        ),
        migrations.RunSQL(
            "ALTER TABLE billing_budgetbalance ADD COLUMN no_allowance_until timestamptz",
            "ALTER TABLE billing_budgetbalance DROP COLUMN no_allowance_until",
        ),
        DefinersGone(
            [
                *_of(_FIRST, "ledger_checkpoint"),
                *_of(_ONCE, "ledger_balance"),
                *_of(_BY_KEY, "ledger_share", "ledger_commit"),
            ],
            _REPLACED,
        ),
        Definer(
            "ledger_checkpoint",
            "of_tenant uuid, items json, stale_after_s integer, longest_s integer",
            "void",
            CHECKPOINT,
            volatility="VOLATILE",
            language="plpgsql",
            caller=_FIRST.INSIDE,
        ),
        _BY_KEY._part(
            "ledger_balance",
            "of_tenant uuid, asks json, ask_ids uuid[], of_scopes text[], stale_after_s integer, "
            "back_to uuid[], back_periods date[], back_nano bigint[], back_tokens bigint[], spent_nano bigint[], spent_tokens bigint[]",
            _BY_KEY.ADMITTED,
            BALANCE,
        ),
        Definer(
            "ledger_share",
            "of_tenant uuid, checkpoints json, used json, held_ids uuid[], ended_nano bigint[], ended_tokens bigint[], "
            "some_over boolean, with_care boolean, asks json, ask_ids uuid[], of_scopes text[], stale_after_s integer, longest_s integer",
            _BY_KEY.ADMITTED,
            SHARE,
            volatility="VOLATILE",
            language="plpgsql",
            settings=_BY_KEY.GENERIC_PLANS,
        ),
        Definer(
            "ledger_commit",
            "batch json, stale_after_s integer, longest_s integer",
            "TABLE (place integer, problem text, granted_tokens bigint, granted_nano bigint, bounded boolean, "
            "refused_by json)",
            COMMIT,
            volatility="VOLATILE",
            language="plpgsql",
            settings=_BY_KEY.GENERIC_PLANS,
        ),
    ]
