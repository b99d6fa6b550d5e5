"""What a request may come to at most: what is held for it, so that no budget is overspent."""

import json
from typing import Any

import pytest

from providers.adapters.anthropic.request_in import parse_messages_request
from providers.adapters.openai.request_in import parse_chat_request
from providers.bounds import LONGEST_CONTEXT_TOKENS, TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST, bound_input
from providers.profiles import MAX_TOKENS_PER_IMAGE, UNKNOWN, profile
from providers.types import Request

pytestmark = pytest.mark.no_database

CLAUDE = profile("claude-haiku-4-5")
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
LEAST = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE + len("Hi")
PIXEL = {"url": "data:image/png;base64,aGk="}
URL = "https://papers.example/long.pdf"


def chat(**body: Any) -> Request:
    return parse_chat_request(json.dumps({"model": "m", "messages": [HI]} | body).encode())


def messages(*content: dict[str, Any]) -> Request:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": list(content)}]}
    return parse_messages_request(json.dumps(body).encode(), {})


def test_a_text_is_a_token_a_byte() -> None:
    assert bound_input(chat(), [UNKNOWN]) == LEAST


LONG = "x" * 5_000


@pytest.mark.parametrize(
    "body",
    [
        {"functions": [{"name": "f", "description": LONG}]},
        {"messages": [HI, {"role": "assistant", "content": "Yes", "reasoning_content": LONG}, HI]},
        {"messages": [HI, {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": LONG}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "context": LONG}]}]},
        {"tools": [{"type": "function", "function": {"name": "f", "examples": [LONG]}}]},
        {"prediction": {"type": "content", "content": LONG}},
    ],
)
def test_what_only_one_format_says_is_read_too(body: dict[str, Any]) -> None:
    assert bound_input(chat(**body), [UNKNOWN]) > LEAST + len(LONG)


@pytest.mark.parametrize(
    ("model", "tokens"), [("gpt-4o-mini", 48_169), ("gpt-4o", 5_000), ("claude-opus-4-8", 5_000), ("unheard-of", 5_000)]
)
def test_an_image_is_what_the_model_makes_of_it(model: str, tokens: int) -> None:
    shown = chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": PIXEL}]}])
    assert bound_input(shown, [profile(model)]) == LEAST - len("Hi") + tokens
    assert bound_input(shown, [profile(model), profile("gpt-4o-mini")]) == LEAST - len("Hi") + 48_169


def test_an_image_kept_at_the_provider_is_one() -> None:
    request = messages({"type": "image", "source": {"type": "file", "file_id": "file_1"}})
    assert LEAST + MAX_TOKENS_PER_IMAGE < bound_input(request, [CLAUDE]) < LEAST + 2 * MAX_TOKENS_PER_IMAGE


@pytest.mark.parametrize(
    "document",
    [
        {"type": "document", "source": {"type": "url", "url": URL}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "x", "source": {"url": URL}}]}},
    ],
)
def test_a_document_that_is_elsewhere_may_fill_the_context(document: dict[str, Any]) -> None:
    assert bound_input(messages(document), [CLAUDE]) == CLAUDE.context_tokens
    assert bound_input(messages(document), [CLAUDE, UNKNOWN]) == LONGEST_CONTEXT_TOKENS


@pytest.mark.parametrize("file", [{"file_id": "file-1"}, {"filename": "a.pdf", "file_data": URL}])
def test_so_may_a_file(file: dict[str, Any]) -> None:
    request = chat(messages=[{"role": "user", "content": [{"type": "file", "file": file}]}])
    assert bound_input(request, [UNKNOWN]) == LONGEST_CONTEXT_TOKENS


@pytest.mark.parametrize(
    "part",
    [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": f"See {URL}"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "x", "url": URL}]},
    ],
)
def test_what_is_all_there_is_a_token_a_byte(part: dict[str, Any]) -> None:
    assert bound_input(messages(part), [CLAUDE]) < LEAST + len(json.dumps(part))
