"""Legacy completions: a text to be continued, at upstreams that do that, and as a chat at all others."""

import json
from typing import Any

import pytest

from kernel.errors import InvalidRequest
from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.fake import FakeAdapter
from providers.adapters.openai import WIRE_FORMAT
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.answer_in import ChunkReader, parse_answer
from providers.adapters.openai.dialect import COMPATIBLE, GROQ, MISTRAL, OPENAI, Dialect
from providers.adapters.openai.text_in import MAX_PROMPTS, parse_text_request
from providers.adapters.openai.text_out import TextStreamWriter, encode_text_answer, encode_text_request
from providers.assemble import Assembler, events_of
from providers.base import Target
from providers.errors import Unsupported
from providers.translate import fit
from providers.types import AnswerChoice, ChatAnswer, ChatRequest, TextPart, Usage
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import SHORT

pytestmark = pytest.mark.no_database


def parsed(**body: Any) -> ChatRequest:
    return parse_text_request(json.dumps({"model": "alias", "prompt": "Once", **body}).encode())


async def whole(request: ChatRequest, dialect: Dialect, target: Target) -> ChatAnswer:
    """The answer as it is seen, streamed or not."""
    adapter = OpenAICompatible(dialect=dialect)
    try:
        if not request.stream:
            return await adapter.complete(request, target, SHORT)
        assembler = Assembler()
        async for event in adapter.stream(request, target, SHORT):
            assembler.add(event)
        return assembler.answer()
    finally:
        await adapter.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_text_is_continued_up_to_its_suffix(target: Target, upstream: OpenAIUpstream, stream: bool) -> None:
    answer = await whole(parsed(suffix=" The end.", max_tokens=9, stream=stream), COMPATIBLE, target)
    assert answer.text == " and so on The end."
    assert answer.choices[0].finish_reason == "stop"
    record = upstream.records[0]
    assert (record.body["prompt"], record.body["suffix"], record.body["max_tokens"]) == ("Once", " The end.", 9)
    assert answer.usage.prompt == record.prompt_tokens
    assert answer.usage.completion == record.completion_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_several_prompts_have_an_answer_each(target: Target, upstream: OpenAIUpstream, stream: bool) -> None:
    answer = await whole(parsed(prompt=["one", "two"], n=2, stream=stream), COMPATIBLE, target)
    assert [choice.text for choice in answer.choices] == [" and so on"] * 4
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert upstream.records[0].body["prompt"] == ["one", "two"]


@pytest.mark.parametrize("stream", [False, True])
async def test_mistral_fills_in_the_middle_at_a_path_of_its_own(
    target: Target, upstream: OpenAIUpstream, stream: bool
) -> None:
    codestral = Target(target.provider, target.base_url, "codestral-latest", target.secret)
    answer = await whole(parsed(suffix=" END", seed=3, stream=stream), MISTRAL, codestral)
    assert answer.text == " and so on END"
    body = upstream.records[0].body
    assert body == {"model": "codestral-latest", "prompt": "Once", "suffix": " END", "random_seed": 3} | (
        {"stream": True} if stream else {}
    )


async def test_a_model_that_only_chats_is_asked_as_in_a_chat(target: Target, upstream: OpenAIUpstream) -> None:
    answer = await whole(parsed(), GROQ, target)
    assert answer.text == "You said: Once"
    assert upstream.records[0].body["messages"] == [{"role": "user", "content": "Once"}]


@pytest.mark.parametrize("adapter", [OpenAICompatible(dialect=GROQ), OpenAICompatible(dialect=OPENAI)])
@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("suffix", "x", "suffix"),
        ("echo", True, "echo"),
        ("best_of", 3, "best_of"),
        ("prompt", [1, 2], "messages[0].content[0] (prompt)"),
    ],
)
def test_what_a_chat_cannot_say_is_refused_by_name(
    adapter: OpenAICompatible, field: str, value: object, named: str
) -> None:
    with pytest.raises(Unsupported) as refused:
        fit(parsed(**{field: value}), adapter, model="gpt-4o", drop=False)
    assert refused.value.param == named
    if field != "prompt":
        assert fit(parsed(**{field: value}), adapter, model="gpt-4o", drop=True).dropped == (field,)


def test_a_provider_that_only_answers_refuses_the_prompt() -> None:
    request = parse_text_request(b'{"model": "m", "prompt": "Once"}')
    with pytest.raises(Unsupported) as refused:
        fit(request, Anthropic(), drop=False)
    assert refused.value.param == "prompt"


def test_a_model_that_continues_text_is_told_all_of_it() -> None:
    request = parsed(suffix="x", echo=True, best_of=3, logit_bias={"1": 2})
    assert fit(request, OpenAICompatible(dialect=OPENAI), model="gpt-3.5-turbo-instruct", drop=False).request == request
    assert fit(request, FakeAdapter(), model="echo", drop=False).request == request


@pytest.mark.parametrize("noise", [{"echo": False}, {"best_of": 1}, {"echo": None, "suffix": ""}])
def test_what_says_nothing_is_not_refused(noise: dict[str, Any]) -> None:
    fitted = fit(parsed(**noise), OpenAICompatible(dialect=GROQ), model="llama", drop=False)
    assert fitted.dropped == ()
    assert fitted.request == parsed()


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "x", "max_tokens": 3, "temperature": 0.5, "stop": ["a"], "seed": 1, "n": 2, "logprobs": 3},
        {"prompt": [1, 2, 3], "top_k": 4, "presence_penalty": 1.0, "suffix": "s"},
        {"prompt": [[1], [2, 3]], "echo": True, "best_of": 4, "logit_bias": {"5": 1}, "user": "u", "x_new": [1]},
    ],
)
def test_a_request_in_its_own_format_loses_nothing(body: dict[str, Any]) -> None:
    body = {"model": "m", **body}
    request = parse_text_request(json.dumps(body).encode())
    assert json.loads(encode_text_request(request, model="m", dialect=COMPATIBLE, stream=False)) == body


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({}, 1),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": ["x"], "n": 2}, 2),
        ({"prompt": ["x", "y", "z"], "n": 2}, 6),
        ({"prompt": [[1], [2, 3]]}, 2),
        ({"best_of": 4}, 4),
        ({"prompt": ["x", "y"], "n": 2, "best_of": 4}, 8),
    ],
)
def test_every_answer_that_is_written_is_counted(body: dict[str, Any], answers: int) -> None:
    assert parsed(**body).answers == answers


def test_more_answers_than_can_be_told_are_refused_by_name() -> None:
    for more in ({"n": 9}, {"best_of": 9}):
        with pytest.raises(InvalidRequest) as refused:
            parsed(prompt=["x"] * MAX_PROMPTS, **more)
        assert refused.value.details == {"param": "n"}


def test_one_text_in_a_list_is_a_text() -> None:
    assert parsed(prompt=["x"]).messages[0].content == (TextPart("x"),)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "prompt"),
        ({"prompt": "x"}, "model"),
        ({"model": "m", "prompt": []}, "prompt"),
        ({"model": "m", "prompt": ["x", 1]}, "prompt"),
        ({"model": "m", "prompt": ["x"] * (MAX_PROMPTS + 1)}, "prompt"),
        ({"model": "m", "prompt": "x", "logprobs": True}, "logprobs"),
        ({"model": "m", "prompt": "x", "temperature": 3}, "temperature"),
        ({"model": "m", "prompt": "x", "suffix": 3}, "suffix"),
        ({"model": "m", "prompt": "x", "models": ["dearest"]}, "models"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        parse_text_request(json.dumps(body).encode())
    assert wrong.value.details == {"param": param}


LEGACY = {
    "tokens": ["O", "n"],
    "token_logprobs": [-1.0, -2.0],
    "top_logprobs": [{"O": -1.0}, {"n": -2.0, "m": -3.0}],
    "text_offset": [0, 1],
}
CHAT = {
    "content": [
        {"token": "O", "logprob": -1.0, "bytes": [79], "top_logprobs": [{"token": "O", "logprob": -1.0}]},
        {
            "token": "n",
            "logprob": -2.0,
            "top_logprobs": [{"token": "n", "logprob": -2.0}, {"token": "m", "logprob": -3.0}],
        },
    ]
}


@pytest.mark.parametrize("said", [LEGACY, CHAT], ids=["as text", "as chat"])
def test_log_probabilities_come_in_this_format_whatever_the_upstreams(said: dict[str, Any]) -> None:
    choice = {"index": 0, "message": {"content": "On"}, "logprobs": said, "finish_reason": "stop"}
    answer = parse_answer(json.dumps({"model": "m", "choices": [choice]}).encode())
    body = json.loads(encode_text_answer(answer, answer_id="cmpl-1", created=1, model="alias"))
    assert body["choices"] == [{"text": "On", "index": 0, "logprobs": LEGACY, "finish_reason": "stop"}]


def test_offsets_go_on_from_chunk_to_chunk() -> None:
    writer = TextStreamWriter(answer_id="cmpl-1", created=1, model="alias", include_usage=False)
    reader = ChunkReader(choices=1)
    logprobs = {"content": [{"token": "ab", "logprob": -1.0}]}
    chunk = {"choices": [{"index": 0, "delta": {"content": "ab"}, "logprobs": logprobs}]}
    offsets = []
    for _ in range(3):
        for event in reader.read(json.dumps(chunk).encode()):
            if frames := writer.write(event):
                offsets.append(json.loads(frames.removeprefix(b"data: "))["choices"][0]["logprobs"]["text_offset"])
    assert offsets == [[0], [2], [4]]


def test_a_stream_has_the_frames_of_the_format() -> None:
    answer = ChatAnswer("m", (AnswerChoice(text="On", reasoning="hm", finish_reason="tool_calls"),), Usage(1, output=2))
    writer = TextStreamWriter(answer_id="cmpl-1", created=7, model="alias", include_usage=True)
    frames = b"".join(writer.write(event) for event in events_of(answer)).split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in frames[:-2]]
    assert [chunk["choices"] for chunk in chunks] == [
        [{"text": "On", "index": 0, "logprobs": None, "finish_reason": None}],
        [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        [],
    ]
    assert [bool(chunk["usage"]) for chunk in chunks] == [False, False, True]
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("cmpl-1", "text_completion", 7, "alias")
    }


def test_the_format_of_chats_is_not_the_format_of_texts() -> None:
    assert OpenAICompatible().terms(parsed(), "m")[0] != WIRE_FORMAT
