"""How many tokens, when the upstream doesn't say. What is estimated is flagged so wherever it is stored."""

from providers.types import ChatRequest, FunctionTool, ImagePart, TextPart, ToolCall, Usage

BYTES_PER_TOKEN = 4
"""English prose runs at about 4 bytes a token in the common byte-pair vocabularies."""
TOKENS_PER_MESSAGE = 4
"""Role and separators."""
TOKENS_PER_IMAGE = 1_000


def estimate_tokens(byte_count: int) -> int:
    """Tokens in so many bytes of UTF-8, rounded up."""
    return -(-byte_count // BYTES_PER_TOKEN)


def estimate_input(request: ChatRequest) -> int:
    """Tokens the upstream reads for this request."""
    byte_count = images = 0
    for message in request.messages:
        for part in message.content:
            if isinstance(part, TextPart):
                byte_count += len(part.text.encode())
            elif isinstance(part, ImagePart):
                images += 1
            else:
                byte_count += sum(map(len, part.extras.fields.values()))
        for call in message.tool_calls:
            if isinstance(call, ToolCall):
                byte_count += len(call.name.encode()) + len(call.arguments.encode())
    for tool in request.tools:
        if isinstance(tool, FunctionTool):
            byte_count += len(tool.name.encode()) + len((tool.description or "").encode())
            byte_count += len(bytes(tool.parameters)) if tool.parameters is not None else 0
    return estimate_tokens(byte_count) + TOKENS_PER_MESSAGE * len(request.messages) + TOKENS_PER_IMAGE * images


def estimate_usage(request: ChatRequest, *, output_bytes: int, reasoning_bytes: int = 0) -> Usage:
    """Usage of an attempt that read the whole request and wrote so much, flagged as not reported."""
    return Usage(
        input=estimate_input(request),
        output=estimate_tokens(output_bytes),
        reasoning=estimate_tokens(reasoning_bytes),
        reported=False,
    )
