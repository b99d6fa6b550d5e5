"""CSV (RFC 4180) that spreadsheets can't be made to compute.

A text that begins with `= + - @`, a tab or a carriage return is read as a formula by spreadsheets; it gets an apostrophe in
front (OWASP, "CSV Injection"). Numbers are numbers.
"""

import csv
from collections.abc import Iterable
from io import StringIO

Cell = str | int | float | bool | None

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[Cell]]) -> str:
    """Lines of CSV, each with its end."""
    written = StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([_safe(cell) for cell in row] for row in rows)
    return written.getvalue()


def _safe(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
