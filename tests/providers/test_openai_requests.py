"""Requests in OpenAI's format: what came in goes out, and what is wrong is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from kernel.errors import InvalidRequest
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.dialect import COMPATIBLE, OPENAI, TOGETHER, Dialect
from providers.adapters.openai.request_in import parse_chat_request
from providers.adapters.openai.request_out import encode_chat_request
from providers.errors import Rejected
from providers.translate import fit
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    ReasoningPart,
    ToolChoice,
    user_message,
)

pytestmark = pytest.mark.no_database

ASIS = Dialect(developer_role=True)

name = st.text(min_size=1, max_size=8).filter(lambda text: "\x00" not in text)
text = st.text(max_size=20)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(st.sampled_from(["x_new", "cache_control", "metadata", "vendor"]), json_value, max_size=2)


def _with(fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda known, more: {**more, **known}, fields, extras)


part = _with(
    st.fixed_dictionaries({"type": st.just("text"), "text": text})
    | st.fixed_dictionaries(
        {
            "type": st.just("image_url"),
            "image_url": st.fixed_dictionaries(
                {"url": name}, optional={"detail": st.sampled_from(["low", "high"]), "x_new": json_value}
            ),
        }
    )
    | st.fixed_dictionaries({"type": st.just("input_audio"), "input_audio": json_value})
)
call = _with(
    st.fixed_dictionaries(
        {
            "id": name,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": name, "arguments": text}, optional={"x_new": json_value}),
        }
    )
    | st.fixed_dictionaries({"id": name, "type": st.just("custom"), "custom": json_value})
)
message = _with(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user"]),
            "content": text | st.lists(part, min_size=2),
        },
        optional={"name": name},
    )
    | st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": text | st.none()},
        optional={"tool_calls": st.lists(call, min_size=1, max_size=3)},
    )
    | st.fixed_dictionaries({"role": st.just("tool"), "content": text, "tool_call_id": name})
)
function = st.fixed_dictionaries(
    {"name": name},
    optional={
        "description": text,
        "parameters": st.dictionaries(name, json_value, max_size=3),
        "strict": st.booleans(),
        "x_new": json_value,
    },
)
tool = _with(
    st.fixed_dictionaries({"type": st.just("function"), "function": function})
    | st.fixed_dictionaries({"type": st.just("custom"), "custom": json_value})
)
request = _with(
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": st.lists(message, min_size=1, max_size=4)},
        optional={
            "temperature": st.floats(0, 2),
            "top_p": st.floats(0, 1),
            "presence_penalty": st.floats(-2, 2),
            "stop": st.lists(text, min_size=1, max_size=4),
            "seed": st.integers(-(2**62), 2**62),
            "n": st.integers(2, 4),
            "tools": st.lists(tool, min_size=1, max_size=3),
            "tool_choice": st.sampled_from(["none", "auto", "required"])
            | st.just({"type": "function", "function": {"name": "f"}})
            | st.just({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
            "parallel_tool_calls": st.booleans(),
            "response_format": st.just({"type": "json_object"})
            | st.just({"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": 1.0}, "x": 1}})
            | st.just({"type": "grammar", "grammar": "root ::= x"}),
            "reasoning_effort": st.sampled_from(["low", "xhigh"]),
            "logprobs": st.booleans(),
            "top_logprobs": st.integers(0, 20),
            "logit_bias": st.just({"50256": -100}),
            "user": text,
        },
    )
)


def _round_trip(body: dict[str, Any], *, dialect: Dialect = ASIS, stream: bool = False) -> dict[str, Any]:
    parsed = parse_chat_request(json.dumps(body).encode())
    out: dict[str, Any] = json.loads(encode_chat_request(parsed, model=body["model"], dialect=dialect, stream=stream))
    return out


@given(request, st.sampled_from([{}, {"max_tokens": 7}, {"max_completion_tokens": 7}]))
def test_a_request_in_its_own_format_loses_nothing(body: dict[str, Any], cap: dict[str, int]) -> None:
    body = {**body, **cap}
    assert _round_trip(body) == body


@given(request)
def test_a_parsed_request_is_a_value(body: dict[str, Any]) -> None:
    wire = json.dumps(body).encode()
    assert parse_chat_request(wire) == parse_chat_request(wire)


def test_numbers_no_float_can_hold_pass_through_extras_unchanged() -> None:
    wire = b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":12345678901234567890123.10}'
    out = encode_chat_request(parse_chat_request(wire), model="m", dialect=ASIS, stream=False)
    assert b'"x":12345678901234567890123.10' in out


def test_plain_forms_replace_their_equivalents() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}], "name": None}],
        "stop": "end",
        "temperature": None,
        "tools": [{"type": "function", "name": "flat", "parameters": {}}],
    }
    assert _round_trip(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stop": ["end"],
        "tools": [{"type": "function", "function": {"name": "flat", "parameters": {}}}],
    }


def test_usage_is_always_asked_for_in_a_stream_beside_what_the_caller_asked() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": False, "include_obfuscation": False},
    }
    out = _round_trip(body, stream=True)
    assert out["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert "stream_options" not in _round_trip(body, stream=True, dialect=Dialect(usage_in_stream=False))
    assert "stream_options" not in _round_trip(body, stream=False)


@pytest.mark.parametrize("given_name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("dialect", "sent"), [(OPENAI, "max_completion_tokens"), (TOGETHER, "max_tokens"), (COMPATIBLE, None)]
)
def test_the_output_cap_goes_by_the_name_the_provider_knows(
    given_name: str, dialect: Dialect, sent: str | None
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], given_name: 9}
    out = _round_trip(body, dialect=dialect)
    assert {key: value for key, value in out.items() if key.startswith("max")} == {sent or given_name: 9}


def test_what_was_made_here_goes_out_in_the_format() -> None:
    made = ChatRequest(
        model="alias",
        messages=(Message(role="developer", content=user_message("Be brief.").content), user_message("Hi")),
        max_output_tokens=5,
        tools=(FunctionTool("f"),),
        tool_choice=ToolChoice("required", "f"),
    )
    out = json.loads(encode_chat_request(made, model="upstream", dialect=COMPATIBLE, stream=False))
    assert out == {
        "model": "upstream",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }


def test_extras_of_another_format_are_not_sent_and_its_own_things_are_refused() -> None:
    foreign = Extras("another", {})
    made = ChatRequest(
        model="a", messages=(Message(role="user", content=(ImagePart("u", extras=foreign),)),), extras=foreign
    )
    assert b"another" not in encode_chat_request(made, model="m", dialect=COMPATIBLE, stream=False)
    unknown = ChatRequest(model="a", messages=(Message(role="user", content=(Opaque("pdf", foreign),)),))
    with pytest.raises(Rejected) as refused:
        encode_chat_request(unknown, model="m", dialect=COMPATIBLE, stream=False)
    assert refused.value.param == "messages"


HELLO = '{"role":"user","content":"x"}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("{}", "model"),
        ('{"model":"m"}', "messages"),
        (f'{{"model":"","messages":[{HELLO}]}}', "model"),
        (f'{{"model":7,"messages":[{HELLO}]}}', "model"),
        ('{"model":"m","messages":[]}', "messages"),
        ('{"model":"m","messages":"hi"}', "messages"),
        ('{"model":"m","messages":[{"role":"boss","content":"x"}]}', "messages[0].role"),
        ('{"model":"m","messages":[{"content":"x"}]}', "messages[0].role"),
        ('{"model":"m","messages":[{"role":"user"}]}', "messages[0].content"),
        ('{"model":"m","messages":[{"role":"user","content":[]}]}', "messages[0].content"),
        ('{"model":"m","messages":[{"role":"user","content":3}]}', "messages[0].content"),
        (
            '{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}',
            "messages[0].content[0].text",
        ),
        (
            '{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
            "messages[0].content[0].image_url",
        ),
        ('{"model":"m","messages":[{"role":"tool","content":"x"}]}', "messages[0].tool_call_id"),
        (
            '{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}]}',
            "messages[0].tool_calls[0].function",
        ),
        (f'{{"model":"m","messages":[{HELLO}],"temperature":"hot"}}', "temperature"),
        (f'{{"model":"m","messages":[{HELLO}],"temperature":3}}', "temperature"),
        (f'{{"model":"m","messages":[{HELLO}],"max_tokens":0}}', "max_tokens"),
        (f'{{"model":"m","messages":[{HELLO}],"max_tokens":1,"max_completion_tokens":1}}', "max_tokens"),
        (f'{{"model":"m","messages":[{HELLO}],"n":100000}}', "n"),
        (f'{{"model":"m","messages":[{HELLO}],"stream":"yes"}}', "stream"),
        (f'{{"model":"m","messages":[{HELLO}],"models":["dearest"]}}', "models"),
        (f'{{"model":"m","messages":[{HELLO}],"tools":[{{"type":"function"}}]}}', "tools[0].function"),
        (f'{{"model":"m","messages":[{HELLO}],"tool_choice":"maybe"}}', "tool_choice"),
        (f'{{"model":"m","messages":[{HELLO}],"tool_choice":{{"type":"function"}}}}', "tool_choice.function"),
        (
            f'{{"model":"m","messages":[{HELLO}],"response_format":{{"type":"json_schema"}}}}',
            "response_format.json_schema",
        ),
        ("[]", None),
        ("", None),
        ("{not json", None),
        ('{"model":"m","messages":' + "[" * 100_000, "messages[0]"),
        (
            '{"model":"m","messages":[{"role":"user","content":"x"}],"x":' + "[" * 50_000 + "]" * 50_000 + "}",
            None,
        ),
    ],
)
def test_what_is_wrong_is_named(body: str, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        parse_chat_request(body.encode())
    assert wrong.value.details == {"param": param}
    assert param is None or param in wrong.value.message
    assert "$" not in wrong.value.message


def test_a_body_that_is_not_utf_8_is_refused_even_where_it_is_unknown() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"unknown":"\xff"}'
    with pytest.raises(InvalidRequest):
        parse_chat_request(body)


@given(st.binary(max_size=60) | json_value.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_chat_request(body)


@pytest.mark.parametrize("extras", [None, Extras("another", {"signature": Raw(b'"proof"')})])
def test_a_turn_in_which_another_model_only_thought_is_left_out(extras: Extras | None) -> None:
    thought = Message("assistant", (ReasoningPart("Hm.", extras),))
    request = ChatRequest("m", (user_message("a"), thought, user_message("b")))
    fitted = fit(request, OpenAICompatible(dialect=COMPATIBLE), model="m", drop=False)
    assert fitted.dropped == ()
    sent = json.loads(encode_chat_request(fitted.request, model="m", dialect=COMPATIBLE, stream=False))  # type: ignore[arg-type]
    assert sent["messages"] == [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
