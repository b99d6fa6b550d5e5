"""A ChatRequest that is a text to be continued, into the body that an upstream's legacy completions get; and what they
answer, or any other format, into a caller's text completion."""

from itertools import accumulate

import msgspec
from msgspec import Raw

from kernel.errors import ParleyError
from providers.adapters.openai import TEXT_FORMAT
from providers.adapters.openai.dialect import Dialect
from providers.adapters.openai.errors import encode_error
from providers.adapters.openai.usage import usage_json
from providers.types import (
    ChatAnswer,
    ChatRequest,
    ChoiceFinished,
    Finished,
    FinishReason,
    Opaque,
    StreamEvent,
    TextDelta,
)

JSON = dict[str, object]
DONE = b"data: [DONE]\n\n"
_SAME = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "suffix")
_encode = msgspec.json.Encoder().encode


def encode_text_request(request: ChatRequest, *, model: str, dialect: Dialect, stream: bool) -> bytes:
    """The body of `POST {base_url}/completions`."""
    body: JSON = {"model": model, "prompt": _prompt(request)}
    body |= {name: value for name in _SAME if (value := getattr(request, name)) is not None}
    if request.max_output_tokens is not None:
        body["max_tokens"] = request.max_output_tokens
    if request.seed is not None:
        body[dialect.seed_field] = request.seed
    if request.stop:
        body["stop"] = request.stop
    if request.n != 1:
        body["n"] = request.n
    if request.logprobs:
        body["logprobs"] = request.top_logprobs or 0
    if stream:
        body["stream"] = True
        if dialect.usage_in_stream:
            body["stream_options"] = {"include_usage": True}
    if request.extras is not None and request.extras.wire_format == TEXT_FORMAT:
        body = {**{key: value for key, value in request.extras.fields.items() if key != "stream_options"}, **body}
    return _encode(body)


def _prompt(request: ChatRequest) -> object:
    part = request.messages[0].content[0]
    return part.extras.fields["prompt"] if isinstance(part, Opaque) else request.messages[0].text


def choices_of(request: ChatRequest) -> int:
    """How many answers there will be: each of several prompts has its own."""
    part = request.messages[0].content[0] if request.as_text else None
    if not isinstance(part, Opaque):
        return request.n
    prompt = msgspec.json.decode(part.extras.fields["prompt"])
    return request.n * (1 if isinstance(prompt[0], int) else len(prompt))


# --- for the caller


def encode_text_answer(answer: ChatAnswer, *, answer_id: str, created: int, model: str) -> bytes:
    """The body of a `text_completion`. `created` is in seconds since 1970; `model` the alias the caller used."""
    choices = [
        _choice(
            choice.index, choice.text, _logprobs(choice.logprobs, 0), _finish_reason(choice.finish_reason or "stop")
        )
        for choice in answer.choices
    ]
    return _encode(
        {
            "id": answer_id,
            "object": "text_completion",
            "created": created,
            "model": model,
            "choices": choices,
            "usage": usage_json(answer.usage),
        }
    )


def _choice(index: int, text: str, logprobs: object, finish_reason: str | None) -> JSON:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def _finish_reason(reason: FinishReason) -> str:
    # Here are no tools to call.
    return "stop" if reason == "tool_calls" else reason


class _Top(msgspec.Struct):
    token: str
    logprob: float


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _ChatLogprobs(msgspec.Struct):
    content: list[_Token]


_chat_logprobs = msgspec.json.Decoder(_ChatLogprobs)


def _logprobs(said: Raw | None, offset: int) -> object:
    """Log probabilities as this format has them, also of an upstream that says them as chat completions do. `offset` is
    where their text begins."""
    if said is None:
        return None
    try:
        tokens = _chat_logprobs.decode(said).content
    except msgspec.ValidationError:
        return said
    offsets = accumulate((len(token.token) for token in tokens), initial=offset)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{top.token: top.logprob for top in token.top_logprobs or ()} for token in tokens],
        "text_offset": list(offsets)[: len(tokens)],
    }


class TextStreamWriter:
    """The frames of one text completion. The caller's format closes with `[DONE]`, but for a stream that ends in an
    error."""

    def __init__(self, *, answer_id: str, created: int, model: str, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: JSON = {"id": answer_id, "object": "text_completion", "created": created, "model": model}
        self._written: dict[int, int] = {}

    def write(self, event: StreamEvent) -> bytes:
        """The frames that say this event; none for some: what isn't text has no place here."""
        match event:
            case TextDelta(text, index, logprobs):
                offset = self._written.get(index, 0)
                self._written[index] = offset + len(text)
                return self._frame(_choice(index, text, _logprobs(logprobs, offset), None))
            case ChoiceFinished(finish_reason, index):
                return self._frame(_choice(index, "", None, _finish_reason(finish_reason)))
            case Finished(_, usage):
                return (self._frame(None, usage=usage_json(usage)) if self._include_usage else b"") + DONE
        return b""

    def error(self, error: ParleyError) -> bytes:
        """The last frame of a stream that failed after its first one."""
        return b"data: " + encode_error(error) + b"\n\n"

    def _frame(self, choice: JSON | None, *, usage: JSON | None = None) -> bytes:
        body = self._head | {"choices": [] if choice is None else [choice]}
        if self._include_usage:
            body["usage"] = usage
        return b"data: " + _encode(body) + b"\n\n"
