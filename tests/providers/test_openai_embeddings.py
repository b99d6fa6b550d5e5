"""Embeddings in OpenAI's format: what callers may send, what upstreams get and answer."""

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kernel.errors import InvalidRequest
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.dialect import COMPATIBLE, OPENAI
from providers.adapters.openai.embeddings import (
    MAX_INPUTS,
    MAX_TOKENS,
    encode_embedding_answer,
    encode_embedding_request,
    parse_embedding_answer,
    parse_embedding_request,
)
from providers.base import Target
from providers.errors import ProviderError, Rejected, TooLong, Transient
from providers.types import ChatAnswer, EmbeddingRequest, Usage
from tests.fakes.openai_texts import vector_of
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import SHORT

pytestmark = pytest.mark.no_database


@pytest.fixture(params=[COMPATIBLE, OPENAI], ids=["float", "base64"])
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[OpenAICompatible]:
    adapter = OpenAICompatible(dialect=request.param)
    yield adapter
    await adapter.close()


def _packed(item: str | list[int], dimensions: int = 8) -> bytes:
    return struct.pack(f"<{dimensions}f", *vector_of(item, dimensions))


async def test_vectors_are_exact_and_in_order_in_either_encoding(
    embedder: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    request = EmbeddingRequest("alias", ("one two", (1, 2, 3), "été"), dimensions=5)
    answer = await embedder.embed(request, target, SHORT)
    assert answer.vectors == tuple(_packed(item, 5) for item in ("one two", [1, 2, 3], "été"))
    assert answer.usage == Usage(input=upstream.records[0].prompt_tokens)
    assert answer.choices == ()
    assert upstream.records[0].body["model"] == "fake-model"


async def test_usage_that_never_comes_is_none(
    embedder: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(usage="never")
    answer = await embedder.embed(EmbeddingRequest("alias", ("x",)), target, SHORT)
    assert not answer.usage.reported


@pytest.mark.parametrize(
    ("fault", "error"),
    [("too_long", TooLong), ("400", Rejected), ("garbage_body", Transient), ("error_body", Transient)],
)
async def test_faults_are_provider_errors(
    embedder: OpenAICompatible, target: Target, upstream: OpenAIUpstream, fault: str, error: type[ProviderError]
) -> None:
    upstream.script(fault=fault)
    with pytest.raises(error):
        await embedder.embed(EmbeddingRequest("alias", ("x",)), target, SHORT)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "input": "x"},
        {"model": "m", "input": ["x", "y"]},
        {"model": "m", "input": [[1, 2], [3]]},
        {"model": "m", "input": ["x", [1, 2]], "dimensions": 256, "user": "u", "input_type": "query", "x": None},
    ],
)
def test_a_request_in_its_own_format_loses_nothing(body: dict[str, Any]) -> None:
    parsed = parse_embedding_request(json.dumps(body).encode())
    assert json.loads(encode_embedding_request(parsed, model="m", as_base64=False)) == body
    asked = {**body, "encoding_format": "float"}
    assert parse_embedding_request(json.dumps(asked).encode()) == parsed
    assert json.loads(encode_embedding_request(parsed, model="m", as_base64=True))["encoding_format"] == "base64"


def test_one_row_of_tokens_is_one_input() -> None:
    parsed = parse_embedding_request(b'{"model":"m","input":[5,6,7]}')
    assert parsed.inputs == ((5, 6, 7),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": ""}, "input[0]"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": ["x", ""]}, "input[1]"),
        ({"model": "m", "input": [[]]}, "input[0]"),
        ({"model": "m", "input": ["x", 3]}, "input[1]"),
        ({"model": "m", "input": [3, "x"]}, "input[1]"),
        ({"model": "m", "input": [3, -1]}, "input[1]"),
        ({"model": "m", "input": {"text": "x"}}, "input"),
        ({"model": "m", "input": ["x"] * (MAX_INPUTS + 1)}, "input"),
        ({"model": "m", "input": [1] * (MAX_TOKENS + 1)}, "input"),
        ({"model": "m", "input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "m", "input": "x", "dimensions": 0}, "dimensions"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        parse_embedding_request(json.dumps(body).encode())
    assert wrong.value.details == {"param": param}
    assert param in wrong.value.message


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "AAA="}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": "not base64!"}],
        [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1e300]}],
        None,
    ],
)
def test_vectors_that_are_not_all_there_are_garbage(data: object) -> None:
    with pytest.raises(Transient) as garbage:
        parse_embedding_answer(json.dumps({"data": data}).encode(), inputs=2)
    assert garbage.value.cause == "garbage"


def test_the_caller_gets_numbers_or_base64_as_asked() -> None:
    vector = struct.pack("<3f", 0.5, -1.25, 3.0)
    answer = ChatAnswer("upstream", (), Usage(input=4), vectors=(vector,))
    numbers = json.loads(encode_embedding_answer(answer, model="alias", as_base64=False))
    assert numbers == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.25, 3.0]}],
        "model": "alias",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    encoded = json.loads(encode_embedding_answer(answer, model="alias", as_base64=True))
    assert base64.b64decode(encoded["data"][0]["embedding"]) == vector
