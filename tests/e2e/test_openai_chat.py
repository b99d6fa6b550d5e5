"""What the official client and LangChain do with chat completions beyond plain text."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database

CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
    {"id": "call_2", "name": "weather", "arguments": '{"city":"Rome"}'},
]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class City(BaseModel):
    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather somewhere."""
    return f"sunny in {city}"


@pytest.fixture
def client(stack: Stack, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
def chat(stack: Stack, tenant: Tenant) -> Iterator[ChatOpenAI]:
    with openai.DefaultHttpxClient() as http_client:
        yield ChatOpenAI(
            model=MODEL,
            base_url=f"{stack.url}/v1",
            api_key=tenant.api_key,  # type: ignore[arg-type]
            max_retries=0,
            http_client=http_client,
            stream_usage=True,
        )


def test_a_schema_is_kept_to(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text='{"name":"Oslo","people":7}', model="fake-model")
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "A city?"}], response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="Oslo", people=7)
    assert upstream.records[-1].body["response_format"]["json_schema"]["name"] == "City"


def test_parallel_calls_are_streamed(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text="", tool_calls=CALLS, model="fake-model")
    with client.chat.completions.stream(
        model=MODEL, messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER]
    ) as stream:
        pieces = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        message = stream.get_final_completion().choices[0].message
    assert len(pieces) > 2
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()] == [
        (call["id"], call["name"], call["arguments"]) for call in CALLS
    ]


def test_langchain_chats_and_streams(chat: ChatOpenAI, upstream: OpenAIUpstream) -> None:
    answer = chat.invoke("Hello there")
    assert answer.text == "You said: Hello there"
    chunks = list(chat.stream("Hello there"))
    assert "".join(chunk.text for chunk in chunks) == "You said: Hello there"
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [said["output_tokens"] for said in usage] == [upstream.records[-1].completion_tokens]


def test_langchain_calls_tools(chat: ChatOpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text="", tool_calls=CALLS, model="fake-model", times=1)
    asked = chat.bind_tools([weather]).invoke("Weather?")
    assert [(call["name"], call["args"]) for call in asked.tool_calls] == [
        ("weather", {"city": "Paris"}),
        ("weather", {"city": "Rome"}),
    ]
    results = [weather.invoke(call) for call in asked.tool_calls]
    assert chat.invoke(["Weather?", asked, *results]).text == "You said: Weather?"
    messages = upstream.records[-1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert messages[2]["content"] == "sunny in Paris"


def test_langchain_keeps_to_a_schema(chat: ChatOpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text='{"name":"Oslo","people":7}', model="fake-model")
    assert chat.with_structured_output(City).invoke("A city?") == City(name="Oslo", people=7)


def test_a_body_of_responses_is_answered_as_a_chat(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    body = {"model": MODEL, "input": "Hello", "instructions": "Be brief.", "tools": [{"type": "custom", "name": "p"}]}
    answer: Any = client.post("/chat/completions", body=body, cast_to=object)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "You said: Hello"
    sent = upstream.records[-1].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["tools"] == [{"type": "custom", "custom": {"name": "p"}}], json.dumps(sent)
