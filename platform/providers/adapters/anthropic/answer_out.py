"""Values into the answer that a caller of this format gets: whole, or event by event.

An answer of an upstream of this format keeps the order of its blocks, its signatures and citations; of any other,
thoughts come first, then text, then calls."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from msgspec import Raw

from kernel.errors import ParleyError
from providers.adapters.anthropic import WIRE_FORMAT
from providers.adapters.anthropic.errors import encode_error
from providers.adapters.anthropic.request_out import call_input
from providers.adapters.openai.answer_in import refusal_of
from providers.assemble import in_order
from providers.estimate import estimate_input
from providers.types import (
    ChatAnswer,
    ChatRequest,
    ChoiceFinished,
    Content,
    Extras,
    Finished,
    FinishReason,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
)

JSON = dict[str, object]
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_encode = msgspec.json.Encoder().encode
_list = msgspec.json.Decoder(list[Raw])
_fields = msgspec.json.Decoder(dict[str, Raw])
_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _own(extras: Extras | None) -> dict[str, Raw]:
    return dict(extras.fields) if extras is not None and extras.wire_format == WIRE_FORMAT else {}


def usage_json(usage: Usage, more: Raw | None = None) -> JSON:
    """The meters as this format counts them, with what only it knows of."""
    said: JSON = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.completion,
    }
    if usage.reasoning:
        said["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return said if more is None else _fields.decode(more) | said


class _Ending:
    """What the end of an answer says beyond its values."""

    def __init__(self) -> None:
        self.reason: FinishReason = "stop"
        self.called = False
        self.delta: JSON = {"stop_reason": None, "stop_sequence": None}
        self.usage: Raw | None = None

    def take(self, own: dict[str, Raw]) -> None:
        if "delta" in own:
            self.delta |= _fields.decode(own["delta"])
        self.usage = own.get("usage", self.usage)

    def refuse(self) -> None:
        """The answer is a refusal, which comes as a text."""
        self.delta["stop_reason"] = "refusal"

    def said(self) -> JSON:
        # Other formats may end an answer with calls as any other: OpenAI does where one was demanded by its name.
        reason: FinishReason = "tool_calls" if self.called and self.reason == "stop" else self.reason
        return {**self.delta, "stop_reason": self.delta["stop_reason"] or STOP_REASONS[reason]}


def encode_answer(answer: ChatAnswer, *, answer_id: str, model: str) -> bytes:
    """The body of a message; `model` is the alias the caller used."""
    content = _Content()
    ending = _Ending()
    for choice in answer.choices[:1]:
        ending.reason = choice.finish_reason or "stop"
        ending.called = bool(choice.tool_calls)
        for piece in in_order(choice):
            if isinstance(piece, OpaqueDelta):
                ending.take(_own(piece.extras))
                if refusal := refusal_of(piece.extras):
                    ending.refuse()
                    content.add(TextDelta(refusal))
            content.add(piece)
    return _encode(
        {
            "id": answer_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content.blocks,
            **ending.said(),
            "usage": usage_json(answer.usage, ending.usage),
        }
    )


class _Content:
    """The blocks of a whole answer. `open` is the kind of the last one while more can be added to it."""

    def __init__(self) -> None:
        self.blocks: list[JSON] = []
        self._open = ""

    def add(self, piece: Content) -> None:
        match piece:
            case TextDelta(text) if text:
                block = self._block("text", {"text": ""})
                block["text"] = f"{block['text']}{text}"
            case ReasoningDelta(text, _, extras):
                own = _own(extras)
                if "data" in own:
                    self._new("redacted_thinking", own)
                    self._open = ""
                    return
                block = self._block("thinking", {"thinking": "", "signature": ""})
                block |= {"thinking": f"{block['thinking']}{text}", **own}
            case ToolCallDelta():
                said: JSON = {"id": piece.id or f"toolu_{piece.call}", "name": piece.name or ""}
                self._new("tool_use", said | {"input": call_input(piece.arguments), **_own(piece.extras)})
            case OpaqueDelta(extras):
                self._opaque(_own(extras))

    def _opaque(self, own: dict[str, Raw]) -> None:
        if "boundary" in own:
            self._open = ""
        if "citations" in own:
            block = self._block("text", {"text": ""})
            there = block.get("citations")
            block["citations"] = [*(there if isinstance(there, list) else ()), *_list.decode(own["citations"])]
        for said in _list.decode(own["blocks"]) if "blocks" in own else ():
            self.blocks.append(dict(_fields.decode(said)))
            self._open = ""

    def _block(self, kind: str, fields: JSON) -> JSON:
        """The block that is open, if it is of this kind, or else a new one."""
        return self.blocks[-1] if self._open == kind else self._new(kind, fields)

    def _new(self, kind: str, fields: Mapping[str, object]) -> JSON:
        self._open = kind
        block: JSON = {"type": kind, **fields}
        self.blocks.append(block)
        return block


class StreamWriter:
    """The events of one answer, in the order of this format: one block at a time."""

    def __init__(self, *, asked: ChatRequest, request_id: UUID) -> None:
        self._asked = asked
        self._request_id = request_id
        self._started = False
        self._blocks = 0
        self._open = ""
        self._calls: dict[int, int] = {}
        self._arguments: list[str] = []
        self._waiting: dict[int, list[ToolCallDelta]] = {}
        self._ending = _Ending()

    def write(self, event: StreamEvent) -> bytes:
        """The events that say this one; none for some."""
        match event:
            case TextDelta(text) if text:
                begun = self._begin("text", {"text": ""})
                return begun + self._delta(b'{"type":"text_delta","text":' + _encode(text) + b"}")
            case ReasoningDelta(text, _, extras):
                return self._thought(text, _own(extras))
            case ToolCallDelta():
                return self._call(event)
            case OpaqueDelta(extras):
                return self._refusal(refusal_of(extras)) + self._opaque(_own(extras))
            case Started(_, extras, read):
                return self._start(_own(extras).get("usage"), read)
        return self._ended(event)

    def _ended(self, event: StreamEvent) -> bytes:
        if isinstance(event, ChoiceFinished | Finished):
            self._ending.reason = event.finish_reason
        return self._start() + self._close() + self._end(event.usage) if isinstance(event, Finished) else b""

    def error(self, error: ParleyError) -> bytes:
        """The last event of a stream that failed after its first one."""
        return b"event: error\ndata: " + encode_error(error, request_id=self._request_id) + b"\n\n"

    def _start(self, more: Raw | None = None, read: Usage | None = None) -> bytes:
        if self._started:
            return b""
        self._started = True
        usage = usage_json(read or Usage(input=estimate_input(self._asked)), more)
        message: JSON = {
            "id": message_id(self._request_id),
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return b'event: message_start\ndata: {"type":"message_start","message":' + _encode(message) + b"}\n\n"

    def _begin(self, kind: str, fields: JSON) -> bytes:
        """The start of a block, unless one of this kind is open."""
        if self._open == kind:
            return b""
        return self._new(kind, fields)

    def _new(self, kind: str, fields: JSON) -> bytes:
        closed = self._start() + self._close()
        self._open = kind
        self._blocks += 1
        return closed + b"event: content_block_start\ndata: %b\n\n" % _encode(
            {"type": "content_block_start", "index": self._blocks - 1, "content_block": {"type": kind, **fields}}
        )

    def _delta(self, delta: bytes, index: int | None = None) -> bytes:
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}\n\n' % (
            self._blocks - 1 if index is None else index,
            delta,
        )

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        index = self._blocks - 1
        closed = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index
        waiting, self._waiting = self._waiting, {}
        for pieces in waiting.values():
            closed += b"".join(map(self._call, pieces)) + self._close()
        return closed

    def _thought(self, text: str, own: dict[str, Raw]) -> bytes:
        if "data" in own:
            return self._new("redacted_thinking", {**own}) + self._close()
        said = self._begin("thinking", {"thinking": "", "signature": ""})
        if text:
            said += self._delta(b'{"type":"thinking_delta","thinking":' + _encode(text) + b"}")
        if "signature" in own:
            said += self._delta(b'{"type":"signature_delta","signature":' + bytes(own["signature"]) + b"}")
        return said

    def _call(self, event: ToolCallDelta) -> bytes:
        """Of calls that come interleaved, all but the first wait until it is told: here one block ends before the next
        begins, and who reads them takes what has ended for whole."""
        if event.call in self._waiting or self._is_interleaved(event):
            self._waiting.setdefault(event.call, []).append(event)
            return b""
        said = b""
        if event.call not in self._calls:
            call_id = event.id or f"toolu_{self._request_id.hex}_{event.call}"
            fields: JSON = {"id": call_id, "name": event.name or "", "input": {}, **_own(event.extras)}
            said = self._new("tool_use", fields)
            self._ending.called = True
            self._arguments = []
            self._calls[event.call] = self._blocks - 1
        if not event.arguments:
            return said
        self._arguments.append(event.arguments)
        delta = b'{"type":"input_json_delta","partial_json":' + _encode(event.arguments) + b"}"
        return said + self._delta(delta, self._calls[event.call])

    def _is_interleaved(self, event: ToolCallDelta) -> bool:
        """Whether this begins a call in the middle of another."""
        return self._open == "tool_use" and event.call not in self._calls and not _is_whole("".join(self._arguments))

    def _refusal(self, said: str) -> bytes:
        if not said:
            return b""
        self._ending.refuse()
        return self.write(TextDelta(said))

    def _opaque(self, own: dict[str, Raw]) -> bytes:
        self._ending.take(own)
        said = self._close() if "boundary" in own else b""
        for citation in _list.decode(own["citations"]) if "citations" in own else ():
            said += self._begin("text", {"text": ""})
            said += self._delta(b'{"type":"citations_delta","citation":' + bytes(citation) + b"}")
        for block in _list.decode(own["blocks"]) if "blocks" in own else ():
            fields = _fields.decode(block)
            kind = msgspec.json.decode(fields.pop("type"), type=str)
            said += self._new(kind, {**fields}) + self._close()
        return said

    def _end(self, usage: Usage) -> bytes:
        delta = {"type": "message_delta", "delta": self._ending.said(), "usage": usage_json(usage, self._ending.usage)}
        return b"event: message_delta\ndata: " + _encode(delta) + b"\n\n" + _END


def _is_whole(arguments: str) -> bool:
    """Whether nothing can follow of these."""
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def message_id(request_id: UUID) -> str:
    """The id of the message that answers a request."""
    return f"msg_{request_id.hex}"
