"""A caller's body into what is asked: what can be read of it at once, and, with the turns it goes on from, a
ChatRequest."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from msgspec import Raw

from kernel.errors import InvalidRequest, NotFound
from providers.adapters.openai import WIRE_FORMAT as CHAT_FORMAT
from providers.adapters.openai.bodies import (
    Fields,
    fields_of,
    given,
    list_of_fields,
    read_body,
    too_deep,
    without,
    wrong,
)
from providers.adapters.openai_responses import WIRE_FORMAT, wire
from providers.adapters.openai_responses.ids import INPUT, item_name, response_of_item
from providers.adapters.openai_responses.items_in import messages_of
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    Message,
    Opaque,
    ResponseFormat,
    TextPart,
    ToolChoice,
)

_request = msgspec.json.Decoder(wire.Request)

LOGPROBS = "message.output_text.logprobs"
CARRIED = "reasoning.encrypted_content"
_INCLUDABLE = frozenset(
    {
        LOGPROBS,
        CARRIED,
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""What may be asked to be included: of tools that no upstream here has, there is never anything to include."""
_LIKE_CHAT = frozenset({"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "user"})
"""Further fields that mean the same in chat completions."""
_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict"})


@dataclass(frozen=True, slots=True)
class AskedResponse:
    """What a body asks, but for the turns that came before. `items` are the caller's own, as they came."""

    wire: wire.Request
    fields: Fields
    items: tuple[Raw, ...]

    @property
    def stored(self) -> bool:
        """Whether the response is to be kept."""
        return self.wire.store is not False

    @property
    def references(self) -> frozenset[uuid.UUID]:
        """The responses that the caller's items refer to. Raises NotFound for a reference to no item of ours."""
        return frozenset(_referred(item, number) for number, item in self._referring())

    def _referring(self) -> Sequence[tuple[int, str]]:
        items = self.wire.input
        if not isinstance(items, list):
            return ()
        return [(number, item.id or "") for number, item in enumerate(items) if item.type == "item_reference"]

    def followed(self, known: Mapping[str, Raw]) -> tuple[Raw, ...]:
        """The caller's items with those that they refer to in place of references. Raises NotFound."""
        items = list(self.items)
        for number, name in self._referring():
            if name not in known:
                raise _missing(name, number)
            items[number] = known[name]
        return tuple(items)


def _referred(name: str, number: int) -> uuid.UUID:
    response = response_of_item(name)
    if response is None:
        raise _missing(name, number)
    return response


def _missing(name: str, number: int) -> NotFound:
    return NotFound(f"There is no item {name[:100]!r}.", details={"param": f"input[{number}].id"})


def parse_response_request(body: bytes) -> AskedResponse:
    """Read the body of `POST /v1/responses`. Raises InvalidRequest, naming what is wrong."""
    asked, fields = read_body(body, _request)
    if asked.input is None and asked.previous_response_id is None:
        raise wrong("input", "it is required")
    if isinstance(asked.input, list):
        items = tuple(msgspec.json.decode(fields["input"], type=list[Raw]))
    else:
        said = {"type": "message", "role": "user", "content": asked.input}
        items = () if asked.input is None else (Raw(msgspec.json.encode(said)),)
    return AskedResponse(asked, fields, items)


def chat_request(
    asked: AskedResponse, *, earlier: Sequence[Raw] = (), items: Sequence[Raw] | None = None
) -> ChatRequest:
    """The request in values. `earlier` are the items of the responses it goes on from, `items` the caller's own with
    references followed. Raises InvalidRequest."""
    said = asked.wire
    own = asked.items if items is None else items
    try:
        messages = messages_of((*earlier, *own), first=len(earlier))
        if said.instructions:
            messages = (Message(role="system", content=(TextPart(said.instructions),)), *messages)
        if not messages:
            raise wrong("input", "it is empty")
        return _with_messages(asked, messages)
    except RecursionError as error:
        raise too_deep() from error


def _with_messages(asked: AskedResponse, messages: tuple[Message, ...]) -> ChatRequest:
    said = asked.wire
    include = said.include or ()
    reasoning = said.reasoning
    text = said.text
    return ChatRequest(
        model=said.model,
        messages=messages,
        max_output_tokens=said.max_output_tokens,
        temperature=said.temperature,
        top_p=said.top_p,
        tools=_tools(said.tools or (), asked.fields.get("tools")),
        tool_choice=_tool_choice(said.tool_choice, asked.fields.get("tool_choice")),
        parallel_tool_calls=said.parallel_tool_calls,
        response_format=_response_format(text.format) if text and text.format else None,
        reasoning_effort=reasoning.effort if reasoning else None,
        logprobs=True if said.top_logprobs or LOGPROBS in include else None,
        top_logprobs=said.top_logprobs or None,
        stream=said.stream or False,
        include_usage=True,
        extras=_extras(asked),
    )


def _extras(asked: AskedResponse) -> Extras | None:
    """What has no value: with the tag of chat completions if all of it means the same there."""
    said = asked.wire
    more = without(asked.fields, said.__struct_fields__)
    more = {key: value for key, value in more.items() if given(value) is not None}
    like_chat = {key: value for key, value in more.items() if key in _LIKE_CHAT}
    rest = without(more, _LIKE_CHAT)
    if said.text and said.text.verbosity not in (None, "medium"):
        like_chat["verbosity"] = Raw(msgspec.json.encode(said.text.verbosity))
    if said.background:
        rest["background"] = asked.fields["background"]
    if said.truncation not in (None, "disabled"):
        rest["truncation"] = asked.fields["truncation"]
    if set(said.include or ()) - _INCLUDABLE:
        rest["include"] = asked.fields["include"]
    if rest:
        return Extras(WIRE_FORMAT, rest | like_chat)
    return Extras(CHAT_FORMAT, like_chat) if like_chat else None


def _tools(said: Sequence[wire.Tool], raw: Raw | None) -> tuple[FunctionTool | Opaque, ...]:
    if not said or raw is None:
        return ()
    pairs = zip(said, list_of_fields(raw), strict=True)
    return tuple(_tool(tool, fields, f"tools[{number}]") for number, (tool, fields) in enumerate(pairs))


def _tool(said: wire.Tool, fields: Fields, path: str) -> FunctionTool | Opaque:
    if said.type != "function":
        return Opaque(said.type, Extras(WIRE_FORMAT, fields))
    if said.name is None:
        raise wrong(f"{path}.name", "it is required")
    rest = without(fields, _TOOL_FIELDS)
    extras = Extras(WIRE_FORMAT, rest) if rest else None
    return FunctionTool(said.name, said.description, given(said.parameters), said.strict, extras)


def _tool_choice(said: str | wire.ToolChoice | None, raw: Raw | None) -> ToolChoice | Opaque | None:
    match said:
        case None:
            return None
        case "none" | "auto" | "required":
            return ToolChoice(said)
        case wire.ToolChoice("function", str(name)):
            return ToolChoice("required", name)
        case wire.ToolChoice(kind) if kind != "function" and raw is not None:
            return Opaque(kind, Extras(WIRE_FORMAT, fields_of(raw)))
    raise wrong("tool_choice.name", "it is required")


def _response_format(said: wire.Format) -> ResponseFormat | Opaque | None:
    match said.type:
        case "text":
            return None
        case "json_object":
            return ResponseFormat("json_object")
        case "json_schema":
            if said.name is None:
                raise wrong("text.format.name", "it is required")
            return ResponseFormat("json_schema", said.name, said.description, given(said.schema), said.strict)
    raise InvalidRequest(f"There is no format {said.type[:100]!r}.", details={"param": "text.format.type"})


def input_items(items: Sequence[Raw], response_id: uuid.UUID) -> list[Raw]:
    """The caller's items as they are kept and listed: each with a name, and content as a list of parts."""
    return [_kept(fields_of(raw), response_id, number) for number, raw in enumerate(items)]


def _kept(fields: Fields, response_id: uuid.UUID, number: int) -> Raw:
    kind = cast("str", msgspec.json.decode(fields.get("type", b'"message"'))) or "message"
    item: dict[str, object] = {**fields, "type": kind}
    if given(fields.get("id")) is None:
        item["id"] = item_name(response_id, kind, INPUT + number)
    content = fields.get("content")
    if kind == "message" and content is not None and bytes(content).startswith(b'"'):
        spoken = msgspec.json.decode(fields["role"]) == "assistant"
        part: dict[str, object] = {"type": "output_text" if spoken else "input_text", "text": content}
        item["content"] = [part | ({"annotations": []} if spoken else {})]
    return Raw(msgspec.json.encode(item))
