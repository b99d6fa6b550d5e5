"""Requests into the bodies that Cohere gets."""

from collections.abc import Sequence

import msgspec

from providers.adapters.cohere import WIRE_FORMAT
from providers.adapters.reading import own_fields, texts
from providers.errors import Unsupported
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
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
ROLES = {"developer": "system", "function": "tool"}
"""Roles that have another name here."""
_SAMPLING = {
    "max_output_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "p",
    "top_k": "k",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "logprobs": "logprobs",
}
"""Fields of the value, and what they are called here."""
THINKING: dict[str, int | None] = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": None,
    "xhigh": None,
}
"""Reasoning efforts in tokens; None is without a bound."""
INPUT_TYPE = "search_document"
"""What embeddings are for when nobody says, which Cohere wants to know: texts to be found."""
_encode = msgspec.json.Encoder().encode


def encode_chat_request(request: ChatRequest, *, model: str, stream: bool) -> bytes:
    """The body of `POST /v2/chat`. Raises Unsupported with the name of what this format can't say."""
    body: JSON = {"model": model, "messages": _messages(request.messages), "stream": stream}
    body |= {name: value for field, name in _SAMPLING.items() if (value := getattr(request, field)) is not None}
    if request.stop:
        body["stop_sequences"] = request.stop
    _add_tools(request, body)
    wanted = request.response_format
    if isinstance(wanted, ResponseFormat) and wanted.kind != "text":
        shape: JSON = {"type": "json_object"}
        if wanted.schema is not None:
            shape["schema"] = wanted.schema
        body["response_format"] = shape
    thinking = _thinking(request)
    if thinking is not None:
        body["thinking"] = thinking
    for key, value in own_fields(request.extras, WIRE_FORMAT).items():
        body.setdefault(key, value)
    return _encode(body)


def encode_embedding_request(request: EmbeddingRequest, inputs: Sequence[str | tuple[int, ...]], model: str) -> bytes:
    """The body of `POST /v2/embed` for these of the request's inputs. A text that is too long is refused rather than
    cut off. Raises Unsupported for token numbers."""
    body: JSON = {
        "model": model,
        "texts": texts(inputs),
        "input_type": INPUT_TYPE,
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return _encode(body | {**own_fields(request.extras, WIRE_FORMAT)})


def _add_tools(request: ChatRequest, body: JSON) -> None:
    """One function can't be demanded by its name; being the only one there is comes to the same."""
    tools = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    choice = request.tool_choice
    if isinstance(choice, ToolChoice):
        if choice.name is not None:
            tools = [tool for tool in tools if tool.name == choice.name]
        if tools and choice.mode != "auto":
            body["tool_choice"] = choice.mode.upper()
    if tools:
        body["tools"] = [_tool(tool) for tool in tools]
    if any(tool.strict for tool in tools):
        body["strict_tools"] = True


def _tool(tool: FunctionTool) -> JSON:
    function: JSON = {"name": tool.name, "parameters": tool.parameters or {"type": "object", "properties": {}}}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _thinking(request: ChatRequest) -> JSON | None:
    effort, budget = request.reasoning_effort, request.reasoning_budget
    if budget is None:
        if effort is None:
            return None
        if effort not in THINKING:
            raise Unsupported(param="reasoning_effort")
        budget = THINKING[effort]
    if budget == 0:
        return {"type": "disabled"}
    return {"type": "enabled"} if budget is None else {"type": "enabled", "token_budget": budget}


def _messages(messages: Sequence[Message]) -> list[JSON]:
    for place, message in enumerate(messages):
        if message.role != "user" and any(isinstance(part, ImagePart) for part in message.content):
            words = "The model's provider takes images from users only."
            raise Unsupported(words, param=f"messages[{place}].content")
    return [_message(message) for message in messages]


def _message(message: Message) -> JSON:
    body: JSON = {"role": ROLES.get(message.role, message.role)}
    thoughts = [part for part in message.content if isinstance(part, ReasoningPart)]
    parts: tuple[Part, ...] = message.content
    if message.tool_calls:
        calls = (call for call in message.tool_calls if isinstance(call, ToolCall))
        body["tool_calls"] = [_call(call) for call in calls]
        if thoughts:
            body["tool_plan"] = "".join(part.text for part in thoughts)
            parts = tuple(part for part in parts if not isinstance(part, ReasoningPart))
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    if all(isinstance(part, TextPart) for part in parts):
        if parts or not message.tool_calls:
            body["content"] = message.text
    else:
        body["content"] = [_part(part) for part in parts]
    return body


def _part(part: Part) -> JSON:
    match part:
        case TextPart(text, extras):
            return {"type": "text", "text": text, **own_fields(extras, WIRE_FORMAT)}
        case ImagePart(url, detail):
            image: JSON = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": image}
        case ReasoningPart(text):
            return {"type": "thinking", "thinking": text}
        case Opaque(kind, extras):
            return {"type": kind, **own_fields(extras, WIRE_FORMAT)}


def _call(call: ToolCall) -> JSON:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
