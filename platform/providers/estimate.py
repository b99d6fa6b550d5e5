"""How many tokens, when the upstream doesn't say. What is estimated is flagged so wherever it is stored."""

import asyncio
from collections.abc import Sequence
from itertools import chain

import msgspec

from providers.types import (
    ChatAnswer,
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
from providers.vocabularies import CHUNK_CHARS, Vocabulary, count_tokens, is_loaded, vocabulary_of

BYTES_PER_TOKEN = 4
"""English prose runs at about 4 bytes a token in the common byte-pair vocabularies."""
TOKENS_PER_MESSAGE = 4
"""Role and separators."""
TOKENS_TO_OPEN = 3
"""What opens an answer, as OpenAI's cookbook counts it."""
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
    """Usage of an attempt that read the whole request and wrote so much, flagged as not reported. Quick and rough: by the
    number of bytes alone."""
    return Usage(
        input=estimate_input(request),
        output=estimate_tokens(output_bytes),
        reasoning=estimate_tokens(reasoning_bytes),
        reported=False,
    )


async def count_usage(request: Request, answer: ChatAnswer, *, model: str, read: Usage | None = None) -> Usage:
    """Usage of an attempt that read the whole request and wrote this much of an answer, flagged as not reported: counted by
    the model's vocabulary, or one like it. What the upstream said it `read`, if it came to that, is taken from it."""
    vocabulary = vocabulary_of(model)
    written, thought = _written(answer), [choice.reasoning for choice in answer.choices if choice.reasoning]
    asked = [] if read is not None else _asked(request)
    if not is_loaded(vocabulary) or sum(map(len, chain(written, thought, asked))) > CHUNK_CHARS:
        counts = await asyncio.to_thread(_counts, vocabulary, asked, written, thought)
    else:
        counts = _counts(vocabulary, asked, written, thought)
    prompt, output, reasoning = counts
    if read is not None:
        return msgspec.structs.replace(read, output=output, reasoning=reasoning, reported=False)
    return Usage(input=prompt + _around(request), output=output, reasoning=reasoning, reported=False)


def _counts(vocabulary: Vocabulary, *groups: Sequence[str]) -> tuple[int, ...]:
    return tuple(count_tokens(texts, vocabulary) for texts in groups)


def _written(answer: ChatAnswer) -> list[str]:
    texts = [choice.text for choice in answer.choices]
    for choice in answer.choices:
        texts += [text for call in choice.tool_calls for text in (call.name, call.arguments)]
        texts += [
            bytes(value).decode(errors="replace") for value in (choice.extras.fields if choice.extras else {}).values()
        ]
    return [text for text in texts if text]


def _asked(request: Request) -> list[str]:
    """Every text of a request. Lists of token numbers count by themselves."""
    if isinstance(request, EmbeddingRequest):
        return [item for item in request.inputs if isinstance(item, str)]
    texts: list[str] = []
    for message in request.messages:
        for part in message.content:
            if isinstance(part, TextPart | ReasoningPart):
                texts.append(part.text)
            elif isinstance(part, Opaque):
                texts += [bytes(value).decode(errors="replace") for value in part.extras.fields.values()]
        texts += [
            text for call in message.tool_calls if isinstance(call, ToolCall) for text in (call.name, call.arguments)
        ]
    for tool in request.tools:
        if isinstance(tool, FunctionTool):
            texts += [tool.name, tool.description or ""]
            texts += [bytes(tool.parameters).decode(errors="replace")] if tool.parameters is not None else []
    return texts


def _around(request: Request) -> int:
    """What is read beside the texts: roles, separators, images, and what opens the answer."""
    if isinstance(request, EmbeddingRequest):
        return sum(len(item) for item in request.inputs if not isinstance(item, str))
    images = sum(isinstance(part, ImagePart) for message in request.messages for part in message.content)
    named = sum(message.name is not None for message in request.messages)
    return TOKENS_PER_MESSAGE * len(request.messages) + named + TOKENS_TO_OPEN + TOKENS_PER_IMAGE * images
