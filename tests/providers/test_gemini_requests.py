"""Requests in Gemini's own format: what is asked goes out, and what can't be said is named."""

import json
from typing import Any

import pytest
from msgspec import Raw

from providers.adapters.gemini.request_out import NO_SIGNATURE, encode_chat_request
from providers.errors import (
    Unsupported,
)
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
PROOF = Extras("gemini", {"thoughtSignature": Raw(b'"c2ln"')})


def _body(request: ChatRequest, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model=model))
    return body


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


def test_what_a_result_shows_goes_beside_what_it_says() -> None:
    result = Message("tool", (TextPart("a cat"), ImagePart("data:image/png;base64,cG5n")), tool_call_id="c1")
    (content,) = _body(ChatRequest("alias", (result,)))["contents"]
    assert content["parts"] == [
        {"functionResponse": {"name": "c1", "response": {"output": "a cat"}, "id": "c1"}},
        {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
    ]


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
        (ChatRequest("m", (Message("system", (ImagePart("data:image/png;base64,cG5n"),)),)), "messages[0]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(request_: ChatRequest, param: str | None) -> None:
    with pytest.raises(Unsupported) as refused:
        _body(request_)
    assert refused.value.param == (param or "messages[0].tool_calls")


def test_a_text_beside_calls_that_says_nothing_is_not_sent() -> None:
    called = Message("assistant", (TextPart(""),), tool_calls=(ToolCall("c", "f", "{}"),))
    result = Message("tool", (TextPart("r"),), tool_call_id="c")
    parts = _body(ChatRequest("m", (called, result)))["contents"][0]["parts"]
    assert [next(iter(part)) for part in parts] == ["functionCall"]
