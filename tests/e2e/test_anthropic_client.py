"""The official `anthropic` client against the gateway, with an upstream of its own format."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import httpx2 as httpx
import pytest

from tests.e2e.conftest import CLAUDE, MODEL, offer_claude
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

CAP = 1_024
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CALL = {"id": "toolu_1", "name": "weather", "arguments": '{"city": "Köln", "days": [1, 2]}'}


@pytest.fixture
def client(stack: Stack, tenant: Tenant, claude: AnthropicUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key, max_retries=0) as client:
        yield client


def hello(text: str = "Hello") -> list[Any]:
    return [{"role": "user", "content": text}]


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- its own upstream


def test_a_message(client: anthropic.Anthropic, claude: AnthropicUpstream) -> None:
    message = client.messages.create(
        model=CLAUDE, max_tokens=CAP, system="Be brief.", messages=hello("Say é and 🎈."), stop_sequences=["END"]
    )
    assert text_of(message) == "You said: Say é and 🎈."
    assert (message.role, message.type, message.model) == ("assistant", "message", CLAUDE)
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    (record,) = claude.records
    assert (message.usage.input_tokens, message.usage.output_tokens) == (record.prompt_tokens, record.completion_tokens)
    assert record.body == {
        "model": "fake-model",
        "max_tokens": CAP,
        "system": "Be brief.",
        "messages": hello("Say é and 🎈."),
        "stop_sequences": ["END"],
    }


def test_a_stream_has_the_events_of_the_format_in_their_order(
    client: anthropic.Anthropic, claude: AnthropicUpstream
) -> None:
    claude.script(text="Naïve 👩‍👩‍👧 café", reasoning="Hm.", signature="c2ln", tool_calls=[CALL], split=5)
    with client.messages.create(model=CLAUDE, max_tokens=CAP, messages=hello(), stream=True) as stream:
        kinds = [event.type for event in stream]
    block = lambda deltas: ["content_block_start", *["content_block_delta"] * deltas, "content_block_stop"]  # noqa: E731
    pieces = claude.records[0].chunks
    arguments = -(-len(CALL["arguments"]) // 4)
    assert kinds == ["message_start", *block(2), *block(pieces), *block(arguments), "message_delta", "message_stop"]


def test_a_stream_is_put_together_by_the_client(client: anthropic.Anthropic, claude: AnthropicUpstream) -> None:
    claude.script(
        text="Let me see.", reasoning="They ask.", signature="c2ln", tool_calls=[CALL, {**CALL, "id": "toolu_2"}],
        prompt_tokens=40, cached_tokens=10, cache_write_tokens=5, completion_tokens=20, reasoning_tokens=8,
    )  # fmt: skip
    with client.messages.stream(model=CLAUDE, max_tokens=CAP, messages=hello(), tools=[WEATHER]) as stream:
        message = stream.get_final_message()
    shapes = [block.model_dump(exclude_none=True, include={"type", "text", "thinking", "signature", "id", "input"})
              for block in message.content]  # fmt: skip
    assert shapes == [
        {"type": "thinking", "thinking": "They ask.", "signature": "c2ln"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "input": json.loads(CALL["arguments"])},
        {"type": "tool_use", "id": "toolu_2", "input": json.loads(CALL["arguments"])},
    ]
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (25, 10, 5)
    assert usage.output_tokens == 20
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 8


def test_tools_their_calls_and_their_results(client: anthropic.Anthropic, claude: AnthropicUpstream) -> None:
    claude.script(text="", tool_calls=[CALL], times=1)
    asked = client.messages.create(
        model=CLAUDE, max_tokens=CAP, messages=hello("Weather?"), tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )  # fmt: skip
    (call,) = asked.content
    assert call.type == "tool_use"
    assert (call.id, call.name, call.input) == ("toolu_1", "weather", {"city": "Köln", "days": [1, 2]})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain", "is_error": False}
    turns: list[Any] = [
        *hello("Weather?"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
    ]
    client.messages.create(model=CLAUDE, max_tokens=CAP, messages=turns, tools=[WEATHER])
    first, second = claude.records
    assert first.body["tools"] == [WEATHER]
    assert first.body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert second.body["messages"] == turns


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_thoughts_come_signed_and_go_back_as_they_came(
    client: anthropic.Anthropic, claude: AnthropicUpstream, stream: bool
) -> None:
    claude.script(text="42", reasoning="Six times seven.", signature="c2lnbmVk", times=1)
    asked: Any = {"model": CLAUDE, "max_tokens": 4_096, "thinking": {"type": "enabled", "budget_tokens": 2_048}}
    if stream:
        with client.messages.stream(**asked, messages=hello("6 × 7?")) as events:
            message: Any = events.get_final_message()
    else:
        message = client.messages.create(**asked, messages=hello("6 × 7?"))
    thought = {"type": "thinking", "thinking": "Six times seven.", "signature": "c2lnbmVk"}
    assert message.content[0].model_dump(exclude_none=True) == thought
    turns = [*hello("6 × 7?"), {"role": "assistant", "content": message.content}, *hello("Sure?")]
    client.messages.create(**asked, messages=turns)
    assert claude.records[0].body["thinking"] == {"type": "enabled", "budget_tokens": 2_048}
    assert claude.records[1].body["messages"][1]["content"] == [thought, {"type": "text", "text": "42"}]


def test_redacted_thoughts_come_and_go_too(client: anthropic.Anthropic, claude: AnthropicUpstream) -> None:
    claude.script(text="42", reasoning="redacted", signature="b3BhcXVl", times=1)
    with client.messages.stream(model=CLAUDE, max_tokens=CAP, messages=hello()) as events:
        message = events.get_final_message()
    assert message.content[0].to_dict() == {"type": "redacted_thinking", "data": "b3BhcXVl"}
    turns: Any = [*hello(), {"role": "assistant", "content": message.content}, *hello("Sure?")]
    client.messages.create(model=CLAUDE, max_tokens=CAP, messages=turns)
    assert claude.records[1].body["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "b3BhcXVl"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_is_read_from_and_written_to_the_cache_is_told_and_billed_apart(
    stack: Stack, claude: AnthropicUpstream, stream: bool, opened: ExitStack
) -> None:
    tenant = stack.create_tenant()
    client = opened.enter_context(anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key, max_retries=0))
    claude.script(prompt_tokens=100, cached_tokens=60, cache_write_tokens=30, completion_tokens=20, reasoning_tokens=5)
    system: Any = [{"type": "text", "text": "Long rules.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    asked: Any = {"model": CLAUDE, "max_tokens": CAP, "system": system, "messages": hello()}
    if stream:
        with client.messages.stream(**asked) as events:
            usage = events.get_final_message().usage
    else:
        usage = client.messages.create(**asked).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (10, 60, 30)
    assert claude.records[0].body["system"] == system
    (record,) = stack.usage(tenant.api_key)
    assert record["tokens"] == {"input": 10, "cache_read": 60, "cache_write": 30, "output": 15, "reasoning": 5}


def test_counting_tokens_asks_the_provider_and_costs_nothing(
    stack: Stack, claude: AnthropicUpstream, opened: ExitStack
) -> None:
    tenant = stack.create_tenant()
    client = opened.enter_context(anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key, max_retries=0))
    counted = client.messages.count_tokens(model=CLAUDE, system="Be brief.", messages=hello("one two three"))
    assert counted.input_tokens == 5
    assert [body["model"] for body in claude.counts] == ["fake-model"]
    estimated = client.messages.count_tokens(model=MODEL, messages=hello("one two three"))
    assert 3 <= estimated.input_tokens <= 20
    assert claude.records == []
    assert stack.usage(tenant.api_key) == []


def test_the_key_may_come_either_way(stack: Stack, tenant: Tenant, claude: AnthropicUpstream) -> None:
    body = {"model": CLAUDE, "max_tokens": 9, "messages": hello()}
    for headers in ({"x-api-key": tenant.api_key}, {"Authorization": f"Bearer {tenant.api_key}"}):
        answer = httpx.post(f"{stack.url}/v1/messages", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["request-id"]


def test_betas_are_passed_on_to_the_same_format(client: anthropic.Anthropic, claude: AnthropicUpstream) -> None:
    client.beta.messages.create(model=CLAUDE, max_tokens=CAP, messages=hello(), betas=["context-1m-2025-08-07"])
    sent = {name.lower(): value for name, value in claude.records[0].headers.items()}
    assert sent["anthropic-beta"] == "context-1m-2025-08-07"


def test_models(stack: Stack, client: anthropic.Anthropic) -> None:
    names = [model.id for model in client.models.list(limit=1)]
    assert {MODEL, CLAUDE} <= set(names)
    assert len(names) == len(set(names)), "a page repeated a model"
    first = client.models.list(limit=1)
    assert (first.has_more, first.first_id, first.last_id) == (True, names[0], names[0])
    after = client.models.list(after_id=names[0])
    assert [model.id for model in after.data] == names[1:21]  # a page, unless told otherwise
    before = client.models.list(before_id=names[1])
    assert [model.id for model in before.data] == names[:1]
    model = client.models.retrieve(CLAUDE)
    assert (model.id, model.type, model.display_name) == (CLAUDE, "model", CLAUDE)
    assert model.created_at.year >= 2025


# --- errors


def test_errors_are_those_that_the_client_knows(
    stack: Stack, tenant: Tenant, client: anthropic.Anthropic, claude: AnthropicUpstream, opened: ExitStack
) -> None:
    stranger = opened.enter_context(
        anthropic.Anthropic(base_url=stack.url, api_key="sk-parley-nonsense", max_retries=0)
    )
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        stranger.messages.create(model=CLAUDE, max_tokens=9, messages=hello())
    assert unknown.value.type == "authentication_error"
    assert unknown.value.request_id
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(model="no-such-model", max_tokens=9, messages=hello())
    assert missing.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(model=CLAUDE, max_tokens=9, messages=[{"role": "boss", "content": "x"}])  # type: ignore[typeddict-item]
    assert "messages[0].role" in str(wrong.value)
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(limit=5_000)


@pytest.fixture
def frail(stack: Stack, claude: AnthropicUpstream) -> str:
    """A model with a deployment of its own: what fails here is held against no other."""
    alias = f"frail-{secrets.token_hex(4)}"
    offer_claude(stack, claude, alias)
    return alias


@pytest.mark.parametrize(
    ("fault", "stream", "status", "kind"),
    [
        *(
            (fault, stream, status, kind)
            for stream in (False, True)
            for fault, status, kind in (
                ("400", 400, "invalid_request_error"),
                ("too_long", 400, "invalid_request_error"),
                ("401", 502, "api_error"),
                ("quota", 502, "api_error"),
                ("429", 429, "rate_limit_error"),
            )
        ),
        ("hang_before_first_token", True, 504, "timeout_error"),
    ],
)
def test_what_fails_upstream_is_told_in_the_format(
    client: anthropic.Anthropic,
    claude: AnthropicUpstream,
    frail: str,
    fault: str,
    stream: bool,
    status: int,
    kind: str,
) -> None:
    claude.script(fault=fault, retry_after=3)
    with pytest.raises(anthropic.APIStatusError) as failed:
        client.messages.create(model=frail, max_tokens=9, messages=hello(), stream=stream)
    assert (failed.value.status_code, failed.value.type) == (status, kind)
    assert "sk-secret-part" not in str(failed.value)
    if status == 429:
        assert failed.value.response.headers["retry-after"] == "3"


def test_an_error_in_mid_stream_raises(client: anthropic.Anthropic, claude: AnthropicUpstream, frail: str) -> None:
    claude.script(text="0123456789", chunk=2, fault="error_frame", fault_after=3)
    text = ""

    def read() -> None:
        nonlocal text
        with client.messages.stream(model=frail, max_tokens=9, messages=hello()) as stream:
            for piece in stream.text_stream:
                text += piece

    with pytest.raises(anthropic.APIStatusError) as failed:
        read()
    assert text == "012345"
    assert failed.value.type == "api_error"


def test_every_attempt_is_on_the_bill_as_the_upstream_counted_it(
    stack: Stack, claude: AnthropicUpstream, opened: ExitStack
) -> None:
    tenant = stack.create_tenant()
    client = opened.enter_context(anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key, max_retries=0))
    for stream in (False, True):
        with client.messages.with_streaming_response.create(
            model=CLAUDE, max_tokens=CAP, messages=hello("one two three"), stream=stream
        ) as answer:
            answer.read()
    records = eventually(lambda: stack.usage(tenant.api_key))
    assert len(records) == 2
    for mine, theirs in zip(records, reversed(claude.records), strict=True):
        assert (mine["tokens"]["input"], mine["tokens"]["output"]) == (theirs.prompt_tokens, theirs.completion_tokens)
        assert mine["cost_nano"] == 1_000 * theirs.prompt_tokens + 2_000 * theirs.completion_tokens
