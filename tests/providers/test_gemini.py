"""Answers in Gemini's own format, and its official client as the judge of the fake."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from msgspec import Raw

from providers.adapters.gemini.adapter import MAX_BATCH, Gemini
from providers.adapters.gemini.answer_in import FrameReader, parse_answer
from providers.adapters.gemini.errors import classify, classify_frame
from providers.base import DEFAULT_TIMEOUTS, Target
from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
)
from providers.types import (
    EmbeddingRequest,
    Extras,
    OpaqueDelta,
    ReasoningDelta,
    ToolCallDelta,
    Usage,
)
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.upstream import vector_of

pytestmark = pytest.mark.no_database


def _frame(**fields: Any) -> bytes:
    return json.dumps({"modelVersion": "gemini-2.5-flash", **fields}).encode()


def test_usage_by_meters_that_do_not_overlap() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 5,
        "totalTokenCount": 155,
    }
    answer = parse_answer(_frame(candidates=[{"finishReason": "STOP"}], usageMetadata=usage))
    assert answer.usage == Usage(input=45, cache_read=60, output=20, reasoning=30)


def test_usage_before_the_end_is_not_that_of_the_answer() -> None:
    reader = FrameReader(candidates=1)
    early = {"promptTokenCount": 7, "candidatesTokenCount": 1}
    reader.read(_frame(candidates=[{"content": {"parts": [{"text": "a"}]}}], usageMetadata=early))
    reader.read(_frame(candidates=[{"finishReason": "STOP"}]))
    assert not reader.has_usage
    assert reader.end().usage == Usage(reported=False)
    late = {"promptTokenCount": 7, "candidatesTokenCount": 9}
    reader.read(_frame(usageMetadata=late))
    assert reader.end().usage == Usage(input=7, output=9)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "content_filter")],
)
def test_why_it_ended(reason: str, expected: str) -> None:
    answer = parse_answer(_frame(candidates=[{"content": {"parts": [{"text": "a"}]}, "finishReason": reason}]))
    assert answer.choices[0].finish_reason == expected


def test_a_blocked_prompt_is_an_empty_answer_of_the_content_filter() -> None:
    frame = _frame(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 4})
    answer = parse_answer(frame)
    assert (answer.text, answer.choices[0].finish_reason) == ("", "content_filter")
    assert answer.usage == Usage(input=4)
    reader = FrameReader(candidates=2)
    reader.read(frame)
    assert reader.finished
    assert reader.end().finish_reason == "content_filter"


def test_a_call_that_went_wrong_is_worth_another_try() -> None:
    with pytest.raises(Transient) as failed:
        parse_answer(_frame(candidates=[{"finishReason": "MALFORMED_FUNCTION_CALL"}]))
    assert failed.value.cause == "garbage"


def test_candidates_are_told_apart_and_the_stream_ends_with_the_last() -> None:
    reader = FrameReader(candidates=2)
    for index in (0, 1):
        assert not reader.finished
        content = {"parts": [{"functionCall": {"name": "f", "args": {"n": index}}}]}
        events = reader.read(_frame(candidates=[{"index": index, "content": content, "finishReason": "STOP"}]))
        (call,) = [event for event in events if isinstance(event, ToolCallDelta)]
        assert (call.index, call.call, json.loads(call.arguments)) == (index, 0, {"n": index})
    assert reader.end().finish_reason == "tool_calls"


def test_proofs_and_what_only_this_format_knows_are_kept_as_they_are() -> None:
    parts = [
        {"text": "Hm.", "thought": True},
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "YQ=="},
        {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
        {"text": "", "thoughtSignature": "Yg=="},
    ]
    events = FrameReader(candidates=1).read(_frame(candidates=[{"content": {"parts": parts}}]))
    assert events[1] == ReasoningDelta("Hm.")
    assert isinstance(events[2], ToolCallDelta)
    assert events[2].extras == Extras("gemini", {"thoughtSignature": Raw(b'"YQ=="')})
    assert isinstance(events[3], OpaqueDelta)
    assert list(events[3].extras.fields) == ["inlineData"]
    assert events[4] == ReasoningDelta("", extras=Extras("gemini", {"thoughtSignature": Raw(b'"Yg=="')}))


def test_log_probabilities_come_in_the_shape_that_callers_know() -> None:
    tokens = [{"token": "Hi", "logProbability": -0.5}]
    result = {"chosenCandidates": tokens, "topCandidates": [{"candidates": tokens}]}
    content = {"parts": [{"text": "Hi"}]}
    answer = parse_answer(_frame(candidates=[{"content": content, "finishReason": "STOP", "logprobsResult": result}]))
    assert answer.choices[0].logprobs is not None
    assert json.loads(bytes(answer.choices[0].logprobs))["content"] == [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": None}],
        }
    ]


@pytest.mark.parametrize("body", [_frame(), _frame(candidates=[{"content": {}}]), b"[]", b'{"candidates":7}'])
def test_a_plain_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(Transient) as failed:
        parse_answer(body)
    assert failed.value.cause == "garbage"


@pytest.mark.parametrize(
    ("status", "name", "words", "kind"),
    [
        (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", QuotaExceeded),
        (429, "", "Slow down", RateLimitedUpstream),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (9) exceeds the maximum number of tokens allowed (8)",
            TooLong,
        ),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", Misconfigured),
        (400, "INVALID_ARGUMENT", "Invalid value", Rejected),
        (403, "PERMISSION_DENIED", "Denied", Misconfigured),
        (503, "UNAVAILABLE", "Overloaded", Transient),
        (504, "DEADLINE_EXCEEDED", "Late", Transient),
    ],
)
def test_what_an_error_means(status: int, name: str, words: str, kind: type[ProviderError]) -> None:
    error = {"error": {"code": status, "message": words, "status": name}}
    assert type(classify(status=status, headers={}, body=json.dumps(error).encode())) is kind
    assert type(classify(status=status, headers={}, body=json.dumps([error]).encode())) is kind
    assert type(classify_frame(json.dumps(error).encode())) is kind


def test_how_long_to_wait_is_said_in_the_body() -> None:
    body = b'{"error":{"code":429,"message":"Slow","details":[{"retryDelay":"17.5s"}]}}'
    error = classify(status=429, headers={}, body=body)
    assert isinstance(error, RateLimitedUpstream)
    assert error.retry_after_s == 17.5
    assert type(classify(status=500, headers={}, body=b"[]")) is Transient


# --- with the fake


@pytest.fixture
def upstream() -> Iterator[GeminiUpstream]:
    with GeminiUpstream(models=tuple(f"model-{i}" for i in range(7)), api_key="secret") as running:
        yield running


async def test_many_texts_are_embedded_batch_by_batch(upstream: GeminiUpstream) -> None:
    adapter = Gemini()
    target = Target("gemini", upstream.base_url, "m", secret="secret")
    inputs = tuple(f"text {i}" for i in range(2 * MAX_BATCH + 1))
    answer = await adapter.embed(EmbeddingRequest("alias", inputs), target, DEFAULT_TIMEOUTS)
    assert len(answer.vectors) == len(inputs)
    assert [len(record.body["requests"]) for record in upstream.records] == [MAX_BATCH, MAX_BATCH, 1]
    assert upstream.records[0].body["requests"][0]["model"] == "models/m"
    assert answer.usage == Usage(input=2 * len(inputs))
    upstream.script(fault="500", times=1)
    upstream.script(usage="never", times=1)
    with pytest.raises(Transient) as failed:
        await adapter.embed(EmbeddingRequest("alias", inputs), target, DEFAULT_TIMEOUTS)
    assert failed.value.worked
    await adapter.close()


def test_the_official_client_understands_the_fake(upstream: GeminiUpstream) -> None:
    base_url = upstream.base_url.removesuffix("/v1beta")
    options = types.HttpOptions(base_url=base_url, api_version="v1beta")
    with genai.Client(api_key="secret", http_options=options) as client:
        names = [model.name for model in client.models.list(config={"page_size": 3})]
        assert names == [f"models/model-{i}" for i in range(7)]
        plain = client.models.generate_content(model="m", contents="Hello")
        assert plain.text == "You said: Hello"
        upstream.script(
            text="Blue.", reasoning="Hm.", signature="YQ==", tool_calls=[{"id": "c", "name": "f", "arguments": "{}"}]
        )
        chunks = list(client.models.generate_content_stream(model="m", contents="Why?"))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]  # type: ignore[union-attr,index]
        assert "".join(part.text or "" for part in parts if not part.thought) == "Blue."
        assert "".join(part.text or "" for part in parts if part.thought) == "Hm."
        assert [part.function_call.name for part in parts if part.function_call] == ["f"]
        assert parts[0].thought_signature == b"a"
        used = chunks[-1].usage_metadata
        assert used is not None
        assert used.candidates_token_count == upstream.records[-1].completion_tokens
        vectors = client.models.embed_content(model="m", contents=["a", "b"]).embeddings or []
        assert [vector.values for vector in vectors] == [vector_of("a", 8), vector_of("b", 8)]
        upstream.script(fault="quota")
        with pytest.raises(errors.ClientError) as refused:
            client.models.generate_content(model="m", contents="Hello")
        assert refused.value.status == "RESOURCE_EXHAUSTED"
