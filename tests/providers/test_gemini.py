"""Requests and answers in Gemini's own format, and its official client as the judge of the fake."""

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
from providers.adapters.gemini.request_out import NO_SIGNATURE, encode_chat_request
from providers.base import Target
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
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    OpaqueDelta,
    ReasoningDelta,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
)
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.upstream import vector_of
from tests.providers.conftest import SHORT, ask

pytestmark = pytest.mark.no_database

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
PROOF = Extras("gemini", {"thoughtSignature": Raw(b'"c2ln"')})


def _body(request: ChatRequest, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model=model))
    return body


# --- requests


def test_sampling_is_said_in_the_generation_config() -> None:
    request = ask(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=3,
        stop=("END", "STOP"),
        n=2,
        logprobs=True,
        top_logprobs=4,
    )
    assert _body(request) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {
            "maxOutputTokens": 9,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 7,
            "frequencyPenalty": 0.1,
            "presencePenalty": 0.2,
            "seed": 3,
            "stopSequences": ["END", "STOP"],
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 4,
        },
    }


def test_a_conversation_with_images_parallel_calls_and_their_results() -> None:
    messages = (
        Message("system", (TextPart("Be brief."),)),
        Message("user", (TextPart("What is this?"), ImagePart("data:image/png;base64,cG5n", "low"))),
        Message(
            "assistant",
            (TextPart("Let me see."),),
            tool_calls=(ToolCall("c1", "see", '{"deep":1.5}', PROOF), ToolCall("c2", "smell", "")),
        ),
        Message("tool", (TextPart('{"is": "a cat"}'),), tool_call_id="c1"),
        Message("tool", (TextPart("of fish"),), tool_call_id="c2"),
        Message("developer", (TextPart("Be polite."),)),
        Message("user", (TextPart("So?"),)),
    )
    assert _body(ChatRequest("alias", messages)) == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be polite."}]},
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": "cG5n"}}],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see."},
                    {
                        "functionCall": {"name": "see", "args": {"deep": 1.5}, "id": "c1"},
                        "thoughtSignature": "c2ln",
                    },
                    {"functionCall": {"name": "smell", "args": {}, "id": "c2"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "see", "response": {"is": "a cat"}, "id": "c1"}},
                    {"functionResponse": {"name": "smell", "response": {"output": "of fish"}, "id": "c2"}},
                ],
            },
            {"role": "user", "parts": [{"text": "So?"}]},
        ],
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
    }


def test_of_unsigned_calls_the_first_says_that_its_proof_is_missing() -> None:
    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))
    (content,) = _body(ChatRequest("alias", (Message("assistant", tool_calls=calls),)))["contents"]
    assert [part.get("thoughtSignature") for part in content["parts"]] == [NO_SIGNATURE, None]


def test_thoughts_go_back_with_their_proof_or_not_at_all() -> None:
    content = (ReasoningPart("Hm.", PROOF), ReasoningPart("Aha."), TextPart("Blue."))
    (said,) = _body(ChatRequest("alias", (Message("assistant", content),)))["contents"]
    assert said["parts"] == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Blue."},
    ]


def test_an_instruction_alone_is_what_to_answer() -> None:
    body = _body(ChatRequest("alias", (Message("system", (TextPart("Say hi."),)),)))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


def test_tools_keep_their_schema_as_it_is() -> None:
    body = _body(ask(tools=(FunctionTool("f", "Does f.", Raw(SCHEMA)), FunctionTool("g"))))
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "Does f.", "parametersJsonSchema": json.loads(SCHEMA)},
                {"name": "g"},
            ]
        }
    ]
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("required", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_choice_of_tools(choice: ToolChoice, expected: dict[str, Any]) -> None:
    body = _body(ask(tools=(FunctionTool("f"),), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ResponseFormat("json_object"), {"responseMimeType": "application/json"}),
        (
            ResponseFormat("json_schema", "n", schema=Raw(SCHEMA)),
            {"responseMimeType": "application/json", "responseJsonSchema": json.loads(SCHEMA)},
        ),
    ],
)
def test_the_shape_of_the_answer(wanted: ResponseFormat, expected: dict[str, Any]) -> None:
    assert _body(ask(response_format=wanted))["generationConfig"] == expected


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("gemini-2.5-flash", {"reasoning_budget": 512}, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-pro", {"reasoning_effort": "high"}, {"thinkingBudget": 24_576, "includeThoughts": True}),
        ("models/gemini-2.5-pro", {"reasoning_effort": "low"}, {"thinkingBudget": 1_024, "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_effort": "medium"}, {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_effort": "none"}, {"thinkingLevel": "minimal", "includeThoughts": False}),
        ("gemini-3.1-pro", {"reasoning_effort": "minimal"}, {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_budget": 2_000}, {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3-flash", {"reasoning_budget": 30_000}, {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_how_hard_to_think(model: str, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _body(ask(**fields), model)["generationConfig"]["thinkingConfig"] == expected


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ChatRequest("m", (Message("user", (ImagePart("https://x.test/cat.png"),)),)), "messages[0].content"),
        (ChatRequest("m", (Message("assistant", tool_calls=(ToolCall("c", "f", "nonsense"),)),)), None),
        (ask(reasoning_effort="astronomical"), "reasoning_effort"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(request_: ChatRequest, param: str | None) -> None:
    with pytest.raises(Unsupported) as refused:
        _body(request_)
    assert refused.value.param == (param or "messages[0].tool_calls")


# --- answers


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
    answer = await adapter.embed(EmbeddingRequest("alias", inputs), target, SHORT)
    assert len(answer.vectors) == len(inputs)
    assert [len(record.body["requests"]) for record in upstream.records] == [MAX_BATCH, MAX_BATCH, 1]
    assert upstream.records[0].body["requests"][0]["model"] == "models/m"
    assert answer.usage == Usage(input=2 * len(inputs))
    upstream.script(fault="500", times=1)
    upstream.script(usage="never", times=1)
    with pytest.raises(Transient) as failed:
        await adapter.embed(EmbeddingRequest("alias", inputs), target, SHORT)
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
