"""The statements that sum usage. They run as the tenant in scope, whose rows alone they see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from billing.report_models import SUMS
from billing.reports.asking import COLUMNS, IDS, NOBODY, Asked
from billing.rollups import FACTS

Row = Mapping[str, Any]
After = tuple[datetime, Sequence[str]]
"""The start and the values of the last row seen."""

CLOCKS_GO_BACK = timedelta(hours=3)
"""At most."""

_ALL = ", ".join(f"coalesce(sum(f.{name}), 0)::bigint AS {name}" for name in SUMS)
_GROUPS = "LEFT JOIN tenants_groupmember g ON g.membership_id = f.membership_id"


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL, and its parameters by name."""

    text: str
    parameters: Mapping[str, Any]


def series_of(asked: Asked, *, limit: int, after: After | None = None) -> Statement:
    """Rows of `start`, a column `by_…` as text for each dimension (empty for none), and the sums; in that order."""
    by = ", ".join(f"by_{name}" for name in asked.group_by)
    order = f"start, {by}" if by else "start"
    parameters = _parameters(asked) | {"limit": limit, "zone": asked.zone.key}
    later = ""
    if after is not None:
        parameters |= {"after": after[0]} | {
            f"after_{name}": value for name, value in zip(asked.group_by, after[1], strict=True)
        }
        places = "".join(f", %(after_{name})s" for name in asked.group_by)
        later = f"WHERE ({order}) > (%(after)s::timestamptz{places})"
        # What was shown needn't be summed again. Where clocks go back at midnight, a day's start is told as the later one.
        parameters["since"] = max(asked.since, after[0] - CLOCKS_GO_BACK) if asked.interval else asked.since
    return Statement(
        f"SELECT * FROM ({_grouped(asked, _start(asked))}) grouped {later} ORDER BY {order} LIMIT %(limit)s",  # noqa: S608
        parameters,
    )


def totals_of(asked: Asked) -> Statement:
    """One row of the sums of all, in which members of several groups count once."""
    return Statement(f"SELECT {_ALL} FROM ({_facts()}) f WHERE {_where(asked)}", _parameters(asked))  # noqa: S608 - constants


def top_of(asked: Asked, *, limit: int) -> Statement:
    """The rows of `series_of` for the whole range, dearest first."""
    by = ", ".join(f"by_{name}" for name in asked.group_by)
    text = f"{_grouped(asked, '%(since)s::timestamptz')} ORDER BY sell_nano DESC, attempts DESC, {by} LIMIT %(limit)s"
    return Statement(text, _parameters(asked) | {"limit": limit})


def rows_of(statement: Statement) -> list[dict[str, Any]]:
    """The rows of a statement, in Django's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(statement.text, dict(statement.parameters))
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _facts() -> str:
    return FACTS.format(
        rolled="u.bucket >= %(since)s AND u.bucket < %(until)s", fresh="u.at >= %(since)s AND u.at < %(until)s"
    )


def _start(asked: Asked) -> str:
    if asked.interval is None:
        return "%(since)s::timestamptz"
    return f"date_trunc('{asked.interval}', f.bucket, %(zone)s)"


def _grouped(asked: Asked, start: str) -> str:
    dimensions = "".join(f", coalesce(({COLUMNS[name]})::text, '') AS by_{name}" for name in asked.group_by)
    places = ", ".join(str(place + 1) for place in range(1 + len(asked.group_by)))
    groups = _GROUPS if "group" in asked.group_by else ""
    return (
        f"SELECT {start} AS start{dimensions}, {_ALL} FROM ({_facts()}) f {groups} "  # noqa: S608 - constants
        f"WHERE {_where(asked)} GROUP BY {places}"
    )


def _where(asked: Asked) -> str:
    tests = ["f.membership_id = %(only)s"] if asked.only else []
    for name, values in asked.filters.items():
        kind = "uuid" if name in IDS else "text"
        listed = f"= ANY (%({name})s::{kind}[])"
        if name == "group":
            # Whoever is in one of them now; not each by each, which would count a member of two twice.
            test = f"EXISTS (SELECT FROM tenants_groupmember x WHERE x.membership_id = f.membership_id AND x.group_id {listed})"
            nobody = "NOT EXISTS (SELECT FROM tenants_groupmember x WHERE x.membership_id = f.membership_id)"
        else:
            test, nobody = f"{COLUMNS[name]} {listed}", f"({COLUMNS[name]}) IS NULL"
        tests.append(f"({test} OR {nobody})" if name in IDS and NOBODY in values else test)
        if name == "group" and "group" in asked.group_by and NOBODY not in values:
            tests.append(f"g.group_id {listed}")
    return " AND ".join(tests) or "true"


def _parameters(asked: Asked) -> dict[str, Any]:
    filters = {name: [v for v in values if not (name in IDS and v == NOBODY)] for name, values in asked.filters.items()}
    return {"since": asked.since, "until": asked.until, "only": asked.only} | filters


def told_start(row: Row, asked: Asked) -> datetime:
    """When a row's interval begins by the tenant's clock: a day at its first midnight, where clocks go back to it."""
    start: datetime = row["start"].astimezone(asked.zone)
    return start.replace(fold=0) if asked.interval in ("day", "month") else start


def start_of(row: Row) -> datetime:
    """When a row's interval begins, in UTC."""
    start: datetime = row["start"]
    return start.astimezone(UTC)
