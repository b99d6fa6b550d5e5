"""One answer of the fake upstream in Ollama's format."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.answer import Answer
from tests.fakes.upstream import vector_of

ERRORS: dict[str, tuple[int, str]] = {
    "401": (401, "unauthorized"),
    "403": (403, "forbidden"),
    "404": (404, "model 'fake-model' not found"),
    "429": (429, "too many concurrent requests"),
    "quota": (429, "you've reached your weekly usage limit, please upgrade to continue"),
    "400": (400, "invalid option provided: nonsense"),
    "too_long": (400, "input length exceeds the context length"),
    "content_policy": (400, "the request is against the content policy"),
    "500": (500, "llama runner process has terminated: exit status 2"),
    "503": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "error_body": (200, "an error was encountered while running the model"),
}


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode() + b"\n"


class OllamaAnswer(Answer):
    """A chat, plain or streamed. Tool calls come whole, before the last line."""

    stream_type: ClassVar[str] = "application/x-ndjson"
    half_frame: ClassVar[bytes] = b'{"model":"x","mess'
    garbage_frame: ClassVar[bytes] = b"{this is not json}\n"
    comment: ClassVar[bytes] = b"\n"

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return None
        status, message = ERRORS[fault]
        return web.json_response({"error": message}, status=status, headers=headers)

    def body(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._record.text}
        if self._script.reasoning:
            message["thinking"] = self._script.reasoning
        if self._script.tool_calls:
            message["tool_calls"] = self._calls()
        return self._last(message)

    def opening(self) -> Iterator[bytes]:
        if self._script.reasoning:
            yield self._frame({"role": "assistant", "content": "", "thinking": self._script.reasoning})

    def piece(self, text: str) -> bytes:
        return self._frame({"role": "assistant", "content": text})

    def ending(self) -> Iterator[bytes]:
        if self._script.tool_calls:
            yield self._frame({"role": "assistant", "content": "", "tool_calls": self._calls()})
        if self._script.done:
            yield _line(self._last({"role": "assistant", "content": ""}))

    def error_frame(self) -> bytes:
        return _line({"error": "an error was encountered while running the model: CUDA error"})

    def _head(self) -> dict[str, Any]:
        return {"model": self._record.model, "created_at": "2026-11-21T08:00:00.000000Z"}

    def _frame(self, message: dict[str, Any]) -> bytes:
        early = {"prompt_eval_count": 1, "eval_count": 1} if self._script.usage == "changes" else {}
        return _line({**self._head(), "message": message, "done": False, **early})

    def _last(self, message: dict[str, Any]) -> dict[str, Any]:
        reason = "stop" if self._script.finish_reason == "" else self._script.finish_reason
        last = {**self._head(), "message": message, "done": True, "done_reason": reason}
        if self._script.usage == "never":
            return last
        self._record.reported = True
        counts = {"prompt_eval_count": self._record.prompt_tokens, "eval_count": self._record.completion_tokens}
        durations = {"total_duration": 4_935_886, "load_duration": 534_986, "eval_duration": 107_345_000}
        return last | counts | durations

    def _calls(self) -> list[dict[str, Any]]:
        calls = []
        for index, call in enumerate(self._script.tool_calls):
            function = {"index": index, "name": call["name"], "arguments": json.loads(call["arguments"])}
            calls.append({"function": function} | ({"id": call["id"]} if self._script.id else {}))
        return calls


class OllamaVectors(OllamaAnswer):
    """The vectors of texts."""

    def body(self) -> dict[str, Any]:
        inputs = self._record.body["input"]
        size = self._record.body.get("dimensions") or 8
        self._record.completion_tokens = 0
        answer: dict[str, Any] = {
            "model": self._record.model,
            "embeddings": [vector_of(text, size) for text in ([inputs] if isinstance(inputs, str) else inputs)],
        }
        if self._script.usage != "never":
            self._record.reported = True
            answer["prompt_eval_count"] = self._record.prompt_tokens
        return answer
