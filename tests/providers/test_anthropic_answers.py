"""Answers in Anthropic's format: what an upstream said is what a caller of the format gets, streamed or not; and what of
any other upstream becomes of them."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from kernel.errors import NotFound, PaymentRequired, Unavailable, UpstreamFailed, UpstreamTimeout
from providers.adapters.anthropic.answer_in import EventReader, parse_answer
from providers.adapters.anthropic.answer_out import PING, StreamWriter, encode_answer
from providers.adapters.anthropic.errors import encode_error, status_of
from providers.adapters.openai.answer_in import parse_answer as parse_openai_answer
from providers.adapters.openai.answer_out import encode_answer as encode_for_openai
from providers.assemble import Assembler, events_of
from providers.sse import SSEParser
from providers.types import (
    ChatAnswer,
    ChatRequest,
    ChoiceFinished,
    Extras,
    Finished,
    OpaqueDelta,
    ReasoningDelta,
    Started,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    user_message,
)

pytestmark = pytest.mark.no_database

JSON = dict[str, Any]
ID = UUID(int=7)
ASKED = ChatRequest("alias", (user_message("Hello"),), stream=True)

word = st.text(min_size=1, max_size=12)
json_object = st.dictionaries(word, st.none() | st.booleans() | st.integers() | word, max_size=3)
block = (
    st.fixed_dictionaries({"type": st.just("text"), "text": word})
    | st.fixed_dictionaries(
        {"type": st.just("text"), "text": word, "citations": st.lists(json_object, min_size=1, max_size=2)}
    )
    | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text(max_size=12), "signature": word})
    | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": word})
    | st.fixed_dictionaries(
        {"type": st.just("tool_use"), "id": word, "name": word, "input": json_object},
        optional={"caller": st.just({"type": "direct"})},
    )
    | st.fixed_dictionaries({"type": st.just("server_tool_use"), "id": word, "name": word, "input": json_object})
    | st.fixed_dictionaries({"type": st.just("web_search_tool_result"), "tool_use_id": word, "content": json_object})
)
message = st.fixed_dictionaries(
    {
        "content": st.lists(block, max_size=7),
        "stop_reason": st.sampled_from(
            ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "something_new"]
        ),
        "stop_sequence": st.none() | word,
        "usage": st.fixed_dictionaries(
            {
                "input_tokens": st.integers(1, 1_000),
                "cache_creation_input_tokens": st.integers(0, 1_000),
                "cache_read_input_tokens": st.integers(0, 1_000),
                "output_tokens": st.integers(100, 1_000),
            },
            optional={
                "output_tokens_details": st.fixed_dictionaries({"thinking_tokens": st.integers(1, 100)}),
                "service_tier": st.just("priority"),
                "server_tool_use": st.just({"web_search_requests": 2}),
                "cache_creation": st.just({"ephemeral_1h_input_tokens": 3}),
            },
        ),
    },
    optional={"stop_details": st.just({"type": "refusal", "category": "bio"})},
)


def whole(said: JSON) -> bytes:
    """The message as an upstream answers it whole."""
    return json.dumps({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", **said}).encode()


def streamed(said: JSON) -> Iterator[bytes]:
    """The same as it streams it: the data of each event."""
    usage = said["usage"] | {"output_tokens": 1}
    yield _data("message_start", message={"model": "m", "content": [], "usage": usage})
    yield _data("ping")
    for index, found in enumerate(said["content"]):
        started, deltas = _pieces(found)
        yield _data("content_block_start", index=index, content_block=started)
        for delta in deltas:
            yield _data("content_block_delta", index=index, delta=delta)
        yield _data("content_block_stop", index=index)
    delta = {key: said[key] for key in ("stop_reason", "stop_sequence", "stop_details") if key in said}
    yield _data("message_delta", delta=delta, usage=said["usage"])
    yield _data("message_stop")


def _data(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _pieces(found: JSON) -> tuple[JSON, list[JSON]]:
    match found["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": citation} for citation in found.get("citations", [])]
            empty: JSON = {"type": "text", "text": ""} | ({"citations": []} if cited else {})
            return empty, cited + [{"type": "text_delta", "text": half} for half in _halves(found["text"])]
        case "thinking":
            halves = [{"type": "thinking_delta", "thinking": half} for half in _halves(found["thinking"])]
            signed = {"type": "signature_delta", "signature": found["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*halves, signed]
        case "tool_use" | "server_tool_use":
            halves = _halves(json.dumps(found["input"]))
            return {**found, "input": {}}, [{"type": "input_json_delta", "partial_json": half} for half in halves]
    return found, []


def read(said: JSON, *, stream: bool) -> list[StreamEvent]:
    """The events that the pipeline gets of an answer."""
    if not stream:
        return list(events_of(parse_answer(whole(said))))
    reader = EventReader()
    return [*(event for data in streamed(said) for event in reader.read(data)), reader.end()]


def answer_of(events: list[StreamEvent]) -> ChatAnswer:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.answer()


def written(events: list[StreamEvent], *, stream: bool) -> JSON:
    """The message that a caller gets, put together if it was streamed."""
    if not stream:
        out: JSON = json.loads(encode_answer(answer_of(events), answer_id="msg_1", model="alias"))
        return out
    writer = StreamWriter(asked=ASKED, request_id=ID)
    return put_together(b"".join(map(writer.write, events)))


def put_together(sent: bytes) -> JSON:
    """A stream as a client reads it; the events have to come in the order of the format."""
    parser = SSEParser()
    out: JSON = {}
    opened: int | None = None
    buffer = ""
    for found in parser.feed(sent):
        data = json.loads(found.data)
        assert found.event == data["type"]
        match data["type"]:
            case "message_start":
                assert not out
                out = data["message"]
            case "content_block_start":
                assert opened is None
                assert data["index"] == len(out["content"])
                opened, buffer = data["index"], ""
                out["content"].append(data["content_block"])
            case "content_block_delta":
                assert data["index"] == opened
                buffer += _apply(out["content"][opened], data["delta"])
            case "content_block_stop":
                assert data["index"] == opened
                if buffer:
                    out["content"][opened]["input"] = json.loads(buffer)
                opened = None
            case "message_delta":
                assert opened is None
                out |= data["delta"]
                out["usage"] |= data["usage"]
            case "message_stop":
                out["stopped"] = True
    assert out.pop("stopped")
    return out


def _apply(to: JSON, delta: JSON) -> str:
    match delta["type"]:
        case "text_delta":
            to["text"] += delta["text"]
        case "thinking_delta":
            to["thinking"] += delta["thinking"]
        case "signature_delta":
            to["signature"] = delta["signature"]
        case "citations_delta":
            to.setdefault("citations", []).append(delta["citation"])
        case "input_json_delta":
            return str(delta["partial_json"])
    return ""


ways = pytest.mark.parametrize("said_streamed", [False, True], ids=["said whole", "said streamed"])
asked_ways = pytest.mark.parametrize("asked_streamed", [False, True], ids=["asked whole", "asked streamed"])


@ways
@asked_ways
@settings(max_examples=40)
@given(said=message)
def test_an_answer_in_its_own_format_loses_nothing(said: JSON, said_streamed: bool, asked_streamed: bool) -> None:
    got = written(read(said, stream=said_streamed), stream=asked_streamed)
    assert got["content"] == said["content"]
    assert got["stop_reason"] == said["stop_reason"] or said["stop_reason"] == "something_new"
    assert got["stop_sequence"] == said["stop_sequence"]
    assert got.get("stop_details") == said.get("stop_details")
    assert got["usage"] == said["usage"]
    assert (got["type"], got["role"], got["model"]) == ("message", "assistant", "alias")


def test_a_stream_begins_with_what_its_own_format_says_was_read() -> None:
    counts = {
        "input_tokens": 21,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 2_000,
        "output_tokens": 1,
    }
    begun = EventReader().read(_data("message_start", message={"model": "m", "usage": counts}))
    writer = StreamWriter(asked=ASKED, request_id=ID)
    (frame,) = SSEParser().feed(b"".join(map(writer.write, begun)))
    assert json.loads(frame.data)["message"]["usage"] == counts


@ways
@settings(max_examples=40)
@given(said=message)
def test_what_other_formats_get_of_it_are_its_texts_thoughts_and_calls(said: JSON, said_streamed: bool) -> None:
    (choice,) = answer_of(read(said, stream=said_streamed)).choices
    of = lambda kind: [found for found in said["content"] if found["type"] == kind]  # noqa: E731
    assert choice.text == "".join(found["text"] for found in of("text"))
    assert choice.reasoning == "".join(found["thinking"] for found in of("thinking"))
    assert [(call.id, call.name, json.loads(call.arguments or "{}")) for call in choice.tool_calls] == [
        (found["id"], found["name"], found["input"]) for found in of("tool_use")
    ]
    for_openai = json.loads(encode_for_openai(ChatAnswer("m", (choice,), Usage()), answer_id="x", created=1, model="a"))
    assert "citations" not in json.dumps(for_openai) or "citations" in json.dumps(said)


def test_an_answer_that_was_changed_since_is_told_as_it_is_now() -> None:
    said = {
        "content": [
            {"type": "text", "text": "The card is 4111."},
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "text", "text": "Good?"},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    answer = parse_answer(whole(said))
    assert answer.choices[0].pieces
    masked = replace(answer, choices=(replace(answer.choices[0], text="The card is [masked].Good?"),))
    out = json.loads(encode_answer(masked, answer_id="x", model="a"))
    assert [found.get("text") for found in out["content"]] == [None, "The card is [masked].Good?"]
    assert b"4111" not in encode_answer(masked, answer_id="x", model="a")


def test_an_answer_in_the_usual_order_needs_no_pieces() -> None:
    events: list[StreamEvent] = [
        Started("m"),
        ReasoningDelta("Hm."),
        TextDelta("a"),
        TextDelta("b"),
        ToolCallDelta(0, "{}", "1", "f"),
        ToolCallDelta(1, "{}", "2", "f"),
        ToolCallDelta(0, " "),
        ChoiceFinished("tool_calls"),
        Finished("tool_calls", Usage()),
    ]
    assert answer_of(events).choices[0].pieces == ()


# --- answers of other formats


@asked_ways
def test_an_answer_of_another_format(asked_streamed: bool) -> None:
    foreign = Extras("openai.chat", {})
    events: list[StreamEvent] = [
        Started("gpt", foreign),
        ReasoningDelta("Hm.", extras=foreign),
        TextDelta("Grüße "),
        TextDelta("🎈"),
        OpaqueDelta(foreign),
        ToolCallDelta(0, '{"a"', "1", "f"),
        ToolCallDelta(0, ":1}"),
        ToolCallDelta(1, "", "2", "g"),
        ChoiceFinished("tool_calls"),
        Finished("tool_calls", Usage(input=5, cache_read=2, output=3, reasoning=4)),
    ]
    assert written(events, stream=asked_streamed) == {
        "id": f"msg_{ID.hex}" if asked_streamed else "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "alias",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            {"type": "text", "text": "Grüße 🎈"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "2", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }


@pytest.mark.parametrize(
    ("reason", "said"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
@asked_ways
def test_why_another_formats_answer_ended(reason: Any, said: str, asked_streamed: bool) -> None:
    events: list[StreamEvent] = [Started("m"), ChoiceFinished(reason), Finished(reason, Usage())]
    out = written(events, stream=asked_streamed)
    assert (out["stop_reason"], out["content"]) == (said, [])


CALLED = {0: ("{}", "f"), 1: ('{"city":"Köln"}', "g"), 2: ("{}", "h")}
"""Calls, by their numbers: arguments and name."""


@pytest.mark.parametrize("order", ["000111222", "012012012", "010210212", "011100222"])
def test_calls_that_come_interleaved_are_told_one_after_the_other(order: str) -> None:
    events: list[StreamEvent] = [Started("m")]
    for place, call in enumerate(map(int, order)):
        arguments, name = CALLED[call]
        nth = order[:place].count(str(call))
        pieces = ("", *_halves(arguments))
        events.append(ToolCallDelta(call, pieces[nth], f"c{call}" if nth == 0 else None, name if nth == 0 else None))
    events += [TextDelta("So."), ChoiceFinished("tool_calls"), Finished("tool_calls", Usage())]
    out = written(events, stream=True)
    assert out["content"] == [
        {"type": "tool_use", "id": "c0", "name": "f", "input": {}},
        {"type": "tool_use", "id": "c1", "name": "g", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "c2", "name": "h", "input": {}},
        {"type": "text", "text": "So."},
    ]


@asked_ways
def test_an_answer_with_calls_ends_for_them_whatever_its_format_says(asked_streamed: bool) -> None:
    calls = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    # So OpenAI ends an answer when the function was demanded by its name.
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": None, "tool_calls": calls}}
    events = list(events_of(parse_openai_answer(json.dumps({"model": "m", "choices": [choice]}).encode())))
    assert written(events, stream=asked_streamed)["stop_reason"] == "tool_use"


@asked_ways
@pytest.mark.parametrize("pieces", [[""], ["", '{"query": "we'], []], ids=["empty", "cut short", "none"])
def test_a_server_tools_input_that_never_came_whole_spoils_nothing(pieces: list[str], asked_streamed: bool) -> None:
    block = {"type": "mcp_tool_use", "id": "s", "name": "now", "server_name": "clock", "input": {}}
    reader = EventReader()
    said = [
        _data("message_start", message={"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}),
        _data("content_block_start", index=0, content_block=block),
        *(
            _data("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
            for piece in pieces
        ),
        _data("content_block_stop", index=0),
        _data("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 5}),
        _data("message_stop"),
    ]
    events = [*(event for data in said for event in reader.read(data)), reader.end()]
    assert written(events, stream=asked_streamed)["content"] == [block]


def test_arguments_that_are_no_object_are_handed_over_as_such() -> None:
    for arguments in ("{broken", '"text"', "[1]"):
        events: list[StreamEvent] = [ToolCallDelta(0, arguments, "1", "f"), Finished("tool_calls", Usage())]
        out = written(events, stream=False)
        assert out["content"][0]["input"] == {"INVALID_JSON": arguments}


# --- errors, pings


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NotFound(), 404, "not_found_error"),
        (PaymentRequired(), 402, "billing_error"),
        (UpstreamFailed(), 502, "api_error"),
        (UpstreamTimeout(), 504, "timeout_error"),
        (Unavailable(), 529, "overloaded_error"),
    ],
)
def test_our_errors_in_this_format(error: Any, status: int, kind: str) -> None:
    assert status_of(error) == status
    out = json.loads(encode_error(error, request_id=ID))
    assert out == {
        "type": "error",
        "error": {"type": kind, "message": error.message, "details": {"error_code": error.code}},
        "request_id": str(ID),
    }
    (frame,) = SSEParser().feed(StreamWriter(asked=ASKED, request_id=ID).error(error))
    assert (frame.event, json.loads(frame.data)) == ("error", out)


def test_a_ping_is_an_event_of_the_format() -> None:
    (ping,) = SSEParser().feed(PING)
    assert (ping.event, json.loads(ping.data)) == ("ping", {"type": "ping"})


def test_an_answer_that_came_over_many_lines_is_streamed_in_frames_of_one() -> None:
    citation = {"type": "char_location", "cited_text": "a\nb", "document_index": 0}
    content = [
        {"type": "text", "text": "Hi\n", "citations": [citation]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
    ]
    body = {
        "model": "m",
        "content": content,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    writer = StreamWriter(asked=ASKED, request_id=ID)
    frames = b"".join(map(writer.write, events_of(parse_answer(json.dumps(body, indent=2).encode()))))
    for frame in frames.removesuffix(b"\n\n").split(b"\n\n"):
        _, data = frame.split(b"\n")
        json.loads(data.removeprefix(b"data: "))
    assert json.dumps(citation["cited_text"]).encode() in frames


@pytest.mark.parametrize("asked_streamed", [False, True])
def test_a_refusal_of_another_format_is_a_text(asked_streamed: bool) -> None:
    said = (b'"I can"', b'"\'t."')
    pieces = [OpaqueDelta(Extras("openai.chat", {"refusal": Raw(piece)})) for piece in said]
    events = [Started("up"), *pieces, ChoiceFinished("stop"), Finished("stop", Usage(input=1, output=2))]
    out = written(events, stream=asked_streamed)
    assert out["content"] == [{"type": "text", "text": "I can't."}]
    assert out["stop_reason"] == "refusal"
