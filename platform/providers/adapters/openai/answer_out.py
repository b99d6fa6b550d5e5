"""Values into the answer that a caller of this format gets: whole, or frame by frame.

Frames are put together from bytes that were encoded once per stream: this is the hottest path of all.
"""

import msgspec
from msgspec import Raw

from kernel.errors import ParleyError
from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.errors import encode_error
from providers.adapters.openai.usage import usage_json
from providers.types import (
    AnswerChoice,
    ChatAnswer,
    ChoiceFinished,
    Extras,
    Finished,
    FinishReason,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    Vectors,
)

JSON = dict[str, object]
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
_encode = msgspec.json.Encoder().encode


def encode_answer(answer: ChatAnswer, *, answer_id: str, created: int, model: str) -> bytes:
    """The body of a `chat.completion`. `created` is in seconds since 1970; `model` the alias the caller
    used."""
    body: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(choice) for choice in answer.choices],
        "usage": usage_json(answer.usage),
    }
    return _encode(body | _own(answer.extras))


def _own(extras: Extras | None) -> dict[str, Raw]:
    return dict(extras.fields) if extras is not None and extras.wire_format == WIRE_FORMAT else {}


def _choice(choice: AnswerChoice) -> JSON:
    said = choice.text or not (choice.tool_calls or choice.extras)
    message: JSON = {"role": "assistant", "content": choice.text if said else None, "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [_call(call) for call in choice.tool_calls]
    own = _own(choice.extras)
    return {
        "index": choice.index,
        "message": message | own,
        "logprobs": choice.logprobs,
        "finish_reason": _reason(choice.finish_reason or "stop", called_legacy="function_call" in own),
    }


def _reason(reason: FinishReason, *, called_legacy: bool) -> str:
    """A function is called in the legacy way where that was asked for, and then the answer ends for that."""
    return "function_call" if called_legacy and reason == "tool_calls" else reason


def _call(call: ToolCall) -> JSON:
    own: JSON = {**_own(call.extras)}
    if "custom" in own:
        return {"id": call.id, **own, "custom": {"name": call.name, "input": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **own}


class StreamWriter:
    """The frames of one answer. The caller's format closes with `[DONE]`, but for a stream that ends in an
    error."""

    def __init__(self, *, answer_id: str, created: int, model: str, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head_fields: JSON = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._head = self._make_head({})
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._spoken: set[int] = set()
        self._legacy: set[int] = set()

    def _make_head(self, own: dict[str, Raw]) -> bytes:
        return b"data: " + _encode(self._head_fields | own)[:-1] + b',"choices":['

    def write(self, event: StreamEvent) -> bytes:
        """The frames that say this event; none for some."""
        match event:
            case TextDelta(text, index, logprobs):
                return self._says(index, b'{"content":' + _encode(text) + b"}", logprobs)
            case ReasoningDelta(text, index):
                return self._says(index, _encode({"reasoning_content": text}))
            case ToolCallDelta():
                return self._says(event.index, _call_delta(event))
            case OpaqueDelta(extras, index):
                own = _own(extras)
                if "function_call" in own:
                    self._legacy.add(index)
                return self._says(index, _encode(own)) if own else b""
            case Started() | Vectors():
                if isinstance(event, Started):
                    self._head = self._make_head(_own(event.extras))
                return b""
        return self._ends(event)

    def _ends(self, event: ChoiceFinished | Finished) -> bytes:
        if isinstance(event, Finished):
            return self._usage(event.usage) + DONE
        reason = _reason(event.finish_reason, called_legacy=event.index in self._legacy)
        return self._opening(event.index) + self._frame(event.index, b"{}", finish_reason=reason)

    def error(self, error: ParleyError) -> bytes:
        """The last frame of a stream that failed after its first one."""
        return b"data: " + encode_error(error) + b"\n\n"

    def _says(self, index: int, delta: bytes, logprobs: Raw | None = None) -> bytes:
        return self._opening(index) + self._frame(index, delta, logprobs=logprobs)

    def _opening(self, index: int) -> bytes:
        """The frame that opens a choice, before its first delta."""
        if index in self._spoken:
            return b""
        self._spoken.add(index)
        return self._frame(index, b'{"role":"assistant","content":""}')

    def _frame(
        self, index: int, delta: bytes, *, finish_reason: str | None = None, logprobs: Raw | None = None
    ) -> bytes:
        return b'%b{"index":%d,"delta":%b%b,"finish_reason":%b}%b' % (
            self._head,
            index,
            delta,
            b"" if logprobs is None else b',"logprobs":' + bytes(logprobs),
            b"null" if finish_reason is None else b'"' + finish_reason.encode() + b'"',
            self._tail,
        )

    def _usage(self, usage: Usage) -> bytes:
        if not self._include_usage:
            return b""
        return self._head + b'],"usage":' + _encode(usage_json(usage)) + b"}\n\n"


def _call_delta(event: ToolCallDelta) -> bytes:
    own: JSON = {**_own(event.extras)}
    named = {} if event.name is None else {"name": event.name}
    call: JSON = {"index": event.call} if event.id is None else {"index": event.call, "id": event.id}
    if "custom" in own:
        return _encode({"tool_calls": [{**call, **own, "custom": {**named, "input": event.arguments}}]})
    if event.id is not None:
        call["type"] = "function"
    function = {**named, "arguments": event.arguments}
    return _encode({"tool_calls": [{**call, "function": function, **own}]})
