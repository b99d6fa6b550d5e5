"""A body in the shape of responses that was sent to chat completions: it is answered as a chat completion."""

import msgspec
from msgspec.structs import replace

from providers.adapters.openai.bodies import fields_of, given, wrong
from providers.adapters.openai.request_in import custom_tool
from providers.adapters.openai_responses import WIRE_FORMAT
from providers.adapters.openai_responses.request_in import chat_request, parse_response_request
from providers.types import ChatRequest, FunctionTool, Opaque


def parse_in_chat(body: bytes) -> ChatRequest | None:
    """Read it, if it is one. Raises InvalidRequest, naming what is wrong: nothing is stored here to go on from."""
    try:
        fields = fields_of(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if given(fields.get("input")) is None:
        return None
    asked = parse_response_request(body)
    if asked.wire.previous_response_id is not None:
        raise wrong("previous_response_id", "only /v1/responses knows earlier responses")
    request = chat_request(asked)
    options = asked.wire.stream_options
    include_usage = bool(options and options.include_usage)
    return replace(request, include_usage=include_usage, tools=tuple(_nested(tool) for tool in request.tools))


def _nested(tool: FunctionTool | Opaque) -> FunctionTool | Opaque:
    if isinstance(tool, Opaque) and tool.kind == "custom" and tool.extras.wire_format == WIRE_FORMAT:
        return custom_tool(dict(tool.extras.fields))
    return tool
