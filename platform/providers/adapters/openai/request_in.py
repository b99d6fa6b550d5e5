"""A caller's body into a ChatRequest. What is wrong is named by its path; what is unknown is kept as
extras."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from providers.adapters.openai import WIRE_FORMAT, wire
from providers.adapters.openai.bodies import (
    Fields,
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
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)

_request = msgspec.json.Decoder(wire.Request)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Read the body of `POST /v1/chat/completions`.

    Raises InvalidRequest, `details.param` being the path of what is wrong (`messages[2].content`), or None
    when the body as a whole is not what it should be."""
    asked, top = read_body(body, _request)
    try:
        return _chat_request(asked, top)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except RecursionError as error:
        raise too_deep() from error


def _chat_request(asked: wire.Request, top: Fields) -> ChatRequest:
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise wrong("max_tokens", "max_completion_tokens says the same; send one of them")
    options = asked.stream_options
    return ChatRequest(
        model=asked.model,
        messages=_messages(asked.messages, top["messages"]),
        max_output_tokens=asked.max_completion_tokens or asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        n=asked.n or 1,
        tools=_tools(asked.tools or (), top.get("tools")),
        tool_choice=_tool_choice(asked.tool_choice, top.get("tool_choice")),
        parallel_tool_calls=asked.parallel_tool_calls,
        response_format=_response_format(asked.response_format, top.get("response_format")),
        reasoning_effort=asked.reasoning_effort,
        logprobs=asked.logprobs,
        top_logprobs=asked.top_logprobs,
        stream=asked.stream or False,
        include_usage=bool(options and options.include_usage),
        extras=_request_extras(asked, top),
    )


def _request_extras(asked: wire.Request, top: Fields) -> Extras | None:
    rest = {key: value for key, value in top.items() if key not in asked.__struct_fields__}
    if asked.max_completion_tokens is not None:
        # Only the name counts here: it is the caller's for the cap, whose value is max_output_tokens.
        rest["max_completion_tokens"] = top["max_completion_tokens"]
    if asked.stream_options is not None:
        rest.update(inner(top, "stream_options", {"include_usage"}))
    return _extras(rest)


def _extras(rest: Fields) -> Extras | None:
    return Extras(WIRE_FORMAT, rest) if rest else None


def _messages(asked: Sequence[wire.Message], raw: Raw) -> tuple[Message, ...]:
    return tuple(
        _message(message, fields, f"messages[{number}]")
        for number, (message, fields) in enumerate(zip(asked, list_of_fields(raw), strict=True))
    )


def _message(asked: wire.Message, fields: Fields, path: str) -> Message:
    if asked.content is None and asked.role != "assistant":
        raise wrong(f"{path}.content", "it is required for this role")
    if asked.role == "tool" and not asked.tool_call_id:
        raise wrong(f"{path}.tool_call_id", "it is required for this role")
    content: tuple[Part, ...] = ()
    if isinstance(asked.content, str):
        content = (TextPart(asked.content),)
    elif asked.content is not None:
        pairs = zip(asked.content, list_of_fields(fields["content"]), strict=True)
        content = tuple(_part(part, raw, f"{path}.content[{i}]") for i, (part, raw) in enumerate(pairs))
        if not content and asked.role != "assistant":
            raise wrong(f"{path}.content", "it is empty")
    calls: tuple[ToolCall | Opaque, ...] = ()
    if asked.tool_calls:
        called = zip(asked.tool_calls, list_of_fields(fields["tool_calls"]), strict=True)
        calls = tuple(_call(call, raw, f"{path}.tool_calls[{i}]") for i, (call, raw) in enumerate(called))
    return Message(
        role=asked.role,
        content=content,
        name=asked.name,
        tool_calls=calls,
        tool_call_id=asked.tool_call_id,
        extras=_extras(without(fields, {"role", "content", "name", "tool_calls", "tool_call_id"})),
    )


_TEXTS = frozenset({"text", "input_text", "output_text"})
"""The last two are what responses call it, which some send here too."""


def _part(asked: wire.Part, fields: Fields, path: str) -> Part:
    if asked.type in _TEXTS:
        if asked.text is None:
            raise wrong(f"{path}.text", "it is required")
        return TextPart(asked.text, _extras(without(fields, {"type", "text"})))
    if asked.type == "image_url":
        if asked.image_url is None:
            raise wrong(f"{path}.image_url", "it is required")
        rest = without(fields, {"type", "image_url"}) | inner(fields, "image_url", {"url", "detail"})
        if isinstance(asked.image_url, str):
            return ImagePart(asked.image_url, extras=_extras(rest))
        return ImagePart(asked.image_url.url, asked.image_url.detail, _extras(rest))
    return Opaque(asked.type, Extras(WIRE_FORMAT, fields))


def _call(asked: wire.Call, fields: Fields, path: str) -> ToolCall | Opaque:
    if asked.type != "function":
        return Opaque(asked.type, Extras(WIRE_FORMAT, fields))
    if asked.function is None:
        raise wrong(f"{path}.function", "it is required")
    rest = without(fields, {"id", "type", "function"}) | inner(fields, "function", {"name", "arguments"})
    return ToolCall(asked.id, asked.function.name, asked.function.arguments, _extras(rest))


_FUNCTION_FIELDS = {"name", "description", "parameters", "strict"}


def _tools(asked: Sequence[wire.Tool], raw: Raw | None) -> tuple[FunctionTool | Opaque, ...]:
    if not asked or raw is None:
        return ()
    pairs = zip(asked, list_of_fields(raw), strict=True)
    return tuple(_tool(tool, fields, f"tools[{i}]") for i, (tool, fields) in enumerate(pairs))


def _tool(asked: wire.Tool, fields: Fields, path: str) -> FunctionTool | Opaque:
    if asked.type == "custom" and "custom" not in fields and asked.name is not None:
        return custom_tool(fields)
    if asked.type != "function":
        return Opaque(asked.type, Extras(WIRE_FORMAT, fields))
    if asked.function is not None:
        said: wire.Function | wire.Tool = asked.function
        rest = without(fields, {"type", "function"}) | inner(fields, "function", _FUNCTION_FIELDS)
    else:
        said = asked
        rest = without(fields, {"type", "function"} | _FUNCTION_FIELDS)
    if said.name is None:
        raise wrong(f"{path}.function", "it is required")
    return FunctionTool(said.name, said.description, given(said.parameters), said.strict, _extras(rest))


def custom_tool(flat: Fields) -> Opaque:
    """A custom tool in this format's nested form, from the flat one of responses."""
    custom = {key: flat[key] for key in ("name", "description") if given(flat.get(key)) is not None}
    wanted = given(flat.get("format"))
    if wanted is not None:
        if not bytes(wanted).startswith(b"{"):
            raise wrong("tools.format", "it must be an object")
        form = fields_of(wanted)
        kind = form.pop("type", Raw(b'"text"'))
        nested = {"type": kind, "grammar": form} if bytes(kind) == b'"grammar"' and "grammar" not in form else None
        custom["format"] = wanted if nested is None else Raw(msgspec.json.encode(nested))
    rest = without(flat, {"type", "name", "description", "format"})
    fields = {"type": Raw(b'"custom"'), "custom": Raw(msgspec.json.encode(custom)), **rest}
    return Opaque("custom", Extras(WIRE_FORMAT, fields))


def _tool_choice(asked: str | wire.ToolChoice | None, raw: Raw | None) -> ToolChoice | Opaque | None:
    match asked:
        case None:
            return None
        case "none" | "auto" | "required":
            return ToolChoice(asked)
        case wire.ToolChoice("function", function, name) if function or name:
            return ToolChoice("required", function.name if function else name)
        case wire.ToolChoice("function"):
            raise wrong("tool_choice.function", "it is required")
        case wire.ToolChoice("custom", None, str(name)):
            chosen = Raw(msgspec.json.encode({"name": name}))
            return Opaque("custom", Extras(WIRE_FORMAT, {"type": Raw(b'"custom"'), "custom": chosen}))
        case wire.ToolChoice(kind) if raw is not None:
            return Opaque(kind, Extras(WIRE_FORMAT, fields_of(raw)))
    raise wrong("tool_choice", "it is not understood")


def _response_format(asked: wire.ResponseFormat | None, raw: Raw | None) -> ResponseFormat | Opaque | None:
    if asked is None or raw is None:
        return None
    fields = fields_of(raw)
    match asked.type:
        case "text" | "json_object" as kind:
            return ResponseFormat(kind, extras=_extras(without(fields, {"type"})))
        case "json_schema":
            said = asked.json_schema
            if said is None:
                raise wrong("response_format.json_schema", "it is required")
            rest = without(fields, {"type", "json_schema"})
            rest |= inner(fields, "json_schema", {"name", "description", "schema", "strict"})
            return ResponseFormat(
                "json_schema", said.name, said.description, given(said.schema), said.strict, _extras(rest)
            )
    return Opaque(asked.type, Extras(WIRE_FORMAT, fields))
