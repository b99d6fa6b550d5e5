"""What adapters share in reading answers, and in writing what most formats have in common."""

import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

from providers.errors import Transient, Unsupported
from providers.types import NO_USAGE, Extras, ToolCall, Usage

CANT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for JSON that is none, or of another shape."""
MAX_REPORTED_TOKENS = 100_000_000
"""A report beyond this is a mistake, and counts as none."""

Number = int | float | None
Value = TypeVar("Value")
_object = msgspec.json.Decoder(dict[str, Raw])


def decoded(decoder: msgspec.json.Decoder[Value], data: bytes) -> Value:
    """The JSON as the decoder's type. Raises Transient(garbage) if it is none."""
    try:
        return decoder.decode(data)
    except CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error


def count(said: Number) -> int:
    """A number of tokens; what was not said is 0."""
    return int(said) if said is not None else 0


def reported(*, prompt: int, cached: int = 0, output: int, reasoning: int = 0) -> Usage:
    """Usage by disjoint meters: `cached` is part of `prompt`, `reasoning` beside `output`. None at all if the
    numbers can't be."""
    if any(number < 0 or number > MAX_REPORTED_TOKENS for number in (prompt, cached, output, reasoning)):
        return NO_USAGE
    if not prompt + output + reasoning:
        return NO_USAGE
    cached = min(cached, prompt)
    return Usage(input=prompt - cached, cache_read=cached, output=output, reasoning=reasoning)


def float32(vectors: Sequence[Sequence[float]], *, expected: int) -> tuple[bytes, ...]:
    """Vectors as little-endian float32. Raises Transient(garbage) unless there are as many as expected, none of
    them empty, all of one length."""
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != expected or len(lengths) != 1 or 0 in lengths:
        raise Transient(f"{len(vectors)} vectors of {sorted(lengths)} numbers for {expected} inputs", cause="garbage")
    packed = [array("f", vector) for vector in vectors]
    if sys.byteorder == "big":
        for vector in packed:
            vector.byteswap()
    return tuple(vector.tobytes() for vector in packed)


def texts(inputs: Sequence[str | tuple[int, ...]]) -> list[str]:
    """What is to be embedded, for a format that takes no token numbers. Raises Unsupported."""
    if not all(isinstance(item, str) for item in inputs):
        raise Unsupported("The model's provider takes texts, not lists of tokens.", param="input")
    return [item for item in inputs if isinstance(item, str)]


def arguments_object(call: ToolCall, param: str) -> Raw:
    """A call's arguments as a JSON object, which some formats insist on. Raises Unsupported if the text that the model
    wrote is none."""
    text = call.arguments.strip() or "{}"
    try:
        _object.decode(text)
    except CANT_READ as error:
        raise Unsupported(f"The arguments of `{call.name}` are no JSON object.", param=param) from error
    return Raw(text.encode())


def inline_image(url: str, param: str) -> tuple[str, str]:
    """The media type and base64 of a data URL (RFC 2397). Raises Unsupported for any other."""
    head, comma, data = url.partition(",")
    media_type, *options = head.removeprefix("data:").split(";")
    if not (head.startswith("data:") and comma and "base64" in options and media_type.startswith("image/")):
        raise Unsupported("The model's provider takes images as base64 data URLs only.", param=param)
    return media_type, data


def own_fields(extras: Extras | None, wire_format: str) -> Mapping[str, Raw]:
    """What extras say in this format."""
    return extras.fields if extras is not None and extras.wire_format == wire_format else {}


def openai_logprobs(tokens: Sequence[Mapping[str, object]]) -> Raw:
    """Log probabilities in the shape that callers know, from tokens of `token`, `logprob`, `bytes` and
    `top_logprobs`."""
    return Raw(msgspec.json.encode({"content": tokens, "refusal": None}))
