"""Rollups against the records that they sum."""

from datetime import timedelta

from psycopg import sql

from billing.report_models import GRAIN, SUMS
from billing.rollups import BELOW, BUCKET_S, COUNTED
from billing.verification.values import Findings, Window
from kernel.snapshots import Snapshot

_COMPARED = ", ".join(
    f"coalesce(sum({name}) FILTER (WHERE NOT rolled), 0)::bigint AS {name}_expected, "
    f"coalesce(sum({name}) FILTER (WHERE rolled), 0)::bigint AS {name}_found"
    for name in SUMS
)
_UNEQUAL = " OR ".join(f"coalesce(sum(CASE WHEN rolled THEN {name} ELSE -{name} END), 0) <> 0" for name in SUMS)
_IN_WINDOW = (
    "(%(since)s::timestamptz IS NULL OR {0} >= %(since)s) AND (%(until)s::timestamptz IS NULL OR {0} < %(until)s)"
)
_DIFFERENT = f"""
    WITH both_ways AS (
        SELECT true AS rolled, {", ".join(GRAIN)}, {", ".join(SUMS)} FROM billing_usagerollup
        WHERE {_IN_WINDOW.format("bucket")}
        UNION ALL
        SELECT false, c.* FROM ({COUNTED.format(where=f"u.tx < {BELOW} AND {_IN_WINDOW.format('u.at')}")}) c
    )
    SELECT {", ".join(GRAIN)}, {_COMPARED} FROM both_ways GROUP BY {", ".join(GRAIN)} HAVING {_UNEQUAL}
    ORDER BY {", ".join(GRAIN)} LIMIT 100
"""  # noqa: S608 - constants
_LOOKED_AT = f"SELECT count(*) AS rows FROM billing_usagerollup WHERE {_IN_WINDOW.format('bucket')}"  # noqa: S608 - constants
_AHEAD = (
    "SELECT below_tx, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest FROM billing_rollupmark "
    "WHERE name = 'usage'"
)


def check_rollups(snapshot: Snapshot, window: Window, findings: Findings) -> None:
    """The rollups of a window are what a recount of its records gives, as far as the mark goes."""
    # Whole buckets: months begin with one, a day or moment that somebody names may not.
    since = window.since and window.since - timedelta(seconds=window.since.timestamp() % BUCKET_S)
    bounds = {"since": since, "until": window.until}
    counted = snapshot.execute(_query(_LOOKED_AT), bounds).fetchone()
    findings.look("rollups", counted["rows"] if counted else 0)
    for row in snapshot.execute(_query(_DIFFERENT), bounds):
        column = next(name for name in SUMS if row[f"{name}_expected"] != row[f"{name}_found"])
        findings.differs(
            "rollups",
            "billing_usagerollup",
            {**{name: row[name] for name in GRAIN}, "column": column},
            expected=row[f"{column}_expected"],
            found=row[f"{column}_found"],
        )


def check_mark(snapshot: Snapshot, findings: Findings) -> None:
    """The mark is not ahead of the database, as it is when a dump was restored into a younger one."""
    row = snapshot.execute(_query(_AHEAD)).fetchone()
    if row and row["below_tx"] > row["newest"]:
        findings.differs(
            "mark",
            "billing_rollupmark",
            {"column": "below_tx"},
            expected=f"at most {row['newest']}",
            found=row["below_tx"],
        )


def _query(text: str) -> sql.SQL:
    # Made of the names in this module alone.
    return sql.SQL(text)
