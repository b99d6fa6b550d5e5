"""CSV (RFC 4180) that spreadsheets can't be made to compute.

A text that begins with `= + - @`, a tab or a carriage return is read as a formula by spreadsheets; it gets an apostrophe in
front (OWASP, "CSV Injection"). Numbers are numbers.
"""

import csv
import re
from collections.abc import Iterable
from io import StringIO


class Number(str):
    """A decimal number, as it is to be written: no text, also where it begins with a minus sign."""

    __slots__ = ()

    def __new__(cls, text: str) -> "Number":
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
            raise ValueError("a decimal number is needed")
        return super().__new__(cls, text)


Cell = str | int | float | bool | None

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[Cell]]) -> str:
    """Lines of CSV, each with its end."""
    written = StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([_safe(cell) for cell in row] for row in rows)
    return written.getvalue()


def _safe(cell: Cell) -> Cell:
    is_text = isinstance(cell, str) and not isinstance(cell, Number)
    return f"'{cell}" if is_text and str(cell).startswith(_FORMULAS) else cell
