"""A ChatRequest into the body an upstream gets.

A request that came in this format goes out as it came, but for: the model's name; fields that were null, and an empty
system prompt; content in its plainest form (a single plain text block as a string; consecutive messages of one role as
one message, which is how they are read); `"type":"custom"` of tools; thinking without a signature, which would be
refused; and `max_tokens`, which is always said.

Of a request in another format, system messages become the system prompt wherever they stand, in their order, or what is
asked where there is nothing else. Blank texts beside anything else and turns of the assistant that say nothing, which this
format alone refuses, are left out, and ids of calls are made anew that don't have its form."""

import base64
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw

from providers.adapters.anthropic import WIRE_FORMAT
from providers.adapters.anthropic.thinking import as_came, translated
from providers.adapters.reading import media_type_of
from providers.errors import Unsupported
from providers.profiles import profile
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
DEFAULT_CAP = 4_096
"""Tokens: the most an answer may have when neither the caller nor the model's profile says."""
JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it, and no code fence around it."
"""How a model is asked for JSON without a schema, for which the format has no field."""
_HEADERS = frozenset({"anthropic-beta"})
_MAX_TEMPERATURE = 1.0
_NO_SCHEMA = Raw(b'{"type":"object"}')
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TYPES = {"none": "none", "auto": "auto", "required": "any"}

_encoder = msgspec.json.Encoder()
_fields = msgspec.json.Decoder(dict[str, Raw])


def encode_messages_request(request: ChatRequest, *, model: str, stream: bool) -> bytes:
    """The body of `POST {base_url}/v1/messages`. Raises Unsupported, naming it, for what a caller in another format
    asked that this one can't say."""
    body = _body(request, model=model)
    if stream:
        body["stream"] = True
    return _encoder.encode(body)


def encode_count_request(request: ChatRequest, *, model: str) -> bytes:
    """The body of `POST {base_url}/v1/messages/count_tokens`, which knows only what has to be read."""
    body = _body(request, model=model)
    for name in ("max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"):
        body.pop(name, None)
    return _encoder.encode(body)


def betas(request: ChatRequest) -> str | None:
    """The header `anthropic-beta` of a caller of this format."""
    said = _own(request.extras).get("anthropic-beta")
    return None if said is None else msgspec.json.decode(said, type=str)


def _body(request: ChatRequest, *, model: str) -> JSON:
    ours = request.extras is not None and request.extras.wire_format == WIRE_FORMAT
    cap = request.max_output_tokens
    if cap is None:
        cap = profile(model).max_output_tokens or DEFAULT_CAP
    if request.temperature is not None and request.temperature > _MAX_TEMPERATURE:
        raise Unsupported("The model takes a `temperature` from 0 to 1.", param="temperature")
    system, messages = _turns(request)
    if system and not messages:
        system, messages = [], [{"role": "user", "content": _content(system)}]
    body: JSON = {"model": model, "max_tokens": cap, "messages": messages}
    # An empty text says nothing, and as a block it is refused.
    if prompt := _content(system):
        body["system"] = prompt
    body |= {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(request, name)) is not None}
    if request.stop:
        body["stop_sequences"] = request.stop
    if request.tools:
        body["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in enumerate(request.tools)]
    if (choice := _tool_choice(request)) is not None:
        body["tool_choice"] = choice
    said = as_came(request) if ours else translated(request, model=model, cap=cap)
    if said.config is not None:
        body["thinking"] = said.config
    output: JSON = {} if said.effort is None else {"effort": said.effort}
    output |= _format(request.response_format)
    if output:
        body["output_config"] = output
    for key, value in _own(request.extras).items():
        if key not in _HEADERS:
            _lay(body, key, value)
    return body


def _own(extras: Extras | None) -> dict[str, Raw]:
    return dict(extras.fields) if extras is not None and extras.wire_format == WIRE_FORMAT else {}


def _lay(body: JSON, key: str, value: Raw) -> None:
    """Put what an overlay holds under a key: beside what is there if that is an object, in its absence otherwise."""
    there = body.get(key)
    if isinstance(there, dict):
        body[key] = {**_fields.decode(value), **there}
    elif key not in body:
        body[key] = value


def _with_extras(body: JSON, extras: Extras | None) -> JSON:
    for key, value in _own(extras).items():
        _lay(body, key, value)
    return body


def _opaque(value: Opaque, path: str) -> JSON:
    if value.extras.wire_format != WIRE_FORMAT:
        raise Unsupported(f"The model's provider knows no {value.kind}.", param=path)
    return {**value.extras.fields}


def _turns(request: ChatRequest) -> tuple[list[JSON], list[JSON]]:
    """The blocks of the system prompt, and the messages: those of one role that follow one another in one."""
    system: list[JSON] = []
    turns: list[tuple[str, list[JSON]]] = []
    for i, message in enumerate(request.messages):
        path = f"messages[{i}]"
        in_place = message.extras is not None and message.extras.wire_format == WIRE_FORMAT
        if message.role in ("system", "developer") and not in_place:
            system += _blocks(message.content, path)
            continue
        if message.role == "assistant" and i + 1 < len(request.messages) and _says_nothing(message):
            continue
        role = _role(message, path)
        if not turns or turns[-1][0] != role:
            turns.append((role, []))
        turns[-1][1].extend(_turn(message, path))
    if isinstance(request.response_format, ResponseFormat) and request.response_format.kind == "json_object":
        system.append({"type": "text", "text": JSON_ONLY})
    return system, [{"role": role, "content": _content(_spoken(blocks))} for role, blocks in turns]


def _spoken(blocks: list[JSON]) -> list[JSON]:
    """The blocks without blank texts, which are refused, unless there is nothing else."""
    return [block for block in blocks if not _is_blank_text(block)] or blocks


def _is_blank_text(block: JSON) -> bool:
    match block:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return not text.strip()
    return False


def _says_nothing(message: Message) -> bool:
    return not message.tool_calls and all(_is_blank(part) for part in message.content)


def _is_blank(part: Part) -> bool:
    """Whether nothing can be said of a part here: a text of nothing, or another's thoughts."""
    if isinstance(part, ReasoningPart):
        return not _own(part.extras)
    return isinstance(part, TextPart) and part.extras is None and not part.text.strip()


def _role(message: Message, path: str) -> str:
    match message.role:
        case "assistant" | "system" | "user":
            return message.role
        case "tool":
            return "user"
    raise Unsupported(f"The model's provider knows no role {message.role}.", param=f"{path}.role")


def _content(blocks: list[JSON]) -> object:
    match blocks:
        case [{"type": "text", "text": text, **rest}] if not rest:
            return text
    return blocks


def _turn(message: Message, path: str) -> Iterable[JSON]:
    if message.role == "tool":
        yield _result(message, path)
        return
    calls = [_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(message.tool_calls)]
    for number, part in enumerate(message.content):
        while calls and calls[0][0] <= number:
            yield calls.pop(0)[1]
        yield from _blocks((part,), path)
    yield from (call for _, call in calls)


def _call_id(said: str) -> str:
    """The id of a call as it may be here: other providers' may hold dots and colons."""
    return said if _CALL_ID.fullmatch(said) else f"call_{sha256(said.encode()).hexdigest()[:32]}"


def _result(message: Message, path: str) -> JSON:
    body: JSON = {"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id or "")}
    if message.content:
        body["content"] = _content(_spoken(list(_blocks(message.content, path))))
    return _with_extras(body, message.extras)


def _blocks(parts: Iterable[Part], path: str) -> Iterator[JSON]:
    for part in parts:
        match part:
            case TextPart(text, extras):
                yield _with_extras({"type": "text", "text": text}, extras)
            case ImagePart(url, _, extras):
                yield _with_extras({"type": "image", "source": _source(url)}, extras)
            case ReasoningPart(text, extras):
                yield from _thought(text, _own(extras))
            case Opaque():
                yield _opaque(part, f"{path}.content")


def _source(url: str) -> JSON:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"type": "base64", "media_type": media_type_of(media_type), "data": data}


def _thought(text: str, own: dict[str, Raw]) -> Iterator[JSON]:
    """An earlier thought, if the model that is to believe it can check that it thought it."""
    if "data" in own:
        yield {"type": "redacted_thinking", **own}
    elif "signature" in own and bytes(own["signature"]) not in (b'""', b"null"):
        yield {"type": "thinking", "thinking": text, **own}


def _call(call: ToolCall | Opaque, path: str) -> tuple[int, JSON]:
    """A call, and how many content parts come before it."""
    if isinstance(call, Opaque):
        raise Unsupported(f"The model's provider knows no {call.kind}.", param=path)
    own = _own(call.extras)
    index = own.pop("content_index", None)
    body: JSON = {
        "type": "tool_use",
        "id": _call_id(call.id),
        "name": call.name,
        "input": call_input(call.arguments),
        **own,
    }
    return (2**31 if index is None else msgspec.json.decode(index, type=int)), body


def call_input(arguments: str) -> object:
    """The input of a call, which has to be an object: what is none goes as one that says so."""
    if not arguments.strip():
        return {}
    try:
        if isinstance(msgspec.json.decode(arguments), dict):
            return Raw(arguments.encode())
    except (msgspec.DecodeError, RecursionError):
        pass
    return {"INVALID_JSON": arguments}


def _tool(tool: FunctionTool | Opaque, path: str) -> JSON:
    if isinstance(tool, Opaque):
        return _opaque(tool, path)
    body: JSON = {"name": tool.name}
    if tool.description is not None:
        body["description"] = tool.description
    body["input_schema"] = _NO_SCHEMA if tool.parameters is None else tool.parameters
    if tool.strict is not None:
        body["strict"] = tool.strict
    return _with_extras(body, tool.extras)


def _tool_choice(request: ChatRequest) -> JSON | None:
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if isinstance(choice, Opaque):
        return _opaque(choice, "tool_choice")
    if choice is None:
        # Calls in parallel are what the model does unless told.
        return {"type": "auto", "disable_parallel_tool_use": True} if parallel is False and request.tools else None
    body = _chosen(choice)
    if parallel is not None and choice.mode != "none":
        body["disable_parallel_tool_use"] = not parallel
    return body


def _chosen(choice: ToolChoice) -> JSON:
    return {"type": "tool", "name": choice.name} if choice.name is not None else {"type": _TYPES[choice.mode]}


def _format(wanted: ResponseFormat | Opaque | None) -> JSON:
    if isinstance(wanted, Opaque):
        return {"format": _opaque(wanted, "response_format")}
    if wanted is None or wanted.kind != "json_schema" or wanted.schema is None:
        return {}
    return {"format": _with_extras({"type": "json_schema", "schema": wanted.schema}, wanted.extras)}
