"""What only Anthropic's format says is part of the key, so that such questions are answered from the cache too."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from config.asgi import application
from providers.adapters.anthropic.request_in import parse_messages_request
from providers.services.connections import Offer, add_provider
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.providers.cache.test_keys import key
from tests.support.asgi import Answer, request
from tests.support.cast import Company

BODY: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 2_000,
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "How high is it?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "They ask for the height.", "signature": "c2lnbmVk"},
                {"type": "redacted_thinking", "data": "aGlkZGVu"},
                {"type": "text", "text": "300 m.", "citations": [{"type": "char_location", "cited_text": "300 m"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "measure", "input": {"what": "it"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "301 m"}]},
    ],
    "tools": [{"name": "measure", "input_schema": {"type": "object"}}],
}
BETA = {"anthropic-beta": "interleaved-thinking-2025-05-14"}
CHANGES: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "budget": (("thinking", "budget_tokens"), 2_048),
    "kind of thinking": (("thinking", "type"), "disabled"),
    "thoughts": (("messages", 1, "content", 0, "thinking"), "They ask something else."),
    "signature": (("messages", 1, "content", 0, "signature"), "b3RoZXI="),
    "hidden thoughts": (("messages", 1, "content", 1, "data"), "c2VjcmV0"),
    "citations": (("messages", 1, "content", 2, "citations", 0, "cited_text"), "300"),
}


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(BODY)
    place: Any = body
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return body


def key_of(body: dict[str, Any], headers: dict[str, str] = BETA) -> bytes | None:
    return key(parse_messages_request(msgspec.json.encode(body), headers))


@pytest.mark.no_database
def test_a_question_has_one_key() -> None:
    assert key_of(BODY) is not None
    assert key_of(BODY) == key_of(copy.deepcopy(BODY))


@pytest.mark.no_database
@pytest.mark.parametrize("name", CHANGES)
def test_another_question_has_another(name: str) -> None:
    other = key_of(changed(*CHANGES[name]))
    assert other is not None
    assert other != key_of(BODY)


@pytest.mark.no_database
def test_what_is_tried_out_makes_another_question() -> None:
    keys = {key_of(BODY), key_of(BODY, {}), key_of(BODY, {"anthropic-beta": "context-1m-2025-08-07"})}
    assert len(keys) == 3
    assert None not in keys


@pytest.mark.no_database
def test_what_nobody_here_knows_has_none() -> None:
    assert key_of(BODY | {"container": "container_1"}) is None


@pytest.fixture
def claude(company: Company) -> Iterator[AnthropicUpstream]:
    """A provider that speaks Anthropic's format, of which the company has the model `claude`."""
    with AnthropicUpstream() as running:
        offer = Offer("anthropic", "claude", running.base_url, "sk-upstream", (("claude", "fake-model"),), 0, 0)
        add_provider(offer, tenant_slug=company.tenant.slug)
        yield running


async def test_it_is_asked_of_the_provider_once(company: Company, claude: AnthropicUpstream) -> None:
    headers = {"x-api-key": company.api_key, "anthropic-version": "2023-06-01", "x-parley-cache": "true", **BETA}

    async def ask(body: dict[str, Any]) -> Answer:
        return await request(application, "POST", "/v1/messages", body=body, headers=headers)

    first, second = await ask(BODY), await ask(BODY)
    assert (first.status_code, second.status_code) == (200, 200), first.text
    assert [answer.headers["x-parley-cache"] for answer in (first, second)] == ["miss", "exact"]
    assert second.json()["content"] == first.json()["content"]
    assert len(claude.records) == 1
    other = await ask(changed(*CHANGES["budget"]))
    assert other.headers["x-parley-cache"] == "miss"
    assert len(claude.records) == 2
