"""Each client on the other's upstream: `anthropic` on OpenAI's format, `openai` on Anthropic's."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import CLAUDE, MODEL
from tests.e2e.test_anthropic_client import CALL, CAP, WEATHER, hello, text_of
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database


@pytest.fixture
def client(stack: Stack, tenant: Tenant, claude: AnthropicUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def openai_client(stack: Stack, tenant: Tenant, claude: AnthropicUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


def test_this_client_on_an_openai_upstream(client: anthropic.Anthropic, upstream: OpenAIUpstream) -> None:
    asked: Any = {"model": MODEL, "max_tokens": CAP, "system": "Be brief.", "messages": hello("Grüße 🎈")}
    message = client.messages.create(**asked)
    assert text_of(message) == "You said: Grüße 🎈"
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    assert text_of(streamed) == "You said: Grüße 🎈"
    record = next(record for record in reversed(upstream.records) if record.stream)
    assert record.body["messages"] == [{"role": "system", "content": "Be brief."}, *hello("Grüße 🎈")]
    for answer in (message, streamed):
        assert answer.stop_reason == "end_turn"
        assert answer.usage.input_tokens == record.prompt_tokens
        assert answer.usage.output_tokens == record.completion_tokens


def test_this_clients_tools_on_an_openai_upstream(client: anthropic.Anthropic, upstream: OpenAIUpstream) -> None:
    calls = [CALL, {**CALL, "id": "toolu_2"}]
    for stream in (False, True):
        upstream.script(text="", tool_calls=calls, reasoning="Hm.", times=1)
        asked: Any = {"model": MODEL, "max_tokens": CAP, "messages": hello("Weather?"), "tools": [WEATHER]}
        if stream:
            with client.messages.stream(**asked) as events:
                message: Any = events.get_final_message()
        else:
            message = client.messages.create(**asked)
        thought, *called = message.content
        assert thought.thinking == "Hm."
        assert [(call.id, call.input) for call in called] == [
            ("toolu_1", {"city": "Köln", "days": [1, 2]}),
            ("toolu_2", {"city": "Köln", "days": [1, 2]}),
        ]
        assert message.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "Rain", "is_error": True} for call in calls
    ]
    turns: list[Any] = [
        *hello("Weather?"),
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [*results, {"type": "text", "text": "And?"}]},
    ]
    client.messages.create(model=MODEL, max_tokens=CAP, messages=turns, tools=[WEATHER])
    sent = upstream.records[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln", "days": [1, 2]}
    assert upstream.records[-1].body["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]


def test_what_only_this_format_says_is_refused_by_name_or_dropped_and_named(
    client: anthropic.Anthropic, upstream: OpenAIUpstream
) -> None:
    marker = secrets.token_hex(4)
    extra: Any = {"container": marker}
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(model=MODEL, max_tokens=9, messages=hello(), extra_body=extra)
    assert "container" in str(refused.value)
    answer = client.messages.with_raw_response.create(
        model=MODEL, max_tokens=9, messages=hello(), extra_body=extra, extra_headers={"x-parley-drop-params": "true"}
    )
    assert answer.headers["x-parley-dropped"] == "container"
    assert marker not in json.dumps(upstream.records[-1].body)


def test_the_openai_client_on_this_upstream(openai_client: openai.OpenAI, claude: AnthropicUpstream) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look: "}, _image("data:image/png;base64,aGk=")]},
        {"role": "user", "content": "Grüße 🎈"},
        {"role": "developer", "content": "And kind."},
    ]
    answer = openai_client.chat.completions.create(model=CLAUDE, messages=messages, stop=["END"], temperature=0.5)
    assert answer.choices[0].message.content == "You said: Look: Grüße 🎈"
    assert answer.choices[0].finish_reason == "stop"
    stream = openai_client.chat.completions.create(
        model=CLAUDE, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == (
        "You said: Look: Grüße 🎈"
    )
    first, second = claude.records
    assert answer.usage is not None
    assert chunks[-1].usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        first.prompt_tokens,
        first.completion_tokens,
    )
    assert chunks[-1].usage.completion_tokens == second.completion_tokens
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    content = [{"type": "text", "text": "Look: "}, image, {"type": "text", "text": "Grüße 🎈"}]
    assert first.body == {
        "model": "fake-model",
        "max_tokens": 4_096,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "And kind."}],
        "messages": [{"role": "user", "content": content}],
        "stop_sequences": ["END"],
        "temperature": 0.5,
    }


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_openai_clients_tools_on_this_upstream(openai_client: openai.OpenAI, claude: AnthropicUpstream) -> None:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER["input_schema"]}}
    claude.script(text="Let me see.", tool_calls=[CALL, {**CALL, "id": "toolu_2"}], chunk=3)
    answer = openai_client.chat.completions.create(
        model=CLAUDE, messages=hello("Weather?"), tools=[tool], parallel_tool_calls=False
    )
    called: Any = answer.choices[0].message.tool_calls
    assert [(call.id, json.loads(call.function.arguments)) for call in called] == [
        ("toolu_1", {"city": "Köln", "days": [1, 2]}),
        ("toolu_2", {"city": "Köln", "days": [1, 2]}),
    ]
    assert answer.choices[0].finish_reason == "tool_calls"
    arguments: dict[int, str] = {}
    for chunk in openai_client.chat.completions.create(
        model=CLAUDE, messages=hello("Weather?"), tools=[tool], stream=True
    ):
        for call in chunk.choices[0].delta.tool_calls or ():
            arguments[call.index] = arguments.get(call.index, "") + ((call.function and call.function.arguments) or "")
    assert arguments == {0: CALL["arguments"], 1: CALL["arguments"]}
    claude.reset()
    turns: list[Any] = [
        *hello("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump() for call in called]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Sun"},
        {"role": "user", "content": "And?"},
    ]
    openai_client.chat.completions.create(model=CLAUDE, messages=turns, tools=[tool])
    (record,) = claude.records
    assert [turn["role"] for turn in record.body["messages"]] == ["user", "assistant", "user"]
    assert record.body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "Sun"},
        {"type": "text", "text": "And?"},
    ]


def test_the_openai_clients_schemas_and_effort_on_this_upstream(
    openai_client: openai.OpenAI, claude: AnthropicUpstream
) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    openai_client.chat.completions.create(
        model=CLAUDE, messages=hello(), response_format=wanted, reasoning_effort="high"
    )
    openai_client.chat.completions.create(model=CLAUDE, messages=hello(), response_format={"type": "json_object"})
    schemed, free = claude.records
    assert schemed.body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
    assert schemed.body["thinking"] == {"type": "adaptive"}
    assert "JSON object" in free.body["system"]


@pytest.mark.parametrize(("name", "value"), [("seed", 7), ("n", 2), ("logprobs", True), ("presence_penalty", 1)])
def test_what_this_format_cant_say_is_refused_by_name(
    openai_client: openai.OpenAI, claude: AnthropicUpstream, name: str, value: Any
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(model=CLAUDE, messages=hello(), **{name: value})
    assert refused.value.param == name
    assert claude.records == []
