"""Gemini's answers, whole or frame by frame, into values. A frame is a whole answer that holds what is new."""

from uuid import uuid4

import msgspec
from msgspec import UNSET, Raw, UnsetType

from providers.adapters.gemini import WIRE_FORMAT
from providers.adapters.gemini.errors import classify_frame
from providers.adapters.reading import Number, count, decoded, float32, openai_logprobs, reported, usage_in
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
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "OTHER": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
FAILED_REASONS = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
)
"""The model lost its way: the same request may well be answered the next time."""


class _Call(msgspec.Struct):
    name: str = ""
    args: Raw | UnsetType = UNSET
    id: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: Raw | UnsetType = UNSET
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[Raw] | None = None


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _TopTokens(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] = []
    top_candidates: list[_TopTokens] = []


class _Candidate(msgspec.Struct, rename="camel"):
    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    logprobs_result: _Logprobs | None = None


class _Modality(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: Number = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: Number = None
    cached_content_token_count: Number = None
    candidates_token_count: Number = None
    thoughts_token_count: Number = None
    tool_use_prompt_token_count: Number = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: Raw | UnsetType = UNSET
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    error: Raw | UnsetType = UNSET


class _Vector(msgspec.Struct):
    values: list[float]


class _Vectors(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: Raw | UnsetType = UNSET


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct, rename="camel"):
    models: list[_Model] = []
    next_page_token: str | None = None


_answer = msgspec.json.Decoder(_Answer)
_part = msgspec.json.Decoder(_Part)
_fields = msgspec.json.Decoder(dict[str, Raw])
_vectors = msgspec.json.Decoder(_Vectors)
_usage_decoder = msgspec.json.Decoder(_Usage)
_models = msgspec.json.Decoder(_Models)


def _decode(data: bytes) -> _Answer:
    """Raises the error that the JSON holds, or Transient(garbage) if it is none."""
    answer = decoded(_answer, data)
    if answer.error is not UNSET:
        raise classify_frame(data)
    return answer


def _usage(said: _Usage) -> Usage:
    """Cached tokens are part of the prompt; thoughts are beside the answer, what tools read beside the prompt."""
    return reported(
        prompt=count(said.prompt_token_count) + count(said.tool_use_prompt_token_count),
        cached=count(said.cached_content_token_count),
        heard=max(_audio(said.prompt_tokens_details) - _audio(said.cache_tokens_details), 0),
        output=count(said.candidates_token_count),
        reasoning=count(said.thoughts_token_count),
        spoken=_audio(said.candidates_tokens_details),
    )


def _audio(said: list[_Modality] | None) -> int:
    return sum(count(one.token_count) for one in said or () if one.modality == "AUDIO")


def _finish_reason(said: str, *, called: bool) -> FinishReason:
    if said in FAILED_REASONS:
        raise Transient(f"finishReason is {said}", cause="garbage")
    reason = FINISH_REASONS.get(said, "stop")
    return "tool_calls" if called and reason == "stop" else reason


def _logprobs(said: _Logprobs) -> Raw:
    tops = [
        [{"token": token.token, "logprob": token.log_probability, "bytes": None} for token in top.candidates]
        for top in said.top_candidates
    ]
    tokens = [
        {
            "token": chosen.token,
            "logprob": chosen.log_probability,
            "bytes": None,
            "top_logprobs": tops[place] if place < len(tops) else [],
        }
        for place, chosen in enumerate(said.chosen_candidates)
    ]
    return openai_logprobs(tokens)


class FrameReader:
    """The frames of one stream, in order, into events. `end` makes the last one, or says that it was cut short."""

    def __init__(self, *, candidates: int) -> None:
        self._expected = candidates
        self._started = False
        self._calls: dict[int, int] = {}
        self._finished: dict[int, FinishReason] = {}
        self._usage: Usage | None = None

    @property
    def finished(self) -> bool:
        """Whether every candidate has ended; usage may follow."""
        return len(self._finished) >= self._expected

    @property
    def has_usage(self) -> bool:
        """Whether the usage of the whole answer is known: what comes before its end still changes."""
        return self._usage is not None

    def read(self, data: bytes) -> list[StreamEvent]:
        """The events of one frame. Raises the error in it, or Transient(garbage)."""
        try:
            frame = _decode(data)
        except ProviderError:
            if self.finished:
                return []  # The answer is whole: what follows can't take it back.
            raise
        return self.take(frame)

    def take(self, frame: _Answer) -> list[StreamEvent]:
        """The events of one frame that was read."""
        events: list[StreamEvent] = []
        if not self._started:
            self._started = True
            events.append(Started(frame.model_version or ""))
        for candidate in frame.candidates or ():
            self._candidate(candidate, events)
        if frame.prompt_feedback is not None and frame.prompt_feedback.block_reason and not frame.candidates:
            for index in range(self._expected):
                self._ends(index, "content_filter", events)
        if self.finished and not isinstance(frame.usage_metadata, UnsetType):
            self._usage = usage_in(frame.usage_metadata, _usage_decoder, _usage)
        return events

    def _candidate(self, candidate: _Candidate, events: list[StreamEvent]) -> None:
        index = candidate.index
        logprobs = _logprobs(candidate.logprobs_result) if candidate.logprobs_result is not None else None
        for raw in (candidate.content.parts if candidate.content else None) or ():
            event = self._part(decoded(_part, bytes(raw)), raw, index, logprobs)
            if isinstance(event, TextDelta):
                logprobs = None
            if event is not None:
                events.append(event)
        if logprobs is not None:
            events.append(TextDelta("", index, logprobs))
        if candidate.finish_reason:
            called = self._calls.get(index, 0) > 0
            self._ends(index, _finish_reason(candidate.finish_reason, called=called), events)

    def _ends(self, index: int, reason: FinishReason, events: list[StreamEvent]) -> None:
        if index not in self._finished:
            self._finished[index] = reason
            events.append(ChoiceFinished(reason, index))

    def _part(self, part: _Part, raw: Raw, index: int, logprobs: Raw | None) -> StreamEvent | None:
        signature = part.thought_signature
        proof = None if isinstance(signature, UnsetType) else Extras(WIRE_FORMAT, {"thoughtSignature": signature})
        if part.function_call is not None:
            return self._call(part.function_call, index, proof)
        if part.text is None:
            return OpaqueDelta(Extras(WIRE_FORMAT, _fields.decode(raw)), index)
        if part.thought:
            return ReasoningDelta(part.text, index, proof)
        if part.text:
            return TextDelta(part.text, index, logprobs)
        # The proof of an answer's thoughts may come by itself, after the text.
        return ReasoningDelta("", index, proof) if proof is not None else None

    def _call(self, call: _Call, index: int, proof: Extras | None) -> ToolCallDelta:
        """Calls come whole; most without an id, which callers need to send results."""
        number = self._calls[index] = self._calls.get(index, 0) + 1
        arguments = "{}" if isinstance(call.args, UnsetType) else bytes(call.args).decode()
        return ToolCallDelta(number - 1, arguments, call.id or f"call_{uuid4().hex}", call.name, index, proof)

    def end(self) -> Finished:
        """The last event. Raises Transient(cut) if the stream stopped before its answer did."""
        if not self.finished:
            raise Transient("the stream ended in the middle of the answer", cause="cut")
        return Finished(self._finished.get(0, "stop"), self._usage or NO_USAGE)


def parse_answer(body: bytes) -> ChatAnswer:
    """Read a whole answer. Raises the error in it, or Transient(garbage)."""
    answer = _decode(body)
    reader = FrameReader(candidates=max(len(answer.candidates or ()), 1))
    assembler = Assembler()
    for event in reader.take(answer):
        assembler.add(event)
    if not reader.finished:
        raise Transient("an answer that didn't finish", cause="garbage")
    assembler.add(reader.end())
    return assembler.answer()


def parse_vectors(body: bytes, *, expected: int) -> tuple[tuple[bytes, ...], Usage]:
    """Read the answer of `batchEmbedContents`, which mostly says nothing of usage. Raises Transient(garbage)."""
    said = decoded(_vectors, body)
    vectors = float32([vector.values for vector in said.embeddings], expected=expected)
    return vectors, usage_in(said.usage_metadata, _usage_decoder, _usage)


def parse_models(body: bytes) -> tuple[tuple[ModelInfo, ...], str | None]:
    """Read a page of `GET /models`, and the token of the next one. Raises Transient(garbage)."""
    said = decoded(_models, body)
    found = tuple(ModelInfo(model.name.removeprefix("models/"), "google") for model in said.models)
    return found, said.next_page_token or None
