"""What adapters share in reading answers, and in writing what most formats have in common."""

import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw, UnsetType

from providers.errors import Transient, Unsupported
from providers.types import NO_USAGE, Extras, ToolCall, Usage

CANT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for JSON that is none, or of another shape."""
MAX_REPORTED_TOKENS = 100_000_000
"""A report beyond this is a mistake, and counts as none."""

Number = int | float | None
Value = TypeVar("Value")
Said = TypeVar("Said", bound=msgspec.Struct)
_object = msgspec.json.Decoder(dict[str, Raw])


def one_line(said: bytes) -> bytes:
    """JSON without the line breaks between its values, so that what is taken from it as it came can be part of a frame or of
    a line. Strings hold none. Raises what decoding raises."""
    return msgspec.json.format(said, indent=-1) if b"\n" in said or b"\r" in said else said


def decoded(decoder: msgspec.json.Decoder[Value], data: bytes) -> Value:
    """The JSON as the decoder's type. Raises Transient(garbage) if it is none."""
    try:
        return decoder.decode(data)
    except CANT_READ as error:
        raise Transient(str(error), cause="garbage") from error


class Implausible(ValueError):
    """A number of tokens that can't be: negative, broken, beyond every model, or no number at all."""


def count(said: object) -> int:
    """A number of tokens; what was not said is 0. Raises Implausible."""
    if said is None:
        return 0
    if type(said) is float and said.is_integer():
        said = int(said)
    if type(said) is not int or not 0 <= said <= MAX_REPORTED_TOKENS:
        raise Implausible(f"{said!r} is no number of tokens")
    return said


def usage_in(raw: Raw | UnsetType, decoder: msgspec.json.Decoder[Said], read: Callable[[Said], Usage]) -> Usage:
    """What a report comes to. One that is missing, that can't be read, or that holds an implausible number counts as none:
    then the tokens are estimated, and flagged so. The answer that it came with stands."""
    if isinstance(raw, UnsetType) or bytes(raw) == b"null":
        return NO_USAGE
    try:
        return read(decoder.decode(raw))
    except (*CANT_READ, Implausible):
        return NO_USAGE


def reported(
    *,
    prompt: int,
    cached: int = 0,
    written: int = 0,
    written_1h: int = 0,
    heard: int = 0,
    output: int,
    reasoning: int = 0,
    spoken: int = 0,
    service: str = "standard",
) -> Usage:
    """Usage by disjoint meters.

    Of `prompt`, all that was read, `cached` came from the provider's cache, and `written` went there (`written_1h` of it for
    an hour); of the rest `heard` was audio. `reasoning` is beside `output`, of which `spoken` was audio. A part that is
    greater than its whole is cut to it, so that no token is charged twice: the wholes are what providers bill by. A report
    of no prompt at all is none: every model reads something.
    """
    if not prompt:
        return NO_USAGE
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    read = prompt - cached - written
    return Usage(
        input=read,
        cache_read=cached,
        cache_write=written,
        output=output,
        reasoning=reasoning,
        cache_write_1h=min(written_1h, written),
        input_audio=min(heard, read),
        output_audio=min(spoken, output),
        service=service,
    )


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


def media_type_of(said: str) -> str:
    """A media type by the name that vendors know it by: for a JPEG many write one that isn't registered."""
    return "image/jpeg" if said == "image/jpg" else said


def inline_image(url: str, param: str) -> tuple[str, str]:
    """The media type and base64 of a data URL (RFC 2397). Raises Unsupported for any other."""
    head, comma, data = url.partition(",")
    media_type, *options = head.removeprefix("data:").split(";")
    if not (head.startswith("data:") and comma and "base64" in options and media_type.startswith("image/")):
        raise Unsupported("The model's provider takes images as base64 data URLs only.", param=param)
    return media_type_of(media_type), data


def own_fields(extras: Extras | None, wire_format: str) -> Mapping[str, Raw]:
    """What extras say in this format."""
    return extras.fields if extras is not None and extras.wire_format == wire_format else {}


def openai_logprobs(tokens: Sequence[Mapping[str, object]]) -> Raw:
    """Log probabilities in the shape that callers know, from tokens of `token`, `logprob`, `bytes` and
    `top_logprobs`."""
    return Raw(msgspec.json.encode({"content": tokens, "refusal": None}))
