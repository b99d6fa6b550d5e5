"""The shapes of a request's body as callers send it, and of items as they are stored. Lenient about what is unknown,
strict about what is known."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.adapters.openai.wire import MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, Count, Name, StreamOptions
from providers.types import ToolMode

MAX_METADATA = 16
MAX_INCLUDE = 32

Role = Literal["system", "developer", "user", "assistant"]


class Part(msgspec.Struct):
    type: Name
    text: str | None = None
    refusal: str | None = None
    image_url: Annotated[str, Meta(min_length=1)] | None = None
    detail: str | None = None


Parts = Annotated[list[Part], Meta(max_length=MAX_PARTS)]


class Item(msgspec.Struct):
    """A message has a role and may leave its type out. An `item_reference` has an id alone."""

    type: Name | None = None
    id: str | None = None
    role: Role | None = None
    content: str | Parts | None = None
    call_id: str | None = None
    name: Name | None = None
    arguments: str | None = None
    output: str | Parts | None = None
    summary: Parts | None = None
    encrypted_content: str | None = None


class Tool(msgspec.Struct):
    type: Name
    name: Name | None = None
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None


class ToolChoice(msgspec.Struct):
    type: Name
    name: Name | None = None


class Format(msgspec.Struct):
    type: Name
    name: Name | None = None
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class Text(msgspec.Struct):
    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct):
    effort: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    summary: str | None = None
    generate_summary: str | None = None


Metadata = dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]]


class Request(msgspec.Struct):
    model: Name
    input: str | Annotated[list[Item], Meta(max_length=MAX_MESSAGES)] | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolMode | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Count | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    metadata: Annotated[Metadata, Meta(max_length=MAX_METADATA)] | None = None
    include: Annotated[list[str], Meta(max_length=MAX_INCLUDE)] | None = None
    truncation: str | None = None
    background: bool | None = None
