"""Requests that were made in another format, said in Anthropic's."""

import json
import re
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.anthropic.request_out import encode_messages_request
from providers.adapters.reading import inline_image
from providers.errors import Unsupported
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    Opaque,
    ReasoningPart,
    TextPart,
    ToolCall,
    user_message,
)

pytestmark = pytest.mark.no_database

JSON = dict[str, Any]


def _made(model: str = "claude-sonnet-4-6", **fields: Any) -> JSON:
    request = ChatRequest(**{"model": "alias", "messages": (user_message("Hi"),)} | fields)
    out: JSON = json.loads(encode_messages_request(request, model=model, stream=False))
    return out


def test_a_turn_in_which_another_model_only_thought_is_left_out() -> None:
    thought = Message("assistant", (ReasoningPart("Hm."),))
    assert _made(messages=(user_message("a"), thought, user_message("b")))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ]


@pytest.mark.parametrize(
    ("model", "said", "config", "effort"),
    [
        ("claude-opus-4-6", {"reasoning_effort": "high"}, {"type": "adaptive"}, "high"),
        ("claude-opus-5-5", {"reasoning_effort": "minimal"}, {"type": "adaptive"}, "low"),
        ("claude-new-9", {"reasoning_budget": 10_000}, {"type": "adaptive"}, "high"),
        ("claude-new-9", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-haiku-4-5-20251001", {"reasoning_effort": "none"}, None, None),
        (
            "claude-haiku-4-5-20251001",
            {"reasoning_effort": "medium"},
            {"type": "enabled", "budget_tokens": 8_192},
            None,
        ),
        ("claude-sonnet-4-5", {"reasoning_budget": 5_000}, {"type": "enabled", "budget_tokens": 5_000}, None),
        ("claude-sonnet-4-5", {"reasoning_budget": 50}, {"type": "enabled", "budget_tokens": 1_024}, None),
        (
            "claude-opus-4-20250514",
            {"reasoning_effort": "high", "max_output_tokens": 3_000},
            {"type": "enabled", "budget_tokens": 2_999},
            None,
        ),
        ("claude-3-7-sonnet-latest", {"reasoning_effort": "low", "max_output_tokens": 500}, None, None),
    ],
)
def test_an_effort_or_a_budget_becomes_what_the_model_is_told(
    model: str, said: JSON, config: JSON | None, effort: str | None
) -> None:
    out = _made(model, **said)
    assert out.get("thinking") == config
    assert out.get("output_config") == (None if effort is None else {"effort": effort})


@pytest.mark.parametrize("said", ["image/jpeg", "image/jpg"])
def test_a_jpeg_has_the_media_type_that_vendors_know(said: str) -> None:
    message = Message("user", (ImagePart(f"data:{said};base64,/9j/"),))
    (block,) = _made(messages=(message,))["messages"][0]["content"]
    assert block["source"] == {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}
    assert inline_image(f"data:{said};base64,/9j/", "messages") == ("image/jpeg", "/9j/")


CALLED = Message("assistant", tool_calls=(ToolCall("c", "f", "{}"),))
RESULT = Message("tool", (TextPart("Rain"),), tool_call_id="c")
SIGNED = ReasoningPart("Hm.", Extras("anthropic.messages", {"signature": Raw(b'"c2ln"')}))


@pytest.mark.parametrize(
    ("messages", "thinks"),
    [
        ((user_message("Weather?"), CALLED, RESULT), False),
        ((user_message("Weather?"), CALLED, RESULT, user_message("And?")), False),
        ((user_message("Weather?"), Message("assistant", (TextPart("It is"),))), False),
        ((user_message("Weather?"), replace(CALLED, content=(SIGNED,)), RESULT), True),
        (
            (user_message("Weather?"), CALLED, RESULT, Message("assistant", (TextPart("Rain."),)), user_message("Ok")),
            True,
        ),
    ],
)
def test_a_turn_that_began_without_thoughts_goes_on_without_any(messages: tuple[Message, ...], thinks: bool) -> None:
    # Models that are told a budget refuse it there: "a final `assistant` message must start with a thinking block".
    out = _made("claude-sonnet-4-5", reasoning_effort="low", messages=messages)
    assert ("thinking" in out) is thinks
    assert _made("claude-sonnet-5", reasoning_effort="low", messages=messages)["thinking"] == {"type": "adaptive"}


def test_a_model_that_cant_think_is_not_asked_to() -> None:
    for said in ({"reasoning_effort": "high"}, {"reasoning_budget": 2_000}):
        with pytest.raises(Unsupported) as refused:
            _made("claude-3-5-haiku-latest", **said)
        assert refused.value.param in said


@pytest.mark.parametrize(
    ("model", "cap"), [("claude-opus-4-1", 32_000), ("claude-sonnet-5", 128_000), ("fake-model", 4_096)]
)
def test_without_a_cap_the_models_own_holds(model: str, cap: int) -> None:
    assert _made(model)["max_tokens"] == cap
    assert _made(model, max_output_tokens=5)["max_tokens"] == 5


def test_turns_of_another_format_become_those_of_this_one() -> None:
    foreign = Extras("openai.chat", {})
    out = _made(
        messages=(
            Message("developer", (TextPart("Be brief."),)),
            Message("user", (TextPart("a"), ImagePart("https://x.example/a.png", "high"))),
            Message("user", (ImagePart("data:image/gif,%00%01"),)),
            Message("assistant", (ReasoningPart("Hm.", foreign),), tool_calls=(ToolCall("1", "f", "{broken"),)),
            Message("tool", (TextPart("r"),), tool_call_id="1"),
            Message("system", (TextPart("Be kind."),)),
            Message("user", (TextPart("b"),)),
        ),
        parallel_tool_calls=False,
        tools=(FunctionTool("f"),),
    )
    source = {"type": "base64", "media_type": "image/gif", "data": "AAE="}
    assert out["system"] == [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
    assert out["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                {"type": "image", "source": source},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"INVALID_JSON": "{broken"}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "content": "r"}, {"type": "text", "text": "b"}],
        },
    ]
    assert out["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert out["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"messages": (Message("function", (TextPart("x"),), name="f"),)}, "messages[0].role"),
        ({"messages": (Message("user", (Opaque("input_audio", Extras("openai.chat", {})),)),)}, "messages[0].content"),
        ({"tools": (Opaque("custom", Extras("openai.chat", {})),)}, "tools[0]"),
    ],
)
def test_what_cant_be_said_is_refused_by_name(fields: JSON, param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        _made(**fields)
    assert refused.value.param == param


def test_models_that_take_no_sampling_parameters_are_not_told_any_but_the_usual() -> None:
    adapter = Anthropic()
    for model, unsaid in (("claude-opus-4-8", {"temperature"}), ("claude-opus-4-6", set())):
        said = ChatRequest("a", (user_message("Hi"),), temperature=0.2, top_p=1.0)
        assert adapter.terms(said, model)[1] == adapter.unsaid | unsaid


def test_what_says_nothing_is_not_sent() -> None:
    call = ToolCall("call_1", "f", "{}")
    turns = (
        user_message("x"),
        Message("assistant", (TextPart(""),), tool_calls=(call,)),
        Message("tool", (TextPart("r"),), tool_call_id="call_1"),
        Message("assistant", (TextPart(" \n"),)),
        user_message("y"),
    )
    asked, called, rest = _made(messages=turns)["messages"]
    assert asked == {"role": "user", "content": "x"}
    assert called["content"] == [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]
    assert [block["type"] for block in rest["content"]] == ["tool_result", "text"]


def test_a_blank_text_beside_an_image_is_not_sent() -> None:
    # Many clients send one with an image that nothing is said to; here it is refused.
    image = ImagePart("https://x.example/y.png")
    shown = {"type": "image", "source": {"type": "url", "url": image.url}}
    asked = Message("user", (TextPart(""), image))
    result = Message("tool", (TextPart(" "), image), tool_call_id="c")
    assert _made(messages=(asked,))["messages"] == [{"role": "user", "content": [shown]}]
    _, _, rest = _made(messages=(asked, CALLED, result))["messages"]
    assert rest["content"][0]["content"] == [shown]


def test_an_instruction_alone_is_what_is_asked() -> None:
    out = _made(messages=(Message("system", (TextPart("Tell a joke."),)),))
    assert out["messages"] == [{"role": "user", "content": "Tell a joke."}]
    assert "system" not in out


def test_an_id_that_is_none_here_is_made_anew_for_the_call_and_its_result() -> None:
    call = ToolCall("functions.f:0", "f", "{}")
    result = Message("tool", (TextPart("r"),), tool_call_id=call.id)
    _, called, rest = _made(messages=(user_message("x"), Message("assistant", tool_calls=(call,)), result))["messages"]
    made = called["content"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made)
    assert rest["content"][0]["tool_use_id"] == made
