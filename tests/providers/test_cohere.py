"""Requests and answers in Cohere's own format."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Raw

from providers.adapters.cohere.adapter import MAX_BATCH, Cohere
from providers.adapters.cohere.answer_in import EventReader, parse_answer
from providers.adapters.cohere.errors import classify
from providers.adapters.cohere.request_out import encode_chat_request
from providers.base import DEFAULT_TIMEOUTS, Target
from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
    Unsupported,
)
from providers.translate import fit
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    ReasoningDelta,
    ReasoningPart,
    ResponseFormat,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from tests.fakes.cohere_upstream import CohereUpstream
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
TOOLS = (FunctionTool("f", "Does f.", Raw(SCHEMA), strict=True), FunctionTool("g"))
F = {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": json.loads(SCHEMA)}}
G = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}


def _body(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model="m", stream=False))
    return body


# --- requests


def test_sampling_has_names_of_its_own() -> None:
    request = ask(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=3,
        stop=("END",),
        logprobs=True,
    )
    assert _body(request) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": False,
        "max_tokens": 9,
        "temperature": 0.5,
        "p": 0.9,
        "k": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 3,
        "stop_sequences": ["END"],
        "logprobs": True,
    }


def test_a_conversation_with_images_calls_results_and_plans() -> None:
    messages = (
        Message("developer", (TextPart("Be brief."),)),
        Message("user", (TextPart("What is this?"), ImagePart("https://x.test/cat.png", "low"))),
        Message("assistant", (ReasoningPart("I will look."),), tool_calls=(ToolCall("c1", "see", '{"deep":1}'),)),
        Message("tool", (TextPart("a cat"),), tool_call_id="c1"),
        Message("assistant", (ReasoningPart("Clear."), TextPart("A cat."))),
    )
    assert _body(ChatRequest("alias", messages))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://x.test/cat.png", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "tool_plan": "I will look.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "see", "arguments": '{"deep":1}'}}],
        },
        {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Clear."}, {"type": "text", "text": "A cat."}],
        },
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": ResponseFormat("json_object")}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": ResponseFormat("json_schema", "n", schema=Raw(SCHEMA))},
            {"response_format": {"type": "json_object", "schema": json.loads(SCHEMA)}},
        ),
        ({"tools": TOOLS}, {"tools": [F, G], "strict_tools": True}),
        ({"tools": TOOLS[1:], "tool_choice": ToolChoice("auto")}, {"tools": [G]}),
        ({"tools": TOOLS[1:], "tool_choice": ToolChoice("none")}, {"tools": [G], "tool_choice": "NONE"}),
        ({"tools": TOOLS[1:], "tool_choice": ToolChoice("required")}, {"tools": [G], "tool_choice": "REQUIRED"}),
        ({"tools": TOOLS, "tool_choice": ToolChoice("required", "g")}, {"tools": [G], "tool_choice": "REQUIRED"}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        ({"reasoning_budget": 512}, {"thinking": {"type": "enabled", "token_budget": 512}}),
    ],
)
def test_what_is_said_beside_the_conversation(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _body(ask(**fields)) == _body(ask()) | expected


def test_what_cannot_be_said_is_refused_by_name() -> None:
    with pytest.raises(Unsupported) as refused:
        _body(ask(reasoning_effort="astronomical"))
    assert refused.value.param == "reasoning_effort"
    shown = Message("tool", (ImagePart("https://x.test/cat.png"),), tool_call_id="c1")
    with pytest.raises(Unsupported) as refused:
        _body(ChatRequest("alias", (Message("user", (TextPart("What?"),)), shown)))
    assert refused.value.param == "messages[1].content"
    with pytest.raises(Unsupported) as refused:
        fit(ask(n=2), Cohere(), drop=False)
    assert refused.value.param == "n"


# --- answers


def _event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def test_what_is_billed_is_what_counts() -> None:
    answer = {"finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "Hi"}]}}
    both = {
        "billed_units": {"input_tokens": 7, "output_tokens": 3},
        "tokens": {"input_tokens": 507, "output_tokens": 9},
    }
    counted = {"tokens": {"input_tokens": 507, "output_tokens": 9.0}}
    said = [parse_answer(json.dumps({**answer, "usage": usage}).encode(), model="m") for usage in (both, counted, {})]
    assert [answer.usage for answer in said] == [Usage(7, output=3), Usage(507, output=9), Usage(reported=False)]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls")],
)
def test_why_it_ended(reason: str, expected: str) -> None:
    body = json.dumps({"finish_reason": reason, "message": {"content": []}}).encode()
    assert parse_answer(body, model="m").choices[0].finish_reason == expected


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT"])
def test_an_answer_that_failed_is_none(reason: str) -> None:
    with pytest.raises(Transient):
        parse_answer(json.dumps({"finish_reason": reason, "message": {}}).encode(), model="m")
    with pytest.raises(Transient):
        EventReader(model="m").read(_event("message-end", delta={"finish_reason": reason}))


def test_the_plan_is_reasoning_and_calls_are_told_apart_by_their_index() -> None:
    reader = EventReader(model="m")
    events = [
        event
        for data in (
            _event("message-start", delta={"message": {"role": "assistant", "content": [], "tool_plan": ""}}),
            _event("tool-plan-delta", delta={"message": {"tool_plan": "I will look."}}),
            _event(
                "tool-call-start",
                index=0,
                delta={"message": {"tool_calls": {"id": "a", "function": {"name": "f", "arguments": ""}}}},
            ),
            _event(
                "tool-call-start",
                index=1,
                delta={"message": {"tool_calls": {"id": "b", "function": {"name": "g", "arguments": ""}}}},
            ),
            _event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": "{}"}}}}),
            _event("citation-start", index=0, delta={"message": {"citations": {"text": "x"}}}),
            _event("something-new", delta={"message": {}}),
        )
        for event in reader.read(data)
    ]
    assert events[1:] == [
        ReasoningDelta("I will look."),
        ToolCallDelta(0, "", "a", "f"),
        ToolCallDelta(1, "", "b", "g"),
        ToolCallDelta(0, "{}"),
    ]
    assert not reader.finished


def test_log_probabilities_come_in_the_shape_that_callers_know() -> None:
    reader = EventReader(model="m")
    delta = {"message": {"content": {"text": "Hi there"}}}
    logprobs = {"text": "Hi there", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
    (_, event) = reader.read(_event("content-delta", index=0, delta=delta, logprobs=logprobs))
    assert isinstance(event, TextDelta)
    assert event.logprobs is not None
    (token,) = json.loads(bytes(event.logprobs))["content"]
    assert (token["token"], token["logprob"]) == ("Hi there", -0.75)


def test_nothing_after_the_end_takes_the_answer_back() -> None:
    reader = EventReader(model="m")
    reader.read(_event("message-end", delta={"finish_reason": "COMPLETE"}))
    assert reader.read(b"[DONE]") == reader.read(b"nonsense") == []
    assert reader.end().finish_reason == "stop"


@pytest.mark.parametrize("body", [b"[]", b"7", b'{"id":"x"}', b'{"finish_reason":"COMPLETE"}'])
def test_a_plain_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(Transient) as failed:
        parse_answer(body, model="m")
    assert failed.value.cause == "garbage"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "too many tokens: size limit exceeded by 9 tokens", TooLong),
        (400, "invalid request", Rejected),
        (401, "invalid api token", Misconfigured),
        (402, "payment required", QuotaExceeded),
        (404, "model not found", Misconfigured),
        (422, "invalid type", Rejected),
        (429, "limited to 1000 API calls / month", QuotaExceeded),
        (429, "limited to 40 API calls / minute", RateLimitedUpstream),
        (498, "blocked token", Rejected),
        (499, "request cancelled", Transient),
        (503, "unavailable", Transient),
    ],
)
def test_what_an_error_means(status: int, words: str, kind: type[ProviderError]) -> None:
    error = classify(status=status, headers={}, body=json.dumps({"message": words}).encode())
    assert type(error) is kind
    assert error.words == words


# --- with the fake


@pytest.fixture
def upstream() -> Iterator[CohereUpstream]:
    with CohereUpstream() as running:
        yield running


async def test_many_texts_are_embedded_batch_by_batch(upstream: CohereUpstream) -> None:
    adapter = Cohere()
    inputs = tuple(f"text {i}" for i in range(MAX_BATCH + 1))
    answer = await adapter.embed(
        EmbeddingRequest("alias", inputs), Target("cohere", upstream.base_url, "m"), DEFAULT_TIMEOUTS
    )
    await adapter.close()
    assert len(answer.vectors) == len(inputs)
    assert [len(record.body["texts"]) for record in upstream.records] == [MAX_BATCH, 1]
    assert {record.body["truncate"] for record in upstream.records} == {"NONE"}
    assert answer.usage == Usage(input=2 * len(inputs))


async def test_the_list_of_models_is_read_page_by_page(
    upstream: CohereUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.adapters.cohere.adapter.PAGE", 3)
    upstream.models = tuple(f"command-{i}" for i in range(7))
    adapter = Cohere()
    found = await adapter.list_models(Target("cohere", upstream.base_url, "m"), DEFAULT_TIMEOUTS)
    await adapter.close()
    assert [model.id for model in found] == list(upstream.models)
