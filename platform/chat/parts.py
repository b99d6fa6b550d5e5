"""An answer in parts: runs of text, of reasoning, or of a tool's arguments, in the order they came, each counted in code
points from its own beginning.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Kind = Literal["text", "reasoning", "tool_args"]


class Part(msgspec.Struct, frozen=True):
    """A run of one kind."""

    kind: Kind
    text: str


Parts = tuple[Part, ...]
Layout = tuple[tuple[Kind, int], ...]
"""The kind and the length of each part, of a text that holds them one after the other."""


def text_only(text: str) -> Parts:
    """The parts of an answer that is text alone."""
    return (Part("text", text),) if text else ()


def said(parts: Iterable[Part]) -> str:
    """What the answer says: its text, without reasoning and arguments."""
    return "".join(part.text for part in parts if part.kind == "text")


def joined(parts: Iterable[Part]) -> str:
    """All of it, one part after the other, to be split by its layout."""
    return "".join(part.text for part in parts)


def length(parts: Iterable[Part]) -> int:
    """Code points of all parts."""
    return sum(len(part.text) for part in parts)


def layout(parts: Iterable[Part]) -> Layout:
    """How to split what `joined` made."""
    return tuple((part.kind, len(part.text)) for part in parts)


def split(text: str, sizes: Layout | None) -> Parts:
    """The parts of a text. Without a layout it is text alone."""
    if sizes is None:
        return text_only(text)
    parts, at = [], 0
    for kind, size in sizes:
        parts.append(Part(kind, text[at : at + size]))
        at += size
    return tuple(parts)


def merged(runs: Iterable[tuple[int, Kind, str]]) -> Parts:
    """The parts that pieces make: each with the number of its part, in order, numbers without gaps."""
    found: list[tuple[Kind, list[str]]] = []
    for number, kind, text in runs:
        while len(found) <= number:
            found.append((kind, []))
        found[number][1].append(text)
    return tuple(Part(kind, "".join(texts)) for kind, texts in found)


def longer(first: Sequence[Part], second: Sequence[Part]) -> Parts:
    """Of two states of one answer the later."""
    return tuple(first if length(first) >= length(second) else second)
