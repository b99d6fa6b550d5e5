"""Vendors' adapters against their fakes: what answers are in whatever format. Faults are in `test_faults`."""

import asyncio
import json
import struct
import time
from typing import Any

import pytest

from providers.base import DEFAULT_TIMEOUTS, Target
from providers.errors import Misconfigured, Transient, Unsupported
from providers.types import EmbeddingRequest, Finished, Started, TextDelta, Usage
from tests.fakes.upstream import vector_of
from tests.providers.conftest import SHORT, ask, until
from tests.providers.vendors import KEY, Vendor

pytestmark = [
    pytest.mark.no_database,
    pytest.mark.parametrize("vendor", ["cohere", "gemini", "ollama"], indirect=True),
]

CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city":"Zürich"}'},
    {"id": "call_2", "name": "weather", "arguments": '{"city":"北京"}'},
]
TEXT = 'Zürich, 北京 🎈 and "quotes"\nin two lines'


both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


# --- answers


@both_ways
async def test_a_text_arrives_as_it_was_sent(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text=TEXT)
    answer = await vendor.answer(ask(stream=stream), stream=stream)
    (record,) = vendor.upstream.records
    assert answer.text == TEXT == record.text
    assert answer.model == "fake-model"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.reported
    assert (answer.usage.prompt, answer.usage.completion) == (record.prompt_tokens, record.completion_tokens)
    await until(lambda: record.outcome == "complete")


async def test_a_stream_begins_with_the_model_and_ends_with_the_usage(vendor: Vendor) -> None:
    vendor.upstream.script(text="abcdefgh", chunk=2)
    events = await vendor.events(ask())
    assert isinstance(events[0], Started)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["ab", "cd", "ef", "gh"]
    assert isinstance(events[-1], Finished)
    assert not any(isinstance(event, Finished) for event in events[:-1])


@pytest.mark.parametrize("split", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("crlf", [True, False], ids=["crlf", "lf"])
async def test_bytes_may_be_split_anywhere(vendor: Vendor, split: int, crlf: bool) -> None:
    vendor.upstream.script(text=TEXT, reasoning="Hm, 北京?", tool_calls=CALLS, split=split, crlf=crlf, comments=True)
    answer = await vendor.answer(ask(), stream=True)
    assert answer.text == TEXT
    assert answer.choices[0].reasoning == "Hm, 北京?"
    assert [call.name for call in answer.choices[0].tool_calls] == ["weather", "weather"]


@both_ways
async def test_parallel_calls_keep_their_arguments_and_have_ids(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="", tool_calls=CALLS)
    choice = (await vendor.answer(ask(stream=stream), stream=stream)).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert [(call.name, json.loads(call.arguments)) for call in choice.tool_calls] == [
        ("weather", {"city": "Zürich"}),
        ("weather", {"city": "北京"}),
    ]
    assert len({call.id for call in choice.tool_calls}) == 2
    assert all(call.id for call in choice.tool_calls)


@both_ways
async def test_calls_without_ids_are_given_some(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="", tool_calls=CALLS, id=False)
    calls = (await vendor.answer(ask(stream=stream), stream=stream)).choices[0].tool_calls
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)


@both_ways
async def test_thoughts_are_told_apart_from_the_text(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="Blue.", reasoning="The sky scatters light.")
    choice = (await vendor.answer(ask(stream=stream), stream=stream)).choices[0]
    assert (choice.reasoning, choice.text) == ("The sky scatters light.", "Blue.")


@both_ways
async def test_usage_that_never_comes_is_not_made_up(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="abc", usage="never")
    answer = await vendor.answer(ask(stream=stream), stream=stream)
    assert answer.text == "abc"
    assert answer.usage == Usage(reported=False)


async def test_of_usage_that_changes_the_last_holds(vendor: Vendor) -> None:
    vendor.upstream.script(text="abcdefgh", usage="changes", prompt_tokens=77, completion_tokens=33)
    answer = await vendor.answer(ask(), stream=True)
    assert (answer.usage.prompt, answer.usage.completion) == (77, 33)


@both_ways
async def test_usage_that_cannot_be_counts_as_none(vendor: Vendor, stream: bool) -> None:
    vendor.upstream.script(text="abc", prompt_tokens=-5, completion_tokens=10**12)
    assert not (await vendor.answer(ask(stream=stream), stream=stream)).usage.reported


async def test_a_connection_serves_again_after_a_stream(vendor: Vendor) -> None:
    before = vendor.upstream.opened
    for _ in range(3):
        await vendor.events(ask())
    assert vendor.upstream.opened == before + 1


async def test_closing_a_stream_early_ends_the_upstreams_work(vendor: Vendor) -> None:
    vendor.upstream.script(text="x" * 4000, delay_ms=5)
    events = vendor.adapter.stream(ask(), vendor.target, DEFAULT_TIMEOUTS)
    async for event in events:
        if isinstance(event, TextDelta):
            break
    await events.aclose()
    await until(lambda: vendor.upstream.records[0].outcome == "disconnected")


async def test_a_stream_that_hangs_after_its_end_is_whole(vendor: Vendor) -> None:
    vendor.upstream.script(text="abc", hang_at_end=True)
    began = time.monotonic()
    answer = await vendor.answer(ask(), stream=True)
    assert answer.text == "abc"
    assert answer.usage.reported
    assert time.monotonic() - began < DEFAULT_TIMEOUTS.between_tokens_s


async def test_the_key_goes_in_a_header_and_never_in_the_address(vendor: Vendor) -> None:
    await vendor.events(ask())
    await vendor.adapter.embed(EmbeddingRequest("alias", ("a",)), vendor.target, DEFAULT_TIMEOUTS)
    wrong = Target(vendor.name, vendor.upstream.base_url, "fake-model", secret="wrong")
    with pytest.raises(Misconfigured):
        await vendor.adapter.list_models(wrong, SHORT)
    assert len(vendor.upstream.records) == 2
    for record in vendor.upstream.records:
        assert any(KEY in value for value in record.headers.values())
        assert KEY not in record.path


# --- embeddings and models


async def test_embeddings_come_in_the_order_of_their_texts(vendor: Vendor) -> None:
    inputs = tuple(f"text number {i}, 北京" for i in range(7))
    answer = await vendor.adapter.embed(
        EmbeddingRequest("alias", inputs, dimensions=16), vendor.target, DEFAULT_TIMEOUTS
    )
    assert [list(struct.unpack("<16f", vector)) for vector in answer.vectors] == [vector_of(t, 16) for t in inputs]
    assert answer.choices == ()
    assert answer.usage.prompt == sum(record.prompt_tokens for record in vendor.upstream.records) == 7 * 4
    assert answer.usage.completion == 0


async def test_token_numbers_are_refused_by_name(vendor: Vendor) -> None:
    with pytest.raises(Unsupported) as refused:
        await vendor.adapter.embed(EmbeddingRequest("alias", ((1, 2, 3),)), vendor.target, DEFAULT_TIMEOUTS)
    assert refused.value.param == "input"
    assert vendor.upstream.records == []


async def test_it_lists_its_models(vendor: Vendor) -> None:
    assert [model.id for model in await vendor.adapter.list_models(vendor.target, DEFAULT_TIMEOUTS)] == ["fake-model"]


async def test_a_stream_without_its_end_is_cut(vendor: Vendor) -> None:
    vendor.upstream.script(text="abc", done=False, finish_reason=None)
    with pytest.raises(Transient) as failed:
        await vendor.events(ask())
    assert failed.value.cause == "cut"


async def test_many_at_once_are_told_apart(vendor: Vendor) -> None:
    answers = await asyncio.gather(*(vendor.answer(ask(f"number {i}"), stream=i % 2 == 0) for i in range(40)))
    assert [answer.text for answer in answers] == [f"You said: number {i}" for i in range(40)]


# --- what none of these formats can say


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"as_text": True}, "as_text"),
        ({"suffix": "x"}, "suffix"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ],
)
def test_what_cannot_be_said_is_declared(vendor: Vendor, fields: dict[str, Any], param: str) -> None:
    assert param in vendor.adapter.terms(ask(**fields), "m")[1]
