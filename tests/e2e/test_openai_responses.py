"""The official client's responses, and LangChain's use of them, against the gateway."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseReasoningItem
from pydantic import BaseModel

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
    {"id": "call_2", "name": "weather", "arguments": '{"city":"Rome"}'},
]


class City(BaseModel):
    name: str
    people: int


@pytest.fixture
def client(stack: Stack, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


def test_a_response_is_made_and_kept(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    made = client.responses.create(
        model=MODEL, input="Hello", instructions="Be brief.", metadata={"k": "v"}, max_output_tokens=50, temperature=0.5
    )
    assert made.status == "completed"
    assert made.output_text == "You said: Hello"
    assert made.usage is not None
    assert made.usage.input_tokens == upstream.records[-1].prompt_tokens
    assert made.usage.output_tokens == upstream.records[-1].completion_tokens
    sent = upstream.records[-1].body
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert (sent["max_tokens"], sent["temperature"]) == (50, 0.5)
    assert client.responses.retrieve(made.id) == made
    assert made.metadata == {"k": "v"}


def test_a_conversation_goes_on_from_the_response_before(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    first = client.responses.create(model=MODEL, input="One", instructions="Not carried over.")
    second = client.responses.create(model=MODEL, input="Two", previous_response_id=first.id)
    third = client.responses.create(
        model=MODEL, input=[{"role": "user", "content": "Three"}], previous_response_id=second.id
    )
    assert third.previous_response_id == second.id
    assert upstream.records[-1].body["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "You said: One"},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": "You said: Two"},
        {"role": "user", "content": "Three"},
    ]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model=MODEL, input="Four", previous_response_id=third.id)
    assert raised.value.code == "previous_response_not_found"
    assert raised.value.param == "previous_response_id"


def test_a_deleted_response_is_gone(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="x")
    client.responses.delete(made.id)
    for use in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            use(made.id)


def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="x", store=False)
    assert made.store is False  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_input_items_are_listed_by_pages(client: openai.OpenAI) -> None:
    words = [f"word {number}" for number in range(5)]
    made = client.responses.create(model=MODEL, input=[{"role": "user", "content": word} for word in words])
    first = client.responses.input_items.list(made.id, limit=2, order="asc")
    assert first.has_more
    pages = list(client.responses.input_items.list(made.id, limit=2, order="asc"))
    assert [item.content[0].text for item in pages] == words  # type: ignore[union-attr]
    newest = client.responses.input_items.list(made.id)
    assert [item.content[0].text for item in newest.data] == words[::-1]  # type: ignore[union-attr]
    assert len({item.id for item in pages}) == 5


def test_a_stream_has_every_event_in_order(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text="naïve 👩‍👩‍👧 café", reasoning="Let me think.", model="fake-model")
    events = list(client.responses.create(model=MODEL, input="x", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert [kind for number, kind in enumerate(kinds) if kind != kinds[number - 1]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "naïve 👩‍👩‍👧 café"
    last = events[-1]
    assert last.type == "response.completed"
    thought, message = last.response.output
    assert isinstance(thought, ResponseReasoningItem)
    assert thought.summary[0].text == "Let me think."
    assert isinstance(message, ResponseOutputMessage)
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == upstream.records[-1].completion_tokens
    # It was durable before the end was seen.
    assert client.responses.retrieve(last.response.id).output == last.response.output


def test_the_clients_own_accumulation_agrees(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Say it again") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text == "You said: Say it again"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_answered(client: openai.OpenAI, upstream: OpenAIUpstream, stream: bool) -> None:
    upstream.script(text="", tool_calls=CALLS, model="fake-model", times=1)
    asked: Any = {"model": MODEL, "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": True}
    if stream:
        with client.responses.stream(input="Weather?", **asked) as events:
            deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
            made: Any = events.get_final_response()
        assert len(deltas) > 2
    else:
        made = client.responses.create(input="Weather?", **asked)
    calls = [item for item in made.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        (call["id"], call["name"], call["arguments"]) for call in CALLS
    ]
    sent = upstream.records[-1].body
    assert sent["tools"] == [
        {"type": "function", "function": {key: value for key, value in WEATHER.items() if key != "type"}}
    ]
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", True)
    answers: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": f"sunny {call.call_id}"} for call in calls
    ]
    done = client.responses.create(model=MODEL, input=answers, previous_response_id=made.id, tools=[WEATHER])
    assert done.status == "completed"
    messages = upstream.records[-1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_1", "call_2"]
    assert messages[2] == {"role": "tool", "tool_call_id": "call_1", "content": "sunny call_1"}


def test_a_schema_is_kept_to(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(text='{"name":"Oslo","people":7}', model="fake-model")
    parsed = client.responses.parse(model=MODEL, input="A city?", text_format=City)
    assert parsed.output_parsed == City(name="Oslo", people=7)
    wanted = upstream.records[-1].body["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "City"
    assert set(wanted["json_schema"]["schema"]["properties"]) == {"name", "people"}


def test_images_go_on(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    url = "data:image/png;base64,iVBORw0KGgo="
    asked: Any = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": url, "detail": "low"},
            ],
        }
    ]
    assert client.responses.create(model=MODEL, input=asked).status == "completed"
    assert upstream.records[-1].body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]


def test_items_may_be_referred_to(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    first = client.responses.create(model=MODEL, input="One")
    asked: Any = [
        {"role": "user", "content": "One"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "Two"},
    ]
    assert client.responses.create(model=MODEL, input=asked).status == "completed"
    assert upstream.records[-1].body["messages"][1] == {"role": "assistant", "content": "You said: One"}
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_" + "0" * 36}])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"include": ["nothing.known"]}, "include"),
        ({"tools": [{"type": "web_search"}]}, "tools[0] (web_search)"),
        ({"unknown_thing": 1}, "unknown_thing"),
    ],
)
def test_what_no_upstream_can_be_told_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    body = {"model": MODEL, "input": "x", **fields}
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/responses", body=body, cast_to=object)
    assert raised.value.param == param
    dropping: Any = client.post(
        "/responses", body=body, cast_to=object, options={"headers": {"x-parley-drop-params": "true"}}
    )
    assert dropping["status"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_short_is_incomplete(
    client: openai.OpenAI, upstream: OpenAIUpstream, stream: bool
) -> None:
    upstream.script(finish_reason="length", model="fake-model")
    if stream:
        last = list(client.responses.create(model=MODEL, input="x", stream=True))[-1]
        assert last.type == "response.incomplete"
        made = last.response
    else:
        made = client.responses.create(model=MODEL, input="x")
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.output[0].status == "incomplete"  # type: ignore[union-attr]


def test_a_failure_in_mid_stream_is_said_by_an_event(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    upstream.script(fault="cut", fault_after=3, model="fake-model", times=1)
    events = list(client.responses.create(model=MODEL, input="a longer text to be cut", stream=True))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error is not None
    assert last.response.error.code == "upstream_failed"
    seen = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert last.response.output_text == seen != ""
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_another_key_finds_nothing(stack: Stack, tenant: Tenant, client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="x")
    key = stack.manage("create_api_key", tenant.slug, "--name", "another")["api_key"]
    for stranger in (key, stack.create_tenant().api_key):
        with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stranger, max_retries=0) as other:
            for use in (other.responses.retrieve, other.responses.delete, other.responses.input_items.list):
                with pytest.raises(openai.NotFoundError):
                    use(made.id)
            with pytest.raises(openai.NotFoundError) as raised:
                other.responses.create(model=MODEL, input="y", previous_response_id=made.id)
        assert raised.value.code == "previous_response_not_found"
    assert client.responses.retrieve(made.id).id == made.id


def test_langchain_uses_responses(stack: Stack, tenant: Tenant) -> None:
    with openai.DefaultHttpxClient() as http_client:
        chat = ChatOpenAI(
            model=MODEL,
            base_url=f"{stack.url}/v1",
            api_key=tenant.api_key,  # type: ignore[arg-type]
            use_responses_api=True,
            max_retries=0,
            http_client=http_client,
        )
        answer = chat.invoke("Hello there")
        assert answer.text == "You said: Hello there"
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_tokens"] > 0
        assert "".join(chunk.text for chunk in chat.stream("Hello there")) == "You said: Hello there"


def test_bodies_are_refused_by_the_path_of_what_is_wrong(client: openai.OpenAI) -> None:
    for body, param in (
        ({"model": MODEL}, "input"),
        ({"model": MODEL, "input": []}, "input"),
        ({"model": MODEL, "input": [{"content": "x"}]}, "input[0].role"),
        ({"model": MODEL, "input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"model": MODEL, "input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format.name"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            client.post("/responses", body=body, cast_to=object)
        assert raised.value.param == param, json.dumps(body)
