"""What belongs to responses and is sent to chat completions all the same, and calls of custom tools."""

import json
from typing import Any

import pytest

from kernel.errors import InvalidRequest
from providers.adapters.gemini.adapter import Gemini
from providers.adapters.openai.answer_in import ChunkReader, parse_answer
from providers.adapters.openai.answer_out import StreamWriter, encode_answer
from providers.adapters.openai.dialect import COMPATIBLE
from providers.adapters.openai.request_out import encode_chat_request
from providers.errors import Unsupported
from providers.gateway.openai import ChatCompletions
from providers.translate import fit
from providers.types import ChatRequest, Message, TextPart, user_message

pytestmark = pytest.mark.no_database

GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}
FLAT: dict[str, Any] = {"type": "custom", "name": "patch", "description": "d", "format": GRAMMAR}
NESTED = {
    "type": "custom",
    "custom": {
        "name": "patch",
        "description": "d",
        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}},
    },
}


def read(**body: Any) -> ChatRequest:
    return ChatCompletions().parse(json.dumps({"model": "m", **body}).encode(), {})


def sent(request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model="m", dialect=COMPATIBLE, stream=False))
    return body


def test_a_body_of_responses_is_a_chat() -> None:
    request = read(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        instructions="Be brief.",
        max_output_tokens=4,
        reasoning={"effort": "low"},
        tools=[{"type": "function", "name": "f", "parameters": {}}, FLAT],
        stream=True,
        stream_options={"include_usage": True},
        store=False,
    )
    assert request.messages == (Message(role="system", content=(TextPart("Be brief."),)), user_message("Hi"))
    assert (request.max_output_tokens, request.reasoning_effort, request.stream) == (4, "low", True)
    assert request.include_usage
    assert sent(request)["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}, NESTED]
    assert not read(input="x", stream=True).include_usage


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"input": None}, "messages"),
        ({"messages": "x", "input": [{"content": "x"}]}, "input[0].role"),
        ({"input": "x", "previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
def test_what_is_wrong_with_it_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        read(**body)
    assert wrong.value.details == {"param": param}


def test_flat_and_nested_custom_tools_are_the_same() -> None:
    messages = [{"role": "user", "content": "x"}]
    flat = sent(read(messages=messages, tools=[FLAT], tool_choice={"type": "custom", "name": "patch"}))
    nested = sent(read(messages=messages, tools=[NESTED], tool_choice={"type": "custom", "custom": {"name": "patch"}}))
    assert flat == nested
    assert flat["tools"] == [NESTED]
    plain = {"type": "custom", "name": "p", "format": {"type": "text"}}
    assert sent(read(messages=messages, tools=[plain]))["tools"] == [
        {"type": "custom", "custom": {"name": "p", "format": {"type": "text"}}}
    ]


def test_texts_may_have_the_names_they_have_in_responses() -> None:
    request = read(messages=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]}])
    assert request.messages == (user_message("x"),)


def test_top_k_is_known() -> None:
    request = read(messages=[{"role": "user", "content": "x"}], top_k=7)
    assert request.top_k == 7
    assert request.extras is None
    assert sent(request)["top_k"] == 7


CALL = {"id": "call_1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}


def test_a_call_of_a_custom_tool_comes_through() -> None:
    choice = {"index": 0, "message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
    answer = parse_answer(json.dumps({"model": "m", "choices": [choice]}).encode())
    body = json.loads(encode_answer(answer, answer_id="a", created=1, model="m"))
    assert body["choices"][0]["message"]["tool_calls"] == [CALL]


def test_a_streamed_call_of_a_custom_tool_comes_through() -> None:
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "patch", "input": ""}},
        {"index": 0, "custom": {"input": "*** "}},
        {"index": 0, "custom": {"input": "Begin"}},
    ]
    reader = ChunkReader(choices=1)
    writer = StreamWriter(answer_id="a", created=1, model="m", include_usage=False)
    seen = []
    for piece in pieces:
        chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}
        for event in reader.read(json.dumps(chunk).encode()):
            for frame in writer.write(event).split(b"\n\n"):
                if b"tool_calls" in frame:
                    seen.append(json.loads(frame.removeprefix(b"data: "))["choices"][0]["delta"]["tool_calls"][0])
    assert seen == pieces


def test_an_answer_that_is_sent_back_as_it_came_goes_to_any_provider() -> None:
    function = {"name": "f", "arguments": "{}", "parsed_arguments": {"a": 1}}
    call = {"id": "c", "type": "function", "index": 0, "function": function}
    answer = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "reasoning_content": "Hm."}
    request = read(messages=[{"role": "user", "content": "x"}, answer | {"tool_calls": [call]}], logit_bias={})
    fitted = fit(request, Gemini(), drop=False)
    assert fitted.request == read(
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        ]
    )
    assert fitted.dropped == ("messages[1].reasoning_content", "messages[1].tool_calls[0].index")


def test_an_earlier_refusal_is_a_text_to_other_formats() -> None:
    request = read(messages=[{"role": "assistant", "content": None, "refusal": "I won't."}])
    fitted = fit(request, Gemini(), drop=False).request
    assert isinstance(fitted, ChatRequest)
    assert fitted.messages == (Message(role="assistant", content=(TextPart("I won't."),)),)


def test_what_changes_an_answer_is_still_refused_by_name() -> None:
    request = read(messages=[{"role": "user", "content": "x"}], modalities=["audio"])
    with pytest.raises(Unsupported) as refused:
        fit(request, Gemini(), drop=False)
    assert refused.value.param == "modalities"
