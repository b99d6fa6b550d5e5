"""Requests and answers in Ollama's own format, and its official client as the judge of the fake."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from msgspec import Raw

from providers.adapters.ollama.adapter import Ollama
from providers.adapters.ollama.answer_in import LineReader, parse_answer
from providers.adapters.ollama.errors import classify, classify_line
from providers.adapters.ollama.request_out import encode_chat_request
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
from providers.ndjson import LineParser, LineTooLarge
from providers.translate import fit
from providers.types import (
    ChatRequest,
    FunctionTool,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
    user_message,
)
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.upstream import vector_of
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer","minimum":1.0}}}'


def _body(request: ChatRequest, model: str = "m") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model=model, stream=False))
    return body


def test_sampling_is_said_as_options() -> None:
    request = ask(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=3,
        stop=("END",),
    )
    assert _body(request) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": False,
        "truncate": False,
        "options": {
            "num_predict": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 7,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "seed": 3,
            "stop": ["END"],
        },
    }


def test_a_conversation_with_calls_results_images_and_thoughts() -> None:
    image = "data:image/png;base64," + base64.b64encode(b"png").decode()
    messages = (
        Message("developer", (TextPart("Be brief."),)),
        Message("user", (TextPart("What is "), ImagePart(image), TextPart("this?"))),
        Message("assistant", (ReasoningPart("Look."),), tool_calls=(ToolCall("c1", "see", '{"deep": 1.50}'),)),
        Message("tool", (TextPart("a cat"),), tool_call_id="c1"),
    )
    assert _body(ChatRequest("alias", messages))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": ["cG5n"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Look.",
            "tool_calls": [{"id": "c1", "function": {"name": "see", "arguments": {"deep": 1.5}}}],
        },
        {"role": "tool", "content": "a cat", "tool_name": "see", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": ResponseFormat("json_object")}, {"format": "json"}),
        (
            {"response_format": ResponseFormat("json_schema", "n", schema=Raw(SCHEMA))},
            {"format": json.loads(SCHEMA)},
        ),
        ({"response_format": ResponseFormat("text")}, {}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "high"}, {"think": True}),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"tools": (FunctionTool("f"),), "tool_choice": ToolChoice("none")}, {}),
        (
            {"tools": (FunctionTool("f", "Does f.", Raw(SCHEMA), strict=True),), "tool_choice": ToolChoice("auto")},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "Does f.", "parameters": json.loads(SCHEMA)},
                    }
                ]
            },
        ),
    ],
)
def test_what_is_said_beside_the_conversation(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _body(ask(**fields)) == _body(ask()) | expected


@pytest.mark.parametrize(("effort", "expected"), [("high", "high"), ("minimal", "low"), ("none", False)])
def test_how_hard_to_think_is_said_to_those_that_know(effort: str, expected: bool | str) -> None:
    assert _body(ask(reasoning_effort=effort), "someone/gpt-oss:20b")["think"] == expected


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (ChatRequest("m", (Message("user", (ImagePart("https://x.test/cat.png"),)),)), "messages[0].content"),
        (ChatRequest("m", (Message("user", (ImagePart("data:text/plain,x"),)),)), "messages[0].content"),
        (
            ChatRequest("m", (Message("assistant", tool_calls=(ToolCall("c", "f", "[1]"),)),)),
            "messages[0].tool_calls",
        ),
        (ask(reasoning_effort="astronomical"), "reasoning_effort"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(request_: ChatRequest, param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        encode_chat_request(request_, model="m", stream=True)
    assert refused.value.param == param


def test_a_call_cannot_be_demanded_but_the_usual_can_be_left_out() -> None:
    fitted = fit(ask(tool_choice=ToolChoice("auto"), parallel_tool_calls=True, n=1), Ollama(), drop=False)
    assert fitted.dropped == ()
    with pytest.raises(Unsupported) as refused:
        fit(ask(tool_choice=ToolChoice("required")), Ollama(), drop=False)
    assert refused.value.param == "tool_choice"
    assert fit(ask(tool_choice=ToolChoice("required", "f")), Ollama(), drop=True).dropped == ("tool_choice",)


def test_an_authors_name_is_left_out_and_named() -> None:
    request = ChatRequest("alias", (Message("user", (TextPart("Hi"),), name="Ann"),))
    fitted = fit(request, Ollama(), drop=False)
    assert fitted.dropped == ("messages[0].name",)
    assert fitted.request == ChatRequest("alias", (user_message("Hi"),))


# --- answers


def test_log_probabilities_come_in_the_shape_that_callers_know() -> None:
    line = (
        b'{"model":"m","message":{"content":"Hi"},"done":true,"logprobs":'
        b'[{"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.5}]}]}'
    )
    logprobs = parse_answer(line).choices[0].logprobs
    assert logprobs is not None
    said = json.loads(bytes(logprobs))
    assert said["content"][0]["token"] == "Hi"
    assert said["content"][0]["top_logprobs"][0]["logprob"] == -0.5


def test_the_length_was_reached() -> None:
    line = b'{"model":"m","message":{"content":"Hi"},"done":true,"done_reason":"length"}'
    assert parse_answer(line).choices[0].finish_reason == "length"


def test_nothing_after_the_last_line_takes_the_answer_back() -> None:
    reader = LineReader()
    reader.read(b'{"model":"m","message":{"content":"Hi"},"done":true,"prompt_eval_count":1,"eval_count":1}')
    assert reader.read(b'{"error":"too late"}') == []
    assert reader.read(b'{"message":{"content":"more"},"done":false}') == []
    assert reader.end().usage.reported


@pytest.mark.parametrize(
    "line", [b'{"model":"m","done":true}', b"[1]", b'"x"', b'{"model":"m","message":{"content":"a"},"done":false}']
)
def test_a_plain_answer_that_is_none(line: bytes) -> None:
    with pytest.raises(Transient) as failed:
        parse_answer(line)
    assert failed.value.cause == "garbage"


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, "registry.ollama.ai/library/x does not support tools", Unsupported),
        (400, 'think value "high" is not supported for this model', Unsupported),
        (400, "input length exceeds maximum context length", TooLong),
        (404, 'model "x" not found, try pulling it first', Misconfigured),
        (429, "slow down", RateLimitedUpstream),
        (429, "you've reached your hourly usage limit", QuotaExceeded),
        (400, "invalid format", Rejected),
        (503, "server busy", Transient),
    ],
)
def test_what_an_error_means(status: int, words: str, kind: type[ProviderError]) -> None:
    error = classify(status=status, headers={}, body=json.dumps({"error": words}).encode())
    assert type(error) is kind
    assert error.words == words


def test_what_an_error_line_means() -> None:
    assert type(classify_line(b'{"error":"CUDA error"}')) is Transient
    assert type(classify_line(b'{"error":"slow down","status_code":429}')) is RateLimitedUpstream


def test_a_line_that_never_ends_is_refused() -> None:
    parser = LineParser(max_line_bytes=8)
    assert parser.feed(b"12345678\n\r\n") == [b"12345678"]
    with pytest.raises(LineTooLarge):
        parser.feed(b"123456789")


# --- the official client


@pytest.fixture
def upstream() -> Iterator[OllamaUpstream]:
    with OllamaUpstream() as running:
        yield running


def test_the_official_client_understands_the_fake(upstream: OllamaUpstream) -> None:
    client = ollama.Client(host=upstream.base_url)
    assert [model.model for model in client.list().models] == ["fake-model"]
    plain = client.chat("m", messages=[{"role": "user", "content": "Hello"}])
    assert plain.message.content == "You said: Hello"
    assert plain.done_reason == "stop"
    upstream.script(reasoning="Hm.", tool_calls=[{"id": "c", "name": "f", "arguments": '{"a":1}'}])
    parts = list(client.chat("m", messages=[{"role": "user", "content": "Hello"}], stream=True))
    assert "".join(part.message.content or "" for part in parts) == "You said: Hello"
    assert "".join(part.message.thinking or "" for part in parts) == "Hm."
    assert [call.function.arguments for part in parts for call in part.message.tool_calls or ()] == [{"a": 1}]
    assert parts[-1].eval_count == upstream.records[-1].completion_tokens
    assert client.embed("m", input=["a", "b"]).embeddings == [vector_of("a", 8), vector_of("b", 8)]
    upstream.script(fault="error_frame")
    with pytest.raises(ollama.ResponseError):
        list(client.chat("m", messages=[{"role": "user", "content": "Hello"}], stream=True))
