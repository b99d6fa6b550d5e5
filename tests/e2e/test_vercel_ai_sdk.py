"""The Vercel AI SDK against the gateway: its OpenAI-compatible, OpenAI and Anthropic providers, each on its own format.

All scenarios are asked by one run of `tests/clients/js/ask.mjs`, each of a model of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.openai_texts import vector_of
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream
from tests.support.stack import Stack, Tenant
from tools.clients import CLIENTS
from tools.node import find_node

pytestmark = pytest.mark.no_database

KEY = "upstream-secret"
RUN_S = 60.0
PROVIDERS = {"compatible": "openai", "chat": "openai", "responses": "openai", "messages": "anthropic"}
"""The SDK's providers, by the format of the upstream behind them."""
EMBEDDERS = ("compatible", "chat")
SCENARIOS = ("text", "stream", "tools", "streamedTools", "object", "streamedObject", "fault")
CALLS = [
    {"id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'},
    {"id": "call_2", "name": "weather", "arguments": '{"city": "Zürich"}'},
]
CITY = {"name": "Oslo", "people": 7}

Answers = dict[str, Any]


@pytest.fixture(scope="module")
def upstreams(stack: Stack) -> Iterator[dict[str, Upstream]]:
    with OpenAIUpstream(api_key=KEY) as openai_like, AnthropicUpstream(api_key=KEY) as claude:
        running: dict[str, Upstream] = {"openai": openai_like, "anthropic": claude}
        for format_, kind in (("openai", "openai-compatible"), ("anthropic", "anthropic")):
            mine = [provider for provider, its in PROVIDERS.items() if its == format_]
            models = [_model(provider, scenario) for provider in mine for scenario in SCENARIOS]
            models += [_model(provider, "embed") for provider in mine if provider in EMBEDDERS]
            stack.add_models(models, running[format_].base_url, name=f"ai-sdk-{format_}", kind=kind)
        for provider, format_ in PROVIDERS.items():
            _script(running[format_], provider)
        yield running


def _model(provider: str, scenario: str) -> str:
    return f"ai-{provider}-{scenario}"


def _script(upstream: Upstream, provider: str) -> None:
    for scenario in ("tools", "streamedTools"):
        upstream.script(model=_model(provider, scenario), text="", tool_calls=CALLS, times=1)
    for scenario in ("object", "streamedObject"):
        # A vendor without schemas of its own is asked for one by a tool of this name.
        asked_by_tool = provider == "messages"
        said = json.dumps(CITY)
        calls = [{"id": "call_1", "name": "json", "arguments": said}] if asked_by_tool else []
        upstream.script(model=_model(provider, scenario), text="" if asked_by_tool else said, tool_calls=calls)
    upstream.script(model=_model(provider, "fault"), fault="401")


@pytest.fixture(scope="module")
def answers(stack: Stack, tenant: Tenant, upstreams: dict[str, Upstream]) -> Answers:
    node = find_node()
    if node is None or not (CLIENTS / "node_modules" / "ai").exists():
        said = "the JavaScript clients are not installed: `make test` does that, or `python -m tools.clients`"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(said)
        pytest.skip(said)
    done = subprocess.run(
        [str(node), "ask.mjs", stack.url, tenant.api_key],
        cwd=CLIENTS,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        env=dict(os.environ) | {"AI_SDK_LOG_WARNINGS": "false"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answered: Answers = json.loads(done.stdout.splitlines()[-1])
    return answered


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def seen(upstreams: dict[str, Upstream], provider: str, scenario: str) -> list[Record]:
    """What the upstream saw of a scenario."""
    records = upstreams[PROVIDERS[provider]].records
    return [record for record in records if record.model == _model(provider, scenario)]


@pytest.mark.parametrize("scenario", ["text", "stream"])
def test_a_text(answers: Answers, upstreams: dict[str, Upstream], provider: str, scenario: str) -> None:
    said = answers[f"{provider}.{scenario}"]
    assert said["text"] == "You said: Grüße 🎈", said
    assert said["finishReason"] == "stop"
    (record,) = seen(upstreams, provider, scenario)
    assert record.stream is (scenario == "stream")
    assert "Be brief." in json.dumps(record.body)
    assert (said["usage"]["inputTokens"], said["usage"]["outputTokens"]) == (
        record.prompt_tokens,
        record.completion_tokens,
    )
    if scenario == "stream":
        assert said["pieces"] == record.chunks


@pytest.mark.parametrize("scenario", ["tools", "streamedTools"])
def test_tools_are_run_and_their_results_sent(
    answers: Answers, upstreams: dict[str, Upstream], provider: str, scenario: str
) -> None:
    said = answers[f"{provider}.{scenario}"]
    assert (said.get("steps"), said.get("calls")) == (2, [{"city": "Paris"}, {"city": "Zürich"}]), said
    asked, answered = seen(upstreams, provider, scenario)
    assert said["text"] == f"You said: {answered.prompt}"
    assert "The weather of a city." in json.dumps(asked.body)
    spelled = json.dumps(answered.body, ensure_ascii=False)
    assert spelled.count("sunny in Paris") == spelled.count("sunny in Zürich") == 1


@pytest.mark.parametrize("scenario", ["object", "streamedObject"])
def test_an_object_keeps_to_its_schema(
    answers: Answers, upstreams: dict[str, Upstream], provider: str, scenario: str
) -> None:
    said = answers[f"{provider}.{scenario}"]
    assert said.get("object") == CITY, said
    (record,) = seen(upstreams, provider, scenario)
    spelled = json.dumps(record.body)
    assert '"people": {"type": "number"}' in spelled
    assert '"required": ["name", "people"]' in spelled
    if scenario == "streamedObject":
        assert said["parts"] > 1


@pytest.mark.parametrize("provider", EMBEDDERS)
def test_embeddings(answers: Answers, upstreams: dict[str, Upstream], provider: str) -> None:
    said = answers[f"{provider}.embed"]
    assert "error" not in said, said
    assert [tuple(vector) for vector in said["embeddings"]] == [vector_of("one two"), vector_of("three")]
    assert said["usage"]["tokens"] == seen(upstreams, provider, "embed")[0].prompt_tokens


def test_a_fault_is_understood(answers: Answers, provider: str) -> None:
    said = answers[f"{provider}.fault"]
    assert said.get("status") == 502, said
    assert "No provider could answer." in said["message"]
    assert KEY not in said["message"]
