"""One answer of the fake upstream in Gemini's format."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.answer import Answer, frame
from tests.fakes.upstream import vector_of

ERRORS: dict[str, tuple[int, str, str, dict[str, Any] | None]] = {
    "401": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"}),
    "403": (403, "PERMISSION_DENIED", "Your project has been denied access.", None),
    "404": (404, "NOT_FOUND", "models/fake-model is not found for API version v1beta.", None),
    "429": (429, "TOO_MANY_REQUESTS", "Too many requests.", None),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
        {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"},
    ),
    "400": (400, "INVALID_ARGUMENT", "Invalid value at 'generation_config.temperature'.", None),
    "too_long": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
        None,
    ),
    "content_policy": (400, "INVALID_ARGUMENT", "The request violates the usage policy.", None),
    "500": (500, "INTERNAL", "An internal error has occurred.", None),
    "503": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", None),
    "error_body": (200, "INTERNAL", "An internal error has occurred.", None),
}


def _error(fault: str) -> tuple[int, dict[str, Any]]:
    status, name, message, detail = ERRORS[fault]
    error: dict[str, Any] = {"code": 500 if status == 200 else status, "message": message, "status": name}
    if detail is not None:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **detail}]
    return status, {"error": error}


class GeminiAnswer(Answer):
    """An answer of generateContent. Streams end their lines with CRLF and have no closing frame: what ends an answer is
    the finish reason of its last frame, which also holds the usage that counts."""

    half_frame: ClassVar[bytes] = b'data: {"candidates": [{"cont'
    crlf: ClassVar[bool] = True

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return None
        status, body = _error(fault)
        return web.json_response(body, status=status, headers=headers)

    def body(self) -> dict[str, Any]:
        parts = [*self._thoughts(), {"text": self._record.text}, *self._calls()]
        return self._whole([part for part in parts if part.get("text") != ""])

    def opening(self) -> Iterator[bytes]:
        for part in self._thoughts():
            yield frame(self._part(part))

    def piece(self, text: str) -> bytes:
        return frame(self._part({"text": text}))

    def ending(self) -> Iterator[bytes]:
        for call in self._calls():
            yield frame(self._part(call))
        yield frame(self._whole([{"text": ""}]))

    def error_frame(self) -> bytes:
        return frame(_error("500")[1])

    def _part(self, part: dict[str, Any]) -> dict[str, Any]:
        """A frame in mid-stream. Its usage is that of the answer so far."""
        said = self._head({"content": {"parts": [part], "role": "model"}, "index": 0})
        if self._script.usage == "changes":
            said["usageMetadata"] = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        elif self._script.usage != "never":
            said["usageMetadata"] = {"promptTokenCount": self._record.prompt_tokens}
        return said

    def _whole(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        reason = "STOP" if self._script.finish_reason == "" else self._script.finish_reason
        if reason is not None:
            candidate["finishReason"] = reason
        said = self._head(candidate)
        if self._script.usage != "never":
            self._record.reported = True
            said["usageMetadata"] = self._usage()
        return said

    def _head(self, candidate: dict[str, Any]) -> dict[str, Any]:
        return {"candidates": [candidate], "modelVersion": self._record.model, "responseId": self._record.id}

    def _usage(self) -> dict[str, Any]:
        record, script = self._record, self._script
        usage = {
            "promptTokenCount": record.prompt_tokens,
            "candidatesTokenCount": record.completion_tokens - script.reasoning_tokens,
            "totalTokenCount": record.prompt_tokens + record.completion_tokens,
        }
        if script.cached_tokens:
            usage["cachedContentTokenCount"] = script.cached_tokens
        if script.reasoning_tokens:
            usage["thoughtsTokenCount"] = script.reasoning_tokens
        return usage

    def _thoughts(self) -> list[dict[str, Any]]:
        if not self._script.reasoning:
            return []
        part: dict[str, Any] = {"text": self._script.reasoning, "thought": True}
        return [part | ({"thoughtSignature": self._script.signature} if self._script.signature else {})]

    def _calls(self) -> list[dict[str, Any]]:
        parts = []
        for number, call in enumerate(self._script.tool_calls):
            function = {"name": call["name"], "args": json.loads(call["arguments"])}
            part: dict[str, Any] = {"functionCall": function | ({"id": call["id"]} if self._script.id else {})}
            if self._script.signature and number == 0:
                part["thoughtSignature"] = self._script.signature
            parts.append(part)
        return parts


class GeminiVectors(GeminiAnswer):
    """An answer of batchEmbedContents."""

    def body(self) -> dict[str, Any]:
        self._record.completion_tokens = 0
        vectors = [
            {"values": vector_of(asked["content"]["parts"][0]["text"], asked.get("outputDimensionality") or 8)}
            for asked in self._record.body["requests"]
        ]
        answer: dict[str, Any] = {"embeddings": vectors}
        if self._script.usage != "never":
            self._record.reported = True
            answer["usageMetadata"] = {"promptTokenCount": self._record.prompt_tokens}
        return answer
