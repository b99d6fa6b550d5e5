"""Azure: OpenAI's format at other paths, with another header, and with filters that speak first."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from providers import registry
from providers.adapters.openai.answer_out import encode_answer
from providers.assemble import Assembler
from providers.base import Adapter, Target
from providers.errors import Misconfigured, ProviderError, RateLimitedUpstream, Rejected
from providers.types import EmbeddingRequest, ModelInfo
from tests.fakes.azure_upstream import PROMPT_FILTER_RESULTS, VERSIONS, AzureUpstream
from tests.fakes.openai_texts import vector_of
from tests.providers.conftest import SHORT, ask

pytestmark = pytest.mark.no_database


@pytest.fixture(scope="module")
def running_azure() -> Iterator[AzureUpstream]:
    with AzureUpstream(api_key="azure-key") as running:
        yield running


@pytest.fixture
def azure(running_azure: AzureUpstream) -> AzureUpstream:
    running_azure.reset()
    return running_azure


@pytest.fixture
async def adapter() -> AsyncIterator[Adapter]:
    adapter = registry.get("azure").adapter()
    yield adapter
    await adapter.close()


@pytest.fixture
def target(azure: AzureUpstream) -> Target:
    return Target("azure", azure.base_url, "our gpt/4o", secret="azure-key")


async def test_the_deployment_is_in_the_path_and_the_key_in_its_header(
    adapter: Adapter, azure: AzureUpstream, target: Target
) -> None:
    answer = await adapter.complete(ask(), target, SHORT)
    assert answer.text == "You said: Hello"
    record = azure.records[0]
    assert record.model == "our gpt/4o"
    assert record.headers["api-key"] == "azure-key"
    assert "Authorization" not in record.headers
    said = json.loads(encode_answer(answer, answer_id="a", created=1, model="m"))
    assert said["prompt_filter_results"] == PROMPT_FILTER_RESULTS


async def test_a_stream_may_begin_with_what_the_filters_found(
    adapter: Adapter, azure: AzureUpstream, target: Target
) -> None:
    assembler = Assembler()
    async for event in adapter.stream(ask("one two"), target, SHORT):
        assembler.add(event)
    answer = assembler.answer()
    assert answer.text == azure.records[0].text == "You said: one two"
    assert answer.usage.prompt == azure.records[0].prompt_tokens
    assert answer.extras is not None
    assert json.loads(bytes(answer.extras.fields["prompt_filter_results"])) == PROMPT_FILTER_RESULTS


@pytest.mark.parametrize("suffix", ["", "/", "/openai", "/openai/", f"?api-version={VERSIONS[1]}"])
async def test_the_endpoint_may_be_written_as_people_write_it(adapter: Adapter, target: Target, suffix: str) -> None:
    answer = await adapter.complete(ask(), replace(target, base_url=target.base_url + suffix), SHORT)
    assert answer.text == "You said: Hello"


async def test_an_api_version_that_there_is_not_is_a_mistake_of_configuration(adapter: Adapter, target: Target) -> None:
    with pytest.raises(Misconfigured):
        await adapter.complete(ask(), replace(target, base_url=target.base_url + "?api-version=1999-01-01"), SHORT)


async def test_it_embeds_and_lists(adapter: Adapter, azure: AzureUpstream, target: Target) -> None:
    answer = await adapter.embed(EmbeddingRequest("alias", ("x",)), target, SHORT)
    assert len(answer.vectors) == 1
    assert len(answer.vectors[0]) == 4 * len(vector_of("x"))
    assert azure.records[0].body["encoding_format"] == "base64"
    assert await adapter.list_models(target, SHORT) == (ModelInfo("fake-model"),)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("content_policy", Rejected), ("429", RateLimitedUpstream), ("404", Misconfigured), ("401", Misconfigured)],
)
async def test_its_errors_are_understood(
    adapter: Adapter, azure: AzureUpstream, target: Target, fault: str, error: type[ProviderError]
) -> None:
    azure.script(fault=fault)
    with pytest.raises(error):
        await adapter.complete(ask(), target, SHORT)
    assert "azure-key" not in str(azure.records[0].body)
