"""A room as JSON: `parley.room`, version 1, the whole tree. Documented in docs/export-and-import.md.

Written bit by bit: the head, then a message a line.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chat.shapes import MessageShape
from chat.transfers.reading import Head

FORMAT, VERSION = "parley.room", 1


def opening(head: Head, *, now: datetime) -> str:
    """What comes before the messages."""
    said = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": now,
        "room": {
            "id": head.id,
            "title": head.title,
            "kind": head.kind,
            "instructions": head.instructions,
            "created_at": head.created_at,
        },
        "members": [{"id": id_, "name": name} for id_, name in head.members],
    }
    return msgspec.json.encode(said).decode()[:-1] + ',"messages":[\n'


def lines(messages: Sequence[MessageShape], *, is_first: bool) -> Iterator[str]:
    """The messages, each after what parts it from the one before."""
    for number, message in enumerate(messages):
        yield ("" if is_first and number == 0 else ",\n") + msgspec.json.encode(_said(message)).decode()


def closing() -> str:
    """What comes after them."""
    return "\n]}\n"


def _said(message: MessageShape) -> dict[str, Any]:
    if message.deleted:
        # Its place in the tree, and nothing of it.
        return {"id": message.id, "parent": message.parent, "deleted": True}
    said: dict[str, Any] = {
        "id": message.id,
        "parent": message.parent,
        "author": message.author,
        "created_at": message.created_at,
        "edited_at": message.edited_at,
        "text": message.text,
        "parts": message.parts,
    }
    if message.answered is not None:
        said["status"] = message.answered.status
    return said
