"""One answer of the fake upstream in Anthropic's format."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.answer import Answer, frame

ERRORS: dict[str, tuple[int, str, str]] = {
    "401": (401, "authentication_error", "invalid x-api-key: sk-secret-part."),
    "403": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "404": (404, "not_found_error", "model: fake-model"),
    "429": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "quota": (402, "billing_error", "There is an issue with your billing."),
    "400": (400, "invalid_request_error", "temperature: Input should be less than or equal to 1"),
    "too_long": (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
    "content_policy": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "500": (500, "api_error", "Internal server error"),
    "503": (529, "overloaded_error", "Overloaded"),
    "error_body": (200, "api_error", "Internal server error"),
}


class AnthropicAnswer(Answer):
    """A message, plain or streamed."""

    half_frame: ClassVar[bytes] = b'event: content_block_delta\ndata: {"type":"content_blo'
    garbage_frame: ClassVar[bytes] = b"event: content_block_delta\ndata: {this is not json}\n\n"
    comment: ClassVar[bytes] = b': comment\n\nevent: ping\ndata: {"type": "ping"}\n\n'

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return None
        status, kind, message = ERRORS[fault]
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        return web.json_response(body, status=status, headers={"request-id": "req_1", **headers})

    def body(self) -> dict[str, Any]:
        record = self._record
        content = self._thoughts()
        if record.text:
            content.append({"type": "text", "text": record.text})
        content += [_call(call) | {"input": json.loads(call["arguments"])} for call in self._script.tool_calls]
        body = self._message() | {"content": content, "stop_reason": self._stop_reason()}
        body.pop("usage")
        if self._script.usage != "never":
            record.reported = True
            body["usage"] = self._usage(record.completion_tokens)
        return body

    def opening(self) -> Iterator[bytes]:
        self._index = -1
        if self._script.role:
            yield frame({"type": "message_start", "message": self._message()}, event="message_start")
            yield frame({"type": "ping"}, event="ping")
        for block in self._thoughts():
            empty = {"thinking": "", "signature": ""} if block["type"] == "thinking" else {}
            yield self._start(block | empty)
            if empty:
                yield self._delta({"type": "thinking_delta", "thinking": block["thinking"]})
                yield self._delta({"type": "signature_delta", "signature": block["signature"]})
            yield self._stop()
        if self._pieces:
            yield self._start({"type": "text", "text": ""})

    def piece(self, text: str) -> bytes:
        return self._delta({"type": "text_delta", "text": text})

    def ending(self) -> Iterator[bytes]:
        script, record = self._script, self._record
        if self._pieces:
            yield self._stop()
        for call in script.tool_calls:
            yield self._start(_call(call))
            yield self._delta({"type": "input_json_delta", "partial_json": ""})
            arguments = call["arguments"]
            for i in range(0, len(arguments), script.chunk):
                yield self._delta({"type": "input_json_delta", "partial_json": arguments[i : i + script.chunk]})
            yield self._stop()
        if script.usage == "changes":
            yield frame({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1}}, event="message_delta")
        reason = self._stop_reason()
        end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
        if script.usage != "never":
            # Of an answer that has lost its start, nobody can tell what was read, unless that is repeated.
            record.reported = script.role or script.usage in ("always", "changes")
            end["usage"] = {"output_tokens": record.completion_tokens} | self._details()
            if script.usage in ("always", "changes"):
                end["usage"] = self._usage(record.completion_tokens)
        yield frame(end, event="message_delta")
        if script.done:
            yield frame({"type": "message_stop"}, event="message_stop")

    def error_frame(self) -> bytes:
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return frame({"type": "error", "error": error}, event="error")

    def _thoughts(self) -> list[dict[str, Any]]:
        script = self._script
        if not script.reasoning:
            return []
        if script.reasoning == "redacted":
            return [{"type": "redacted_thinking", "data": script.signature}]
        return [{"type": "thinking", "thinking": script.reasoning, "signature": script.signature}]

    def _message(self) -> dict[str, Any]:
        message: dict[str, Any] = {"id": self._record.id} if self._script.id else {}
        changes = self._script.usage == "changes"
        return message | {
            "type": "message",
            "role": "assistant",
            "model": self._record.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1} if changes else self._usage(1),
        }

    def _usage(self, output: int) -> dict[str, Any]:
        record, script = self._record, self._script
        return {
            "input_tokens": record.prompt_tokens - script.cached_tokens - script.cache_write_tokens,
            "cache_read_input_tokens": script.cached_tokens,
            "cache_creation_input_tokens": script.cache_write_tokens,
            "output_tokens": output,
            "service_tier": "standard",
        } | self._details()

    def _details(self) -> dict[str, Any]:
        thought = self._script.reasoning_tokens
        return {"output_tokens_details": {"thinking_tokens": thought}} if thought else {}

    def _stop_reason(self) -> str | None:
        if self._script.finish_reason == "":
            return "tool_use" if self._script.tool_calls else "end_turn"
        return self._script.finish_reason

    def _start(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return frame(start, event="content_block_start")

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_delta", "index": self._index, "delta": delta}, event="content_block_delta")

    def _stop(self) -> bytes:
        return frame({"type": "content_block_stop", "index": self._index}, event="content_block_stop")


def _call(call: dict[str, str]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
