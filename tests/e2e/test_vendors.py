"""The official `openai` client on models of other vendors: what it says and hears is the same, whoever answers."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.fakes.cohere_upstream import CohereUpstream
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.upstream import Upstream, vector_of
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database

VENDORS: dict[str, type[Upstream]] = {"gemini": GeminiUpstream, "cohere": CohereUpstream, "ollama": OllamaUpstream}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city": "Zürich"}'},
    {"id": "call_2", "name": "weather", "arguments": '{"city": "北京"}'},
]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@dataclass(frozen=True)
class Vendor:
    """A model of this vendor, and the client that asks it by way of Parley."""

    model: str
    upstream: Upstream
    client: openai.OpenAI
    stack: Stack
    tenant: Tenant

    def ask(self, prompt: str = "Hello", **fields: Any) -> Any:
        messages = fields.pop("messages", [{"role": "user", "content": prompt}])
        return self.client.chat.completions.create(model=self.model, messages=messages, **fields)


@pytest.fixture(scope="module")
def upstreams(stack: Stack) -> Iterator[dict[str, Upstream]]:
    running = {name: kind(api_key="upstream-secret") for name, kind in VENDORS.items()}
    for name, upstream in running.items():
        upstream.__enter__()
        stack.add_models([f"e2e-{name}=fake-model"], upstream.base_url, name=f"e2e-{name}", kind=name)
    yield running
    for upstream in running.values():
        upstream.__exit__()


@pytest.fixture(params=VENDORS)
def vendor(
    request: pytest.FixtureRequest, stack: Stack, tenant: Tenant, upstreams: dict[str, Upstream]
) -> Iterator[Vendor]:
    upstream = upstreams[request.param]
    upstream.reset()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield Vendor(f"e2e-{request.param}", upstream, client, stack, tenant)


def test_a_text_with_a_system_prompt(vendor: Vendor) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Naïve 🎈?"}]
    answer = vendor.ask(messages=messages, max_tokens=50, temperature=0.5, stop=["END"], seed=3)
    assert answer.choices[0].message.content == "You said: Naïve 🎈?"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == vendor.model
    (record,) = vendor.upstream.records
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        record.prompt_tokens,
        record.completion_tokens,
    )


def test_a_stream_with_reasoning_and_usage(vendor: Vendor) -> None:
    vendor.upstream.script(text="Because of Rayleigh, 北京 too.", reasoning="Light scatters.", split=5)
    chunks = list(vendor.ask("Why?", stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Because of Rayleigh, 北京 too."
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Light scatters."
    assert chunks[-1].usage.completion_tokens == vendor.upstream.records[0].completion_tokens


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_calls_and_their_results(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="", tool_calls=CALLS, times=1)
    question = {"role": "user", "content": "Weather in Zürich and 北京?"}
    asked = vendor.ask(messages=[question], tools=[TOOL], tool_choice="auto", stream=stream)
    calls = _calls(asked) if stream else [call.model_dump() for call in asked.choices[0].message.tool_calls]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Zürich"}, {"city": "北京"}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
    answer = vendor.ask(messages=[question, {"role": "assistant", "tool_calls": calls}, *results], tools=[TOOL])
    assert answer.choices[0].message.content == "You said: Weather in Zürich and 北京?"
    # Arguments go as text to one vendor, as an object to the others.
    said = json.dumps(vendor.upstream.records[-1].body, ensure_ascii=False).replace("\\", "")
    assert said.count("sunny") == 2
    assert said.count('"city"') == 2 + 1


def _calls(stream: Any) -> list[dict[str, Any]]:
    calls: dict[int, dict[str, Any]] = {}
    reasons = []
    for chunk in stream:
        for choice in chunk.choices:
            reasons.append(choice.finish_reason)
            for delta in choice.delta.tool_calls or ():
                call = calls.setdefault(delta.index, {"type": "function", "function": {"arguments": ""}})
                call["id"] = delta.id or call.get("id")
                call["function"]["name"] = delta.function.name or call["function"].get("name")
                call["function"]["arguments"] += delta.function.arguments or ""
    assert reasons[-1] == "tool_calls"
    return [calls[index] for index in sorted(calls)]


def test_an_image_and_a_schema(vendor: Vendor) -> None:
    vendor.upstream.script(text='{"animal": "cat"}')
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    schema = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
    answer = vendor.ask(
        messages=[{"role": "user", "content": content}],
        response_format={"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content) == {"animal": "cat"}
    said = json.dumps(vendor.upstream.records[0].body)
    assert "iVBORw0KGgo=" in said
    assert json.dumps(schema) in said


def test_embeddings(vendor: Vendor) -> None:
    answer = vendor.client.embeddings.create(model=vendor.model, input=["one two", "three"], dimensions=5)
    expected = [list(struct.unpack("<5f", struct.pack("<5f", *vector_of(t, 5)))) for t in ("one two", "three")]
    assert [item.embedding for item in answer.data] == expected
    assert answer.usage.prompt_tokens == 3


def test_what_the_vendor_cannot_be_told_is_named(vendor: Vendor) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        vendor.ask(parallel_tool_calls=False, tools=[TOOL])
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "parallel_tool_calls")
    raw = vendor.client.chat.completions.with_raw_response.create(
        model=vendor.model,
        messages=[{"role": "user", "content": "Hello", "name": "Ann"}],
        logit_bias={"1": 5},
        extra_headers={"x-parley-drop-params": "true"},
    )
    assert raw.headers["x-parley-dropped"] == "logit_bias, messages[0].name"


def test_a_refused_key_is_not_the_callers(vendor: Vendor) -> None:
    vendor.upstream.script(fault="401", times=1)
    with pytest.raises(openai.InternalServerError) as failed:
        vendor.ask()
    assert failed.value.status_code == 502
    assert "upstream-secret" not in failed.value.response.text


def test_usage_is_that_of_the_upstream_to_the_token(vendor: Vendor) -> None:
    tenant = vendor.stack.create_tenant()
    with openai.OpenAI(base_url=f"{vendor.stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        for prompt in ("one", "one two", "one two three"):
            client.chat.completions.create(model=vendor.model, messages=[{"role": "user", "content": prompt}])
    spent = [(record["tokens"]["input"], record["tokens"]["output"]) for record in vendor.stack.usage(tenant.api_key)]
    tally = [(record.prompt_tokens, record.completion_tokens) for record in vendor.upstream.records]
    assert sorted(spent) == sorted(tally)
    assert len(tally) == 3
