"""A caller's body into a ChatRequest. What is wrong is named by its path; what is unknown is kept as extras.

A turn with results of tools becomes several messages, one for each result and one for what is between them; a system
prompt becomes the first message."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Raw, UnsetType

from providers.adapters.anthropic import WIRE_FORMAT, wire
from providers.adapters.openai.bodies import (
    Fields,
    Shape,
    fields_of,
    given,
    inner,
    invalid,
    list_of_fields,
    read_body,
    too_deep,
    without,
    wrong,
)
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
    ToolMode,
)

MAX_BETA = 4_096
SCHEMA_NAME = "answer"
"""What other formats call the schema of an answer, which has no name in this one."""

_request = msgspec.json.Decoder(wire.Request)
_content = msgspec.json.Decoder(str | wire.Blocks | None)
_source = msgspec.json.Decoder(wire.Source)
_MODES: dict[str, ToolMode] = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}
_HERE = Extras(WIRE_FORMAT, {})
"""Says of what carries it only that it came in this format."""


def parse_messages_request(body: bytes, headers: Mapping[str, str], *, counting: bool = False) -> ChatRequest:
    """Read the body of `POST /v1/messages` or, with `counting`, of `/v1/messages/count_tokens`, which sets no
    `max_tokens`.

    Raises InvalidRequest, `details.param` being the path of what is wrong (`messages[2].content`), or None when the
    body as a whole is not what it should be."""
    asked, top = read_body(body, _request)
    if asked.max_tokens is None and not counting:
        raise wrong("max_tokens", "it is required")
    try:
        return _chat_request(asked, top, headers.get("anthropic-beta", ""))
    except RecursionError as error:
        raise too_deep() from error


def _chat_request(asked: wire.Request, top: Fields, beta: str) -> ChatRequest:
    thinking, output = asked.thinking, asked.output_config
    chosen = asked.tool_choice
    serial = chosen.disable_parallel_tool_use if chosen else None
    return ChatRequest(
        model=asked.model,
        messages=(*_system(asked.system, top), *_messages(asked.messages, top["messages"])),
        max_output_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=tuple(asked.stop_sequences or ()),
        tools=_tools(asked.tools or (), top.get("tools")),
        tool_choice=_tool_choice(chosen, top),
        parallel_tool_calls=None if serial is None else not serial,
        response_format=_response_format(output, top),
        reasoning_effort=output.effort if output else None,
        reasoning_budget=_budget(thinking),
        stream=asked.stream or False,
        include_usage=True,
        extras=_request_extras(asked, top, beta),
    )


def _request_extras(asked: wire.Request, top: Fields, beta: str) -> Extras | None:
    rest = without(top, asked.__struct_fields__)
    if asked.thinking is not None:
        enabled = _budget(asked.thinking) is not None
        rest |= inner(top, "thinking", {"type", "budget_tokens"} if enabled else ())
    if asked.output_config is not None:
        rest |= inner(top, "output_config", {"effort", "format"})
    if isinstance(_tool_choice(asked.tool_choice, top), ToolChoice):
        rest |= inner(top, "tool_choice", {"type", "name", "disable_parallel_tool_use"})
    if beta:
        if len(beta) > MAX_BETA or not (beta.isascii() and beta.isprintable()):
            raise wrong("anthropic-beta", f"it takes up to {MAX_BETA} printable characters")
        rest["anthropic-beta"] = Raw(msgspec.json.encode(beta))
    if not rest and (asked.thinking is not None or asked.output_config is not None):
        return _HERE
    return _extras(rest)


def _extras(rest: Fields) -> Extras | None:
    return Extras(WIRE_FORMAT, rest) if rest else None


def _system(asked: str | list[wire.Block] | None, top: Fields) -> Iterator[Message]:
    if not asked:
        return
    said = (TextPart(asked),) if isinstance(asked, str) else _texts(asked, top["system"], "system")
    yield Message(role="system", content=said)


def _texts(asked: Sequence[wire.Block], raw: Raw, path: str) -> tuple[Part, ...]:
    pairs = zip(asked, list_of_fields(raw), strict=True)
    return tuple(_part(block, fields, f"{path}[{i}]") for i, (block, fields) in enumerate(pairs))


def _messages(asked: Sequence[wire.Message], raw: Raw) -> Iterator[Message]:
    for number, (message, fields) in enumerate(zip(asked, list_of_fields(raw), strict=True)):
        path = f"messages[{number}]"
        for name in without(fields, {"role", "content"}):
            raise wrong(f"{path}.{name}", "there is no such field")
        yield from _turn(message, fields["content"], path)


def _turn(asked: wire.Message, raw: Raw, path: str) -> Iterator[Message]:
    here = _HERE if asked.role == "system" else None
    if isinstance(asked.content, str):
        yield Message(role=asked.role, content=(TextPart(asked.content),), extras=here)
        return
    if not asked.content and asked.role != "assistant":
        raise wrong(f"{path}.content", "it is empty")
    blocks = list(zip(asked.content, list_of_fields(raw), strict=True))
    if asked.role == "assistant":
        yield _assistant(blocks, path)
        return
    content: list[Part] = []
    for i, (block, fields) in enumerate(blocks):
        at = f"{path}.content[{i}]"
        if block.type != "tool_result":
            content.append(_part(block, fields, at))
            continue
        if content:
            yield Message(role=asked.role, content=tuple(content), extras=here)
            content = []
        yield _result(block, fields, at)
    if content:
        yield Message(role=asked.role, content=tuple(content), extras=here)


def _assistant(blocks: Sequence[tuple[wire.Block, Fields]], path: str) -> Message:
    content: list[Part] = []
    calls: list[tuple[int, ToolCall]] = []
    for i, (block, fields) in enumerate(blocks):
        at = f"{path}.content[{i}]"
        if block.type == "tool_use":
            calls.append((len(content), _call(block, fields, at)))
        else:
            content.append(_part(block, fields, at))
    placed = (call if index == len(content) else _placed(call, index) for index, call in calls)
    return Message(role="assistant", content=tuple(content), tool_calls=tuple(placed))


def _placed(call: ToolCall, index: int) -> ToolCall:
    fields = dict(call.extras.fields) if call.extras else {}
    fields["content_index"] = Raw(b"%d" % index)
    return msgspec.structs.replace(call, extras=Extras(WIRE_FORMAT, fields))


def _call(asked: wire.Block, fields: Fields, path: str) -> ToolCall:
    if not asked.id or not asked.name:
        raise wrong(f"{path}.{'name' if asked.id else 'id'}", "it is required")
    called = asked.input
    if isinstance(called, UnsetType) or not bytes(called).startswith(b"{"):
        raise wrong(f"{path}.input", "it must be an object")
    extras = _extras(without(fields, {"type", "id", "name", "input"}))
    return ToolCall(asked.id, asked.name, bytes(called).decode(), extras)


def _result(asked: wire.Block, fields: Fields, path: str) -> Message:
    if not asked.tool_use_id:
        raise wrong(f"{path}.tool_use_id", "it is required")
    raw = given(asked.content)
    said = None if raw is None else _at(raw, _content, f"{path}.content")
    content: tuple[Part, ...] = ()
    if isinstance(said, str):
        content = (TextPart(said),)
    elif said and raw is not None:
        content = _texts(said, raw, f"{path}.content")
    rest = without(fields, {"type", "tool_use_id", "content"})
    return Message(role="tool", content=content, tool_call_id=asked.tool_use_id, extras=_extras(rest))


def _at(raw: Raw, shape: msgspec.json.Decoder[Shape], path: str) -> Shape:
    """What is at a path, in the shape it must have there."""
    try:
        return shape.decode(raw)
    except msgspec.ValidationError as error:
        found = invalid(error)
        inside = (found.details or {})["param"] or ""
        dot = "." if inside and not inside.startswith("[") else ""
        raise wrong(path + dot + inside, found.message.partition(": ")[2].rstrip(".")) from error


def _part(asked: wire.Block, fields: Fields, path: str) -> Part:
    match asked.type:
        case "text":
            if asked.text is None:
                raise wrong(f"{path}.text", "it is required")
            return TextPart(asked.text, _extras(without(fields, {"type", "text"})))
        case "thinking":
            if asked.thinking is None:
                raise wrong(f"{path}.thinking", "it is required")
            return ReasoningPart(asked.thinking, _extras(without(fields, {"type", "thinking"})))
        case "redacted_thinking":
            return ReasoningPart("", _extras(without(fields, {"type"})))
        case "image":
            return _image(asked, fields, path)
    return Opaque(asked.type, Extras(WIRE_FORMAT, fields))


def _image(asked: wire.Block, fields: Fields, path: str) -> Part:
    raw = given(asked.source)
    if raw is None:
        raise wrong(f"{path}.source", "it is required")
    source = _at(raw, _source, f"{path}.source")
    rest = without(fields, {"type", "source"})
    match source:
        case wire.Source("base64", str(media_type), str(data)):
            rest |= inner(fields, "source", {"type", "media_type", "data"})
            return ImagePart(f"data:{media_type};base64,{data}", extras=_extras(rest))
        case wire.Source("url", url=str(url)):
            return ImagePart(url, extras=_extras(rest | inner(fields, "source", {"type", "url"})))
        case wire.Source("base64" | "url"):
            raise wrong(f"{path}.source", "it is not complete")
    return Opaque("image", Extras(WIRE_FORMAT, fields))


def _tools(asked: Sequence[wire.Tool], raw: Raw | None) -> tuple[FunctionTool | Opaque, ...]:
    if not asked or raw is None:
        return ()
    pairs = zip(asked, list_of_fields(raw), strict=True)
    return tuple(_tool(tool, fields, f"tools[{i}]") for i, (tool, fields) in enumerate(pairs))


def _tool(asked: wire.Tool, fields: Fields, path: str) -> FunctionTool | Opaque:
    if asked.type not in (None, "custom"):
        return Opaque(str(asked.type), Extras(WIRE_FORMAT, fields))
    schema = given(asked.input_schema)
    if schema is None:
        raise wrong(f"{path}.input_schema", "it is required")
    rest = without(fields, {"type", "name", "description", "input_schema", "strict"})
    return FunctionTool(asked.name, asked.description, schema, asked.strict, _extras(rest))


def _tool_choice(asked: wire.ToolChoice | None, top: Fields) -> ToolChoice | Opaque | None:
    if asked is None:
        return None
    mode = _MODES.get(asked.type)
    if mode is None:
        return Opaque(asked.type, Extras(WIRE_FORMAT, fields_of(top["tool_choice"])))
    if asked.type == "tool" and not asked.name:
        raise wrong("tool_choice.name", "it is required")
    return ToolChoice(mode, asked.name if asked.type == "tool" else None)


def _budget(asked: wire.Thinking | None) -> int | None:
    return asked.budget_tokens if asked is not None and asked.type == "enabled" else None


def _response_format(asked: wire.OutputConfig | None, top: Fields) -> ResponseFormat | Opaque | None:
    if asked is None or asked.format is None:
        return None
    fields = fields_of(fields_of(top["output_config"])["format"])
    if asked.format.type != "json_schema":
        return Opaque(asked.format.type, Extras(WIRE_FORMAT, fields))
    schema = given(asked.format.schema)
    if schema is None:
        raise wrong("output_config.format.schema", "it is required")
    extras = _extras(without(fields, {"type", "schema"}))
    return ResponseFormat("json_schema", SCHEMA_NAME, schema=schema, strict=True, extras=extras)
