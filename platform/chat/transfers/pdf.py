"""A room as PDF: one branch, laid out line by line as it comes. The letters are those of invoices
(`billing.invoices.documents.fonts`)."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from billing.invoices.documents.fonts import BOLD, REGULAR, runs_of, width_of
from chat.message_parts import FilePart
from chat.shapes import MessageShape
from chat.transfers.bounds import PDF_CHARS_MAX
from chat.transfers.leases import CantTransfer
from chat.transfers.markdown import TIME
from chat.transfers.reading import Head

MARGIN, LEADING, GAP = 56.0, 13.0, 8.0
"""In points."""
TITLE, HEADING, TEXT, SMALL = 16.0, 9.5, 9.5, 7.5
WIDTH = A4[0] - 2 * MARGIN
INDENT = "    "


class Sheets:
    """Pages, filled from top to bottom. Their bytes are in `path` once it is closed."""

    def __init__(self, path: Path, *, title: str) -> None:
        self._canvas = Canvas(str(path), pagesize=A4, pageCompression=1)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("")
        self._page, self._chars = 0, 0
        self._y = 0.0
        self._turn()

    def head(self, head: Head, *, now: datetime) -> None:
        """What comes before the messages."""
        self._write(head.title, TITLE, BOLD)
        names = ", ".join(name for _, name in head.members)
        self._write(f"Exported {now.strftime(TIME)}. With {names}.", SMALL)
        if head.instructions:
            self._y -= GAP
            self._write(head.instructions, SMALL)

    def messages(self, messages: Sequence[MessageShape]) -> None:
        """Who, when, what, and the names of files. Raises `CantTransfer` beyond what one PDF may hold."""
        for message in messages:
            self._chars += len(message.text)
            if self._chars > PDF_CHARS_MAX:
                raise CantTransfer("export_too_large", "The room is too long for a PDF. Export Markdown or JSON.")
            self._y -= GAP
            if self._y < MARGIN + 3 * LEADING:
                self._turn()
            self._write(f"{message.author.name} · {message.created_at.strftime(TIME)}", HEADING, BOLD)
            self._write(message.text, TEXT)
            for part in message.parts:
                if isinstance(part, FilePart):
                    self._write(f"File: {part.name} ({part.size} bytes)", SMALL)

    def close(self) -> None:
        """Write the file."""
        self._canvas.save()

    def _write(self, text: str, size: float, font: str = REGULAR) -> None:
        for line in _lines(text, size, font):
            if self._y < MARGIN:
                self._turn()
            x = MARGIN
            for name, part in runs_of(line, font):
                self._canvas.setFont(name, size)
                self._canvas.drawString(x, self._y, part)
                x += width_of(part, size, name)
            self._y -= max(LEADING, size * 1.3)

    def _turn(self) -> None:
        if self._page:
            self._canvas.showPage()
        self._page += 1
        self._y = A4[1] - MARGIN
        self._canvas.setFont(REGULAR, SMALL)
        self._canvas.drawRightString(A4[0] - MARGIN, MARGIN / 2, str(self._page))


def _lines(text: str, size: float, font: str) -> Iterator[str]:
    """A text in lines that fit the page: as it is broken by its writer, and between words, within words that are longer."""
    for paragraph in text.expandtabs(4).splitlines() or [""]:
        # Of code, what it is indented by tells something.
        start = len(paragraph) - len(paragraph.lstrip())
        line = paragraph[:start][: len(INDENT) * 8]
        empty = True
        for word in paragraph.split():
            rest = word
            joined = line + rest if empty else f"{line} {rest}"
            if width_of(joined, size, font) <= WIDTH:
                line, empty = joined, False
                continue
            if not empty:
                yield line
            while width_of(rest, size, font) > WIDTH:
                end = _fitting(rest, size, font)
                yield rest[:end]
                rest = rest[end:]
            line, empty = rest, False
        yield line


def _fitting(word: str, size: float, font: str) -> int:
    """How much of a word fits a line: at least a letter."""
    least, most = 1, min(len(word), 400)
    while least < most:
        middle = (least + most + 1) // 2
        if width_of(word[:middle], size, font) <= WIDTH:
            least = middle
        else:
            most = middle - 1
    return least
