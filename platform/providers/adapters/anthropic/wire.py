"""The shapes of a request's body as callers send it. Lenient about what is unknown, strict about what is known."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

MAX_MESSAGES = 100_000
MAX_BLOCKS = 4_096
MAX_TOOLS = 1_024
MAX_STOPS = 8_192
MAX_NAME = 256

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Kind = Annotated[str, Meta(min_length=1, max_length=64)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Block(msgspec.Struct):
    """Any content block. What differs between kinds of one name is read by its kind."""

    type: Kind
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw | UnsetType = UNSET
    source: Raw | UnsetType = UNSET
    tool_use_id: str | None = None
    content: Raw | UnsetType = UNSET
    thinking: str | None = None


Blocks = Annotated[list[Block], Meta(max_length=MAX_BLOCKS)]


class Source(msgspec.Struct):
    type: Kind
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | Blocks


class Tool(msgspec.Struct):
    name: Name
    type: Kind | None = None
    description: str | None = None
    input_schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class ToolChoice(msgspec.Struct):
    type: Kind
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: Kind
    budget_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class Format(msgspec.Struct):
    type: Kind
    schema: Raw | UnsetType = UNSET


class OutputConfig(msgspec.Struct):
    effort: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    format: Format | None = None


class Request(msgspec.Struct):
    model: Name
    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    system: str | Blocks | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
