"""Requests into the bodies that Ollama gets."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import msgspec

from providers.adapters.ollama import WIRE_FORMAT
from providers.adapters.reading import arguments_object, inline_image, own_fields, texts
from providers.errors import Unsupported
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    ToolCall,
    ToolChoice,
)

JSON = dict[str, object]
ROLES = {"developer": "system", "function": "tool"}
"""Roles that have another name here."""
_OPTIONS = {
    "max_output_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
}
"""Fields of the value, and the options they are."""
THINK: dict[str, bool | str] = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high"}
"""Reasoning efforts, as `think`."""
TAKE_LEVELS = ("gpt-oss*",)
"""Models that know how hard to think; all others either think or don't, and refuse a level."""
_encode = msgspec.json.Encoder().encode


def encode_chat_request(request: ChatRequest, *, model: str, stream: bool) -> bytes:
    """The body of `POST /api/chat`. What doesn't fit the model's context is refused rather than cut off. Raises
    Unsupported with the name of what this format can't say."""
    body: JSON = {
        "model": model,
        "messages": list(_messages(request.messages)),
        "stream": stream,
        "truncate": False,
    }
    options: JSON = {
        option: value for name, option in _OPTIONS.items() if (value := getattr(request, name)) is not None
    }
    if request.stop:
        options["stop"] = request.stop
    if options:
        body["options"] = options
    if request.tools and request.tool_choice != ToolChoice("none"):
        body["tools"] = [_tool(tool) for tool in request.tools if isinstance(tool, FunctionTool)]
    if isinstance(request.response_format, ResponseFormat) and request.response_format.kind != "text":
        body["format"] = request.response_format.schema or "json"
    if request.reasoning_effort is not None:
        body["think"] = _think(request.reasoning_effort, model)
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs:
            body["top_logprobs"] = request.top_logprobs
    for key, value in own_fields(request.extras, WIRE_FORMAT).items():
        body.setdefault(key, value)
    return _encode(body)


def _think(effort: str, model: str) -> bool | str:
    if effort not in THINK:
        raise Unsupported(param="reasoning_effort")
    takes_levels = any(fnmatchcase(model.rsplit("/", 1)[-1].lower(), pattern) for pattern in TAKE_LEVELS)
    return THINK[effort] if takes_levels else THINK[effort] is not False


def encode_embedding_request(request: EmbeddingRequest, *, model: str) -> bytes:
    """The body of `POST /api/embed`. Raises Unsupported for token numbers."""
    body: JSON = {"model": model, "input": texts(request.inputs), "truncate": False}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return _encode(body)


def _messages(messages: tuple[Message, ...]) -> Iterator[JSON]:
    names: dict[str, str] = {}
    for place, message in enumerate(messages):
        names |= {call.id: call.name for call in message.tool_calls if isinstance(call, ToolCall)}
        yield _message(message, names, f"messages[{place}]")


def _message(message: Message, names: Mapping[str, str], path: str) -> JSON:
    body: JSON = {"role": ROLES.get(message.role, message.role), "content": message.text}
    thoughts = "".join(part.text for part in message.content if isinstance(part, ReasoningPart))
    if thoughts:
        body["thinking"] = thoughts
    images = [inline_image(part.url, f"{path}.content")[1] for part in message.content if isinstance(part, ImagePart)]
    if images:
        body["images"] = images
    if message.tool_calls:
        calls = (call for call in message.tool_calls if isinstance(call, ToolCall))
        body["tool_calls"] = [_call(call, f"{path}.tool_calls") for call in calls]
    if message.role in ("tool", "function"):
        name = names.get(message.tool_call_id or "") or message.name
        if name is not None:
            body["tool_name"] = name
        if message.tool_call_id is not None:
            body["tool_call_id"] = message.tool_call_id
    return body


def _call(call: ToolCall, param: str) -> JSON:
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments_object(call, param)}}


def _tool(tool: FunctionTool) -> JSON:
    function: JSON = {"name": tool.name, "description": tool.description or ""}
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}
