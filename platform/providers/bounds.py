"""How many tokens a request can be at most, before anybody has counted them."""

from providers.types import (
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    ReasoningPart,
    Request,
    ResponseFormat,
    TextPart,
    ToolCall,
)

TOKENS_PER_MESSAGE = 16
"""Role, separators, and what a chat template puts around a turn."""
TOKENS_PER_REQUEST = 512
"""What providers put before a prompt of their own accord: the preamble that explains tools is the longest known, 346 tokens
(Anthropic's documentation of tool use)."""
MAX_TOKENS_PER_IMAGE = 3_000
"""More than the most that a provider counts for an image scaled to what it looks at: 1,600 at Anthropic, 1,445 for a
high-detail image of 2,048 × 4,096 at OpenAI, 2,580 for ten tiles at Google (their documentation of vision)."""


def bound_input(request: Request) -> int:
    """The most tokens an upstream can read in a request: no vocabulary needs more than one for a byte of UTF-8."""
    if isinstance(request, EmbeddingRequest):
        return sum(_size(item) if isinstance(item, str) else len(item) for item in request.inputs) + TOKENS_PER_REQUEST
    count = TOKENS_PER_REQUEST + sum(map(_message, request.messages)) + _size(request.suffix or "")
    for tool in request.tools:
        count += TOKENS_PER_MESSAGE
        if isinstance(tool, FunctionTool):
            count += _size(tool.name) + _size(tool.description or "")
            count += len(bytes(tool.parameters)) if tool.parameters is not None else 0
        else:
            count += _opaque(tool)
    if isinstance(request.response_format, ResponseFormat) and request.response_format.schema is not None:
        count += len(bytes(request.response_format.schema))
    return count


def _message(message: Message) -> int:
    count = TOKENS_PER_MESSAGE
    for part in message.content:
        if isinstance(part, TextPart | ReasoningPart):
            count += _size(part.text)
        elif isinstance(part, ImagePart):
            count += MAX_TOKENS_PER_IMAGE
        elif isinstance(part, Opaque):
            count += _opaque(part)
    for call in message.tool_calls:
        if isinstance(call, ToolCall):
            count += TOKENS_PER_MESSAGE + _size(call.name) + _size(call.arguments)
        else:
            count += _opaque(call)
    return count


def _opaque(part: Opaque) -> int:
    return sum(len(bytes(value)) for value in part.extras.fields.values())


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
