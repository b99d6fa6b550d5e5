"""The adapter for Anthropic's format against an upstream that speaks it, well and badly."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from msgspec import Raw

from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.anthropic.answer_in import EventReader
from providers.adapters.anthropic.errors import classify, classify_frame
from providers.assemble import Assembler
from providers.base import Adapter, Target
from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
)
from providers.types import ChatAnswer, Extras, Finished, StreamEvent, TextDelta, Usage
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.providers.conftest import SHORT, ask, until
from tests.support.patience import soon

pytestmark = pytest.mark.no_database


@pytest.fixture(scope="module")
def running() -> Iterator[AnthropicUpstream]:
    with AnthropicUpstream(api_key="sk-upstream", models=tuple(f"m{i}" for i in range(1_003))) as upstream:
        yield upstream


@pytest.fixture
def upstream(running: AnthropicUpstream) -> AnthropicUpstream:
    running.reset()
    return running


@pytest.fixture
async def adapter() -> AsyncIterator[Anthropic]:
    adapter = Anthropic()
    yield adapter
    await adapter.close()


@pytest.fixture
def target(upstream: AnthropicUpstream) -> Target:
    return Target("anthropic", upstream.base_url, "fake-model", secret="sk-upstream")


async def _answered(adapter: Adapter, target: Target, *, stream: bool, **fields: object) -> ChatAnswer:
    request = ask(stream=stream, **fields)
    if not stream:
        return await adapter.complete(request, target, SHORT)
    assembler = Assembler()
    async for event in adapter.stream(request, target, SHORT):
        assembler.add(event)
    return assembler.answer()


both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@both_ways
@pytest.mark.parametrize(
    "manner",
    [
        {},
        {"split": 1},
        {"split": 3, "crlf": True},
        {"crlf": True},
        {"comments": True},
        {"id": False},
        {"done": False},
        {"usage": "always"},
        {"usage": "changes"},
        {"hang_at_end": True, "done": False},
    ],
    ids=str,
)
async def test_the_answer_and_its_usage_are_those_of_the_upstream_whatever_its_manners(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream, manner: dict[str, Any], stream: bool
) -> None:
    upstream.script(text="Grüße an 👩‍👩‍👧!", prompt_tokens=30, cached_tokens=7, cache_write_tokens=5, **manner)
    answer = await _answered(adapter, target, stream=stream)
    (record,) = upstream.records
    assert answer.text == record.text == "Grüße an 👩‍👩‍👧!"
    assert answer.usage == Usage(input=18, cache_read=7, cache_write=5, output=record.completion_tokens)
    assert answer.choices[0].finish_reason == "stop"
    await until(lambda: upstream.in_flight == 0)


@both_ways
async def test_usage_that_never_comes_is_no_usage(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream, stream: bool
) -> None:
    upstream.script(usage="never", done=True)
    answer = await _answered(adapter, target, stream=stream)
    assert not answer.usage.reported


@pytest.mark.parametrize("usage", ["asked", "always"])
async def test_a_whole_answer_that_has_lost_its_start_is_one(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream, usage: str
) -> None:
    upstream.script(role=False, usage=usage, prompt_tokens=30)
    answer = await _answered(adapter, target, stream=True)
    assert answer.text == upstream.records[0].text
    # What was read is said in the start alone, unless it is repeated: half a report is none.
    assert answer.usage.reported is (usage == "always")
    assert answer.usage.input == (30 if usage == "always" else 0)


@both_ways
async def test_thoughts_calls_and_their_tokens(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream, stream: bool
) -> None:
    calls = [
        {"id": "toolu_1", "name": "weather", "arguments": '{"city": "Köln", "days": [1, 2]}'},
        {"id": "toolu_2", "name": "time", "arguments": "{}"},
    ]
    upstream.script(
        text="Let me see.",
        reasoning="They ask for the weather.",
        signature="c2lnbmVk",
        tool_calls=calls,
        completion_tokens=50,
        reasoning_tokens=20,
    )
    answer = await _answered(adapter, target, stream=stream)
    (choice,) = answer.choices
    assert (choice.text, choice.reasoning) == ("Let me see.", "They ask for the weather.")
    assert choice.reasoning_extras is not None
    assert choice.reasoning_extras.wire_format == "anthropic.messages"
    assert bytes(choice.reasoning_extras.fields["signature"]) == b'"c2lnbmVk"'
    assert [(call.id, call.name, json.loads(call.arguments or "{}")) for call in choice.tool_calls] == [
        ("toolu_1", "weather", {"city": "Köln", "days": [1, 2]}),
        ("toolu_2", "time", {}),
    ]
    assert choice.finish_reason == "tool_calls"
    assert (answer.usage.output, answer.usage.reasoning) == (30, 20)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
async def test_why_it_ended(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream, said: str, reason: str
) -> None:
    upstream.script(finish_reason=said)
    for stream in (True, False):
        answer = await _answered(adapter, target, stream=stream)
        assert answer.choices[0].finish_reason == reason


async def test_the_request_is_signed_and_names_the_version_and_the_callers_betas_beside_the_operators(
    adapter: Anthropic, upstream: AnthropicUpstream
) -> None:
    headers = {"Anthropic-Beta": "operators-beta"}
    target = Target("anthropic", upstream.base_url, "fake-model", secret="sk-upstream", headers=headers)
    extras = Extras("anthropic.messages", {"anthropic-beta": json_raw("callers-1,callers-2")})
    await adapter.complete(ask(stream=False, extras=extras), target, SHORT)
    (record,) = upstream.records
    sent = {name.lower(): value for name, value in record.headers.items()}
    assert sent["x-api-key"] == "sk-upstream"
    assert sent["anthropic-version"] == "2023-06-01"
    assert sent["anthropic-beta"] == "operators-beta,callers-1,callers-2"
    assert "authorization" not in sent
    assert "anthropic-beta" not in record.body


def json_raw(value: object) -> Any:
    return Raw(json.dumps(value).encode())


async def test_models_are_listed_page_by_page(adapter: Anthropic, target: Target, upstream: AnthropicUpstream) -> None:
    models = await adapter.list_models(target, SHORT)
    assert [model.id for model in models] == list(upstream.models)


async def test_tokens_are_counted_by_the_upstream_and_none_are_used(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream
) -> None:
    counted = await adapter.count_tokens(ask("one two three", max_output_tokens=7, temperature=0.5), target, SHORT)
    assert counted == 3
    assert upstream.records == []
    assert upstream.counts == [{"model": "fake-model", "messages": [{"role": "user", "content": "one two three"}]}]


async def test_a_client_that_leaves_ends_the_upstreams_work(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream
) -> None:
    upstream.script(text="x" * 4_000, chunk=1, delay_ms=5)
    events = adapter.stream(ask(), target, SHORT)
    async with soon():
        async for event in events:
            if isinstance(event, TextDelta):
                break
    await events.aclose()
    await until(lambda: upstream.records[0].outcome == "disconnected" and upstream.in_flight == 0)


async def test_connections_are_used_again(adapter: Anthropic, target: Target, upstream: AnthropicUpstream) -> None:
    await _answered(adapter, target, stream=True)
    before = upstream.opened
    for stream in (True, False, True):
        await _answered(adapter, target, stream=stream)
    assert upstream.opened == before


async def test_what_follows_a_whole_answer_cant_take_it_back(
    adapter: Anthropic, target: Target, upstream: AnthropicUpstream
) -> None:
    reader = EventReader()
    events: list[StreamEvent] = []
    for data in (
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ):
        events += reader.read(json.dumps(data).encode())
    assert reader.read(b"{garbage") == []
    assert reader.end() == Finished("stop", Usage(input=3, output=2))
    assert TextDelta("Hi") in events


# --- classification by itself


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, "invalid_request_error: prompt is too long: 9 tokens > 8 maximum", TooLong),
        (400, "invalid_request_error: input length and `max_tokens` exceed context limit: 9 > 8", TooLong),
        (400, "invalid_request_error: Your credit balance is too low to access the Claude API.", QuotaExceeded),
        (402, "billing_error: pay", QuotaExceeded),
        (401, "authentication_error: no", Misconfigured),
        (403, "permission_error: no", Misconfigured),
        (404, "not_found_error: model: x", Misconfigured),
        (413, "request_too_large: Request exceeds the maximum size", Rejected),
        (429, "rate_limit_error: slow", RateLimitedUpstream),
        (500, "api_error: oops", Transient),
        (504, "timeout_error: slow", Transient),
        (529, "overloaded_error: Overloaded", Transient),
        (400, "invalid_request_error: messages: roles must alternate", Rejected),
    ],
)
def test_what_a_status_and_a_body_mean(status: int, body: str, kind: type[ProviderError]) -> None:
    code, _, message = body.partition(": ")
    said = json.dumps({"type": "error", "error": {"type": code, "message": message}}).encode()
    error = classify(status=status, headers={}, body=said)
    assert type(error) is kind
    assert (error.status, error.upstream_code) == (status, code)
    # The same in mid-stream, where there is no status.
    assert type(classify_frame(said)) is kind


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Misconfigured), (429, RateLimitedUpstream), (529, Transient), (400, Rejected)]
)
def test_a_status_alone_says_enough(status: int, kind: type[ProviderError]) -> None:
    assert type(classify(status=status, headers={}, body=b"<html>")) is kind
