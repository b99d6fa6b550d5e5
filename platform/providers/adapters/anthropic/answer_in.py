"""An upstream's answer, whole or streamed, into values. Lenient: what is unknown is kept or skipped."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, Raw, UnsetType

from providers.adapters.anthropic import WIRE_FORMAT
from providers.adapters.anthropic.errors import classify_frame
from providers.adapters.reading import Implausible, count, one_line, reported
from providers.assemble import Assembler
from providers.errors import ProviderError, Transient
from providers.types import (
    NO_USAGE,
    ChatAnswer,
    ChoiceFinished,
    Extras,
    Finished,
    FinishReason,
    ModelInfo,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
)

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
PLAIN_REASONS = frozenset({"end_turn", "max_tokens", "tool_use", "refusal"})
"""What follows from the finish reason, and need not be kept."""
BOUNDARY = OpaqueDelta(Extras(WIRE_FORMAT, {"boundary": Raw(b"true")}))

Fields = dict[str, Raw]
Number = int | float | None
_METERS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
SERVICES = {"priority": "priority", "batch": "batch"}
"""The service tiers that have prices of their own."""
_CANT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Details(msgspec.Struct):
    thinking_tokens: Number = None


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Number = None
    ephemeral_1h_input_tokens: Number = None


class _Usage(msgspec.Struct):
    input_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    cache_creation: _CacheCreation | None = None
    output_tokens: Number = None
    output_tokens_details: _Details | None = None
    service_tier: str | None = None


class _Delta(msgspec.Struct):
    """More of a block, by its `type`."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Raw | UnsetType = UNSET


class _Message(msgspec.Struct):
    model: str | None = None
    usage: Raw | UnsetType = UNSET
    content: list[Fields] | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: Raw | UnsetType = UNSET
    content_block: Fields | None = None
    delta: _Delta | None = None
    usage: Raw | UnsetType = UNSET


class _End(msgspec.Struct):
    delta: Fields | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]
    has_more: bool = False
    last_id: str | None = None


class _Count(msgspec.Struct):
    input_tokens: int


_event = msgspec.json.Decoder(_Event)
_message = msgspec.json.Decoder(_Message)
_end = msgspec.json.Decoder(_End)
_usage = msgspec.json.Decoder(_Usage)
_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_models = msgspec.json.Decoder(_Models)
_count = msgspec.json.Decoder(_Count)
_encode = msgspec.json.encode


def _extras(fields: Fields) -> Extras | None:
    return Extras(WIRE_FORMAT, fields) if fields else None


def _said(fields: Fields, known: Iterable[str]) -> Fields:
    """What an object holds beyond what is known, but for nulls."""
    return {key: value for key, value in fields.items() if key not in known and bytes(value) != b"null"}


def _object_in(pieces: Iterable[str]) -> Raw | None:
    """The object that pieces of JSON come to; None for none of them, and for one that was cut short."""
    try:
        said = one_line("".join(pieces).encode())
        _fields.decode(said)
    except (*_CANT_READ, UnicodeEncodeError):
        return None
    return Raw(said)


def parse_answer(body: bytes) -> ChatAnswer:
    """Read a whole message. Raises the error in it, or Transient(garbage)."""
    try:
        body = one_line(body)
        if _event.decode(body).type == "error":
            raise classify_frame(body)
        message = _message.decode(body)
        if message.content is None:
            raise Transient("a message without content", cause="garbage")
        reader = EventReader()
        assembler = Assembler()
        for event in reader.whole(message, body):
            assembler.add(event)
    except _CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
    return assembler.answer()


class _Block:
    """The block that is being read. Of one that has no value, `fields` are all there is of it."""

    def __init__(self, kind: str, fields: Fields) -> None:
        self.kind = kind
        self.fields = fields
        self.input: list[str] = []


class EventReader:
    """The events of one stream, in order, into ours. `end` makes the last one, or says that it was cut short."""

    def __init__(self) -> None:
        self._started = False
        self._done = False
        self._reason: FinishReason | None = None
        self._block: _Block | None = None
        self._last_kind = ""
        self._calls = 0
        self._counts: dict[str, Number] = {}
        self._thought: Number = None
        self._created: _CacheCreation | None = None
        self._service = "standard"
        self._garbled = False
        self.has_usage = False

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""
        return self._done or self._reason is not None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._done

    def whole(self, message: _Message, body: bytes) -> Iterator[StreamEvent]:
        """The events of a message that came all at once."""
        yield self._start(message)
        for fields in message.content or ():
            yield from self._open(fields)
            yield from self._close()
        said = _fields.decode(body)
        self._done = True
        yield from self._stop(said, message.usage)
        yield self.end()

    def read(self, data: bytes) -> list[StreamEvent]:
        """The events in the data of one of theirs. Raises the error in it, or Transient(garbage)."""
        try:
            data = one_line(data)
            event = _event.decode(data)
            if event.type == "error":
                raise classify_frame(data)
            return list(self._read(event, data))
        except ProviderError:
            if self.finished:
                return []  # The answer is whole: what follows can't take it back.
            raise
        except _CANT_READ as error:
            if self.finished:
                return []
            raise Transient(str(error), cause="garbage") from error

    def _read(self, event: _Event, data: bytes) -> Iterator[StreamEvent]:
        match event.type:
            case "content_block_delta" if event.delta is not None:
                yield from self._append(event.delta)
            case "content_block_start" if event.content_block is not None:
                yield from self._open(event.content_block)
            case "content_block_stop":
                yield from self._close()
            case "message_start" if isinstance(event.message, Raw):
                yield self._start(_message.decode(event.message))
            case "message_delta":
                yield from self._stop(_end.decode(data).delta or {}, event.usage)
            case "message_stop":
                self._done = True

    def _start(self, message: _Message) -> Started:
        self._started = True
        usage = self._count(message.usage)
        self.has_usage = False
        extras = _extras({"usage": Raw(_encode(usage))}) if usage else None
        read = NO_USAGE if self._garbled else self._usage()
        return Started(message.model or "", extras, read if read.reported else None)

    def _open(self, fields: Fields) -> Iterator[StreamEvent]:
        kind = _text.decode(fields.pop("type", Raw(b'""')))
        alike = "thinking" if kind == "redacted_thinking" else kind
        if alike == self._last_kind and alike in ("text", "thinking"):
            yield BOUNDARY
        self._last_kind = alike
        self._block = _Block(kind, fields)
        match kind:
            case "text":
                if text := _text.decode(fields.get("text", Raw(b'""'))):
                    yield TextDelta(text)
                if bytes(citations := fields.get("citations", Raw(b"null"))) not in (b"null", b"[]"):
                    yield OpaqueDelta(Extras(WIRE_FORMAT, {"citations": citations}))
            case "thinking":
                text = _text.decode(fields.get("thinking", Raw(b'""')))
                rest = {key: value for key, value in _said(fields, {"thinking"}).items() if bytes(value) != b'""'}
                if text or rest:
                    yield ReasoningDelta(text, extras=_extras(rest))
            case "redacted_thinking":
                yield ReasoningDelta("", extras=_extras(fields))
            case "tool_use":
                yield self._call(fields)

    def _call(self, fields: Fields) -> ToolCallDelta:
        called = bytes(fields.get("input", Raw(b"{}")))
        call_id, name = (_text.decode(fields.get(key, Raw(b'""'))) for key in ("id", "name"))
        extras = _extras(_said(fields, {"id", "name", "input"}))
        self._calls += 1
        return ToolCallDelta(self._calls - 1, "" if called == b"{}" else called.decode(), call_id, name, extras=extras)

    def _append(self, delta: _Delta) -> Iterator[StreamEvent]:
        match delta:
            case _Delta("text_delta", text=str(text)):
                if text:
                    yield TextDelta(text)
            case _Delta("input_json_delta", partial_json=str(partial)):
                if self._block is not None and self._block.kind == "tool_use":
                    if partial:
                        yield ToolCallDelta(self._calls - 1, partial)
                elif self._block is not None:
                    self._block.input.append(partial)
            case _Delta("thinking_delta", thinking=str(text)):
                yield ReasoningDelta(text)
            case _Delta("signature_delta", signature=str(signature)):
                yield ReasoningDelta("", extras=_extras({"signature": Raw(_encode(signature))}))
            case _Delta("citations_delta", citation=Raw() as citation):
                yield OpaqueDelta(Extras(WIRE_FORMAT, {"citations": Raw(b"[" + bytes(citation) + b"]")}))

    def _close(self) -> Iterator[StreamEvent]:
        block, self._block = self._block, None
        if block is None or block.kind in ("text", "thinking", "redacted_thinking", "tool_use"):
            return
        fields = {"type": Raw(_encode(block.kind)), **block.fields}
        if (called := _object_in(block.input)) is not None:
            fields["input"] = called
        yield OpaqueDelta(Extras(WIRE_FORMAT, {"blocks": Raw(_encode([fields]))}))

    def _stop(self, said: Fields, usage: Raw | UnsetType) -> Iterator[StreamEvent]:
        more = self._count(usage)
        word = said.get("stop_reason", Raw(b"null"))
        reason = None if bytes(word) == b"null" else _text.decode(word)
        if self._done and reason is None:
            reason = "end_turn"
        if reason is None or self._reason is not None:
            return
        self._reason = FINISH_REASONS.get(reason, "stop")
        # With calls, to end by itself doesn't follow.
        follows = reason in PLAIN_REASONS and not (reason == "end_turn" and self._calls)
        known = {"id", "type", "role", "model", "content", "usage"} | ({"stop_reason"} if follows else set())
        rest = _said(said, known)
        fields = {name: Raw(_encode(value)) for name, value in (("delta", rest), ("usage", more)) if value}
        if fields:
            yield OpaqueDelta(Extras(WIRE_FORMAT, fields))
        yield ChoiceFinished(self._reason)

    def _count(self, usage: Raw | UnsetType) -> Fields:
        """Take the counts: totals each time, of which the last holds. What is left is what no meter counts."""
        if isinstance(usage, UnsetType) or bytes(usage) == b"null":
            return {}
        try:
            said = _usage.decode(usage)
        except _CANT_READ:
            self._garbled = True
            return {}
        for name in _METERS:
            if (number := getattr(said, name)) is not None:
                self._counts[name] = number
        if said.output_tokens_details is not None:
            self._thought = said.output_tokens_details.thinking_tokens
        self._created = said.cache_creation or self._created
        self._service = SERVICES.get(said.service_tier or "", self._service)
        # What was read is said at the start. Where that is missing, what was written is only half of it.
        self.has_usage = said.output_tokens is not None and self._counts.get("input_tokens") is not None
        return _said(_fields.decode(usage), {*_METERS, "output_tokens_details"})

    def end(self) -> Finished:
        """The last event. Raises Transient(cut) if the stream stopped before its answer did."""
        if self._reason is None and not self._started:
            raise Transient("the stream ended without an answer", cause="cut")
        if not self.finished:
            raise Transient("the stream ended in the middle of the answer", cause="cut")
        return Finished(self._reason or "stop", self._usage() if self.has_usage and not self._garbled else NO_USAGE)

    def _usage(self) -> Usage:
        try:
            read, cached, written, wrote = (count(self._counts.get(name)) for name in _METERS)
            created = self._created or _CacheCreation()
            hour, minutes = count(created.ephemeral_1h_input_tokens), count(created.ephemeral_5m_input_tokens)
            thought = min(count(self._thought), wrote)
        except Implausible:
            return NO_USAGE
        written = written if self._counts.get("cache_creation_input_tokens") is not None else hour + minutes
        return reported(
            prompt=read + cached + written,
            cached=cached,
            written=written,
            written_1h=hour,
            output=wrote - thought,
            reasoning=thought,
            service=self._service,
        )


def parse_models(body: bytes) -> tuple[tuple[ModelInfo, ...], str | None]:
    """Read a page of `GET /v1/models`: what is on it, and after which model the next one begins. Raises
    Transient(garbage)."""
    try:
        page = _models.decode(body)
    except _CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
    return tuple(ModelInfo(model.id, "anthropic") for model in page.data), page.last_id if page.has_more else None


def parse_count(body: bytes) -> int:
    """Read the answer of `POST /v1/messages/count_tokens`. Raises Transient(garbage)."""
    try:
        return _count.decode(body).input_tokens
    except _CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error
