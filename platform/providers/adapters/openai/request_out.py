"""A ChatRequest into the body an upstream gets.

A request that came in this format goes out as it came, but for: the model's name; fields that were null;
what results of calls show, where only users can show it; content, stop and tools in their plainest form (a
single plain text part as a string, one stop as a list, tools nested); and usage, which is always asked for
where the dialect allows. Turns in which another format's model did no more than think are left out."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.dialect import Dialect
from providers.errors import Rejected
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)

JSON = dict[str, object]
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
)
"""The fields that have the same name and shape in the value."""
_LOW_TOKENS, _MEDIUM_TOKENS = 2_048, 8_192
_encoder = msgspec.json.Encoder()
_fields = msgspec.json.Decoder(dict[str, Raw])


def encode_chat_request(request: ChatRequest, *, model: str, dialect: Dialect, stream: bool) -> bytes:
    """The body of `POST {base_url}/chat/completions`. Raises Rejected for what a caller in another format
    asked that this one can't say."""
    body: JSON = {"model": model, "messages": list(_messages(request, dialect))}
    body |= {name: value for name in _SAMPLING if (value := getattr(request, name)) is not None}
    if request.seed is not None:
        body[dialect.seed_field] = request.seed
    if request.stop:
        body["stop"] = request.stop
    if request.n != 1:
        body["n"] = request.n
    _add_tools(body, request)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if request.reasoning_budget is not None and request.reasoning_effort is None:
        body["reasoning_effort"] = _effort(request.reasoning_budget)
    if stream:
        body["stream"] = True
        if dialect.usage_in_stream:
            body["stream_options"] = {"include_usage": True}
    _lay_over(body, request, dialect)
    return _encoder.encode(body)


def _add_tools(body: JSON, request: ChatRequest) -> None:
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)


def _lay_over(body: JSON, request: ChatRequest, dialect: Dialect) -> None:
    """The output cap, by its name here, and what only this format says."""
    overlay = _own(request.extras) or {}
    if request.max_output_tokens is not None:
        given = "max_completion_tokens" if "max_completion_tokens" in overlay else "max_tokens"
        body[dialect.cap_field or given] = request.max_output_tokens
    for key, value in overlay.items():
        if key == "max_completion_tokens" or (key == "stream_options" and key not in body):
            continue
        _lay(body, key, value)


def _effort(budget_tokens: int) -> str:
    """The nearest of this format's three words for how long to think; it counts no tokens."""
    return "low" if budget_tokens <= _LOW_TOKENS else "medium" if budget_tokens <= _MEDIUM_TOKENS else "high"


def _own(extras: Extras | None) -> dict[str, Raw] | None:
    return dict(extras.fields) if extras is not None and extras.wire_format == WIRE_FORMAT else None


def _lay(body: JSON, key: str, value: Raw) -> None:
    """Put what an overlay holds under a key: beside what is there if that is an object, in its absence
    otherwise."""
    there = body.get(key)
    if isinstance(there, dict):
        body[key] = {**_fields.decode(value), **there}
    elif key not in body:
        body[key] = value


def _with_extras(body: JSON, extras: Extras | None) -> JSON:
    for key, value in (_own(extras) or {}).items():
        _lay(body, key, value)
    return body


def _opaque(value: Opaque, param: str) -> JSON:
    fields = _own(value.extras)
    if fields is None:
        raise Rejected(f"The model's provider knows no {value.kind} in {param}.", param=param)
    return {**fields}


def _messages(request: ChatRequest, dialect: Dialect) -> Iterator[JSON]:
    """The turns. What results of calls show is shown by a user after them, where only users can."""
    shown: list[Part] = []
    last = request.messages[-1]
    for message in request.messages:
        if message is not last and _says_nothing(message):
            continue
        if message.role == "tool" and not dialect.images_in_results:
            images = [part for part in message.content if isinstance(part, ImagePart)]
            shown += images
            message = _without(message, images)  # noqa: PLW2901
        elif shown:
            yield _message(Message("user", tuple(shown)), dialect)
            shown = []
        said = _message(message, dialect)
        if dialect.says_prefix and message is last and message.role == "assistant":
            said.setdefault("prefix", True)
        yield said
    if shown:
        yield _message(Message("user", tuple(shown)), dialect)


def _says_nothing(message: Message) -> bool:
    """Whether this is a turn of the model in which it did no more than think: a turn without content is refused."""
    if message.role != "assistant" or message.tool_calls or message.extras is not None or not message.content:
        return False
    return all(isinstance(part, ReasoningPart) for part in message.content)


def _without(message: Message, images: Sequence[Part]) -> Message:
    if not images:
        return message
    return replace(message, content=tuple(part for part in message.content if part not in images))


def _message(message: Message, dialect: Dialect) -> JSON:
    role = "system" if message.role == "developer" and not dialect.developer_role else message.role
    body: JSON = {"role": role, "content": _content(message.content)}
    if body["content"] is None and role == "tool":
        # A result may be nothing, but has to say so.
        body["content"] = ""
    if message.name is not None:
        body["name"] = message.name
    if message.tool_calls:
        body["tool_calls"] = [_call(call, dialect) for call in message.tool_calls]
    if message.tool_call_id is not None:
        body["tool_call_id"] = _call_id(message.tool_call_id, dialect)
    return _with_extras(body, message.extras)


def _content(parts: tuple[Part, ...]) -> object:
    # This format has no place for earlier thoughts.
    parts = tuple(part for part in parts if not isinstance(part, ReasoningPart))
    match parts:
        case ():
            return None
        case (TextPart(text, None),):
            return text
    return [_part(part) for part in parts]


def _part(part: Part) -> JSON:
    match part:
        case TextPart(text, extras):
            return _with_extras({"type": "text", "text": text}, extras)
        case ImagePart(url, detail, extras):
            image: JSON = {"url": url} if detail is None else {"url": url, "detail": detail}
            return _with_extras({"type": "image_url", "image_url": image}, extras)
        case Opaque():
            return _opaque(part, "messages")
    raise AssertionError("thoughts are left out above")


def _call_id(said: str, dialect: Dialect) -> str:
    """The id of a call as the provider wants it: one that it didn't make may not have its form."""
    chars = dialect.call_id_chars
    if chars is None or (len(said) == chars and said.isascii() and said.isalnum()):
        return said
    return sha256(said.encode()).hexdigest()[:chars]


def _call(call: ToolCall | Opaque, dialect: Dialect) -> JSON:
    if isinstance(call, Opaque):
        return _opaque(call, "messages")
    function = {"name": call.name, "arguments": call.arguments}
    return _with_extras({"id": _call_id(call.id, dialect), "type": "function", "function": function}, call.extras)


def _tool(tool: FunctionTool | Opaque) -> JSON:
    if isinstance(tool, Opaque):
        return _opaque(tool, "tools")
    function = _said(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return _with_extras({"type": "function", "function": function}, tool.extras)


def _said(**fields: object) -> JSON:
    return {key: value for key, value in fields.items() if value is not None}


def _tool_choice(choice: ToolChoice | Opaque) -> object:
    if isinstance(choice, Opaque):
        return _opaque(choice, "tool_choice")
    if choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(wanted: ResponseFormat | Opaque) -> JSON:
    if isinstance(wanted, Opaque):
        return _opaque(wanted, "response_format")
    body: JSON = {"type": wanted.kind}
    if wanted.kind == "json_schema":
        body["json_schema"] = _said(
            name=wanted.name, description=wanted.description, schema=wanted.schema, strict=wanted.strict
        )
    return _with_extras(body, wanted.extras)
