"""Search in one's rooms: how words are told apart, the index, and the one function that reads it.

`@@` is not leakproof: under a row policy it runs after the policy, and the index of words can't be used. So the function is
a definer. It takes no tenant and no person: both are the transaction's, and the rooms are those that this person is in. It
reads ids, dates and word lists, never a text. What it does to stay quick is told in docs/adr/0014-search.md.
"""

from django.db import migrations

from kernel.migrations import Definer, LookupReads

# English endings are taken off words of ASCII letters; all others are only put in small letters. No word is left out.
WORDS = [
    "CREATE TEXT SEARCH DICTIONARY public.parley_english (TEMPLATE = pg_catalog.snowball, LANGUAGE = english)",
    "CREATE TEXT SEARCH CONFIGURATION public.parley_words (COPY = pg_catalog.simple)",
    "ALTER TEXT SEARCH CONFIGURATION public.parley_words ALTER MAPPING FOR asciiword, asciihword, hword_asciipart "
    "WITH public.parley_english",
]
NO_WORDS = [
    "DROP TEXT SEARCH CONFIGURATION public.parley_words",
    "DROP TEXT SEARCH DICTIONARY public.parley_english",
]

INDEX = [
    # An answer may be longer than a list of words can be (1 MiB); so many characters always fit.
    "ALTER TABLE chat_message ADD COLUMN search tsvector "
    "GENERATED ALWAYS AS (to_tsvector('public.parley_words', left(text, 100000))) STORED",
    # Without a list of pending words: it would be read by every search, and emptied by whoever writes next.
    "CREATE INDEX message_search ON chat_message USING gin (tenant_id, search) WITH (fastupdate = off)",
    # With the room alone: two indexes that both begin with the tenant are never combined.
    "CREATE INDEX messages_in_rooms ON chat_message (room_id)",
    # Words that many messages have are known to the planner.
    "ALTER TABLE chat_message ALTER COLUMN search SET STATISTICS 1000",
]
NO_INDEX = ["DROP INDEX message_search", "DROP INDEX messages_in_rooms", "ALTER TABLE chat_message DROP COLUMN search"]

CANDIDATES = 200
SAMPLE = 400
LOOKS = 8_000
WALKED = 6_000
PROBES = 16
MORE = 4
ROOMS = 10_000
ROUNDS = 4

# What a message must be besides matching; $4 to $6 are what the caller asks for.
WANTED = """m.deleted_at IS NULL
              AND ($4 IS NULL OR m.author_membership_id = $4)
              AND ($5 IS NULL OR m.created_at >= $5)
              AND ($6 IS NULL OR m.created_at < $6)"""

# From which message on a few of the rooms, the liveliest and others evenly among them, hold their share of so many.
BACK = f"""
        SELECT probed.id INTO oldest FROM unnest(probes) r (id) CROSS JOIN LATERAL (
            SELECT m.id FROM public.chat_message m
            WHERE m.tenant_id = in_tenant AND m.room_id = r.id
            ORDER BY m.id DESC LIMIT reach * cardinality(probes) / cardinality(in_rooms) + {MORE}
        ) probed ORDER BY probed.id DESC OFFSET reach * cardinality(probes) / cardinality(in_rooms) + {MORE} - 1 LIMIT 1;
"""

SEARCH = f"""
#variable_conflict use_column
DECLARE
    in_tenant constant uuid := current_setting('app.tenant_id')::uuid;
    as_person constant uuid := NULLIF(current_setting('app.person_id', true), '')::uuid;
    asked constant tsquery := websearch_to_tsquery('public.parley_words', given_words);
    -- All words of a phrase somewhere in the message: so much the index knows.
    loosely constant tsquery := regexp_replace(asked::text, '<(-|[0-9]+)>', '&', 'g')::tsquery;
    indexed constant boolean := querytree(asked) NOT IN ('', 'T');
    in_rooms uuid[];
    found uuid[];
    probes uuid[];
    events bigint;
    oldest uuid;
    looked bigint;
    hits bigint;
    loose bigint;
    enough bigint;
    affordable bigint;
    reach bigint;
    wanted bigint;
    bias float8;
    whole boolean := false;
BEGIN
    SELECT array_agg(p.room_id ORDER BY p.last_message_at DESC NULLS LAST, p.room_id), sum(p.head_seq) INTO in_rooms, events FROM (
        SELECT p.room_id, r.head_seq, r.last_message_at
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

    -- How common it is, the newest messages tell.
    reach := {SAMPLE};
    FOR round IN 1..{ROUNDS} LOOP
{BACK}
        EXECUTE $sample$
            SELECT count(*), count(*) FILTER (WHERE newest.loose), array_agg(newest.id ORDER BY newest.id DESC) FILTER (WHERE newest.hit)
            FROM (
                SELECT m.id, m.search @@ $7 AS loose, m.search @@ $3 AND {WANTED} AS hit
                FROM unnest($2) r (id) JOIN public.chat_message m ON m.tenant_id = $1 AND m.room_id = r.id
                WHERE m.id > coalesce($8, '00000000-0000-0000-0000-000000000000'::uuid)
                LIMIT {SAMPLE * 10}
            ) newest
        $sample$ INTO looked, loose, found
        USING in_tenant, in_rooms, asked, given_author, given_since, given_until, loosely, oldest;
        EXIT WHEN oldest IS NULL OR looked >= {SAMPLE};
        reach := reach * least({SAMPLE} * 2 / greatest(looked, 1), 8) + 1;
    END LOOP;
    bias := reach::float8 / greatest(looked, 1);
    hits := coalesce(cardinality(found), 0);
    whole := looked < {SAMPLE * 10} AND (oldest IS NULL OR hits >= {CANDIDATES});

    -- Then as far back as will do, and no further than can be afforded: whatever the index finds has to be looked at.
    affordable := {LOOKS} * looked / greatest(loose, 1);
    enough := {CANDIDATES} * 3 / 2 * looked / greatest(hits, 1);
    FOR round IN 1..{ROUNDS} LOOP
        EXIT WHEN whole;
        wanted := least(affordable, CASE WHEN hits = 0 THEN events ELSE enough END);
        IF loose = 0 OR wanted * 2 > events THEN
            oldest := NULL;
        ELSE
            reach := wanted * bias;
{BACK}        END IF;
        IF oldest IS NOT NULL AND wanted <= {WALKED} THEN
            -- So common are the words that the index would name far more messages than have to be looked at.
            EXECUTE $walk$
                SELECT array_agg(newest.id) FROM (
                    SELECT near.id FROM unnest($2) r (id) CROSS JOIN LATERAL (
                        SELECT m.id, m.search @@ $3 AND {WANTED} AS hit
                        FROM public.chat_message m WHERE m.tenant_id = $1 AND m.room_id = r.id AND m.id > $7
                        OFFSET 0
                    ) near WHERE near.hit ORDER BY near.id DESC LIMIT {CANDIDATES}
                ) newest
            $walk$ INTO found USING in_tenant, in_rooms, asked, given_author, given_since, given_until, oldest;
        ELSE
        -- What is asked decides the plan, so it is made for each question.
        EXECUTE $find$
            WITH hit AS MATERIALIZED (
                SELECT m.id FROM public.chat_message m
                WHERE m.tenant_id = $1 AND m.room_id = ANY ($2) AND m.search @@ $3
                  AND ($7 IS NULL OR m.id > $7) AND {WANTED}
            )
            SELECT array_agg(newest.id) FROM (SELECT hit.id FROM hit ORDER BY hit.id DESC LIMIT {CANDIDATES}) newest
        $find$ INTO found USING in_tenant, in_rooms, asked, given_author, given_since, given_until, oldest;
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
    settings=("plan_cache_mode = force_generic_plan", "jit = off", "work_mem = '64MB'"),
)


class Migration(migrations.Migration):
    dependencies = [("chat", "0005_attachments")]

    operations = [
        # Trusted: whoever may create in the database may have it. It lets an index of words begin with the tenant.
        migrations.RunSQL("CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA public", "DROP EXTENSION btree_gin"),
        migrations.RunSQL(WORDS, NO_WORDS),
        migrations.RunSQL(INDEX, NO_INDEX),
        LookupReads("chat_room", "id, tenant_id, head_seq, last_message_at, deleted_at"),
        LookupReads("chat_roommember", "tenant_id, room_id, membership_id, left_at"),
        LookupReads("chat_message", "id, tenant_id, room_id, author_membership_id, created_at, deleted_at, search"),
        FUNCTION,
    ]
