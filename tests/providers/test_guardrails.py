"""What a tenant denies is refused, what it masks leaves no answer, however the answer is cut into pieces."""

import itertools
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from config.asgi import application
from kernel.errors import InvalidRequest
from providers.guardrails.deny import ContentDenied, inspect_in
from providers.guardrails.mask import CARD_SAYS, SECRET_SAYS, Mask
from providers.guardrails.outward import MAX_HELD_CHARS, Outward
from providers.guardrails.rules import compile_expression, compile_rules
from providers.services.connections import Offer, add_provider
from providers.types import (
    NO_USAGE,
    AnswerChoice,
    ChatAnswer,
    ChatRequest,
    ChoiceFinished,
    EmbeddingRequest,
    Extras,
    FunctionTool,
    Message,
    Opaque,
    OpaqueDelta,
    ReasoningPart,
    ResponseFormat,
    TextDelta,
    TextPart,
    ToolCallDelta,
)
from tests.providers.conftest import ask
from tests.support.asgi import Answer, request
from tests.support.cast import Company

BOTH = Mask(secrets=True, cards=True)
KEY = "sk-ant-" + "a1B2" * 8
CARD = "4111 1111 1111 1111"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIB" + "x" * 300 + "\n-----END RSA PRIVATE KEY-----"
TEXTS = [
    f"The key is {KEY}, keep it.",
    f"Pay with {CARD}.",
    f"{PEM} and after",
    "Nothing here: sk-short, 4111 1111 1111 1112, 1234567890123456, v1.4111111111111111 -- ok",
    f"ghp_{'a' * 36} AKIA{'A' * 16} {KEY}",
    f"cut off -----BEGIN PRIVATE KEY-----\n{'y' * 100}",
    "日本語のテキスト と 4111111111111111 と -----BEGINNING",
]


@pytest.mark.no_database
def test_secrets_and_card_numbers_are_replaced() -> None:
    assert BOTH.text(TEXTS[0]) == f"The key is {SECRET_SAYS}, keep it."
    assert BOTH.text(TEXTS[1]) == f"Pay with {CARD_SAYS}."
    assert BOTH.text(TEXTS[2]) == f"{SECRET_SAYS} and after"
    assert BOTH.text(TEXTS[3]) == TEXTS[3]
    assert Mask(secrets=False, cards=True).text(TEXTS[0]) == TEXTS[0]


@pytest.mark.no_database
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"{CARD} 12/26", f"{CARD_SAYS} 12/26"),
        (f"{CARD} 123 is the code", f"{CARD_SAYS} 123 is the code"),
        ("4111-1111-1111-1111-0427", f"{CARD_SAYS}-0427"),
        (f"3 {CARD}", f"3 {CARD_SAYS}"),
        (f"2026 12 5000 {CARD} 7 {CARD}", f"2026 12 5000 {CARD_SAYS} 7 {CARD_SAYS}"),
        ("3782 822463 10005 1234", f"{CARD_SAYS} 1234"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", CARD_SAYS),
        ("5 3 4 6 7 8 9 1 2 6 7 2 1 9 5 3 4 8 1 9", "5 3 4 6 7 8 9 1 2 6 7 2 1 9 5 3 4 8 1 9"),
    ],
)
def test_a_card_number_is_seen_among_other_numbers(text: str, masked: str) -> None:
    assert BOTH.text(text) == masked
    outward = Outward(BOTH)
    events = [*(event for letter in text for event in outward.feed(TextDelta(letter))), *outward.rest()]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == masked


@pytest.mark.no_database
@example(text="v 1.4111 1111 1111 1111 x", cuts=[4, 9, 14])
@example(text="no.4111-1111-1111-1111", cuts=[3, 12])
@given(text=st.sampled_from(TEXTS), cuts=st.lists(st.integers(0, 450), max_size=40))
def test_a_stream_says_what_the_whole_says_however_it_is_cut(text: str, cuts: list[int]) -> None:
    outward = Outward(BOTH)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    said = []
    for start, end in itertools.pairwise(edges):
        said += [event.text for event in outward.feed(TextDelta(text[start:end])) if isinstance(event, TextDelta)]
    said += [event.text for event in outward.feed(ChoiceFinished("stop")) if isinstance(event, TextDelta)]
    assert "".join(said) == BOTH.text(text)


@pytest.mark.no_database
def test_only_a_word_is_held_back_and_never_for_ever() -> None:
    outward = Outward(BOTH)
    assert [event.text for event in outward.feed(TextDelta("Hello there, "))] == ["Hello there, "]
    held = list(outward.feed(TextDelta("a" * MAX_HELD_CHARS)))
    assert held == []
    assert next(iter(outward.feed(TextDelta("a")))).text == "a" * (MAX_HELD_CHARS + 1)


@pytest.mark.no_database
def test_arguments_of_calls_are_masked_too() -> None:
    outward = Outward(BOTH)
    events = [
        *outward.feed(ToolCallDelta(0, '{"key": "' + KEY[:10], id="c1", name="save")),
        *outward.feed(ToolCallDelta(0, KEY[10:] + '"}')),
        *outward.feed(ChoiceFinished("tool_calls")),
    ]
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert (calls[0].id, calls[0].name) == ("c1", "save")
    assert json.loads("".join(call.arguments for call in calls)) == {"key": SECRET_SAYS}


def _opaque(**said: Any) -> OpaqueDelta:
    fields = {name: Raw(json.dumps(value).encode()) for name, value in said.items()}
    return OpaqueDelta(Extras("openai.chat", fields))


@pytest.mark.no_database
def test_what_only_one_format_knows_of_an_answer_is_masked_too() -> None:
    outward = Outward(BOTH)
    details = [{"type": "reasoning.text", "text": KEY}]
    events = [
        *outward.feed(_opaque(refusal=f"I won't say {KEY[:10]}")),
        *outward.feed(_opaque(refusal=KEY[10:])),
        *outward.feed(_opaque(annotations=[{"title": TEXTS[0]}], reasoning_details=details)),
        *outward.feed(ChoiceFinished("stop")),
    ]
    said = [event.extras.fields for event in events if isinstance(event, OpaqueDelta)]
    assert "".join(msgspec.json.decode(fields["refusal"]) for fields in said if "refusal" in fields) == (
        f"I won't say {SECRET_SAYS}"
    )
    assert [msgspec.json.decode(fields["annotations"]) for fields in said if "annotations" in fields] == [
        [{"title": BOTH.text(TEXTS[0])}]
    ]
    assert not any("reasoning_details" in fields for fields in said)


@pytest.mark.no_database
def test_what_only_one_format_knows_of_a_whole_answer_is_masked_too() -> None:
    extras = _opaque(refusal=TEXTS[0], citations=[{"cited_text": TEXTS[1]}], reasoning_details=[KEY]).extras
    (choice,) = Outward(BOTH).answer(ChatAnswer("m", (AnswerChoice(extras=extras),), NO_USAGE)).choices
    assert choice.extras is not None
    assert {name: msgspec.json.decode(value) for name, value in choice.extras.fields.items()} == {
        "refusal": BOTH.text(TEXTS[0]),
        "citations": [{"cited_text": BOTH.text(TEXTS[1])}],
    }
    innocent = ChatAnswer("m", (AnswerChoice(extras=_opaque(refusal="No.").extras),), NO_USAGE)
    assert Outward(BOTH).answer(innocent) == innocent


def _rules(**said: Any) -> Any:
    nothing = {"mask_secrets": False, "mask_cards": False, "mask_input": False, "capture_days": None}
    return compile_rules(**{"deny": [], "allow": [], **nothing, **said})


@pytest.mark.no_database
def test_what_is_denied_is_refused_unless_it_is_allowed() -> None:
    rules = _rules(deny=[{"name": "code name", "expression": "(?i)bluebird"}], allow=["bluebird street"])
    with pytest.raises(ContentDenied) as refused:
        inspect_in(ask("What of Bluebird?"), rules)
    assert refused.value.details == {"param": "messages[0]", "rule": "code name"}
    assert "(?i)" not in refused.value.message
    fine = ask("I live in bluebird street")
    assert inspect_in(fine, rules) is fine
    with pytest.raises(ContentDenied):
        inspect_in(ask("bluebird street, said bluebird"), rules)
    with pytest.raises(ContentDenied):
        inspect_in(EmbeddingRequest("m", ("fine", "a bluebird")), rules)


@pytest.mark.no_database
def test_what_is_masked_may_be_kept_from_the_models_too() -> None:
    masked = inspect_in(ask(f"Use {KEY}"), _rules(mask_secrets=True, mask_input=True))
    assert masked == replace(ask(), messages=ask(f"Use {SECRET_SAYS}").messages)


@pytest.mark.no_database
@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"deny": [{"name": "d", "expression": "a"}], "allow": ["a"]}, "a " * 100_000),
        ({"mask_secrets": True, "mask_input": True}, "-eyJ" * 100_000),
        ({"mask_cards": True, "mask_input": True}, "4" * 400_000),
        ({"mask_cards": True, "mask_input": True}, "4" + " 4" * 200_000),
    ],
    ids=["denied and allowed again and again", "beginnings of tokens", "digits", "numbers"],
)
def test_no_text_takes_longer_than_its_length(rules: dict[str, Any], text: str) -> None:
    # Each took minutes when the time grew with the square of the length.
    began = time.process_time()
    assert inspect_in(ask(text), _rules(**rules)) == ask(text)
    assert time.process_time() - began < 5


@pytest.mark.no_database
@pytest.mark.parametrize("text", ["a" * 200_000 + " ", "4" * 200_000 + "!", "-B" * 100_000 + "!"])
def test_no_piece_of_a_stream_takes_longer_than_its_length(text: str) -> None:
    began = time.process_time()
    outward = Outward(BOTH)
    said = [*outward.feed(TextDelta(text)), *outward.feed(ChoiceFinished("stop"))]
    assert "".join(event.text for event in said if isinstance(event, TextDelta)) == text
    assert time.process_time() - began < 5


def _document(text: str) -> ChatRequest:
    source = Raw(json.dumps({"type": "text", "data": [text]}).encode())
    document = Opaque("document", Extras("anthropic.messages", {"type": Raw(b'"document"'), "source": source}))
    return ChatRequest("m", (Message("user", (document,)),))


@pytest.mark.no_database
def test_parts_that_only_one_format_knows_are_inspected_too() -> None:
    deny = _rules(deny=[{"name": "birds", "expression": "bluebird"}])
    with pytest.raises(ContentDenied) as refused:
        inspect_in(_document("a bluebird"), deny)
    assert refused.value.details == {"param": "messages[0].content[0]", "rule": "birds"}
    assert inspect_in(_document("a robin"), deny) == _document("a robin")
    mask = _rules(mask_secrets=True, mask_input=True)
    assert inspect_in(_document(f"use {KEY}"), mask).messages[0].content == (
        replace(
            _document("").messages[0].content[0],
            extras=Extras(
                "anthropic.messages",
                {
                    "type": Raw(b'"document"'),
                    "source": Raw(f'{{"type":"text","data":["use {SECRET_SAYS}"]}}'.encode()),
                },
            ),
        ),
    )


def _saying(where: str, text: str) -> ChatRequest:
    """A request that says a text elsewhere than in a message's text."""
    said = Raw(json.dumps({"type": "object", "properties": {"a": {"description": text}}}).encode())
    extras = Extras("openai.chat", {"prediction": Raw(json.dumps({"type": "content", "content": text}).encode())})
    plain = ask("hello")
    return {
        "description": replace(plain, tools=(FunctionTool("look", description=text),)),
        "parameters": replace(plain, tools=(FunctionTool("look", parameters=said),)),
        "tool": replace(plain, tools=(Opaque("custom", Extras("openai.chat", {"custom": said})),)),
        "thought": replace(plain, messages=(Message("assistant", (ReasoningPart(text, extras),)), *plain.messages)),
        "message": replace(plain, messages=(Message("assistant", (TextPart("yes"),), extras=extras), *plain.messages)),
        "request": replace(plain, extras=extras),
    }[where]


@pytest.mark.no_database
@pytest.mark.parametrize(
    ("where", "param"),
    [
        ("description", "tools[0]"),
        ("parameters", "tools[0]"),
        ("tool", "tools[0]"),
        ("thought", "messages[0].content[0]"),
        ("message", "messages[0]"),
        ("request", "prediction"),
    ],
)
def test_whatever_goes_to_a_model_is_inspected(where: str, param: str) -> None:
    deny = _rules(deny=[{"name": "birds", "expression": "bluebird"}])
    with pytest.raises(ContentDenied) as refused:
        inspect_in(_saying(where, "a bluebird"), deny)
    assert refused.value.details == {"param": param, "rule": "birds"}
    assert inspect_in(_saying(where, "a robin"), deny) == _saying(where, "a robin")
    mask = _rules(mask_secrets=True, mask_input=True)
    assert inspect_in(_saying(where, "a robin"), mask) == _saying(where, "a robin")
    masked = msgspec.json.encode(inspect_in(_saying(where, f"use {KEY}"), mask)).decode()
    assert KEY not in masked
    assert f"use {SECRET_SAYS}" in masked


@pytest.mark.no_database
def test_the_format_of_the_answer_is_held_against_the_rules() -> None:
    schema = Raw(b'{"type":"object","description":"of a bluebird"}')
    asked = replace(ask("hello"), response_format=ResponseFormat("json_schema", name="a", schema=schema))
    with pytest.raises(ContentDenied):
        inspect_in(asked, _rules(deny=[{"name": "birds", "expression": "bluebird"}]))


@pytest.mark.no_database
def test_a_masked_answer_keeps_no_pieces_of_what_it_was() -> None:
    pieces = (ToolCallDelta(0, "{}", id="c", name="f"), TextDelta(f"the key is {KEY}"))
    answer = ChatAnswer("m", (AnswerChoice(text=f"the key is {KEY}", pieces=pieces),), NO_USAGE)
    assert KEY not in repr(Outward(BOTH).answer(answer))
    innocent = ChatAnswer("m", (AnswerChoice(text="hello", pieces=(TextDelta("hello"),)),), NO_USAGE)
    assert Outward(BOTH).answer(innocent) == innocent


@pytest.mark.no_database
@pytest.mark.parametrize("expression", ["(", "(?=look)", "a{1,100000}", "[z-a]"])
def test_an_expression_that_cannot_be_read_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest):
        compile_expression(expression)


# --- through the front door


@pytest.fixture
def model(company: Company) -> str:
    """A model that echoes, of the company's own."""
    name = f"echo-{secrets.token_hex(4)}"
    offer = Offer("fake", name, "http://127.0.0.1:9", "", ((name, "echo"),), 1_000, 1_000)
    add_provider(offer, tenant_slug=company.tenant.slug)
    return name


Send = Callable[..., Any]


async def _chat(company: Company, model: str, text: str, **fields: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    headers = {"authorization": f"Bearer {company.api_key}"}
    return await request(application, "POST", "/v1/chat/completions", body=body, headers=headers)


def _set(company: Company, **rules: Any) -> None:
    answer = company.alice.client.patch("/api/v1/guardrails", rules, format="json")
    assert answer.status_code == 200, answer.content


async def test_the_rules_hold_at_the_front_door(company: Company, model: str) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(_set)(company, deny=[{"name": "birds", "expression": "bluebird"}], mask_secrets=True)
    refused = await _chat(company, model, "a bluebird")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "content_denied"
    plain = await _chat(company, model, f"the key is {KEY}")
    assert plain.json()["choices"][0]["message"]["content"] == f"You said: the key is {SECRET_SAYS}"
    streamed = await _chat(company, model, f"the key is {KEY} ok", stream=True)
    frames = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    said = "".join(frame["choices"][0]["delta"].get("content", "") for frame in frames if frame["choices"])
    assert said == f"You said: the key is {SECRET_SAYS} ok"


async def test_what_is_only_counted_is_held_against_the_rules_too(company: Company, model: str) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(_set)(company, deny=[{"name": "birds", "expression": "bluebird"}])
    headers = {"x-api-key": company.api_key, "anthropic-version": "2023-06-01"}
    for text, status in (("a bluebird", 400), ("a robin", 200)):
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        answer = await request(application, "POST", "/v1/messages/count_tokens", body=body, headers=headers)
        assert answer.status_code == status, answer.text


async def test_an_answer_kept_before_it_was_masked_is_not_given_again(company: Company, model: str) -> None:
    """Also where the process that kept it hadn't heard of the new rules yet."""
    from asgiref.sync import sync_to_async

    from providers.guardrails import store

    text = f"the key is {KEY}"
    await _chat(company, model, "hello", temperature=0)
    old = store._kept.last(company.id)
    assert old is not None
    await sync_to_async(_set)(company, mask_secrets=True)
    store._kept.keep(company.id, old, began_s=time.monotonic())
    stale = await _chat(company, model, text, temperature=0)
    assert KEY in stale.text
    store.forget(company.id)
    masked = await _chat(company, model, text, temperature=0)
    assert KEY not in masked.text
    assert masked.headers["x-parley-cache"] == "miss"


def test_bad_rules_are_refused_and_change_nothing(company: Company) -> None:
    client = company.alice.client
    for bad, param in (
        ({"deny": [{"name": "x", "expression": "("}]}, "deny[0]"),
        ({"allow": ["ok", "[z-a]"]}, "allow[1]"),
    ):
        answer = client.patch("/api/v1/guardrails", bad, format="json")
        assert answer.status_code == 400
        assert answer.json()["details"]["param"] == param
    assert client.patch("/api/v1/guardrails", {"capture_days": 0}, format="json").status_code == 400
    assert client.get("/api/v1/guardrails").json() == {
        "deny": [],
        "allow": [],
        "mask_secrets": False,
        "mask_cards": False,
        "mask_input": False,
        "capture": False,
        "capture_days": 7,
    }
