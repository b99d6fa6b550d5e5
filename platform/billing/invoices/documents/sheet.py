"""The paper: what stands on the first page of an invoice, and on every page."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from reportlab.lib.pagesizes import A4

from billing.invoices.documents.fonts import BOLD, REGULAR, Run, cut, figures_width, literal, runs_of, width_of, wrap
from billing.invoices.documents.rows import Section, usd
from billing.models import Invoice
from billing.periods import zone_of

WIDTH, HEIGHT = A4
LEFT, RIGHT = 36.0, WIDTH - 36.0
TOP, BOTTOM = HEIGHT - 40.0, 44.0
"""In points, from the lower left corner."""
INK, FAINT, RULE, TINT = (0.10, 0.11, 0.14), (0.42, 0.45, 0.50), (0.80, 0.82, 0.85), (0.955, 0.96, 0.97)
PARTY_WIDTH, PARTY_LINES = 240.0, 10
TITLES = {"invoice": "Invoice", "credit_note": "Credit note"}
SECTIONS = {
    "plan": "Plan",
    "usage": "Usage",
    "adjustment": "Usage of earlier periods",
    "credit": "Credit",
    "carried_in": "Carried over",
    "carried_out": "Carried over to the next invoice",
    "correction": "Given back",
}
_CENTS = 10**7

Cell = tuple[float, str, bool]
"""Where, which western text, and whether it is a figure, that ends there."""


class Sheet:
    """A canvas, with what all that draws on it needs. `canvas` is reportlab's."""

    def __init__(self, canvas: Any) -> None:
        self.canvas = canvas
        self._plain: float | None = None

    def text(
        self, x: float, y: float, text: str, *, size: float = 9, font: str = REGULAR, color: Sequence[float] = INK
    ) -> None:
        """Write, beginning at x."""
        self.canvas.setFillColorRGB(*color)
        self._write(x, y, runs_of(text, font), size)

    def right(
        self, x: float, y: float, text: str, *, size: float = 9, font: str = REGULAR, color: Sequence[float] = INK
    ) -> None:
        """Write, ending at x."""
        self.canvas.setFillColorRGB(*color)
        self._write(x - width_of(text, size, font), y, runs_of(text, font), size)

    def cells(self, y: float, size: float, *cells: Cell) -> None:
        """Write a table's row at a height: texts from their x on, figures up to it. All of it is one piece of the page's
        program, which takes a quarter of the time of as many calls."""
        if self._plain != size:
            self.canvas.setFillColorRGB(*INK)
            self.canvas.setFont(REGULAR, size)
            self._plain = size
        written = "".join(
            f"1 0 0 1 {x - figures_width(text) * size if is_figure else x:.2f} {y:.2f} Tm ({literal(text)}) Tj "
            for x, text, is_figure in cells
        )
        self.canvas.addLiteral(f"BT {written}ET")

    def end_page(self) -> None:
        """The next one begins with nothing set."""
        self.canvas.showPage()
        self._plain = None

    def rule(self, y: float, *, left: float = LEFT, right: float = RIGHT, width: float = 0.6) -> None:
        """A line across."""
        self.canvas.setStrokeColorRGB(*RULE)
        self.canvas.setLineWidth(width)
        self.canvas.line(left, y, right, y)

    def band(self, y: float, height: float) -> None:
        """A tinted band across the page, to be written on."""
        self._plain = None
        self.canvas.setFillColorRGB(*TINT)
        self.canvas.rect(LEFT, y, RIGHT - LEFT, height, stroke=0, fill=1)

    def stamp(self, word: str) -> None:
        """A word across the page, behind what is written on it."""
        self.canvas.saveState()
        self.canvas.setFillColorRGB(0.93, 0.88, 0.88)
        self.canvas.setFont(BOLD, 130)
        self.canvas.translate(WIDTH / 2, HEIGHT / 2)
        self.canvas.rotate(45)
        self.canvas.drawCentredString(0, -45, word)
        self.canvas.restoreState()

    def _write(self, x: float, y: float, runs: Sequence[Run], size: float) -> None:
        self._plain = None
        for font, part in runs:
            self.canvas.setFont(font, size)
            self.canvas.drawString(x, y, part)
            if len(runs) > 1:
                x += self.canvas.stringWidth(part, font, size)


def first_page(sheet: Sheet, document: Invoice, sections: Sequence[Section], about: str) -> float:
    """Who sells, who pays, what for and how much. `about` names another document. The height down to which it goes."""
    sheet.text(LEFT, TOP - 14, cut(document.seller.get("name", ""), 300, 17, BOLD), size=17, font=BOLD)
    sheet.right(RIGHT, TOP - 14, TITLES[document.kind], size=17, color=FAINT)
    lower = min(_facts(sheet, document, about, TOP - 40), _party(sheet, document.seller, LEFT, TOP - 32, named=False))
    sheet.text(LEFT, lower - 18, "BILL TO", size=7, font=BOLD, color=FAINT)
    lower = _party(sheet, document.buyer, LEFT, lower - 31, named=True)
    lower = _totals(sheet, document, sections, lower - 16)
    return _notes(sheet, document, lower - 18)


def footer(sheet: Sheet, document: Invoice, page: int, pages: int) -> None:
    """The foot of every page."""
    sheet.rule(BOTTOM - 12)
    sheet.text(LEFT, BOTTOM - 23, f"{TITLES[document.kind]} {document.label}", size=7, color=FAINT)
    sheet.right(RIGHT, BOTTOM - 23, f"Page {page:,} of {pages:,}", size=7, color=FAINT)


def money(nano: int) -> str:
    """Dollars and cents of an amount that is whole cents."""
    sign = "-" if nano < 0 else ""
    dollars, cents = divmod(abs(nano) // _CENTS, 100)
    return f"{sign}{dollars:,}.{cents:02d}"


def exact(nano: int) -> str:
    """Dollars with all nine places."""
    whole, _, rest = usd(abs(nano)).partition(".")
    return f"{'-' if nano < 0 else ''}{int(whole):,}.{rest}"


def day(moment: datetime | None, time_zone: str) -> str:
    """A day in the tenant's time zone."""
    if moment is None:
        return ""
    local = moment.astimezone(zone_of(time_zone))
    return f"{local.day} {local:%B %Y}"


def days(since: datetime | None, until: datetime | None, time_zone: str) -> str:
    """A period, by its first and its last day."""
    last = until and until - timedelta(microseconds=1)
    first, final = day(since, time_zone), day(last, time_zone)
    return first if first == final else f"{first} to {final}"


def _facts(sheet: Sheet, document: Invoice, about: str, y: float) -> float:
    zone = document.time_zone
    facts = [("Number", document.label), ("Date", day(document.final_at, zone))]
    if document.kind == "invoice":
        facts += [
            ("Due", day(document.due_at, zone) if document.total_nano else "nothing to pay"),
            ("Period", days(document.since, document.until, zone)),
        ]
    facts += [("Time zone", zone), ("Currency", f"{document.currency} (US dollars)")]
    if about:
        facts.append(("In place of" if document.kind == "invoice" else "For invoice", about))
    if document.buyer.get("reference"):
        facts.append(("Your reference", document.buyer["reference"]))
    for name, value in facts:
        sheet.text(352, y, name, size=8, color=FAINT)
        for part in wrap(value, RIGHT - 422, 8, lines=2):
            sheet.text(422, y, part, size=8)
            y -= 12
    return y


def _party(sheet: Sheet, party: dict[str, str], x: float, y: float, *, named: bool) -> float:
    if named:
        for part in wrap(party.get("name", ""), PARTY_WIDTH, 10, lines=3, font=BOLD):
            sheet.text(x, y, part, size=10, font=BOLD)
            y -= 13
    texts = [*party.get("address", "").splitlines(), party.get("country", "")]
    texts += [f"Tax ID {party['tax_id']}"] if party.get("tax_id") else []
    texts += [party.get("email", "")]
    parts = [part for text in texts if text for part in wrap(text, PARTY_WIDTH, 8.5, lines=2)]
    for part in parts[: PARTY_LINES * 2]:
        sheet.text(x, y, part, size=8.5, color=INK if named else FAINT)
        y -= 11.5
    return y


def _totals(sheet: Sheet, document: Invoice, sections: Sequence[Section], y: float) -> float:
    """The sums by what they are for, exact; then what is to be paid, in cents."""
    sheet.band(y - 4, 16)
    sheet.text(LEFT + 6, y, "Summary", size=8, font=BOLD)
    sheet.right(RIGHT - 6, y, "US dollars", size=8, color=FAINT)
    y -= 18
    sums: dict[str, int] = {}
    for section in sections:
        sums[section.kind] = sums.get(section.kind, 0) + section.amount_nano
    for kind, nano in sums.items():
        sheet.text(LEFT + 6, y, SECTIONS[kind], size=8.5)
        sheet.right(RIGHT - 6, y, exact(nano), size=8.5)
        y -= 13
    sign = -1 if document.kind == "credit_note" else 1
    sheet.rule(y + 6)
    y -= 5
    tax = f"{document.tax_name} {document.tax_bps / 100:.2f} %"
    for name, nano in (("Net", document.net_nano), (tax, document.tax_nano)):
        sheet.text(330, y, name, size=8.5)
        sheet.right(RIGHT - 6, y, money(sign * nano), size=8.5)
        y -= 13
    y -= 6
    sheet.band(y - 8, 20)
    sheet.text(330, y - 2, "Total" if document.kind == "invoice" else "Total given back", size=11, font=BOLD)
    sheet.right(RIGHT - 6, y - 2, f"$ {money(document.total_nano)}", size=11, font=BOLD)
    return y - 12


def _notes(sheet: Sheet, document: Invoice, y: float) -> float:
    notes = [document.tax_note]
    if document.kind == "invoice" and document.total_nano:
        notes += settings.INVOICE_NOTE.split("|")
    for note in notes:
        for part in wrap(note, RIGHT - LEFT, 8, lines=3):
            sheet.text(LEFT, y, part, size=8, color=FAINT)
            y -= 11
    return y
