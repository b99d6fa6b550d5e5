"""An invoice as PDF. Rows are drawn right onto the page, at one height: a table that lays itself out takes minutes for a hundred
thousand of them, and this takes seconds."""

from collections.abc import Iterator, Sequence
from typing import IO

from reportlab import rl_config
from reportlab.pdfgen.canvas import Canvas

from billing.invoices.documents.fonts import BOLD, cut, is_western
from billing.invoices.documents.rows import Row, Section, rows_of, sections_of
from billing.invoices.documents.sheet import (
    BOTTOM,
    LEFT,
    RIGHT,
    SECTIONS,
    TITLES,
    TOP,
    Cell,
    Sheet,
    days,
    exact,
    first_page,
    footer,
)
from billing.models import Invoice

# Pages needn't be readable as text: a fifth less, and sooner.
rl_config.useA85 = 0

ROW, HEAD, SIZE = 12.0, 18.0, 7.2
"""Heights of a row and of the table's head, and the size of letters, in points."""
WHAT, WHO, REQUESTS, READ, WRITTEN = 86.0, 272.0, 392.0, 442.0, 492.0
"""Where columns begin, or, those of numbers, end."""
GAP = 6.0
HEADED = ("plan", "usage", "adjustment")
"""Sections that have a heading; the others are a line each."""


def write_pdf(document: Invoice, target: IO[bytes], *, about: str = "") -> int:
    """Write an invoice that is final; how many pages. `about` is the label of the invoice that it corrects or replaces."""
    sections = sections_of(document)
    canvas = Canvas(target, pagesize=(595.27, 841.89), pageCompression=1, invariant=1)
    canvas.setTitle(f"{TITLES[document.kind]} {document.label}")
    canvas.setAuthor(document.seller.get("name", ""))
    # Drawn twice: how far down the first page goes is known when it is drawn, and the number of pages follows from it.
    trial = Sheet(Canvas(None, pagesize=(595.27, 841.89)))
    lower = first_page(trial, document, sections, about)
    return _Pages(Sheet(canvas), document, sections, about, lower).write(rows_of(document))


class _Pages:
    def __init__(
        self, sheet: Sheet, document: Invoice, sections: Sequence[Section], about: str, lower: float, /
    ) -> None:
        self.sheet, self.document, self.sections, self.about, self.lower = sheet, document, sections, about, lower
        self.first = max(0, int((lower - HEAD - BOTTOM) // ROW))
        self.others = int((TOP - HEAD - BOTTOM) // ROW)
        rows = sum(one.lines + (one.kind in HEADED) for one in sections)
        self.pages = 1 + max(0, -(-(rows - self.first) // self.others))
        self.page, self.y, self.left = 0, 0.0, 0

    def write(self, rows: Iterator[Row]) -> int:
        self._begin()
        for section in self.sections:
            if section.kind in HEADED:
                self._room()
                self._heading(section)
            for _ in range(section.lines):
                self._room()
                self._row(next(rows))
        self._end()
        self.sheet.canvas.save()
        return self.pages

    def _begin(self) -> None:
        self.page += 1
        if self.document.state == "void":
            self.sheet.stamp("VOID")
        if self.page == 1:
            first_page(self.sheet, self.document, self.sections, self.about)
        self.y = self.lower if self.page == 1 else TOP
        self.left = self.first if self.page == 1 else self.others
        if self.left:
            self._head()

    def _end(self) -> None:
        footer(self.sheet, self.document, self.page, self.pages)
        self.sheet.end_page()

    def _room(self) -> None:
        if not self.left:
            self._end()
            self._begin()
        self.left -= 1
        self.y -= ROW

    def _head(self) -> None:
        sheet, y = self.sheet, self.y - 10
        sheet.band(y - 5, 15)
        sheet.text(LEFT + GAP, y, "Day", size=SIZE, font=BOLD)
        sheet.text(WHAT, y, "Model", size=SIZE, font=BOLD)
        sheet.text(WHO, y, "Used by", size=SIZE, font=BOLD)
        for x, name in ((REQUESTS, "Requests"), (READ, "Tokens in"), (WRITTEN, "Tokens out"), (RIGHT - GAP, "Amount")):
            sheet.right(x, y, name, size=SIZE, font=BOLD)
        self.y -= HEAD

    def _heading(self, section: Section) -> None:
        name = SECTIONS[section.kind]
        if section.period_since is not None:
            zone = self.document.time_zone
            name = f"Usage of an earlier period, {days(section.period_since, section.period_until, zone)}"
        self.sheet.text(LEFT + GAP, self.y, name, size=SIZE, font=BOLD)
        self.sheet.right(RIGHT - GAP, self.y, exact(section.amount_nano), size=SIZE, font=BOLD)
        self.sheet.rule(self.y - 3.5, width=0.4)

    def _row(self, row: Row) -> None:
        y, amount = self.y, (RIGHT - GAP, exact(row["amount_nano"]), True)
        if row["kind"] not in ("usage", "adjustment"):
            self._texts(y, (LEFT + GAP, cut(row["description"], WRITTEN - LEFT - GAP, SIZE)), figures=(amount,))
            return
        who = row["api_key"] or row["member"] or "someone who left"
        read = row["input"] + row["cache_read"] + row["cache_write"]
        self._texts(
            y,
            (LEFT + GAP, row["day"].isoformat()),
            (WHAT, cut(_what(row), WHO - WHAT - GAP, SIZE)),
            (WHO, cut(who, REQUESTS - 38 - WHO, SIZE)),
            figures=(
                (REQUESTS, f"{row['attempts']:,}", True),
                (READ, f"{read:,}", True),
                (WRITTEN, f"{row['output'] + row['reasoning']:,}", True),
                amount,
            ),
        )

    def _texts(self, y: float, *texts: tuple[float, str], figures: Sequence[Cell]) -> None:
        western = [(x, text, False) for x, text in texts if is_western(text)]
        self.sheet.cells(y, SIZE, *western, *figures)
        for x, text in texts:
            if not is_western(text):
                self.sheet.text(x, y, text, size=SIZE)


def _what(row: Row) -> str:
    """The model as it was asked for, and where it is from."""
    source = row["connection"] if row["model"] == row["alias"] else f"{row['connection']}: {row['model']}"
    return f"{row['alias']} ({source})"
