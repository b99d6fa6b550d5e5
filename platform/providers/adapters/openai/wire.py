"""The shapes of a request's body as callers send it. Lenient about what is unknown, strict about what is
known."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from providers.types import Role, ToolMode

MAX_MESSAGES = 4_096
MAX_PARTS = 1_024
MAX_TOOLS = 512
MAX_STOPS = 16
MAX_CHOICES = 128
MAX_NAME = 256

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
TopK = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
"""Servers that know it take 0, or -1, for all tokens."""
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class ImageURL(msgspec.Struct):
    url: Annotated[str, Meta(min_length=1)]
    detail: str | None = None


class Part(msgspec.Struct):
    type: Name
    text: str | None = None
    image_url: ImageURL | str | None = None


class CalledFunction(msgspec.Struct):
    name: Name
    arguments: str = ""


class Call(msgspec.Struct):
    id: str = ""
    type: Name = "function"
    function: CalledFunction | None = None


class Message(msgspec.Struct):
    role: Role
    content: str | Annotated[list[Part], Meta(max_length=MAX_PARTS)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[Call], Meta(max_length=MAX_TOOLS)] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct):
    name: Name
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None


class Tool(msgspec.Struct):
    """Nested as in chat completions, or flat as in responses: then the function's own fields are the
    tool's."""

    type: Name
    function: Function | None = None
    name: Name | None = None
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None


class ChosenFunction(msgspec.Struct):
    name: Name


class ToolChoice(msgspec.Struct):
    type: Name
    function: ChosenFunction | None = None
    name: Name | None = None


class JSONSchema(msgspec.Struct):
    name: Name
    description: str | None = None
    schema: Raw | UnsetType = UNSET
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    type: Name
    json_schema: JSONSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Request(msgspec.Struct):
    model: Name
    messages: Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: TopK | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | Annotated[list[str], Meta(max_length=MAX_STOPS)] | None = None
    seed: int | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolMode | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
