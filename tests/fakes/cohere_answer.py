"""One answer of the fake upstream in Cohere's format."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.answer import Answer, frame
from tests.fakes.upstream import vector_of

ERRORS: dict[str, tuple[int, str]] = {
    "401": (401, "invalid api token"),
    "403": (403, "You are not allowed to use this."),
    "404": (404, "model 'fake-model' not found, make sure the correct model ID was used"),
    "429": (429, "You are using a Trial key, which is limited to 20 API calls / minute."),
    "quota": (429, "You are using a Trial key, which is limited to 1000 API calls / month."),
    "400": (400, "invalid request: temperature must be between 0 and 1 inclusive"),
    "too_long": (400, "too many tokens: total number of tokens in the prompt cannot exceed 8 - received 9."),
    "content_policy": (498, "a blocked token was found"),
    "500": (500, "internal server error, this has been reported to our developers."),
    "503": (503, "service unavailable"),
    "error_body": (200, "internal server error"),
}
INSTRUCTIONS_TOKENS = 60
"""What Cohere counts, but does not bill: its own instructions."""


class CohereAnswer(Answer):
    """A chat of v2."""

    half_frame: ClassVar[bytes] = b'event: content-delta\ndata: {"type":"content-de'

    @classmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        if fault not in ERRORS:
            return None
        status, message = ERRORS[fault]
        return web.json_response({"id": "x", "message": message}, status=status, headers=headers)

    def body(self) -> dict[str, Any]:
        script = self._script
        message: dict[str, Any] = {"role": "assistant"}
        thinking = [{"type": "thinking", "thinking": script.reasoning}] if script.reasoning else []
        message["content"] = [*thinking, {"type": "text", "text": self._record.text}]
        if script.tool_calls:
            message["tool_calls"] = [self._call(call, call["arguments"]) for call in script.tool_calls]
        body = {"id": self._record.id, "finish_reason": self._finish_reason(), "message": message}
        return body if script.usage == "never" else body | {"usage": self._usage()}

    def opening(self) -> Iterator[bytes]:
        start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield self._event("message-start", {"message": start}, id=self._record.id)
        if self._script.reasoning:
            yield self._content("content-start", {"type": "thinking", "thinking": ""}, index=0)
            yield self._content("content-delta", {"thinking": self._script.reasoning}, index=0)
            yield self._event("content-end", index=0)
        yield self._content("content-start", {"type": "text", "text": ""}, index=1)

    def piece(self, text: str) -> bytes:
        early = {"usage": {"billed_units": {"input_tokens": 1, "output_tokens": 1}}}
        delta = {"message": {"content": {"text": text}}} | (early if self._script.usage == "changes" else {})
        return self._event("content-delta", delta, index=1)

    def ending(self) -> Iterator[bytes]:
        script = self._script
        yield self._event("content-end", index=1)
        for index, call in enumerate(script.tool_calls):
            yield self._event("tool-call-start", {"message": {"tool_calls": self._call(call, "")}}, index=index)
            arguments = call["arguments"]
            for i in range(0, len(arguments), script.chunk):
                piece = {"function": {"arguments": arguments[i : i + script.chunk]}}
                yield self._event("tool-call-delta", {"message": {"tool_calls": piece}}, index=index)
            yield self._event("tool-call-end", index=index)
        if not script.done:
            return
        end: dict[str, Any] = {"finish_reason": self._finish_reason()}
        yield self._event("message-end", end if script.usage == "never" else end | {"usage": self._usage()})

    def error_frame(self) -> bytes:
        delta = {"finish_reason": "ERROR", "error": "internal server error"}
        return self._event("message-end", delta)

    def _event(self, kind: str, delta: dict[str, Any] | None = None, **fields: Any) -> bytes:
        said = {"type": kind, **fields} | ({} if delta is None else {"delta": delta})
        return frame(said, event=kind)

    def _content(self, kind: str, content: dict[str, Any], *, index: int) -> bytes:
        return self._event(kind, {"message": {"content": content}}, index=index)

    def _call(self, call: dict[str, str], arguments: str) -> dict[str, Any]:
        said = {"type": "function", "function": {"name": call["name"], "arguments": arguments}}
        return said | ({"id": call["id"]} if self._script.id else {})

    def _finish_reason(self) -> str | None:
        if self._script.finish_reason == "":
            return "TOOL_CALL" if self._script.tool_calls else "COMPLETE"
        return self._script.finish_reason

    def _usage(self) -> dict[str, Any]:
        record = self._record
        record.reported = True
        return {
            "billed_units": {"input_tokens": record.prompt_tokens, "output_tokens": record.completion_tokens},
            "tokens": {
                "input_tokens": record.prompt_tokens + INSTRUCTIONS_TOKENS,
                "output_tokens": record.completion_tokens,
            },
        }


class CohereVectors(CohereAnswer):
    """An answer of /v2/embed."""

    def body(self) -> dict[str, Any]:
        self._record.completion_tokens = 0
        asked = self._record.body
        vectors = [vector_of(text, asked.get("output_dimension") or 8) for text in asked["texts"]]
        answer: dict[str, Any] = {"id": self._record.id, "embeddings": {"float": vectors}, "texts": asked["texts"]}
        if self._script.usage != "never":
            self._record.reported = True
            answer["meta"] = {"billed_units": {"input_tokens": self._record.prompt_tokens}}
        return answer
