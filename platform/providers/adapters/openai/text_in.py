"""A caller's legacy completion into a ChatRequest whose one message is the text to be continued."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from providers.adapters.openai import TEXT_FORMAT
from providers.adapters.openai.bodies import Fields, inner, read_body, without, wrong
from providers.adapters.openai.wire import MAX_CHOICES, MAX_STOPS, Name, Penalty, StreamOptions, TopK
from providers.types import ChatRequest, Extras, Message, Opaque, Part, TextPart, user_message

MAX_PROMPTS = 128
MAX_TEXTS = 1_024
"""Answers to all prompts together."""
MAX_PROMPT_TOKENS = 2_097_152

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Prompt = str | Annotated[list[str | Token | list[Token]], Meta(min_length=1, max_length=MAX_PROMPT_TOKENS)]


class _Request(msgspec.Struct):
    model: Name
    prompt: Prompt
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: TopK | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    stop: str | Annotated[list[str], Meta(max_length=MAX_STOPS)] | None = None
    seed: int | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


_request = msgspec.json.Decoder(_Request)
_READ = frozenset(_Request.__struct_fields__) - {"best_of"}
"""The fields that have a value; `best_of` goes on as it came."""
_UNSAID_AS = {"echo": b"false", "best_of": b"1"}
"""Values of further fields that say what holds without them."""


def parse_text_request(body: bytes) -> ChatRequest:
    """Read the body of `POST /v1/completions`. Raises InvalidRequest, naming what is wrong.

    A prompt of token numbers, or of several texts, is known to upstreams of the same format alone."""
    asked, top = read_body(body, _request)
    options = asked.stream_options
    return ChatRequest(
        model=asked.model,
        messages=(_message(asked.prompt, top),),
        max_output_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        n=asked.n or 1,
        logprobs=None if asked.logprobs is None else True,
        top_logprobs=asked.logprobs,
        as_text=True,
        suffix=asked.suffix or None,
        written=_written(asked),
        stream=asked.stream or False,
        include_usage=bool(options and options.include_usage),
        extras=_extras(asked, top),
    )


def _extras(asked: _Request, top: Fields) -> Extras | None:
    rest = without(top, _READ)
    for name, value in _UNSAID_AS.items():
        if bytes(rest.get(name, b"null")) in (value, b"null"):
            rest.pop(name, None)
    if asked.stream_options is not None:
        rest.update(inner(top, "stream_options", {"include_usage"}))
    return Extras(TEXT_FORMAT, rest) if rest else None


def _written(asked: _Request) -> int | None:
    """How many answers there will be to choose from, to all prompts; None for `n`."""
    n = asked.n or 1
    several = isinstance(asked.prompt, list) and not isinstance(asked.prompt[0], int)
    written = (len(asked.prompt) if several else 1) * max(n, asked.best_of or 1)
    if written > MAX_TEXTS:
        raise wrong("n", f"more than {MAX_TEXTS} texts would be written")
    return None if written == n else written


def _message(prompt: str | Sequence[str | int | list[int]], top: Fields) -> Message:
    if isinstance(prompt, str):
        return user_message(prompt)
    kinds = {type(item) for item in prompt}
    if len(kinds) > 1:
        raise wrong("prompt", "texts and token numbers are mixed")
    if int not in kinds and len(prompt) > MAX_PROMPTS:
        raise wrong("prompt", f"it holds more than {MAX_PROMPTS} texts")
    part: Part = Opaque("prompt", Extras(TEXT_FORMAT, {"prompt": top["prompt"]}))
    if len(prompt) == 1 and isinstance(prompt[0], str):
        part = TextPart(prompt[0])
    return Message(role="user", content=(part,))
