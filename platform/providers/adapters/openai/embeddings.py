"""OpenAI's embeddings format, both directions, for the gateway and for upstreams."""

import base64
import binascii
import struct
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.answer_in import CANT_READ, error_in
from providers.adapters.openai.bodies import read_body, without, wrong
from providers.adapters.openai.usage import read_embedding_usage
from providers.adapters.openai.wire import Name
from providers.errors import Transient
from providers.types import ChatAnswer, EmbeddingRequest, Extras

MAX_INPUTS = 2_048
MAX_TOKENS = 131_072
"""Tokens in one input, where they are given as numbers: as many as the longest context of a model for embeddings."""
MAX_TOKEN = 2**31 - 1
MAX_DIMENSIONS = 65_536

Tokens = Annotated[list[Annotated[int, Meta(ge=0, le=MAX_TOKEN)]], Meta(min_length=1, max_length=MAX_TOKENS)]


class _Request(msgspec.Struct):
    model: Name
    input: str | list[str | int | Tokens]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None


_request = msgspec.json.Decoder(_Request)


def parse_embedding_request(body: bytes) -> EmbeddingRequest:
    """Read the body of `POST /v1/embeddings`. Raises InvalidRequest, naming what is wrong."""
    asked, top = read_body(body, _request)
    rest = without(top, asked.__struct_fields__)
    return EmbeddingRequest(
        model=asked.model,
        inputs=_inputs(asked.input),
        dimensions=asked.dimensions,
        as_base64=asked.encoding_format == "base64",
        extras=Extras(WIRE_FORMAT, rest) if rest else None,
    )


def _inputs(said: str | Sequence[str | int | list[int]]) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(said, str):
        said = (said,)
    if not said:
        raise wrong("input", "it is empty")
    if isinstance(said[0], int):
        return (_tokens(said),)
    if len(said) > MAX_INPUTS:
        raise wrong("input", f"it holds more than {MAX_INPUTS} texts")
    return tuple(_input(item, f"input[{number}]") for number, item in enumerate(said))


def _input(item: str | int | list[int], path: str) -> str | tuple[int, ...]:
    if isinstance(item, int):
        raise wrong(path, "texts and token numbers are mixed")
    if not item:
        raise wrong(path, "it is empty")
    return item if isinstance(item, str) else tuple(item)


def _tokens(said: Sequence[str | int | list[int]]) -> tuple[int, ...]:
    """One input of token numbers, given without a list around it."""
    if len(said) > MAX_TOKENS:
        raise wrong("input", f"it holds more than {MAX_TOKENS} tokens")
    tokens = []
    for number, token in enumerate(said):
        if not isinstance(token, int):
            raise wrong(f"input[{number}]", "texts and token numbers are mixed")
        if not 0 <= token <= MAX_TOKEN:
            raise wrong(f"input[{number}]", f"it is no token number from 0 to {MAX_TOKEN}")
        tokens.append(token)
    return tuple(tokens)


def encode_embedding_request(request: EmbeddingRequest, *, model: str, as_base64: bool) -> bytes:
    """The body of `POST {base_url}/embeddings`. `as_base64`: ask for the vectors in that form."""
    body: dict[str, object] = {
        "model": model,
        "input": request.inputs[0] if len(request.inputs) == 1 else request.inputs,
    }
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if as_base64:
        body["encoding_format"] = "base64"
    if request.extras is not None and request.extras.wire_format == WIRE_FORMAT:
        body = {**request.extras.fields, **body}
    return msgspec.json.encode(body)


class _Embedding(msgspec.Struct):
    embedding: str | list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Embedding] | None = None
    model: str | None = None
    usage: Raw | msgspec.UnsetType = msgspec.UNSET
    error: Raw | msgspec.UnsetType = msgspec.UNSET


_answer = msgspec.json.Decoder(_Answer)


def parse_embedding_answer(body: bytes, *, inputs: int) -> ChatAnswer:
    """Read a list of so many vectors, as numbers or base64, in whatever order.

    Raises the error that the JSON holds, or Transient(garbage) if they aren't all there."""
    try:
        answer = _answer.decode(body)
        vectors = {
            number if item.index is None else item.index: _vector(item.embedding)
            for number, item in enumerate(answer.data or ())
        }
    except (*CANT_READ, binascii.Error, OverflowError, ValueError) as error:
        raise Transient(str(error), cause="garbage") from error
    failure = error_in(answer.error, body)
    if failure is not None:
        raise failure
    if vectors.keys() != set(range(inputs)) or not all(vectors.values()):
        raise Transient(f"{len(vectors)} vectors for {inputs} inputs", cause="garbage")
    return ChatAnswer(
        model=answer.model or "",
        choices=(),
        usage=read_embedding_usage(answer.usage),
        vectors=tuple(vectors[number] for number in range(inputs)),
    )


def _vector(said: str | list[float]) -> bytes:
    if not isinstance(said, str):
        return struct.pack(f"<{len(said)}f", *said)
    data = base64.b64decode(said, validate=True)
    if len(data) % 4:
        raise ValueError("a vector that is no row of 4-byte numbers")
    return data


def encode_embedding_answer(answer: ChatAnswer, *, model: str, as_base64: bool) -> bytes:
    """The body of the caller's answer. `model` is the alias the caller used."""
    data = [
        {
            "object": "embedding",
            "index": number,
            "embedding": base64.b64encode(vector).decode() if as_base64 else _numbers(vector),
        }
        for number, vector in enumerate(answer.vectors)
    ]
    usage = {"prompt_tokens": answer.usage.prompt, "total_tokens": answer.usage.prompt + answer.usage.completion}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)
