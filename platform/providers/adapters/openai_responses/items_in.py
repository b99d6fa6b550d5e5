"""Input items into messages. What a model said in one turn may come as several items (thoughts, a message, calls): they
become one message again."""

import base64
import binascii
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from providers.adapters.openai.bodies import Fields, fields_of, list_of_fields, without, wrong
from providers.adapters.openai_responses import WIRE_FORMAT, wire
from providers.types import (
    Extras,
    ImagePart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
)

_item = msgspec.json.Decoder(wire.Item)
_extras = msgspec.json.Decoder(Extras)

_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_PART_FIELDS = frozenset({"type", "text", "annotations", "logprobs"})
_IMAGE_FIELDS = frozenset({"type", "image_url", "detail"})
_ITEM_FIELDS: dict[str, frozenset[str]] = {
    "message": frozenset({"type", "id", "status", "role", "content", "phase"}),
    "function_call": frozenset({"type", "id", "status", "call_id", "name", "arguments"}),
    "function_call_output": frozenset({"type", "id", "status", "call_id", "output"}),
}
"""What an item may hold without any of it being lost: what is not passed on was said by us, of an earlier answer."""


def seal(extras: Extras) -> str:
    """What a model's own format wants back with its thoughts, as a caller carries it to the next request."""
    return base64.b64encode(msgspec.json.encode(extras)).decode()


def _unsealed(said: str) -> Extras:
    """What `seal` made; what somebody else did is known to this format alone."""
    try:
        return _extras.decode(base64.b64decode(said, validate=True))
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
        return Extras(WIRE_FORMAT, {"encrypted_content": Raw(msgspec.json.encode(said))})


def messages_of(items: Sequence[Raw], *, first: int = 0) -> tuple[Message, ...]:
    """The messages that items say. Raises InvalidRequest for one that is wrong, naming it as `input[n]`; the caller's
    own begin at number `first`."""
    turns = _Turns()
    for number, raw in enumerate(items):
        turns.add(_item.decode(raw), fields_of(raw), f"input[{number - first}]")
    turns.flush()
    return tuple(turns.messages)


class _Turns:
    """Collects messages; what the assistant says is kept open until somebody else speaks."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._content: list[Part] = []
        self._calls: list[ToolCall] = []

    def flush(self) -> None:
        """End the assistant's turn."""
        if self._content or self._calls:
            calls = tuple(self._calls)
            self.messages.append(Message(role="assistant", content=tuple(self._content), tool_calls=calls))
            self._content, self._calls = [], []

    def add(self, item: wire.Item, fields: Fields, path: str) -> None:
        kind = item.type or "message"
        match kind:
            case "message":
                self._add_message(item, fields, path)
            case "function_call":
                if item.call_id is None or item.name is None:
                    raise wrong(f"{path}.{'name' if item.name is None else 'call_id'}", "it is required")
                self._calls.append(ToolCall(item.call_id, item.name, item.arguments or "", _rest(fields, kind)))
            case "function_call_output":
                self.flush()
                self._add_output(item, fields, path)
            case "reasoning":
                if any(not isinstance(part, ReasoningPart) for part in self._content) or self._calls:
                    self.flush()
                self._content.append(_thought(item))
            case _:
                self.flush()
                opaque = Opaque(kind, Extras(WIRE_FORMAT, fields))
                self.messages.append(Message(role="user", content=(opaque,)))

    def _add_message(self, item: wire.Item, fields: Fields, path: str) -> None:
        if item.role is None:
            raise wrong(f"{path}.role", "it is required")
        if item.content is None:
            raise wrong(f"{path}.content", "it is required")
        content = _content(item.content, fields["content"], f"{path}.content")
        extras = _rest(fields, "message")
        if item.role != "assistant" or extras is not None:
            self.flush()
            self.messages.append(Message(role=item.role, content=content, extras=extras))
            return
        if any(not isinstance(part, ReasoningPart) for part in self._content) and not self._calls:
            self.flush()
        self._content.extend(content)

    def _add_output(self, item: wire.Item, fields: Fields, path: str) -> None:
        if item.call_id is None or item.output is None:
            raise wrong(f"{path}.{'output' if item.output is None else 'call_id'}", "it is required")
        content = _content(item.output, fields["output"], f"{path}.output")
        extras = _rest(fields, "function_call_output")
        self.messages.append(Message(role="tool", content=content, tool_call_id=item.call_id, extras=extras))


def _rest(fields: Fields, kind: str) -> Extras | None:
    rest = {
        key: value for key, value in without(fields, _ITEM_FIELDS[kind]).items() if bytes(value) not in (b"null", b"[]")
    }
    return Extras(WIRE_FORMAT, rest) if rest else None


def _content(said: str | list[wire.Part], raw: Raw, path: str) -> tuple[Part, ...]:
    if isinstance(said, str):
        return (TextPart(said),)
    pairs = zip(said, list_of_fields(raw), strict=True)
    return tuple(_part(part, fields, f"{path}[{number}]") for number, (part, fields) in enumerate(pairs))


def _part(said: wire.Part, fields: Fields, path: str) -> Part:
    if said.type in _TEXTS:
        if said.text is None:
            raise wrong(f"{path}.text", "it is required")
        rest = without(fields, _PART_FIELDS)
        return TextPart(said.text, Extras(WIRE_FORMAT, rest) if rest else None)
    if said.type == "refusal":
        return TextPart(said.refusal or "")
    if said.type == "input_image" and said.image_url is not None:
        rest = {key: value for key, value in without(fields, _IMAGE_FIELDS).items() if bytes(value) != b"null"}
        # "auto" is what holds when nothing is said.
        detail = None if said.detail == "auto" else said.detail
        return ImagePart(said.image_url, detail, Extras(WIRE_FORMAT, rest) if rest else None)
    return Opaque(said.type, Extras(WIRE_FORMAT, fields))


def _thought(item: wire.Item) -> ReasoningPart:
    parts = item.summary or (item.content if isinstance(item.content, list) else None) or ()
    text = "".join(part.text or "" for part in parts)
    return ReasoningPart(text, _unsealed(item.encrypted_content) if item.encrypted_content else None)
