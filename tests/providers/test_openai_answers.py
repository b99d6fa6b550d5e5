"""Answers of an upstream that behaves, if oddly: the values are right, whatever the shape they came in."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import UpstreamFailed
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.answer_in import ChunkReader, parse_answer
from providers.adapters.openai.answer_out import DONE, StreamWriter, encode_answer
from providers.assemble import Assembler, events_of
from providers.base import Target, Timeouts
from providers.errors import Transient
from providers.sse import SSEParser
from providers.types import (
    AnswerChoice,
    ChatAnswer,
    ChatRequest,
    Extras,
    Finished,
    ModelInfo,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import SHORT, ask, until
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

TEXT = "Grüße, 世界! 👩‍👩‍👧 e\u0301 — done."
CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city": "Zürich"}'},
    {"id": "call_2", "name": "time", "arguments": "{}"},
]


async def _all(adapter: OpenAICompatible, request: ChatRequest, target: Target) -> list[StreamEvent]:
    return [event async for event in adapter.stream(request, target, SHORT)]


def _assembled(events: list[StreamEvent]) -> ChatAnswer:
    assembler = Assembler()
    for event in events:
        assembler.add(event)
    return assembler.answer()


ODDITIES: list[dict[str, Any]] = [
    {},
    {"done": False},
    {"id": False, "role": False},
    {"null_content": True, "comments": True},
    {"crlf": True, "split": 1},
    {"split": 7, "comments": True},
    {"chunk": 1},
    {"chunk": 1000},
    {"finish_reason": None},
]


@pytest.mark.parametrize("oddity", ODDITIES, ids=str)
async def test_a_stream_brings_the_text_and_the_upstreams_own_tally(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream, oddity: dict[str, Any]
) -> None:
    upstream.script(text=TEXT, reasoning="Hm.", **oddity)
    events = await _all(adapter, ask("How do you do?"), target)
    answer = _assembled(events)
    record = upstream.records[0]
    assert answer.text == TEXT == record.text
    assert answer.choices[0].reasoning == "Hm."
    assert isinstance(events[0], Started)
    assert events[-1] == Finished("stop", answer.usage)
    assert answer.usage == Usage(input=record.prompt_tokens, output=record.completion_tokens)
    assert [event for event in events if isinstance(event, TextDelta) and not event.text] == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    script=st.fixed_dictionaries(
        {},
        optional={
            "chunk": st.integers(1, 9),
            "split": st.integers(1, 40),
            "crlf": st.booleans(),
            "comments": st.booleans(),
            "done": st.booleans(),
            "null_content": st.booleans(),
        },
    ),
)
async def test_no_character_is_lost_or_changed_by_how_the_bytes_are_cut(
    upstream: OpenAIUpstream, text: str, script: dict[str, Any]
) -> None:
    upstream.reset()
    upstream.script(text=text, **script)
    adapter = OpenAICompatible()
    events = await _all(adapter, ask(), Target("x", upstream.base_url, "fake-model"))
    await adapter.close()
    assert _assembled(events).text == text == upstream.records[0].text


async def test_a_plain_answer_is_the_same_as_a_streamed_one(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(text=TEXT, reasoning="Hm.", tool_calls=CALLS, cached_tokens=1, reasoning_tokens=2)
    plain = await adapter.complete(ask(stream=False), target, SHORT)
    assert plain == _assembled(await _all(adapter, ask(), target))
    assert [(call.id, call.name, call.arguments) for call in plain.choices[0].tool_calls] == [
        (call["id"], call["name"], call["arguments"]) for call in CALLS
    ]
    assert plain.choices[0].finish_reason == "tool_calls"


async def test_meters_are_disjoint_and_add_up_to_the_upstreams(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(prompt_tokens=100, completion_tokens=50, cached_tokens=30, reasoning_tokens=20)
    usage = (await adapter.complete(ask(stream=False), target, SHORT)).usage
    assert usage == Usage(input=70, cache_read=30, output=30, reasoning=20)
    assert (usage.prompt, usage.completion) == (100, 50)


async def test_usage_that_never_comes_is_not_invented(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(usage="never")
    assert not (await adapter.complete(ask(stream=False), target, SHORT)).usage.reported
    assert not _assembled(await _all(adapter, ask(), target)).usage.reported


@pytest.mark.parametrize("tokens", [-1, 10**12])
async def test_an_impossible_report_counts_as_none(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream, tokens: int
) -> None:
    upstream.script(completion_tokens=tokens)
    assert not (await adapter.complete(ask(stream=False), target, SHORT)).usage.reported


async def test_an_upstream_that_answers_whole_when_a_stream_was_asked_is_understood(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    body = {"model": "m", "choices": [{"message": {"content": "Whole."}, "finish_reason": "stop"}]}
    answer = json.dumps(body)
    upstream.script(fault="status", status=200, body=answer)
    with pytest.raises(Transient):  # sent as application/octet-stream: nothing says it is JSON
        await _all(adapter, ask(), target)
    assert _assembled(list(events_of(parse_answer(answer.encode())))).text == "Whole."


async def test_the_upstream_gets_the_key_the_model_and_nothing_of_ours(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    await _all(adapter, ask("Hi"), target)
    record = upstream.records[0]
    assert record.headers["Authorization"] == "Bearer sk-upstream"
    assert record.body == {
        "model": "fake-model",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "sk-upstream" not in repr(target)


async def test_models_are_listed(adapter: OpenAICompatible, target: Target) -> None:
    assert await adapter.list_models(target, SHORT) == (ModelInfo("fake-model", "fake"),)


async def test_a_finished_stream_gives_its_connection_back(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    opened, others = upstream.opened, upstream.open_connections
    for _ in range(5):
        await _all(adapter, ask(), target)
        await adapter.complete(ask(stream=False), target, SHORT)
    assert upstream.opened == opened + 1
    await adapter.close()
    await until(lambda: upstream.open_connections <= others)


async def test_a_stream_that_is_left_early_ends_the_upstreams_work(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    others = upstream.open_connections
    upstream.script(text=TEXT, fault="hang", fault_after=1)
    stream = adapter.stream(ask(), target, Timeouts())
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await stream.aclose()
    await until(lambda: upstream.records[0].outcome == "disconnected")
    await until(lambda: upstream.open_connections <= others)


async def test_a_finished_answer_does_not_wait_for_usage_for_ever(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.http.USAGE_WAIT_S", 0.05)
    reader = ChunkReader(choices=1)
    reader.read(b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}')
    assert reader.finished
    assert not reader.has_usage
    upstream.script(text="x", done=False, usage="never", finish_reason="stop", hang_at_end=True)
    async with soon():
        answer = _assembled(await _all(adapter, ask(), target))
    assert answer.text == "x"


def test_what_follows_a_finished_answer_cannot_take_it_back() -> None:
    reader = ChunkReader(choices=1)
    reader.read(b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}')
    assert reader.read(b"{garbage") == []
    assert reader.end().finish_reason == "stop"


def test_the_last_report_of_usage_counts() -> None:
    reader = ChunkReader(choices=1)
    for tokens in (1, 2, 3):
        frame = {
            "choices": [{"delta": {"content": "x"}}],
            "usage": {"prompt_tokens": 9, "completion_tokens": tokens},
        }
        reader.read(json.dumps(frame).encode())
    reader.read(b'{"choices":[{"finish_reason":"length"}]}')
    assert reader.end() == Finished("length", Usage(input=9, output=3))


def test_tool_calls_without_an_index_are_told_apart_by_id() -> None:
    reader = ChunkReader(choices=1)
    assembler = Assembler()
    for call in (
        {"id": "a", "function": {"name": "f", "arguments": "{"}},
        {"function": {"arguments": "}"}},
        {"id": "b", "function": {"name": "g", "arguments": "1"}},
    ):
        for event in reader.read(json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}).encode()):
            assembler.add(event)
    calls = assembler.answer().choices[0].tool_calls
    assert calls == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "1"))


def calls_of(*pieces: dict[str, Any]) -> tuple[list[ToolCallDelta], tuple[ToolCall, ...]]:
    """What a caller hears of calls whose pieces come in a frame each, and what it comes to."""
    reader, assembler = ChunkReader(choices=1), Assembler()
    heard = []
    for piece in pieces:
        for event in reader.read(json.dumps({"choices": [{"delta": {"tool_calls": [piece]}}]}).encode()):
            assembler.add(event)
            if isinstance(event, ToolCallDelta):
                heard.append(event)
    return heard, assembler.answer().choices[0].tool_calls


@pytest.mark.parametrize("without", [{}, {"id": ""}, {"id": None}])
@pytest.mark.parametrize("place", [{"index": 0}, {}])
def test_tool_calls_without_an_id_get_one_each(without: dict[str, Any], place: dict[str, Any]) -> None:
    paris = {**place, **without, "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
    rome = {**place, **without, "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    heard, calls = calls_of(paris, rome)
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", '{"city":"Paris"}'),
        ("weather", '{"city":"Rome"}'),
    ]
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)
    assert [delta.id for delta in heard] == [call.id for call in calls]
    body = {"choices": [{"message": {"tool_calls": [paris, rome]}, "finish_reason": "tool_calls"}]}
    whole = parse_answer(json.dumps(body).encode()).choices[0].tool_calls
    assert len({call.id for call in whole if call.id}) == 2


@pytest.mark.parametrize("said", [{"id": "call_1"}, {"id": ""}])
def test_id_and_name_that_come_with_every_piece_are_told_once(said: dict[str, str]) -> None:
    pieces = ['{"city":', '"Paris"}', ""]
    heard, (call,) = calls_of(
        *({"index": 0, **said, "function": {"name": "weather", "arguments": piece}} for piece in pieces)
    )
    assert [(delta.id, delta.name) for delta in heard] == [(call.id, "weather"), (None, None), (None, None)]
    assert (call.id or "").startswith("call_")
    assert (call.name, call.arguments) == ("weather", '{"city":"Paris"}')


def test_tool_calls_of_one_index_are_told_apart_by_id() -> None:
    reader = ChunkReader(choices=1)
    assembler = Assembler()
    for call in (
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "["}},
        {"index": 0, "id": "b", "function": {"name": "g", "arguments": "1"}},
        {"index": 0, "function": {"arguments": "]"}},
        {"index": 1, "id": "b", "function": {"name": "h", "arguments": "2"}},
    ):
        for event in reader.read(json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}).encode()):
            assembler.add(event)
    calls = assembler.answer().choices[0].tool_calls
    assert calls == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "[1]"), ToolCall("b", "h", "2"))


# --- what the caller gets

RAW_LOGPROBS = msgspec.Raw(b'{"content":[{"token":"x","logprob":-0.10}]}')
OPAQUE = Extras("openai.chat", {"refusal": msgspec.Raw(b'"No."'), "annotations": msgspec.Raw(b"[1]")})
RICH = ChatAnswer(
    "up",
    (
        AnswerChoice(0, TEXT, "Hm.", (ToolCall("a", "f", "{}"),), "tool_calls", RAW_LOGPROBS, OPAQUE),
        AnswerChoice(1, "Other", finish_reason="length"),
    ),
    Usage(7, 1, 0, 5, 2),
    Extras("openai.chat", {"system_fingerprint": msgspec.Raw(b'"fp"')}),
)


def test_what_the_caller_gets_is_what_the_upstream_said_whole_or_streamed() -> None:
    whole = encode_answer(RICH, answer_id="id", created=1, model="up")
    assert parse_answer(whole) == RICH

    writer = StreamWriter(answer_id="id", created=1, model="up", include_usage=True)
    wire = b"".join(writer.write(event) for event in events_of(RICH))
    reader = ChunkReader(choices=2)
    events = [event for frame in SSEParser().feed(wire) for event in reader.read(frame.data)]
    assert _assembled([*events, reader.end()]) == RICH
    assert wire.endswith(DONE)


def test_a_function_called_in_the_legacy_way_ends_the_answer_in_that_way() -> None:
    called = {"name": "f", "arguments": "{}"}
    choice = {"index": 0, "message": {"content": None, "function_call": called}, "finish_reason": "function_call"}
    answer = parse_answer(json.dumps({"model": "m", "choices": [choice]}).encode())
    (said,) = json.loads(encode_answer(answer, answer_id="a", created=1, model="m"))["choices"]
    assert (said["finish_reason"], said["message"]["function_call"]) == ("function_call", called)

    writer = StreamWriter(answer_id="a", created=1, model="m", include_usage=False)
    reader = ChunkReader(choices=1)
    chunks = [{"delta": {"function_call": called}}, {"delta": {}, "finish_reason": "function_call"}]
    events = [event for chunk in chunks for event in reader.read(json.dumps({"choices": [chunk]}).encode())]
    assert b'"finish_reason":"function_call"' in b"".join(map(writer.write, events))


def test_extras_of_another_format_do_not_reach_the_caller() -> None:
    foreign = Extras("another", {"secret": msgspec.Raw(b"1")})
    answer = ChatAnswer("up", (AnswerChoice(0, "x", extras=foreign),), Usage(), foreign)
    assert b"secret" not in encode_answer(answer, answer_id="id", created=1, model="m")
    writer = StreamWriter(answer_id="id", created=1, model="m", include_usage=False)
    assert b"secret" not in b"".join(writer.write(event) for event in events_of(answer))


def test_usage_is_null_in_every_frame_but_its_own_and_absent_unless_asked_for() -> None:
    for asked in (True, False):
        writer = StreamWriter(answer_id="id", created=1, model="m", include_usage=asked)
        wire = b"".join(writer.write(event) for event in events_of(RICH))
        frames = [json.loads(frame.data) for frame in SSEParser().feed(wire)[:-1]]
        assert all(("usage" in frame) is asked for frame in frames)
        spent = [frame for frame in frames if frame.get("usage")]
        assert [frame["choices"] for frame in spent] == ([[]] if asked else [])
        assert all(frame["id"] == "id" and frame["object"] == "chat.completion.chunk" for frame in frames)


def test_an_error_in_mid_stream_is_a_frame_that_readers_of_the_format_understand() -> None:
    writer = StreamWriter(answer_id="id", created=1, model="m", include_usage=False)
    wire = writer.write(TextDelta("x")) + writer.error(UpstreamFailed("It broke."))
    reader = ChunkReader(choices=1)
    *said, broken = SSEParser().feed(wire)
    assert [event for frame in said for event in reader.read(frame.data)][1:] == [TextDelta("x")]
    with pytest.raises(Transient, match="It broke"):
        reader.read(broken.data)


def test_an_answer_that_came_over_many_lines_is_streamed_in_frames_of_one() -> None:
    message = {"role": "assistant", "content": "Hi\n", "annotations": [{"type": "url_citation", "url": "u"}]}
    logprobs = {"content": [{"token": "Hi\n", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    body = {"model": "m", "service_tier": "default", "choices": [choice], "prompt_filter_results": [{"a": 1}]}
    # As OpenAI itself writes what is not streamed; others with CRLF.
    for line_end in ("\n", "\r\n"):
        answer = parse_answer(json.dumps(body, indent=2).replace("\n", line_end).encode())
        writer = StreamWriter(answer_id="a", created=1, model="m", include_usage=False)
        frames = [frame.data for event in events_of(answer) for frame in SSEParser().feed(writer.write(event))]
        told = [json.loads(frame)["choices"][0] for frame in frames[:-1]]
        assert {"content": "Hi\n"} in [choice["delta"] for choice in told]
        assert logprobs in [choice.get("logprobs") for choice in told]
        whole = encode_answer(answer, answer_id="a", created=1, model="m")
        assert b"\n" not in whole
        assert json.loads(whole)["choices"][0]["message"]["content"] == "Hi\n"
