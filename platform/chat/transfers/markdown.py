"""A room as Markdown: one branch, a heading for each message."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from chat.message_parts import FilePart
from chat.shapes import MessageShape
from chat.transfers.reading import Head

TIME = "%Y-%m-%d %H:%M UTC"


def opening(head: Head, *, now: datetime) -> str:
    """What comes before the messages."""
    names = ", ".join(_line(name) for _, name in head.members)
    said = f"# {_line(head.title)}\n\nExported {now.strftime(TIME)}. With {names}.\n"
    return said + (f"\n> {_quoted(head.instructions)}\n" if head.instructions else "")


def lines(messages: Sequence[MessageShape], *, is_first: bool) -> Iterator[str]:
    """The messages: who, when, what, and the names of files."""
    for message in messages:
        yield f"\n## {_line(message.author.name)} · {message.created_at.strftime(TIME)}\n\n{message.text}\n"
        for part in message.parts:
            if isinstance(part, FilePart):
                yield f"\n*File: {_line(part.name)} ({part.size} bytes)*\n"


def closing() -> str:
    """What comes after them."""
    return ""


def _line(text: str) -> str:
    """In one line, and no heading of its own."""
    return " ".join(text.split()) or "?"


def _quoted(text: str) -> str:
    return text.replace("\n", "\n> ")
