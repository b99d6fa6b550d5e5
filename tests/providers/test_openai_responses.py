"""Responses in values: items into messages, answers into items and events."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InvalidRequest
from providers.adapters.openai import WIRE_FORMAT as CHAT_FORMAT
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai_responses import WIRE_FORMAT
from providers.adapters.openai_responses.ids import response_id, response_name, response_of_item
from providers.adapters.openai_responses.items_in import seal
from providers.adapters.openai_responses.request_in import chat_request, input_items, parse_response_request
from providers.adapters.openai_responses.stream_out import ResponseWriter
from providers.errors import Unsupported, UpstreamFailed
from providers.translate import fit
from providers.types import (
    ChatRequest,
    ChoiceFinished,
    Extras,
    Finished,
    FinishReason,
    FunctionTool,
    Message,
    OpaqueDelta,
    Raw,
    ReasoningDelta,
    ReasoningPart,
    ResponseFormat,
    Started,
    StreamEvent,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    Usage,
    user_message,
)

pytestmark = pytest.mark.no_database

ID = uuid.UUID(int=7)


def parsed(**body: Any) -> ChatRequest:
    return chat_request(parse_response_request(json.dumps({"model": "m", "input": "x", **body}).encode()))


def test_what_has_a_value_becomes_one() -> None:
    request = parsed(
        instructions="Be brief.",
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        tools=[{"type": "function", "name": "f", "parameters": {"a": 1}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "s", "schema": {}, "strict": True}, "verbosity": "medium"},
        reasoning={"effort": "low", "summary": "auto"},
        stream=True,
        truncation="disabled",
        background=False,
        include=["reasoning.encrypted_content"],
        store=False,
        metadata={"a": "b"},
        max_tool_calls=3,
    )
    assert request == ChatRequest(
        model="m",
        messages=(Message(role="system", content=(TextPart("Be brief."),)), user_message("x")),
        max_output_tokens=5,
        temperature=0.5,
        top_p=0.9,
        logprobs=True,
        top_logprobs=2,
        tools=(FunctionTool("f", parameters=Raw(b'{"a": 1}'), strict=True),),
        tool_choice=ToolChoice("required", "f"),
        parallel_tool_calls=False,
        response_format=ResponseFormat("json_schema", "s", schema=Raw(b"{}"), strict=True),
        reasoning_effort="low",
        stream=True,
        include_usage=True,
    )


def test_what_means_the_same_in_chat_completions_goes_on_to_them() -> None:
    request = parsed(user="u", prompt_cache_key="k", text={"verbosity": "low"})
    assert request.extras == Extras(
        CHAT_FORMAT, {"user": Raw(b'"u"'), "prompt_cache_key": Raw(b'"k"'), "verbosity": Raw(b'"low"')}
    )
    assert fit(request, OpenAICompatible(), drop=False).request == request


@pytest.mark.parametrize(
    "fields",
    [
        {"background": True},
        {"conversation": "c"},
        {"prompt": {"id": "p"}},
        {"context_management": [{}]},
        {"include": ["x"]},
        {"truncation": "auto"},
        {"new": 1, "user": "u"},
    ],
)
def test_what_has_none_is_refused_by_name_or_dropped_by_name(fields: dict[str, Any]) -> None:
    request = parsed(**fields)
    name = next(iter(fields))
    with pytest.raises(Unsupported) as refused:
        fit(request, OpenAICompatible(), drop=False)
    assert refused.value.param == name
    assert name in fit(request, OpenAICompatible(), drop=True).dropped


ITEMS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "I'll look.", "annotations": [], "logprobs": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
    {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
    {"type": "message", "role": "assistant", "content": "Both."},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "No more."}]},
    {"role": "developer", "content": [{"type": "input_text", "text": "Go on."}]},
]


def test_a_turn_of_the_model_is_one_message_again() -> None:
    assert parsed(input=ITEMS).messages == (
        user_message("Weather?"),
        Message(
            role="assistant",
            content=(ReasoningPart("hm"), TextPart("I'll look.")),
            tool_calls=(ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "")),
        ),
        Message(role="tool", content=(TextPart("sun"),), tool_call_id="c1"),
        Message(role="tool", content=(TextPart("rain"),), tool_call_id="c2"),
        Message(role="assistant", content=(TextPart("Both."),)),
        Message(role="assistant", content=(TextPart("No more."),)),
        Message(role="developer", content=(TextPart("Go on."),)),
    )


def test_kept_items_say_the_same_and_have_names() -> None:
    request = parsed(input=ITEMS)
    kept = input_items([Raw(json.dumps(item).encode()) for item in ITEMS], ID)
    again = [json.loads(bytes(item)) for item in kept]
    assert parsed(input=again).messages == request.messages
    assert len({item["id"] for item in again}) == len(ITEMS)
    assert again[1]["id"] == "rs_1"
    assert response_of_item(again[0]["id"]) == ID
    assert again[0]["content"] == [{"type": "input_text", "text": "Weather?"}]
    assert again[7]["content"] == [{"type": "output_text", "text": "Both.", "annotations": []}]


def test_thoughts_carry_what_their_own_format_wants_back() -> None:
    carried = Extras("anthropic.messages", {"signature": Raw(b'"sig"')})
    item: dict[str, Any] = {"type": "reasoning", "summary": [], "encrypted_content": seal(carried)}
    (message,) = parsed(input=[item]).messages
    assert message.content == (ReasoningPart("", carried),)
    for strange in ("gAAAAA==", "not base64", "bm8="):
        (message,) = parsed(input=[{**item, "encrypted_content": strange}]).messages
        (part,) = message.content
        assert part.extras is not None
        assert part.extras.wire_format == WIRE_FORMAT


@pytest.mark.parametrize(
    ("item", "named"),
    [
        ({"type": "web_search_call", "id": "ws_1"}, "(web_search_call)"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "(input_file)"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "(input_image)"),
        ({"role": "user", "content": "x", "strange": 1}, "strange"),
    ],
)
def test_items_that_no_upstream_can_be_told_are_refused_by_name(item: dict[str, Any], named: str) -> None:
    with pytest.raises(Unsupported) as refused:
        fit(parsed(input=[item]), OpenAICompatible(), drop=False)
    assert refused.value.param is not None
    assert named in refused.value.param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": [{"role": "boss", "content": "x"}]}, "input[0].role"),
        ({"model": "m", "input": [{"role": "user"}]}, "input[0].content"),
        ({"model": "m", "input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"model": "m", "input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"model": "m", "input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"model": "m", "input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"model": "m", "input": "x", "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"model": "m", "input": "x", "text": {"format": {"type": "poem"}}}, "text.format.type"),
        ({"model": "m", "input": "x", "metadata": {"a": 1}}, "metadata[...]"),
        ({"model": "m", "input": "x", "temperature": 9}, "temperature"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        chat_request(parse_response_request(json.dumps(body).encode()))
    assert wrong.value.details == {"param": param}


@given(st.binary(max_size=60) | st.dictionaries(st.text(), st.integers()).map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_response_request(body)


def test_names_are_read_back() -> None:
    assert response_id(response_name(ID)) == ID
    for name in ("", "resp_", "resp_x", response_name(ID) + "0", "chatcmpl-1", "RESP_" + ID.hex):
        assert response_id(name) is None


def writer(**body: Any) -> ResponseWriter:
    asked = parse_response_request(json.dumps({"model": "alias", "input": "x", **body}).encode())
    return ResponseWriter(asked, response_id=ID, created=1)


def frames(written: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in written.split(b"\n\n")[:-1]:
        event, data = frame.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert event == b"event: " + found[-1]["type"].encode()
    return found


SIGNED = Extras("anthropic.messages", {"signature": Raw(b'"s"')})
EVENTS: tuple[StreamEvent, ...] = (
    Started("upstream"),
    ReasoningDelta("hm", extras=None),
    ReasoningDelta("", extras=SIGNED),
    TextDelta("On"),
    TextDelta("e", logprobs=Raw(b'{"content":[{"token":"e","logprob":-1.0}]}')),
    OpaqueDelta(Extras(CHAT_FORMAT, {"refusal": Raw(b'"No."')})),
    ToolCallDelta(0, "", "c0", "f"),
    ToolCallDelta(1, "{", "c1", "g"),
    ToolCallDelta(0, '{"a":1}'),
    ToolCallDelta(1, "}"),
    TextDelta("another choice", index=1),
    ChoiceFinished("tool_calls"),
    Finished("tool_calls", Usage(1, 2, 3, 4, 5)),
)


def test_a_stream_ends_with_the_response_that_its_events_made() -> None:
    streamed = writer(tools=[{"type": "function", "name": "f"}])
    said = frames(b"".join(streamed.write(event) for event in EVENTS))
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    response = said[-1]["response"]
    assert said[-1]["type"] == "response.completed"
    assert response["id"] == response_name(ID)
    assert response["output"] == [event["item"] for event in said if event["type"] == "response.output_item.done"]
    thought, message, one, two = response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "encrypted_content" not in thought
    text, refusal = message["content"]
    assert (text["text"], text["logprobs"]) == ("One", [{"token": "e", "logprob": -1.0}])
    assert refusal == {"type": "refusal", "refusal": "No."}
    assert [(call["call_id"], call["name"], call["arguments"]) for call in (one, two)] == [
        ("c0", "f", '{"a":1}'),
        ("c1", "g", "{}"),
    ]
    assert response["usage"] == {
        "input_tokens": 6,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 15,
    }
    assert streamed.finished is not None
    assert streamed.finished.sealed == {thought["id"]: seal(SIGNED)}


def test_every_opening_has_its_end() -> None:
    said = frames(b"".join(map(writer().write, EVENTS)))
    kinds = [event["type"] for event in said]
    for opening, closing in (
        ("output_item.added", "output_item.done"),
        ("content_part.added", "content_part.done"),
        ("reasoning_summary_part.added", "reasoning_summary_part.done"),
    ):
        assert kinds.count(f"response.{opening}") == kinds.count(f"response.{closing}") > 0
    for field, done in (("output_text", "text"), ("function_call_arguments", "arguments")):
        for end in (event for event in said if event["type"] == f"response.{field}.done"):
            pieces = [
                event["delta"]
                for event in said
                if event["type"] == f"response.{field}.delta" and event["item_id"] == end["item_id"]
            ]
            assert "".join(pieces) == end[done]


def test_thoughts_show_what_they_carry_to_those_who_ask() -> None:
    said = frames(b"".join(map(writer(include=["reasoning.encrypted_content"]).write, EVENTS)))
    assert said[-1]["response"]["output"][0]["encrypted_content"] == seal(SIGNED)


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended_is_said(reason: FinishReason, status: str, why: str | None) -> None:
    events: tuple[StreamEvent, ...] = (TextDelta("x"), ChoiceFinished(reason), Finished(reason, Usage(1, output=1)))
    (*_, last) = frames(b"".join(map(writer().write, events)))
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == last["response"]["output"][0]["status"] == status
    assert (last["response"]["incomplete_details"] or {}).get("reason") == why


def test_a_failure_keeps_what_was_said() -> None:
    failing = writer()
    said = frames(failing.write(TextDelta("half")) + failing.error(UpstreamFailed("It failed.")))
    assert said[-1]["type"] == "response.failed"
    assert said[-1]["response"]["error"] == {"code": "upstream_failed", "message": "It failed."}
    (message,) = said[-1]["response"]["output"]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "half")
    assert failing.finished is None


def test_what_was_asked_is_said_back() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"a": 1.50}}]
    (_, begun) = frames(
        writer(
            instructions="I",
            tools=tools,
            tool_choice="required",
            text={"format": {"type": "json_object"}},
            reasoning={"effort": "low"},
            user="u",
            previous_response_id="resp_1",
            store=False,
        ).write(Started("upstream"))
    )
    response = begun["response"]
    assert response["status"] == "in_progress"
    assert response["tools"] == tools
    assert response["text"] == {"format": {"type": "json_object"}, "verbosity": "medium"}
    assert (response["instructions"], response["tool_choice"], response["user"]) == ("I", "required", "u")
    assert (response["previous_response_id"], response["store"]) == ("resp_1", False)
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert response["usage"] is None


def test_what_was_asked_over_many_lines_is_said_back_in_frames_of_one() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "description": "a\nb"}]
    asked = {"model": "m", "input": "x", "tools": tools, "text": {"format": {"type": "json_object"}}, "user": "u"}
    writer = ResponseWriter(parse_response_request(json.dumps(asked, indent=2).encode()), response_id=ID, created=1)
    frames = writer.write(Started("up")) + writer.write(Finished("stop", Usage(input=1)))
    for frame in frames.removesuffix(b"\n\n").split(b"\n\n"):
        _, data = frame.split(b"\n")
        assert json.loads(data.removeprefix(b"data: "))["response"]["tools"] == tools
