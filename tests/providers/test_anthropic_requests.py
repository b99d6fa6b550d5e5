"""Requests in Anthropic's format: what came in goes out, and what is wrong is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import InvalidRequest
from providers.adapters.anthropic.request_in import parse_messages_request
from providers.adapters.anthropic.request_out import encode_messages_request
from providers.adapters.openai.adapter import OpenAICompatible
from providers.translate import fit

pytestmark = pytest.mark.no_database

JSON = dict[str, Any]

name = st.text(min_size=1, max_size=8).filter(lambda text: "\x00" not in text)
text = st.text(max_size=20)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
    max_leaves=5,
)
call_id = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
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
result = _block("tool_result", {"tool_use_id": call_id}, content=result_content, is_error=st.booleans())
call = _block("tool_use", {"id": call_id, "name": name, "input": json_object}, caller=json_object)
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


def _is_blank(block: JSON) -> bool:
    return block.keys() == {"type", "text"} and not block["text"].strip()


def _spoken(blocks: list[JSON]) -> list[JSON]:
    return [block for block in blocks if not _is_blank(block)] or blocks


def _normal(body: JSON) -> JSON:
    """The documented normal form."""
    body = {**body}
    turns: list[JSON] = []
    for number, message in enumerate(body["messages"], 1):
        blocks = _blocks(message["content"])
        if message["role"] == "assistant":
            spoken = [block for block in blocks if not _is_blank(block)]
            if not spoken and number < len(body["messages"]):
                continue
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message["role"], "content": blocks})
    for turn in turns:
        turn["content"] = _plain(
            _spoken(
                [
                    block | {"content": _plain(_spoken(_blocks(block["content"])))}
                    if block["type"] == "tool_result" and "content" in block
                    else block
                    for block in turn["content"]
                ]
            )
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


def _refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as wrong:
        parse_messages_request(body, {})
    return wrong.value


HELLO = '{"role":"user","content":"x"}'


def _of(content: str, role: str = "user") -> str:
    return f'{{"model":"m","max_tokens":1,"messages":[{{"role":"{role}","content":{content}}}]}}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ("{}", "model"),
        ('{"model":"m","max_tokens":1}', "messages"),
        (f'{{"model":"m","messages":[{HELLO}]}}', "max_tokens"),
        (f'{{"model":"m","max_tokens":-1,"messages":[{HELLO}]}}', "max_tokens"),
        (f'{{"model":"m","max_tokens":"9","messages":[{HELLO}]}}', "max_tokens"),
        ('{"model":"m","max_tokens":1,"messages":[]}', "messages"),
        (_of('"x"', role="boss"), "messages[0].role"),
        (_of("[]"), "messages[0].content"),
        (_of("null"), "messages[0].content"),
        (_of("[7]"), "messages[0].content[0]"),
        (_of('[{"text":"x"}]'), "messages[0].content[0].type"),
        (_of('[{"type":"text"}]'), "messages[0].content[0].text"),
        (_of('[{"type":"image"}]'), "messages[0].content[0].source"),
        (_of('[{"type":"image","source":{"type":"base64"}}]'), "messages[0].content[0].source"),
        (_of('[{"type":"image","source":{}}]'), "messages[0].content[0].source.type"),
        (_of('[{"type":"tool_result","content":"x"}]'), "messages[0].content[0].tool_use_id"),
        (_of('[{"type":"tool_result","tool_use_id":"1","content":7}]'), "messages[0].content[0].content"),
        (
            _of('[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text"}]}]'),
            "messages[0].content[0].content[0].text",
        ),
        (_of('[{"type":"tool_use","name":"f","input":{}}]', role="assistant"), "messages[0].content[0].id"),
        (_of('[{"type":"tool_use","id":"1","input":{}}]', role="assistant"), "messages[0].content[0].name"),
        (
            _of('[{"type":"tool_use","id":"1","name":"f","input":"x"}]', role="assistant"),
            "messages[0].content[0].input",
        ),
        (_of('[{"type":"thinking"}]', role="assistant"), "messages[0].content[0].thinking"),
        ('{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x","name":"y"}]}', "messages[0].name"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"temperature":1.5}}', "temperature"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"system":7}}', "system"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"stop_sequences":"x"}}', "stop_sequences"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"tools":[{{"name":"f"}}]}}', "tools[0].input_schema"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"tool_choice":{{"type":"tool"}}}}', "tool_choice.name"),
        (f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"tool_choice":"auto"}}', "tool_choice"),
        (
            f'{{"model":"m","max_tokens":1,"messages":[{HELLO}],"output_config":{{"format":{{"type":"json_schema"}}}}}}',
            "output_config.format.schema",
        ),
        ("[]", None),
        ("", None),
        ("{not json", None),
        ('{"model":"m","max_tokens":1,"messages":' + "[" * 100_000, "messages[0]"),
    ],
)
def test_what_is_wrong_is_named(body: str, param: str | None) -> None:
    wrong = _refused(body.encode())
    assert wrong.details == {"param": param}
    assert param is None or param in wrong.message


def test_a_body_that_is_not_utf_8_is_refused_even_where_it_is_unknown() -> None:
    _refused(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"unknown":"\xff"}')


@given(st.binary(max_size=60) | json_value.map(lambda value: json.dumps(value).encode()))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    _refused(body)


def test_what_is_left_out_is_what_nobody_misses() -> None:
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "y"}],
            },
        ],
        "system": "",
        "temperature": None,
        "tools": [{"type": "custom", "name": "f", "input_schema": {}}],
        "stop_sequences": [],
        "stream": False,
    }
    assert _sent(body) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
        "tools": [{"name": "f", "input_schema": {}}],
    }


def test_counting_needs_no_cap() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    assert parse_messages_request(body, {}, counting=True).max_output_tokens is None


def test_a_call_keeps_its_place_between_the_blocks_of_its_turn_and_no_other_format_needs_it() -> None:
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    turn = [{"type": "text", "text": "a"}, call, {"type": "text", "text": "b"}, {**call, "id": "2"}]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": turn}]}
    assert _sent(body)["messages"][0]["content"] == turn
    fitted = fit(parse_messages_request(json.dumps(body).encode(), {}), OpenAICompatible(), drop=False)
    assert fitted.dropped == ("messages[0].tool_calls[0].content_index",)
