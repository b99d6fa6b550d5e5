"""One answer of the fake upstream in OpenAI's format."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from tests.fakes.answer import Answer, frame

ERRORS: dict[str, tuple[int, str, str]] = {
    "401": (401, "invalid_api_key", "Incorrect API key provided: sk-secret-part."),
    "403": (403, "forbidden", "You can't use this."),
    "404": (404, "model_not_found", "The model does not exist."),
    "429": (429, "rate_limit_exceeded", "Rate limit reached for requests."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "400": (400, "invalid_value", "Invalid value for 'temperature'."),
    "too_long": (400, "context_length_exceeded", "This model's maximum context length is 8 tokens."),
    "content_policy": (400, "content_policy_violation", "Your request was rejected by our safety system."),
    "500": (500, "server_error", "The server had an error."),
    "503": (503, "overloaded", "The engine is overloaded."),
    "error_body": (200, "server_error", "The server had an error."),
}


class OpenAIAnswer(Answer):
    """A chat completion, plain or streamed."""

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return None
        status, code, message = ERRORS[fault]
        kind = "invalid_request_error" if status < 429 else "server_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        return web.json_response(body, status=status, headers=headers)

    def body(self) -> dict[str, Any]:
        script, record = self._script, self._record
        message: dict[str, Any] = {"role": "assistant", "content": record.text or None}
        if script.reasoning:
            message["reasoning_content"] = script.reasoning
        if script.tool_calls:
            message["tool_calls"] = [_call(call) for call in script.tool_calls]
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason(), "logprobs": None}
        body: dict[str, Any] = {"object": "chat.completion", "created": 1, "model": record.model, "choices": [choice]}
        if script.id:
            body["id"] = record.id
        if script.usage != "never":
            body["usage"] = self._usage()
        return body

    def opening(self) -> Iterator[bytes]:
        if self._script.role:
            yield frame(self._chunk({"role": "assistant", "content": ""}))
        if self._script.reasoning:
            yield frame(self._chunk(self._delta(reasoning_content=self._script.reasoning)))

    def piece(self, text: str) -> bytes:
        return frame(self._chunk({"content": text}))

    def ending(self) -> Iterator[bytes]:
        script = self._script
        for index, call in enumerate(script.tool_calls):
            opening = _call({**call, "arguments": ""}) | {"index": index}
            yield frame(self._chunk(self._delta(tool_calls=[opening])))
            arguments = call["arguments"]
            for i in range(0, len(arguments), script.chunk):
                piece = {"index": index, "function": {"arguments": arguments[i : i + script.chunk]}}
                yield frame(self._chunk(self._delta(tool_calls=[piece])))
        if script.usage == "changes":
            yield frame({**self._chunk({}), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        reason = self._finish_reason()
        if reason is not None:
            yield frame(self._chunk(self._delta(), finish_reason=reason))
        if script.usage in ("always", "changes") or (script.usage == "asked" and self._asked_for_usage()):
            yield frame({**self._chunk({}), "choices": [], "usage": self._usage()})
        if script.done:
            yield b"data: [DONE]\n\n"

    def error_frame(self) -> bytes:
        return frame({"error": {"message": "The server had an error.", "type": "server_error", "code": None}})

    def _asked_for_usage(self) -> bool:
        return bool((self._record.body.get("stream_options") or {}).get("include_usage"))

    def _finish_reason(self) -> str | None:
        if self._script.finish_reason == "":
            return "tool_calls" if self._script.tool_calls else "stop"
        return self._script.finish_reason

    def _usage(self) -> dict[str, Any]:
        record, script = self._record, self._script
        record.reported = True
        return {
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "total_tokens": record.prompt_tokens + record.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": script.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        }

    def _delta(self, **fields: Any) -> dict[str, Any]:
        return {"content": None, **fields} if self._script.null_content else fields

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        chunk: dict[str, Any] = {"id": self._record.id} if self._script.id else {}
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return chunk | {
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self._record.model,
            "choices": [choice],
        }


def _call(call: dict[str, str]) -> dict[str, Any]:
    return {
        "id": call["id"],
        "type": "function",
        "function": {"name": call["name"], "arguments": call["arguments"]},
    }
