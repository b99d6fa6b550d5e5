"""The parts of a message as they are shown, kept and sent."""

import uuid
from collections.abc import Iterable, Mapping

import msgspec

from chat.parts import Kind, Part, Parts


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Text, in Markdown."""

    text: str


class FilePart(msgspec.Struct, frozen=True, tag="file", tag_field="type"):
    """A file. What it was called and how large it is is part of what was said; whether it is still there, its link tells."""

    attachment: uuid.UUID
    name: str
    kind: str
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    text_chars: int | None = None


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning", tag_field="type"):
    """What a model thought before it said something."""

    text: str


class ToolArgsPart(msgspec.Struct, frozen=True, tag="tool_args", tag_field="type"):
    """What a model wanted to call a tool with, as it wrote it."""

    text: str


Written = TextPart | ReasoningPart | ToolArgsPart
"""Parts of what a model writes."""
MessagePart = Written | FilePart

_PARTS: Mapping[Kind, type[Written]] = {"text": TextPart, "reasoning": ReasoningPart, "tool_args": ToolArgsPart}


def part_shapes(parts: Iterable[Part]) -> tuple[MessagePart, ...]:
    """An answer's parts, as they are shown and kept."""
    return tuple(_PARTS[part.kind](part.text) for part in parts)


def answer_parts(shapes: Iterable[MessagePart]) -> Parts:
    """The same the other way."""
    found: list[Part] = []
    for shape in shapes:
        match shape:
            case TextPart(text=text):
                found.append(Part("text", text))
            case ReasoningPart(text=text):
                found.append(Part("reasoning", text))
            case ToolArgsPart(text=text):
                found.append(Part("tool_args", text))
    return tuple(found)
