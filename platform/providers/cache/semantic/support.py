"""Whether the semantic tier can work here; if not, the reason in a sentence, for the console and the operators' `/readyz`."""

import time

import msgspec
from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.per_loop import PerLoop
from providers.cache.semantic.index import EXTENSION, INDEX

FRESH_S = 60.0
RETRY_S = 5.0
NO_EXTENSION = "The database has no extension vector (pgvector), so the semantic tier is off."
UNKNOWN = "The database can't be asked at the moment."

_SQL = """
    SELECT (SELECT extversion FROM pg_extension WHERE extname = %s) AS version, to_regclass(%s) IS NOT NULL AS indexed
"""


class Support(msgspec.Struct, frozen=True):
    """`version` is pgvector's, None without it; `problem` is empty where the tier can work. Without the index (`indexed`)
    it works, and large scopes are slow."""

    version: str | None
    indexed: bool
    problem: str = ""


class _Known:
    def __init__(self) -> None:
        self.support = Support(None, False, UNKNOWN)
        self.until = 0.0


known = PerLoop(_Known)


async def support() -> Support:
    """What the database offers, at most `FRESH_S` old. Never fails."""
    held = known()
    now = time.monotonic()
    if now < held.until:
        return held.support
    # Whoever comes while the database is asked goes by what was known.
    held.until = now + RETRY_S
    try:
        async with adb.tenantless() as connection:
            row = await (await connection.execute(_SQL, (EXTENSION, f"public.{INDEX}"))).fetchone()
    except (Error, Unavailable):
        return held.support
    version = row["version"] if row else None
    held.support = Support(version, bool(row and row["indexed"]), "" if version else NO_EXTENSION)
    held.until = time.monotonic() + (FRESH_S if version else RETRY_S)
    return held.support
