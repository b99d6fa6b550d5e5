"""Which requests are looked up at all, and in which scope."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.semantic.context import context_key
from providers.semantic.eligibility import question_of, why_not
from providers.semantic.values import Question
from providers.types import (
    ChatRequest,
    Extras,
    FunctionTool,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
    user_message,
)

pytestmark = pytest.mark.no_database

ASKED = "How do I activate my card?"


def request(*messages: Message, **changes: Any) -> ChatRequest:
    return ChatRequest(model="small", messages=messages or (user_message(ASKED),), **{"temperature": 0.0, **changes})


def test_a_self_contained_question_at_a_low_temperature_is_eligible() -> None:
    question = question_of(request(), max_temperature=0.3)
    assert isinstance(question, Question)
    assert question.text == ASKED
    assert len(question.context_key) == 32


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (request(temperature=0.31), "temperature"),
        (request(temperature=None), "temperature"),
        (request(n=2), "shape"),
        (request(logprobs=True), "shape"),
        (request(as_text=True), "shape"),
        (request(tools=(FunctionTool("weather"),)), "tools"),
        (
            request(user_message(ASKED), Message("tool", (TextPart("17"),), tool_call_id="a"), user_message(ASKED)),
            "tools",
        ),
        (request(Message("assistant", tool_calls=(ToolCall("a", "f", "{}"),)), user_message(ASKED)), "tools"),
        (request(Message("user", (TextPart(ASKED), ImagePart("https://x.test/a.png")))), "files"),
        (request(user_message(ASKED), Message("assistant", (TextPart("By"),))), "last_turn"),
        (request(extras=Extras("openai", {"web_search_options": msgspec.Raw(b"{}")})), "unknown_parameter"),
        (request(user_message("x" * 5000)), "too_long"),
        (request(user_message("17 + 4")), "empty"),
    ],
)
def test_what_is_not_a_question_alone_is_not_eligible(changed: ChatRequest, reason: str) -> None:
    assert question_of(changed, max_temperature=0.3) == reason


def test_tools_that_may_not_be_called_do_no_harm() -> None:
    asked = request(tools=(FunctionTool("weather"),), tool_choice=ToolChoice("none"))
    assert isinstance(question_of(asked, max_temperature=0), Question)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("How old is he?", "not_self_contained"),
        ("Wie alt ist er?", "not_self_contained"),
        ("How many days until Christmas?", "now"),
        ("When is the next bus to Oxford?", "now"),
        ("What's trending on Twitter?", "now"),
        ("Is the store open?", "now"),
        ("What is the status of order 1234?", "now"),
        ("Wie wird das Wetter morgen in Rom?", "now"),
        ("Quel temps fait-il aujourd'hui ?", "now"),
        ("\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837\uff1f", "now"),
        ("Roll a die", "chance"),
        ("Give me a random password", "chance"),
        ("Generate a strong password", "chance"),
        ("What's on my calendar?", "me"),
        ("What do I owe on my card?", "me"),
        ("Send me my statement", "me"),
        ("I want to know my balance", "me"),
        ("Was ist mein Kontostand?", "me"),
        ("\u6211\u7684\u4f59\u989d\u662f\u591a\u5c11\uff1f", "me"),
        ("How old is she", "not_self_contained"),
        ("and in 2020?", "not_self_contained"),
        ("What about dogs?", "not_self_contained"),
        ("Why?", "not_self_contained"),
        ("Can I block it?", "not_self_contained"),
        ("How do I cancel it?", "not_self_contained"),
        ("Who is she married to?", "not_self_contained"),
        ("What does this error mean?", "not_self_contained"),
        ("Explain that again", "not_self_contained"),
        ("Tell me more", "not_self_contained"),
        ("Is the second one better?", "not_self_contained"),
        ("What is the weather in Boston?", "now"),
        ("What's the latest version of Django?", "now"),
        ("Who won yesterday?", "now"),
        ("What time is it?", "now"),
        ("Which restaurants are near me?", "here"),
        ("Where is the closest ATM?", "here"),
        ("What is my balance?", "me"),
        ("Where's my order?", "me"),
        ("Did my payment go through?", "me"),
        ("How much money do I have?", "me"),
        ("Show me my last invoice", "me"),
        ("Who am I?", "me"),
    ],
)
def test_what_depends_on_more_than_the_question_is_never_looked_up(text: str, reason: str) -> None:
    assert why_not(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        ASKED,
        "Why was my card declined?",
        "My card was stolen, can I block it?",
        "I want to change my PIN, how do I do it?",
        "Is it possible to travel to Norway without a visa?",
        "My friend lost her card, what can she do?",
        "How old was Barack Obama when he became president?",
        "I paid yesterday. How long does a transfer take?",
        "How much do I have to pay for a transfer?",
        "Do I need a passport for Canada?",
        "I think that the card is broken.",
    ],
)
def test_what_has_one_answer_for_all_who_ask_is(text: str) -> None:
    assert why_not(text) is None


CHANGES: dict[str, Any] = {
    "model": "other",
    "temperature": 0.2,
    "top_p": 0.5,
    "max_output_tokens": 5,
    "seed": 7,
    "stop": ("x",),
    "response_format": ResponseFormat("json_object"),
    "reasoning_effort": "high",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_parameter_that_changes_the_answer_changes_the_scope(name: str) -> None:
    assert context_key(request()) != context_key(msgspec.structs.replace(request(), **{name: CHANGES[name]}))


def test_streaming_and_the_words_of_the_last_turn_do_not() -> None:
    assert context_key(request()) == context_key(request(stream=True, include_usage=True))
    assert context_key(request()) == context_key(request(user_message("How is a card activated?")))


TURNS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text("ab ", max_size=3)), max_size=3
).map(lambda turns: tuple(Message(role, (TextPart(text),)) for role, text in turns))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(one=TURNS, other=TURNS, asked=st.text("ab ", max_size=3), again=st.text("ab ", max_size=3))
def test_two_conversations_share_a_scope_only_if_all_before_the_last_turn_is_equal(
    one: tuple[Message, ...], other: tuple[Message, ...], asked: str, again: str
) -> None:
    first, second = request(*one, user_message(asked)), request(*other, user_message(again))
    assert (context_key(first) == context_key(second)) == (one == other)
