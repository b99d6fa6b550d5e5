"""From one wire format to another without a silent loss.

A value carries what its own format said beyond it as extras, which only that format can echo. Before a request goes to
a deployment of another format, `fit` finds what would be lost: it is refused by name or, when the caller allows it,
left out and named. What can't change the answer (`HINTS`) is left out and named in any case."""

from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from providers.base import ANY_FORMAT, Adapter
from providers.errors import Unsupported
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    Extras,
    Message,
    Opaque,
    ReasoningPart,
    Request,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)

HINTS = frozenset(
    {
        "anthropic-beta",
        "cache_control",
        "caller",
        "citations",
        "content_index",
        "eager_input_streaming",
        "is_error",
        "max_completion_tokens",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "thinking",
        "user",
    }
)
"""Names of extras, in whatever format, without which the answer is the same."""
SENT_BACK = HINTS | {
    "annotations",
    "index",
    "parsed",
    "parsed_arguments",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
}
"""The same for turns and calls of the assistant, which callers send back as they got them: beside hints, what an answer
says about its words."""

_NOTHING = frozenset({b"null", b"[]", b"{}"})

Carrier = TypeVar("Carrier", bound=msgspec.Struct)


class Fitted(msgspec.Struct, frozen=True):
    """A request as a deployment can say it, and the names of what was left out for that."""

    request: Request
    dropped: tuple[str, ...] = ()


def fit(request: Request, adapter: Adapter, *, model: str = "", drop: bool) -> Fitted:
    """The request without what `model` can't be told in the adapter's format. Raises Unsupported with the name of the
    first such thing unless it is a hint, or `drop` is set."""
    if adapter.wire_format == ANY_FORMAT:
        return Fitted(request)
    wire_format, unsaid = adapter.terms(request, model)
    fitting = _Fit(wire_format, unsaid, names=adapter.says_names, max_stops=adapter.max_stops, drop=drop)
    return fitting.request(request)


class _Fit:
    def __init__(
        self, wire_format: str, unsaid: frozenset[str], *, names: bool, max_stops: int | None, drop: bool
    ) -> None:
        self._format = wire_format
        self._unsaid = unsaid
        self._names = names
        self._max_stops = max_stops
        self._drop = drop
        self._dropped: dict[str, None] = {}

    def request(self, request: Request) -> Fitted:
        request = self._without_extras(request, "")
        if isinstance(request, EmbeddingRequest):
            return Fitted(request, tuple(self._dropped))
        changes: dict[str, object] = {}
        for name in self._unsaid:
            default, said = _DEFAULTS[name], getattr(request, name)
            if said == default:
                continue
            if said != SAYS_NOTHING.get(name):
                self._leave_out(_CALLED.get(name, name))
            changes[name] = default
        if self._max_stops is not None and len(request.stop) > self._max_stops:
            self._leave_out("stop")
            changes["stop"] = request.stop[: self._max_stops]
        messages = self._turns(request.messages)
        if messages != request.messages:
            changes["messages"] = messages
        if request.tools:
            changes["tools"] = self._all(request.tools, "tools")
        for name in ("tool_choice", "response_format"):
            value = getattr(request, name)
            if isinstance(value, Opaque):
                if self._foreign(value.extras):
                    self._leave_out(name)
                    changes[name] = None
            elif getattr(value, "extras", None) is not None:
                changes[name] = self._without_extras(value, name)
        return Fitted(replace(request, **changes) if changes else request, tuple(self._dropped))

    def _turns(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages, without turns of the model in which it did no more than think, and that can't be told here."""
        fitted = [self._message(message, f"messages[{i}]") for i, message in enumerate(messages)]
        pairs = zip(messages, fitted, strict=True)
        return tuple(one for said, one in pairs if said is messages[-1] or not _is_emptied(said, one))

    def _message(self, message: Message, path: str) -> Message:
        if _is_plain(message):
            return message
        message = self._without_extras(self._in_words(message), path, hints=SENT_BACK)
        if message.name is not None and not self._names and message.role not in ("tool", "function"):
            self._leave_out(f"{path}.name", hint=True)
            message = replace(message, name=None)
        content = self._all(message.content, f"{path}.content")
        calls = self._all(message.tool_calls, f"{path}.tool_calls")
        if content is message.content and calls is message.tool_calls:
            return message
        return replace(message, content=content, tool_calls=calls)

    def _all(self, items: tuple[Carrier, ...], path: str) -> tuple[Carrier, ...]:
        if all(getattr(item, "extras", None) is None for item in items):
            return items
        kept = (self._item(item, f"{path}[{i}]") for i, item in enumerate(items))
        return tuple(item for item in kept if item is not None)

    def _item(self, item: Carrier, path: str) -> Carrier | None:
        extras: Extras | None = getattr(item, "extras", None)
        if extras is None or not self._foreign(extras):
            return item
        if isinstance(item, ReasoningPart):
            # Another vendor's thoughts, and its proof of them, are of no use here.
            return None
        if isinstance(item, Opaque):
            self._leave_out(f"{path} ({item.kind})")
            return None
        return self._without_extras(item, path, hints=SENT_BACK if isinstance(item, ToolCall) else HINTS)

    def _in_words(self, message: Message) -> Message:
        """A refusal that an earlier answer gave in place of a text is a text to those who know no refusals."""
        extras = message.extras
        if extras is None or "refusal" not in extras.fields or message.text or not self._foreign(extras):
            return message
        said = msgspec.json.decode(extras.fields["refusal"])
        if not isinstance(said, str) or not said:
            return message
        rest = {name: value for name, value in extras.fields.items() if name != "refusal"}
        return replace(message, content=(TextPart(said),), extras=replace(extras, fields=rest))

    def _without_extras(self, carrier: Carrier, path: str, *, hints: frozenset[str] = HINTS) -> Carrier:
        extras: Extras | None = getattr(carrier, "extras", None)
        if extras is None or not self._foreign(extras):
            return carrier
        for name, value in extras.fields.items():
            if not _says_nothing(value, hints):
                self._leave_out(f"{path}.{name}" if path else name, hint=name in hints)
        return replace(carrier, extras=None)

    def _foreign(self, extras: Extras) -> bool:
        return extras.wire_format != self._format

    def _leave_out(self, name: str, *, hint: bool = False) -> None:
        if not (hint or self._drop):
            raise Unsupported(f"The model's provider can't be told `{name}`.", param=name)
        self._dropped[name] = None


SAYS_NOTHING: dict[str, object] = {
    "tool_choice": ToolChoice("auto"),
    "parallel_tool_calls": True,
    "response_format": ResponseFormat("text"),
    "logprobs": False,
    "top_logprobs": 0,
}
"""Values that ask for what happens anyway: nothing is lost without them."""
_CALLED = {"as_text": "prompt"}
"""What callers say it by, where no field has the name."""
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(ChatRequest)}


def _says_nothing(value: Raw, hints: frozenset[str]) -> bool:
    """Whether a field of extras is null or empty, or an object that holds nothing else but hints."""
    if bytes(value) in _NOTHING:
        return True
    if not bytes(value).startswith(b"{"):
        return False
    members = msgspec.json.decode(value, type=dict[str, Raw])
    return all(name in hints or bytes(member) in _NOTHING for name, member in members.items())


def _is_emptied(said: Message, fitted: Message) -> bool:
    """Whether nothing is left of a turn of the model that said something."""
    if said.role != "assistant" or not said.content or said.tool_calls or fitted.extras is not None:
        return False
    return not fitted.content


def _is_plain(message: Message) -> bool:
    """Whether this is one text and no more, as most messages are: every format can say it."""
    if message.extras is not None or message.name is not None or message.tool_calls or len(message.content) != 1:
        return False
    part = message.content[0]
    return type(part) is TextPart and part.extras is None
