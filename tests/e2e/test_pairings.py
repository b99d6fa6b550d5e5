"""Every client format on every upstream format: text, tools and streams, with the upstream's own record of what it saw."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.cohere_upstream import CohereUpstream
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Record
from tests.fakes.upstream import Upstream
from tests.support.dialects import CLIENTS, SCHEMA, TOOL, Client, Said, connected
from tests.support.stack import Stack, Tenant

pytestmark = pytest.mark.no_database

UPSTREAMS: dict[str, type[Upstream]] = {
    "openai-compatible": OpenAIUpstream,
    "anthropic": AnthropicUpstream,
    "gemini": GeminiUpstream,
    "cohere": CohereUpstream,
    "ollama": OllamaUpstream,
}
KEY = "upstream-secret"
SYSTEM = "Antworte kurz. 🎈"
CALLS = [
    {"id": "call_1", "name": TOOL, "arguments": '{"city": "Zürich"}'},
    {"id": "call_2", "name": TOOL, "arguments": '{"city": "北京"}'},
]
RESULTS = ("Sonne, 21°", "Regen")
ENDED = {
    "chat": ("stop", "tool_calls"),
    "responses": ("completed", "completed"),
    "messages": ("end_turn", "tool_use"),
}
"""How each API says that an answer ended by itself, and by calls."""


@dataclass(frozen=True)
class Saw:
    """Where an upstream format has what an upstream should see."""

    system: Callable[[Any], Any]
    schema: Callable[[Any], Any]
    results: Callable[[Any], list[Any]]


def _text(content: Any) -> str:
    """A text, whether it is one or is made of parts."""
    return content if isinstance(content, str) else "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    return str(part["text"] if "text" in part else part["document"]["data"])


def _tool_messages(body: Any) -> list[Any]:
    return [_text(message["content"]) for message in body["messages"] if message["role"] == "tool"]


CHAT_LIKE = Saw(
    system=lambda body: _text(body["messages"][0]["content"]) if body["messages"][0]["role"] == "system" else None,
    schema=lambda body: body["tools"][0]["function"]["parameters"],
    results=_tool_messages,
)
SEEN = {
    "openai-compatible": CHAT_LIKE,
    "cohere": CHAT_LIKE,
    "ollama": CHAT_LIKE,
    "anthropic": Saw(
        system=lambda body: _text(body["system"]),
        schema=lambda body: body["tools"][0]["input_schema"],
        results=lambda body: [_text(block["content"]) for block in body["messages"][-1]["content"]],
    ),
    "gemini": Saw(
        system=lambda body: _text(body["systemInstruction"]["parts"]),
        schema=lambda body: body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"],
        results=lambda body: [
            next(iter(part["functionResponse"]["response"].values())) for part in body["contents"][-1]["parts"]
        ],
    ),
}


@dataclass(frozen=True)
class Pair:
    """A client and an upstream, and the model that leads from one to the other and is nobody else's."""

    api: str
    format: str
    model: str
    client: Client
    upstream: Upstream
    stack: Stack
    tenant: Tenant

    def records(self) -> list[Record]:
        """What the upstream saw by way of this pair."""
        return [record for record in self.upstream.records if record.model == self.model]

    def check_usage(self, *answers: Said) -> None:
        """The clients were told of, and Parley recorded, what the upstream counted, request by request."""
        tally = [(record.prompt_tokens, record.completion_tokens) for record in self.records()]
        assert [said.tokens for said in answers] == tally[-len(answers) :]
        recorded = self.stack.usage(self.tenant.api_key, model=self.model)
        spent = [(record["tokens"]["input"], record["tokens"]["output"]) for record in reversed(recorded)]
        assert spent == tally
        assert not any(record["estimated"] for record in recorded)


@pytest.fixture(scope="module")
def upstreams(stack: Stack) -> Iterator[dict[str, Upstream]]:
    with ExitStack() as running:
        started = {name: running.enter_context(kind(api_key=KEY)) for name, kind in UPSTREAMS.items()}
        for name, upstream in started.items():
            models = [_model(api, name) for api in CLIENTS]
            stack.add_models(models, upstream.base_url, name=f"pairs-{name}", kind=name)
        yield started


def _model(api: str, kind: str) -> str:
    return f"{api}-on-{kind}"


@pytest.fixture(scope="module", params=[(api, kind) for api in CLIENTS for kind in UPSTREAMS], ids="-on-".join)
def pair(
    request: pytest.FixtureRequest, stack: Stack, tenant: Tenant, upstreams: dict[str, Upstream]
) -> Iterator[Pair]:
    api, kind = request.param
    with connected(api, stack.url, tenant.api_key) as client:
        yield Pair(api, kind, _model(api, kind), client, upstreams[kind], stack, tenant)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_text(pair: Pair, stream: bool) -> None:
    pair.upstream.script(model=pair.model, split=5 if stream else 0, times=1)
    said = pair.client.ask(pair.model, "Grüße an 北京 🎈", system=SYSTEM, stream=stream)
    assert said.text == "You said: Grüße an 北京 🎈"
    assert said.calls == ()
    assert said.ended == ENDED[pair.api][0]
    seen = pair.records()[-1]
    assert seen.stream is stream
    assert seen.prompt == "Grüße an 北京 🎈"
    assert SEEN[pair.format].system(seen.body) == SYSTEM
    pair.check_usage(said)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_calls_and_then_their_results(pair: Pair, stream: bool) -> None:
    prompt = "Weather in Zürich and 北京?"
    pair.upstream.script(model=pair.model, text="", tool_calls=CALLS, chunk=3, times=1)
    asked = pair.client.ask(pair.model, prompt, system=SYSTEM, stream=stream, tools=True)
    assert asked.text == ""
    assert [(call.name, call.arguments) for call in asked.calls] == [
        (TOOL, {"city": "Zürich"}),
        (TOOL, {"city": "北京"}),
    ]
    assert all(call.id for call in asked.calls)
    assert len({call.id for call in asked.calls}) == 2
    assert asked.ended == ENDED[pair.api][1]
    assert SEEN[pair.format].schema(pair.records()[-1].body) == SCHEMA

    pair.upstream.script(model=pair.model, text="Hier Sonne, dort Regen.", times=1)
    said = pair.client.answer_calls(pair.model, prompt, asked, RESULTS, stream=stream)
    assert (said.text, said.ended) == ("Hier Sonne, dort Regen.", ENDED[pair.api][0])
    seen = pair.records()[-1].body
    assert SEEN[pair.format].results(seen) == list(RESULTS)
    # Arguments go as text to some vendors, as an object to others.
    spelled = json.dumps(seen, ensure_ascii=False).replace("\\", "")
    assert spelled.count('"Zürich"') == spelled.count('"北京"') == 1
    pair.check_usage(asked, said)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_an_upstreams_401_is_not_the_callers_and_nobody_hears_the_key(pair: Pair, stream: bool) -> None:
    before = len(pair.stack.output)
    pair.upstream.script(model=pair.model, fault="status", status=401, body=f'{{"error": "wrong key: {KEY}"}}', times=1)
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as failed:
        pair.client.ask(pair.model, "Hello", system=SYSTEM, stream=stream)
    assert failed.value.status_code == 502
    answer = failed.value.response
    assert KEY not in answer.text
    assert KEY not in str(answer.headers)
    assert answer.headers["x-should-retry"] == "false"
    assert KEY not in pair.stack.output[before:]
    (record, *_) = pair.stack.usage(pair.tenant.api_key, request_id=answer.headers["x-request-id"])
    assert (record["status"], record["cost_nano"]) == ("failed", 0)
