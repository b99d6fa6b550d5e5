"""How many tokens, when the upstream doesn't say. What is estimated is flagged so wherever it is stored."""

from providers.types import (
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    ReasoningPart,
    Request,
    TextPart,
    ToolCall,
    Usage,
)

BYTES_PER_TOKEN = 4
"""English prose runs at about 4 bytes a token in the common byte-pair vocabularies."""
TOKENS_PER_MESSAGE = 4
"""Role and separators."""
TOKENS_PER_IMAGE = 1_000


def estimate_tokens(byte_count: int) -> int:
    """Tokens in so many bytes of UTF-8, rounded up."""
    return -(-byte_count // BYTES_PER_TOKEN)


def estimate_input(request: Request) -> int:
    """Tokens the upstream reads for this request."""
    if isinstance(request, EmbeddingRequest):
        return sum(
            estimate_tokens(len(item.encode())) if isinstance(item, str) else len(item) for item in request.inputs
        )
    byte_count = sum(_bytes(message) for message in request.messages)
    images = sum(isinstance(part, ImagePart) for message in request.messages for part in message.content)
    for tool in request.tools:
        if isinstance(tool, FunctionTool):
            byte_count += len(tool.name.encode()) + len((tool.description or "").encode())
            byte_count += len(bytes(tool.parameters)) if tool.parameters is not None else 0
    return estimate_tokens(byte_count) + TOKENS_PER_MESSAGE * len(request.messages) + TOKENS_PER_IMAGE * images


def _bytes(message: Message) -> int:
    count = 0
    for part in message.content:
        if isinstance(part, TextPart | ReasoningPart):
            count += len(part.text.encode())
        elif isinstance(part, Opaque):
            count += sum(map(len, part.extras.fields.values()))
    for call in message.tool_calls:
        if isinstance(call, ToolCall):
            count += len(call.name.encode()) + len(call.arguments.encode())
    return count


def estimate_usage(request: Request, *, output_bytes: int, reasoning_bytes: int = 0) -> Usage:
    """Usage of an attempt that read the whole request and wrote so much, flagged as not reported."""
    return Usage(
        input=estimate_input(request),
        output=estimate_tokens(output_bytes),
        reasoning=estimate_tokens(reasoning_bytes),
        reported=False,
    )
