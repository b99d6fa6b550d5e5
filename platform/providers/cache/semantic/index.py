"""The extension `vector` (pgvector) and the index that it makes possible.

Both are made where they can be, and nothing else depends on them: entries are stored as `real[]`, which every PostgreSQL has, and
cast for a look-up. Migrations make the index if the extension is there by then; the administrator's connection that prepares the
database at start makes the extension where the server has it, and the index if it came later."""

EXTENSION = "vector"
INDEX = "semantic_entry_near"
DIMENSIONS = 384
"""Of the vectors in the index: the default embedder's. Vectors of other lengths are compared one by one."""

CREATE_EXTENSION = """
    DO $extension$ BEGIN
        IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')
           AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
            CREATE EXTENSION vector SCHEMA public;
        END IF;
    END $extension$
"""
"""A superuser's to do."""

CREATE_INDEX = f"""
    DO $index$ BEGIN
        IF EXISTS (SELECT FROM pg_extension WHERE extname = '{EXTENSION}')
           AND to_regclass('public.providers_semanticentry') IS NOT NULL
           AND to_regclass('public.{INDEX}') IS NULL THEN
            CREATE INDEX {INDEX} ON public.providers_semanticentry
                USING hnsw ((embedding::vector({DIMENSIONS})) vector_cosine_ops) WHERE dimensions = {DIMENSIONS};
        END IF;
    END $index$
"""
"""The table's owner's to do."""

DROP_INDEX = f"DROP INDEX IF EXISTS public.{INDEX}"
