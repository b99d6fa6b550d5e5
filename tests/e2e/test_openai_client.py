"""The official `openai` client against the gateway."""

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database


@pytest.fixture
def client(stack: Stack, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


def test_it_lists_the_models(client: openai.OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_it_chats(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Say something nice, é and 🎈 included."}]
    )
    assert answer.choices[0].message.content == "You said: Say something nice, é and 🎈 included."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_it_streams_what_the_upstream_emitted(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Stream this, please: naïve 👩‍👩‍👧 café"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: Stream this, please: naïve 👩‍👩‍👧 café"
    assert len(chunks) > 5
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_a_wrong_key_is_an_authentication_error(stack: Stack, tenant: Tenant, opened: ExitStack) -> None:
    nearly = tenant.api_key[:-1] + ("x" if tenant.api_key[-1] != "x" else "y")
    for key in ("nonsense", "sk-parley-" + "a" * 51, nearly):
        client = opened.enter_context(openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0))
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "x"}])
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": "not a list"},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"messages": []},
        {"messages": [{"role": "user", "content": "x"}], "temperature": "hot"},
    ],
)
def test_garbage_is_a_bad_request(client: openai.OpenAI, body: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body={"model": MODEL, **body}, cast_to=object)


def test_every_attempt_is_on_the_bill(stack: Stack, opened: ExitStack) -> None:
    tenant = stack.create_tenant()
    client = opened.enter_context(openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0))
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "one two three"}])
    assert answer.usage is not None
    with stack.client(tenant.api_key) as rest:
        (record,) = rest.get("/api/v1/usage").json()["data"]
    assert record["tokens"]["input"] == answer.usage.prompt_tokens
    assert record["tokens"]["output"] == answer.usage.completion_tokens
    # $1 and $2 per million tokens are 1,000 and 2,000 nano-dollars per token.
    assert record["cost_nano"] == 1_000 * answer.usage.prompt_tokens + 2_000 * answer.usage.completion_tokens
