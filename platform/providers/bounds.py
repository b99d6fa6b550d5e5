"""How many tokens a request can be at most, before anybody has counted them."""

from collections.abc import Sequence

import msgspec

from providers.profiles import Profile
from providers.types import (
    EmbeddingRequest,
    Extras,
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
LONGEST_CONTEXT_TOKENS = 1_048_576
"""What a model may hold of which that isn't known: as much as the roomiest in `profiles`."""
_ADDRESSES = ("url", "file_data")
"""How the names of fields end that may hold an address."""
_SAID_BEFORE = ("_use", "_result")
"""How kinds of parts end that tell of an earlier turn: what their addresses lead to is not read again."""


def bound_input(request: Request, profiles: Sequence[Profile]) -> int:
    """The most tokens that a model of one of these profiles can read in a request: no vocabulary needs more than one for a
    byte of UTF-8, an image is what the model makes of it, and a document that is elsewhere fills its context."""
    if isinstance(request, EmbeddingRequest):
        return sum(_size(item) if isinstance(item, str) else len(item) for item in request.inputs) + TOKENS_PER_REQUEST
    image_tokens = max((profile.image_tokens for profile in profiles), default=0)
    count = TOKENS_PER_REQUEST + sum(_message(message, image_tokens) for message in request.messages)
    count += _size(request.suffix or "") + _beside(request.extras)
    for tool in request.tools:
        count += TOKENS_PER_MESSAGE + _beside(tool.extras)
        if isinstance(tool, FunctionTool):
            count += _size(tool.name) + _size(tool.description or "")
            count += len(bytes(tool.parameters)) if tool.parameters is not None else 0
    if request.response_format is not None:
        count += _beside(request.response_format.extras)
    if isinstance(request.response_format, ResponseFormat) and request.response_format.schema is not None:
        count += len(bytes(request.response_format.schema))
    if any(_is_elsewhere(part) for message in request.messages for part in message.content):
        return max([count, *(profile.context_tokens or LONGEST_CONTEXT_TOKENS for profile in profiles)])
    return count


def _message(message: Message, image_tokens: int) -> int:
    count = TOKENS_PER_MESSAGE + _beside(message.extras)
    for part in message.content:
        count += _beside(part.extras)
        if isinstance(part, TextPart | ReasoningPart):
            count += _size(part.text)
        elif isinstance(part, ImagePart) or part.kind == "image":
            count += image_tokens
    for call in message.tool_calls:
        count += _beside(call.extras)
        if isinstance(call, ToolCall):
            count += TOKENS_PER_MESSAGE + _size(call.name) + _size(call.arguments)
    return count


def _is_elsewhere(part: object) -> bool:
    """Whether a part only says where what is to be read can be had."""
    if not isinstance(part, Opaque) or part.kind == "image" or part.kind.endswith(_SAID_BEFORE):
        return False
    try:
        return any(_leads_away(name, msgspec.json.decode(value)) for name, value in part.extras.fields.items())
    except RecursionError:
        return True


def _leads_away(name: str, said: object) -> bool:
    match said:
        case dict():
            return any(_leads_away(key, value) for key, value in said.items())
        case list():
            return any(_leads_away(name, value) for value in said)
        case str():
            return name == "file_id" or (name.endswith(_ADDRESSES) and said.lower().startswith("http"))
    return False


def _beside(extras: Extras | None) -> int:
    """What only the request's own format says is read like everything else."""
    return 0 if extras is None else sum(len(bytes(value)) for value in extras.fields.values())


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
