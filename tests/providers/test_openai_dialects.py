"""What the providers that share OpenAI's format do differently, as their documentation and their answers have it."""

import json
from typing import Any

import pytest

from providers import registry
from providers.adapters.cohere.adapter import Cohere
from providers.adapters.gemini.adapter import Gemini
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.answer_in import ChunkReader, parse_answer
from providers.adapters.openai.dialect import COMPATIBLE, DEEPSEEK, GROQ, MISTRAL, OPENAI, TOGETHER, Dialect
from providers.adapters.openai.errors import classify, classify_frame
from providers.adapters.openai.request_in import parse_chat_request
from providers.adapters.openai.request_out import encode_chat_request
from providers.adapters.openai.text_in import parse_text_request
from providers.adapters.openai.text_out import encode_text_request
from providers.base import Adapter
from providers.errors import ProviderError, QuotaExceeded, RateLimitedUpstream, Rejected, Transient, Unsupported
from providers.translate import fit
from providers.types import (
    ChatRequest,
    ImagePart,
    Message,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCall,
    user_message,
)
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database


def sent(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encode_chat_request(request, model="m", dialect=dialect, stream=False))
    return body


def test_mistral_calls_the_seed_otherwise() -> None:
    body = sent(ask(stream=False, seed=7), MISTRAL)
    assert (body["random_seed"], "seed" in body) == (7, False)


@pytest.mark.parametrize("call_id", ["call_0123456789abcdef", "toolu_1", "a-b-c-d-e"])
def test_mistral_gets_ids_of_calls_in_its_own_form(call_id: str) -> None:
    messages = (
        user_message("x"),
        Message(role="assistant", tool_calls=(ToolCall(call_id, "f", "{}"), ToolCall("abcDEF123", "g", "{}"))),
        Message(role="tool", tool_call_id=call_id, content=user_message("y").content),
    )
    body = sent(ChatRequest("m", messages), MISTRAL)
    made, kept = (call["id"] for call in body["messages"][1]["tool_calls"])
    assert len(made) == 9
    assert made.isalnum()
    assert kept == "abcDEF123"
    assert body["messages"][2]["tool_call_id"] == made
    assert sent(ChatRequest("m", messages), OPENAI)["messages"][2]["tool_call_id"] == call_id


def test_mistral_is_told_that_an_answer_has_begun() -> None:
    # It refuses a last message of the model's own that isn't said to be the beginning of its answer.
    messages = (user_message("JSON, please"), Message(role="assistant", content=(TextPart("{"),)))
    assert sent(ChatRequest("m", messages), MISTRAL)["messages"][1] == {
        "role": "assistant",
        "content": "{",
        "prefix": True,
    }
    assert "prefix" not in sent(ChatRequest("m", messages), OPENAI)["messages"][1]
    assert "prefix" not in json.dumps(sent(ChatRequest("m", (*messages, user_message("x"))), MISTRAL))
    own = {"model": "m", "messages": [{"role": "assistant", "content": "{", "prefix": False}]}
    asked = parse_chat_request(json.dumps(own).encode())
    assert sent(asked, MISTRAL)["messages"][0]["prefix"] is False


THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": "Yes."},
]


def test_mistrals_thoughts_come_as_parts_of_the_content() -> None:
    choice = {"index": 0, "message": {"content": THINKING}, "finish_reason": "stop"}
    (answer,) = parse_answer(json.dumps({"model": "m", "choices": [choice]}).encode()).choices
    assert (answer.text, answer.reasoning) == ("Yes.", "hm")
    chunk = {"model": "m", "choices": [{"index": 0, "delta": {"content": THINKING}}]}
    events = ChunkReader(choices=1).read(json.dumps(chunk).encode())
    assert events[1:] == [ReasoningDelta("hm"), TextDelta("Yes.")]


def test_an_answer_that_filled_mistrals_context_is_cut_short() -> None:
    choice = {"index": 0, "message": {"content": "Once"}, "finish_reason": "model_length"}
    (answer,) = parse_answer(json.dumps({"model": "m", "choices": [choice]}).encode()).choices
    assert answer.finish_reason == "length"


@pytest.mark.parametrize("dialect", [OPENAI, GROQ, DEEPSEEK, MISTRAL])
def test_top_k_is_refused_by_name_where_it_is_not_known(dialect: Dialect) -> None:
    request = ask(stream=False, top_k=3)
    with pytest.raises(Unsupported) as refused:
        fit(request, OpenAICompatible(dialect=dialect), drop=False)
    assert refused.value.param == "top_k"
    assert fit(request, OpenAICompatible(dialect=TOGETHER), drop=False).request == request


@pytest.mark.parametrize(
    ("adapter", "most"),
    [
        (OpenAICompatible(dialect=OPENAI), 4),
        (OpenAICompatible(dialect=GROQ), 4),
        (OpenAICompatible(dialect=DEEPSEEK), 16),
        (Gemini(), 5),
        (Cohere(), 5),
    ],
)
def test_more_stop_sequences_than_a_provider_takes_are_refused_by_name(adapter: Adapter, most: int) -> None:
    stops = tuple(f"end{number}" for number in range(most + 1))
    request = ask(stream=False, stop=stops)
    with pytest.raises(Unsupported) as refused:
        fit(request, adapter, drop=False)
    assert refused.value.param == "stop"
    fitted = fit(request, adapter, drop=True)
    assert isinstance(fitted.request, ChatRequest)
    assert (fitted.request.stop, fitted.dropped) == (stops[:most], ("stop",))
    fewer = ask(stream=False, stop=stops[:most])
    assert fit(fewer, adapter, drop=False).request == fewer
    assert fit(request, OpenAICompatible(), drop=False).request == request


@pytest.mark.parametrize(("budget", "effort"), [(1_024, "low"), (4_096, "medium"), (32_000, "high")])
def test_a_budget_for_thinking_becomes_the_nearest_effort(budget: int, effort: str) -> None:
    assert sent(ask(stream=False, reasoning_budget=budget), OPENAI)["reasoning_effort"] == effort
    assert sent(ask(stream=False, reasoning_budget=budget, reasoning_effort="minimal"), OPENAI)["reasoning_effort"] == (
        "minimal"
    )


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        # Groq, which tells where to pay for more
        (
            429,
            {
                "message": "Rate limit reached for model `llama` on tokens per day (TPD). Please try again in 7m12s. "
                "Need more tokens? Upgrade today at the settings for billing.",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            },
            RateLimitedUpstream,
        ),
        # OpenRouter, whose codes are numbers
        (
            429,
            {"message": "Rate limit exceeded: free-models-per-day. Add 10 credits.", "code": 429},
            RateLimitedUpstream,
        ),
        (402, {"message": "Insufficient credits.", "code": 402}, QuotaExceeded),
        (502, {"message": "Provider returned error", "code": 502}, Transient),
        # Azure, which tells how to raise a quota
        (
            429,
            {
                "code": "429",
                "message": "Requests have exceeded call rate limit. Please retry after 6 seconds. Quota: …",
            },
            RateLimitedUpstream,
        ),
        # DeepSeek
        (
            402,
            {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"},
            QuotaExceeded,
        ),
        # OpenAI
        (429, {"message": "You exceeded your current quota.", "code": "insufficient_quota"}, QuotaExceeded),
    ],
)
def test_limits_are_told_from_quotas(status: int, error: dict[str, Any], kind: type[ProviderError]) -> None:
    assert type(classify(status=status, headers={}, body=json.dumps({"error": error}).encode())) is kind


def test_mistral_says_what_is_wrong_in_a_list() -> None:
    wrong = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
    for body in ({"object": "error", "message": wrong, "type": "invalid_request_error"}, wrong):
        error = classify(status=422, headers={}, body=json.dumps(body).encode())
        assert isinstance(error, Rejected)
        assert error.words == "body.seed: Extra inputs are not permitted"


def test_openrouters_error_in_mid_stream_has_a_number() -> None:
    frame = {
        "id": "gen-1",
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        "error": {"code": 429, "message": "Slow down"},
    }
    assert isinstance(classify_frame(json.dumps(frame).encode()), RateLimitedUpstream)
    with pytest.raises(RateLimitedUpstream):
        ChunkReader(choices=1).read(json.dumps(frame).encode())


def test_every_compatible_provider_has_its_adapter() -> None:
    compatible = {name for name in registry.names() if isinstance(registry.get(name).adapter(), OpenAICompatible)}
    assert compatible >= {
        "openai",
        "azure",
        "openrouter",
        "together",
        "groq",
        "deepseek",
        "mistral",
        "llama.cpp",
        "openai-compatible",
    }


def test_what_a_result_shows_is_shown_by_a_user_where_only_users_can() -> None:
    image = ImagePart("data:image/png;base64,aGk=")
    messages = (
        Message(role="assistant", tool_calls=(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        Message(role="tool", tool_call_id="a", content=(TextPart("see"), image)),
        Message(role="tool", tool_call_id="b"),
        user_message("So?"),
    )
    _, *told = sent(ChatRequest("m", messages), OPENAI)["messages"]
    shown = {"type": "image_url", "image_url": {"url": image.url}}
    assert told == [
        {"role": "tool", "tool_call_id": "a", "content": "see"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": [shown]},
        {"role": "user", "content": "So?"},
    ]
    assert sent(ChatRequest("m", messages[:2]), OPENAI)["messages"][-1] == {"role": "user", "content": [shown]}
    assert sent(ChatRequest("m", messages), COMPATIBLE)["messages"][1]["content"][1] == shown


def test_numbers_that_mean_nothing_or_all_are_taken() -> None:
    chat = b'{"model":"m","messages":[{"role":"user","content":"x"}],"top_k":-1}'
    assert sent(parse_chat_request(chat), COMPATIBLE)["top_k"] == -1
    # How the probabilities of a text are asked for.
    text = parse_text_request(b'{"model":"m","prompt":"x","max_tokens":0,"echo":true,"logprobs":1}')
    body = json.loads(encode_text_request(text, model="m", dialect=COMPATIBLE, stream=False))
    assert (body["max_tokens"], body["echo"], body["logprobs"]) == (0, True, 1)
