"""Search by a tenant's own words: the index holds each word with a mark of the tenant, and no list of a tenant's messages.

Such a list would be read nearly whole for every search, as would that of a word that other tenants use; and an index that shares no
condition with `messages_of_room` can be combined with it, so that the one of rooms alone isn't needed any more. What is measured is
told in docs/adr/0014-search.md. `lookup.search_messages` keeps its arguments and what it answers with.
"""

from importlib import import_module

from django.db import migrations

from kernel.migrations import Definer, DefinersGone

before = import_module("chat.migrations.0006_search")

CANDIDATES, LOOKS, PROBES, ROOMS, ROUNDS = before.CANDIDATES, before.LOOKS, before.PROBES, before.ROOMS, before.ROUNDS
BACK = before.BACK
SAMPLE = 600
SAMPLE_LEAST = 200
SAMPLE_MOST = 4_000
SAMPLE_ROOMS = 128
WALKED = 1_000
ENTRIES_A_MESSAGE = 10
COMMON_PART = 5
"""What one message of so many has is a common word."""

MARK = "right({tenant}::text, 8)"
"""Of the random bits of a tenant's id. Two tenants that share it find no more by it: the tenant is compared as well."""
WORD_CHARS_MAX = 500
"""Longer words aren't indexed; a question is shorter (`chat.bounds.SEARCH_CHARS_MAX`)."""

KEYS = f"""
CREATE FUNCTION search_keys(of_tenant uuid, words tsvector) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 500 SET search_path = pg_catalog, pg_temp
RETURN array_to_tsvector(ARRAY(
    SELECT {MARK.format(tenant="of_tenant")} || word FROM unnest(tsvector_to_array(words)) word WHERE length(word) <= {WORD_CHARS_MAX}
))
"""
INDEX = [
    KEYS,
    "REVOKE ALL ON FUNCTION search_keys(uuid, tsvector) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION search_keys(uuid, tsvector) TO parley_app, parley_lookup",
    "DROP INDEX message_search",
    "DROP INDEX messages_in_rooms",
    # Without a list of pending words: it would be read by every search, and emptied by whoever writes next.
    "CREATE INDEX message_search ON chat_message USING gin (search_keys(tenant_id, search)) WITH (fastupdate = off)",
    # Words that many messages have are known to the planner.
    "ALTER INDEX message_search ALTER COLUMN 1 SET STATISTICS 1000",
]
NO_INDEX = [
    "DROP INDEX message_search",
    "DROP FUNCTION search_keys(uuid, tsvector)",
    "CREATE INDEX message_search ON chat_message USING gin (tenant_id, search) WITH (fastupdate = off)",
    "CREATE INDEX messages_in_rooms ON chat_message (room_id)",
]

# What a message must be besides matching.
WANTED = """m.deleted_at IS NULL
              AND (given_author IS NULL OR m.author_membership_id = given_author)
              AND (given_since IS NULL OR m.created_at >= given_since)
              AND (given_until IS NULL OR m.created_at < given_until)"""
_GIVEN = {"given_author": "$4", "given_since": "$5", "given_until": "$6"}

WORD = "'((?:[^']|'')*)'"
"""How a tsquery's text has a word; what is between the marks, with its quotes doubled."""

NIL = "'00000000-0000-0000-0000-000000000000'::uuid"
NOT_BEFORE = f"coalesce(oldest, {NIL})"


def _replaced(text: str, names: dict[str, str]) -> str:
    for name, placed in names.items():
        text = text.replace(name, placed)
    return text


SEARCH = f"""
#variable_conflict use_column
DECLARE
    in_tenant constant uuid := current_setting('app.tenant_id')::uuid;
    as_person constant uuid := NULLIF(current_setting('app.person_id', true), '')::uuid;
    asked constant tsquery := websearch_to_tsquery('public.parley_words', given_words);
    -- The words that a message has to have, phrases as words that are all there. Without any, the index is of no use.
    needed constant text := regexp_replace(querytree(asked), '<(-|[0-9]+)>', '&', 'g');
    loosely constant tsquery := CASE WHEN needed NOT IN ('', 'T') THEN needed::tsquery END;
    -- All of them are needed, unless there is an `or`.
    words constant text[] := CASE WHEN regexp_replace(needed, $${WORD}$$, '', 'g') NOT LIKE '%|%' THEN
        ARRAY (SELECT DISTINCT '''' || word[1] || '''' FROM regexp_matches(needed, $${WORD}$$, 'g') word) END;
    rarer text;
    keys tsquery;
    in_rooms uuid[];
    last_ids uuid[];
    late_rooms uuid[];
    sampled uuid[];
    sample tsvector[];
    found uuid[];
    probes uuid[];
    events bigint;
    oldest uuid;
    looked bigint;
    hits bigint;
    loose bigint;
    enough bigint;
    affordable bigint;
    walkable bigint;
    reach bigint;
    wanted bigint;
    bias float8;
    part float8;
    whole boolean := false;
BEGIN
    SELECT array_agg(p.room_id ORDER BY p.last_message_at DESC NULLS LAST, p.room_id),
        array_agg(p.last_id ORDER BY p.last_message_at DESC NULLS LAST, p.room_id), sum(p.head_seq)
    INTO in_rooms, last_ids, events FROM (
        SELECT p.room_id, r.head_seq, r.last_message_at, NULLIF(r.last_id, {NIL}) AS last_id
        FROM public.tenants_membership m
        JOIN public.chat_roommember p ON p.tenant_id = m.tenant_id AND p.membership_id = m.id AND p.left_at IS NULL
        JOIN public.chat_room r ON r.tenant_id = p.tenant_id AND r.id = p.room_id AND r.deleted_at IS NULL
        WHERE m.tenant_id = in_tenant AND m.person_id = as_person AND m.status = 'active'
          AND (given_room IS NULL OR p.room_id = given_room)
        ORDER BY p.room_id DESC LIMIT {ROOMS}
    ) p;
    IF in_rooms IS NULL OR numnode(asked) = 0 THEN
        RETURN;
    END IF;

    probes := ARRAY (
        SELECT DISTINCT in_rooms[CASE WHEN n <= {PROBES // 2} THEN least(n, cardinality(in_rooms))
            ELSE 1 + (n - {PROBES // 2}) * (cardinality(in_rooms) - 1) / {PROBES // 2} END]
        FROM generate_series(1, {PROBES}) n
    );

    -- How common it is, the newest messages tell; where one is in very many rooms, those of some.
    sampled := CASE WHEN cardinality(in_rooms) <= {SAMPLE_ROOMS} THEN in_rooms ELSE ARRAY (
        SELECT DISTINCT in_rooms[CASE WHEN n <= {SAMPLE_ROOMS // 2} THEN n
            ELSE 1 + (n - {SAMPLE_ROOMS // 2}) * (cardinality(in_rooms) - 1)::bigint / {SAMPLE_ROOMS // 2} END]
        FROM generate_series(1, {SAMPLE_ROOMS}) n
    ) END;
    part := cardinality(sampled)::float8 / cardinality(in_rooms);
    reach := {SAMPLE} / part;
    FOR round IN 1..{ROUNDS} LOOP
{BACK}
        SELECT count(*), count(*) FILTER (WHERE newest.loose), array_agg(newest.search),
            array_agg(newest.id ORDER BY newest.id DESC) FILTER (WHERE newest.hit)
        INTO looked, loose, sample, found
        FROM (
            SELECT near.* FROM unnest(sampled) r (id) CROSS JOIN LATERAL (
                SELECT m.id, m.search, loosely IS NULL OR m.search @@ loosely AS loose, m.search @@ asked AND {WANTED} AS hit
                FROM public.chat_message m WHERE m.tenant_id = in_tenant AND m.room_id = r.id AND m.id > {NOT_BEFORE}
                OFFSET 0
            ) near LIMIT {SAMPLE_MOST}
        ) newest;
        EXIT WHEN oldest IS NULL OR looked >= {SAMPLE_LEAST};
        reach := reach * least({SAMPLE} * 2 / greatest(looked, 1), 8) + 1;
    END LOOP;
    bias := reach * part / greatest(looked, 1);
    hits := coalesce(cardinality(found), 0);
    whole := part = 1 AND looked < {SAMPLE_MOST} AND (oldest IS NULL OR hits >= {CANDIDATES});
    -- Of a word that everybody uses the index would read very much, to leave out little.
    SELECT string_agg(word, ' & ') INTO rarer FROM unnest(words) word
    WHERE (SELECT count(*) FROM unnest(sample) said WHERE said @@ word::tsquery) * {COMMON_PART} < looked;
    keys := regexp_replace(coalesce(rarer, loosely::text), $${WORD}$$, '''' || {MARK.format(tenant="in_tenant")} || '\\1''', 'g')::tsquery;

    -- Then as far back as will do, and no further than can be afforded: whatever the index finds has to be looked at.
    affordable := {LOOKS} * looked / greatest(loose, 1);
    enough := {CANDIDATES} * 3 / 2 * looked / greatest(hits, 1);
    -- The index names the tenant's messages, of all rooms. Where that are so many, it takes longer than looking at those of one's rooms.
    SELECT greatest({WALKED}, loose * c.reltuples / greatest(looked, 1) / {ENTRIES_A_MESSAGE})::bigint INTO walkable
    FROM pg_catalog.pg_class c WHERE c.oid = 'public.chat_message'::pg_catalog.regclass;
    FOR round IN 1..{ROUNDS} LOOP
        EXIT WHEN whole;
        wanted := least(affordable, CASE WHEN hits = 0 THEN events ELSE enough END);
        IF loose = 0 OR wanted * 2 > events THEN
            oldest := NULL;
        ELSE
            reach := wanted * bias;
{BACK}        END IF;
        -- In which rooms anything is so new; of some it isn't known.
        late_rooms := CASE WHEN oldest IS NULL THEN in_rooms ELSE ARRAY (
            SELECT r.id FROM unnest(in_rooms, last_ids) r (id, last_id) WHERE (r.last_id > oldest) IS NOT FALSE
        ) END;
        IF keys IS NULL OR (CASE WHEN oldest IS NULL THEN events ELSE wanted END) <= walkable THEN
            SELECT array_agg(newest.id) INTO found FROM (
                SELECT near.id FROM unnest(late_rooms) r (id) CROSS JOIN LATERAL (
                    SELECT m.id, m.search @@ asked AND {WANTED} AS hit
                    FROM public.chat_message m WHERE m.tenant_id = in_tenant AND m.room_id = r.id AND m.id > {NOT_BEFORE}
                    OFFSET 0
                ) near WHERE near.hit ORDER BY near.id DESC LIMIT {CANDIDATES}
            ) newest;
        ELSE
            -- What is asked decides the plan, so it is made for each question, and from the keys alone: how many have both them and
            -- what is asked isn't the product of the two.
            EXECUTE $find$
                WITH near AS MATERIALIZED (
                    SELECT m.id, m.search @@ $3 AS hit FROM public.chat_message m
                    WHERE m.tenant_id = $1 AND m.room_id = ANY ($2) AND public.search_keys(m.tenant_id, m.search) @@ $8
                      AND ($7 IS NULL OR m.id > $7) AND {_replaced(WANTED, _GIVEN)}
                )
                SELECT array_agg(newest.id)
                FROM (SELECT near.id FROM near WHERE near.hit ORDER BY near.id DESC LIMIT {CANDIDATES}) newest
            $find$ INTO found USING in_tenant, late_rooms, asked, given_author, given_since, given_until, oldest, keys;
        END IF;
        whole := oldest IS NULL OR cardinality(found) >= {CANDIDATES};
        EXIT WHEN wanted >= affordable;
        enough := enough * 4;
    END LOOP;

    RETURN QUERY
        SELECT ranked.id, ranked.rank, NOT whole OR cardinality(found) >= {CANDIDATES}
        FROM (
            SELECT m.id, ts_rank(m.search, asked) AS rank FROM public.chat_message m
            WHERE m.tenant_id = in_tenant AND m.id = ANY (found[1:{CANDIDATES}])
        ) ranked
        WHERE given_rank IS NULL OR (ranked.rank, ranked.id) < (given_rank, given_id)
        ORDER BY ranked.rank DESC, ranked.id DESC
        LIMIT least(given_limit, 101);
END
"""

FUNCTION = Definer(
    "search_messages",
    "given_words text, given_room uuid, given_author uuid, given_since timestamptz, given_until timestamptz, "
    "given_rank real, given_id uuid, given_limit integer",
    "TABLE (message_id uuid, rank real, capped boolean)",
    SEARCH,
    language="plpgsql",
    settings=(
        "plan_cache_mode = force_generic_plan",
        "jit = off",
        "work_mem = '64MB'",
        "max_parallel_workers_per_gather = 0",
    ),
)


class Migration(migrations.Migration):
    dependencies = [("chat", "0015_kept_plans")]

    operations = [
        migrations.RunSQL(
            "GRANT SELECT (last_id) ON chat_room TO parley_lookup",
            "REVOKE SELECT (last_id) ON chat_room FROM parley_lookup",
        ),
        DefinersGone([before.FUNCTION], ["search_messages"]),
        migrations.RunSQL(INDEX, NO_INDEX),
        FUNCTION,
    ]
