"""A report as CSV, in pieces: a page at a time is read, written and forgotten, each in a transaction of its own. So a client that
reads slowly keeps no connection to the database, and however long the report is, no more than a page is in memory."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from psycopg import sql

from billing.report_models import SUMS
from billing.reports.asking import Asked
from billing.reports.naming import NAMES
from billing.reports.summing import After, series_of, told_start
from kernel import adb
from kernel.spreadsheets import Cell, csv_text
from kernel.tenancy import Scope

ROWS_AT_ONCE = 5_000
ROWS_MAX = 2_000_000
"""Then the report ends, and says so in its last line."""
TOO_LONG = "cut short: ask for a shorter time, or fewer dimensions"


def columns_of(asked: Asked, *, names: Sequence[str], with_cost: bool) -> list[str]:
    """The head of the table."""
    dimensions = [
        column for name in asked.group_by for column in ((name, f"{name}_name") if name in names else (name,))
    ]
    return ["start", *dimensions, *(_TITLES.get(name, name) for name in _sums(with_cost))]


async def export(asked: Asked, *, scope: Scope, names: Sequence[str], with_cost: bool) -> AsyncIterator[bytes]:
    """The report, as UTF-8."""
    yield csv_text([columns_of(asked, names=names, with_cost=with_cost)]).encode()
    after: After | None = None
    written = 0
    while written < ROWS_MAX:
        rows, known = await _page(asked, scope, names, after)
        yield csv_text(_line(row, asked, names, known, with_cost=with_cost) for row in rows).encode()
        written += len(rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        after = rows[-1]["start"], [rows[-1][f"by_{name}"] for name in asked.group_by]
    yield csv_text([[TOO_LONG]]).encode()


async def _page(
    asked: Asked, scope: Scope, names: Sequence[str], after: After | None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    statement = series_of(asked, limit=ROWS_AT_ONCE, after=after)
    async with adb.transaction(scope.tenant_id, person_id=scope.person_id) as connection:
        # Made of constants; what was said goes as parameters.
        cursor = await connection.execute(sql.SQL(statement.text), statement.parameters)
        rows = await cursor.fetchall()
        known: dict[str, str] = {}
        for name in names:
            ids = list({row[f"by_{name}"] for row in rows if row[f"by_{name}"]})
            found = await connection.execute(NAMES[name], {"ids": ids})
            known |= {row["id"]: row["name"] for row in await found.fetchall()}
    return rows, known


def _line(
    row: dict[str, Any], asked: Asked, names: Sequence[str], known: dict[str, str], *, with_cost: bool
) -> list[Cell]:
    line: list[Cell] = [told_start(row, asked).isoformat()]
    for name in asked.group_by:
        line.append(row[f"by_{name}"])
        if name in names:
            line.append(known.get(row[f"by_{name}"], ""))
    return line + [row[name] for name in _sums(with_cost)]


def _sums(with_cost: bool) -> list[str]:
    return [name for name in SUMS if with_cost or name != "cost_nano"]


_TITLES = {"sell_nano": "charged_nano", "loss_nano": "uncharged_nano", "cost_nano": "provider_cost_nano"}
