"""Requests in Anthropic's format: what came in goes out, and what is wrong is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.adapters.anthropic.request_in import parse_messages_request
from providers.adapters.anthropic.request_out import encode_messages_request

pytestmark = pytest.mark.no_database

JSON = dict[str, Any]

name = st.text(min_size=1, max_size=8).filter(lambda text: "\x00" not in text)
text = st.text(max_size=20)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=5,
)
json_object = st.dictionaries(name, json_value, max_size=3)
cache = {"cache_control": st.just({"type": "ephemeral", "ttl": "1h"}), "x_new": json_value}


def _block(kind: str, fields: dict[str, Any], **optional: Any) -> st.SearchStrategy[JSON]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields}, optional={**cache, **optional})


source = (
    st.fixed_dictionaries(
        {"type": st.just("base64"), "media_type": st.just("image/png"), "data": st.just("aGk=")},
        optional={"x_new": json_value},
    )
    | st.fixed_dictionaries({"type": st.just("url"), "url": st.just("https://example.com/a.png")})
    | st.fixed_dictionaries({"type": st.just("file"), "file_id": name})
)
citations = st.lists(json_object, max_size=2)
text_block = _block("text", {"text": text}, citations=citations)
image = _block("image", {"source": source}, transformations=json_object)
document = _block("document", {"source": json_object}, title=text, context=text, citations=json_object)
result_content = text | st.lists(text_block | image | document, min_size=1, max_size=3)
result = _block("tool_result", {"tool_use_id": name}, content=result_content, is_error=st.booleans())
call = _block("tool_use", {"id": name, "name": name, "input": json_object}, caller=json_object)
thinking = _block("thinking", {"thinking": text, "signature": name})
redacted = _block("redacted_thinking", {"data": name})
server = _block("server_tool_use", {"id": name, "name": name, "input": json_object}) | _block(
    "web_search_tool_result", {"tool_use_id": name, "content": st.lists(json_object, max_size=2) | json_object}
)
user = st.fixed_dictionaries(
    {
        "role": st.just("user"),
        "content": text | st.lists(text_block | image | document | result, min_size=1, max_size=5),
    }
)
assistant = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": text | st.lists(text_block | thinking | redacted | call | server, max_size=6),
    }
)
system_turn = st.fixed_dictionaries(
    {"role": st.just("system"), "content": text | st.lists(text_block, min_size=1, max_size=2)}
)
own_tool = st.fixed_dictionaries(
    {"name": name, "input_schema": json_object},
    optional={**cache, "description": text, "strict": st.booleans(), "input_examples": st.lists(json_object)},
)
server_tool = st.fixed_dictionaries(
    {"type": st.sampled_from(["web_search_20260209", "bash_20250124"]), "name": name}, optional={"max_uses": json_value}
)
tool_choice = (
    st.fixed_dictionaries(
        {"type": st.sampled_from(["auto", "any"])},
        optional={"disable_parallel_tool_use": st.booleans(), "x_new": json_value},
    )
    | st.fixed_dictionaries(
        {"type": st.just("tool"), "name": name}, optional={"disable_parallel_tool_use": st.booleans()}
    )
    | st.just({"type": "none"})
    | st.just({"type": "something_new", "with": ["a", "list"]})
)
thinking_config = (
    st.fixed_dictionaries(
        {"type": st.just("enabled"), "budget_tokens": st.integers(1_024, 32_000)},
        optional={"display": st.just("omitted")},
    )
    | st.fixed_dictionaries({"type": st.just("adaptive")}, optional={"display": st.just("summarized")})
    | st.just({"type": "disabled"})
    | st.just({"type": "between_tools"})
)
output_config = st.fixed_dictionaries(
    {},
    optional={
        "effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
        "format": st.fixed_dictionaries({"type": st.just("json_schema"), "schema": json_object})
        | st.just({"type": "grammar", "grammar": "root ::= x"}),
        "task_budget": json_value,
    },
)
request = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "max_tokens": st.integers(0, 128_000),
        "messages": st.lists(user | assistant | system_turn, min_size=1, max_size=6),
    },
    optional={
        "system": text | st.lists(text_block, max_size=3),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 500),
        "stop_sequences": st.lists(text, min_size=1, max_size=4),
        "tools": st.lists(own_tool | server_tool, min_size=1, max_size=3),
        "tool_choice": tool_choice,
        "thinking": thinking_config,
        "output_config": output_config,
        "metadata": st.just({"user_id": "u"}),
        "service_tier": st.just("auto"),
        "container": json_value,
        "context_management": json_object,
        "cache_control": st.just({"type": "ephemeral"}),
        "x_new": json_value,
    },
)


def _sent(body: JSON, *, stream: bool = False, beta: str = "") -> JSON:
    headers = {"anthropic-beta": beta} if beta else {}
    parsed = parse_messages_request(json.dumps(body).encode(), headers)
    out: JSON = json.loads(encode_messages_request(parsed, model=body["model"], stream=stream))
    return out


def _blocks(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _plain(content: Any) -> Any:
    """A single plain text block as a string."""
    match content:
        case [{"type": "text", "text": said, **rest}] if not rest:
            return said
    return content


def _normal(body: JSON) -> JSON:
    """The documented normal form."""
    body = {**body}
    turns: list[JSON] = []
    for message in body["messages"]:
        blocks = _blocks(message["content"])
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": blocks})
    for turn in turns:
        turn["content"] = _plain(
            [
                block | {"content": _plain(block["content"])}
                if block["type"] == "tool_result" and "content" in block
                else block
                for block in turn["content"]
            ]
        )
    body["messages"] = turns
    if "system" in body:
        body["system"] = _plain(body["system"])
        if not body["system"]:
            del body["system"]
    if body.get("output_config") == {}:
        del body["output_config"]
    return body


@given(request)
def test_a_request_in_its_own_format_loses_nothing(body: JSON) -> None:
    assert _sent(body) == _normal(body)


@given(request)
def test_what_is_normal_stays_as_it_is(body: JSON) -> None:
    normal = _normal(body)
    assert _sent(normal, stream=True, beta="a,b") == {**normal, "stream": True}


@given(request)
def test_a_parsed_request_is_a_value(body: JSON) -> None:
    wire = json.dumps(body).encode()
    assert parse_messages_request(wire, {}) == parse_messages_request(wire, {})
