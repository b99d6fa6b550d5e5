"""The official client's embeddings and legacy completions, and LangChain's embeddings, against the gateway."""

import base64
import struct
from collections.abc import Iterator

import openai
import pytest
import tiktoken
import tiktoken.registry
from langchain_openai import OpenAIEmbeddings

from tests.e2e.conftest import MODEL
from tests.fakes.openai_texts import vector_of
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database


@pytest.fixture
def client(stack: Stack, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


def test_the_client_asks_for_base64_and_gets_the_upstreams_numbers(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=MODEL, input=["one two", "three"])
    assert [tuple(item.embedding) for item in answer.data] == [vector_of("one two"), vector_of("three")]
    assert answer.model == MODEL
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 3


def test_floats_and_base64_are_the_same_vector(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model=MODEL, input="x", encoding_format="float", dimensions=3)
    assert tuple(floats.data[0].embedding) == vector_of("x", 3)
    encoded = client.embeddings.with_raw_response.create(
        model=MODEL, input="x", encoding_format="base64", dimensions=3
    ).http_response.json()
    assert struct.unpack("<3f", base64.b64decode(encoded["data"][0]["embedding"])) == vector_of("x", 3)


def test_token_arrays_are_embedded(client: openai.OpenAI) -> None:
    (one,) = client.embeddings.create(model=MODEL, input=[1, 2, 3]).data
    assert tuple(one.embedding) == vector_of([1, 2, 3])
    several = client.embeddings.create(model=MODEL, input=[[1, 2], [3]]).data
    assert [tuple(item.embedding) for item in several] == [vector_of([1, 2]), vector_of([3])]


def test_they_are_on_the_bill(stack: Stack) -> None:
    tenant = stack.create_tenant()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        answer = client.embeddings.create(model=MODEL, input="one two three four")
    (record,) = stack.usage(tenant.api_key)
    assert record["tokens"]["input"] == answer.usage.prompt_tokens == 4
    assert record["tokens"]["output"] == 0
    assert record["cost_nano"] == 4_000


def test_what_is_wrong_is_named(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    before = len(upstream.records)
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model=MODEL, input=[])
    assert raised.value.param == "input"
    assert len(upstream.records) == before


@pytest.fixture
def http_client() -> Iterator[openai.DefaultHttpxClient]:
    """One that is closed in the end: LangChain keeps its own for as long as the process lives."""
    with openai.DefaultHttpxClient() as client:
        yield client


def test_langchain_embeds_texts(stack: Stack, tenant: Tenant, http_client: openai.DefaultHttpxClient) -> None:
    embeddings = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{stack.url}/v1",
        api_key=tenant.api_key,  # type: ignore[arg-type]
        check_embedding_ctx_length=False,
        http_client=http_client,
    )
    assert [tuple(vector) for vector in embeddings.embed_documents(["a b", "c"])] == [vector_of("a b"), vector_of("c")]
    assert tuple(embeddings.embed_query("q")) == vector_of("q")


def test_langchain_embeds_tokens(
    stack: Stack, tenant: Tenant, http_client: openai.DefaultHttpxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does unless told otherwise. A vocabulary of single bytes stands for the one that would be downloaded."""
    name = "cl100k_base"
    single_bytes = tiktoken.Encoding(
        name=name,
        pat_str=r"(?s).",
        mergeable_ranks={bytes([number]): number for number in range(256)},
        special_tokens={},
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, name, single_bytes)
    embeddings = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{stack.url}/v1",
        api_key=tenant.api_key,  # type: ignore[arg-type]
        http_client=http_client,
    )
    (vector,) = embeddings.embed_documents(["hello"])
    assert tuple(vector) == vector_of(list(b"hello"))


def test_a_text_is_completed_with_a_suffix(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once upon", suffix=" The end.", max_tokens=20, logprobs=1)
    (choice,) = answer.choices
    assert choice.text == " and so on The end."
    assert choice.logprobs is not None
    assert answer.object == "text_completion"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == upstream.records[-1].prompt_tokens
    assert upstream.records[-1].body["suffix"] == " The end."


def test_texts_are_streamed(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=MODEL, prompt=["a", "b"], n=2, stream=True, stream_options={"include_usage": True}
    )
    texts: dict[int, str] = {}
    last = None
    for last in stream:
        for choice in last.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == dict.fromkeys(range(4), " and so on")
    assert last is not None
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
