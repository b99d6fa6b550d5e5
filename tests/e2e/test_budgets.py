"""Budgets, met at the front door: refused in each API's own words, made to fit, given back, and billed though a process died."""

import http.client
import json
import secrets
import signal
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import anthropic
import openai
import psycopg
import pytest

from providers.pipeline.hold import DEFAULT_CAP_TOKENS
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.servers import database_url
from tests.support.stack import Stack, Tenant, eventually
from tests.support.web_processes import end_process, may_die, raw_connection, web_processes
from tests.support.ws_client import Client, Frame

pytestmark = pytest.mark.no_database

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
INPUT_BOUND = 512 + 16 + len("Hello")
INPUT_NANO, OUTPUT_NANO = 1_000, 2_000
"""Of a token, at the prices of `MODEL`."""
ROUNDING_NANO = 6
BUDGETS = "/api/v1/billing/budgets"


def set_budget(stack: Stack, tenant: Tenant, limit: int, **values: Any) -> str:
    """A hard budget of the tenant's, of this month; its id."""
    body = {"scope": {"kind": "tenant"}, "limit": limit, **values}
    with stack.client(stack.sign_in(tenant.owner, tenant.password)["access"]) as rest:
        made = rest.post(BUDGETS, json=body)
    assert made.status_code == 201, made.text
    budget: str = made.json()["id"]
    return budget


def balance(stack: Stack, tenant: Tenant, budget: str) -> tuple[int, int]:
    """What is held and what is settled."""
    with stack.client(tenant.api_key) as rest:
        stands = rest.get(f"{BUDGETS}/{budget}").json()["balance"]
    return stands["held"], stands["settled"]


def openai_client(stack: Stack, tenant: Tenant) -> openai.OpenAI:
    # Its default of two retries: told not to, it doesn't.
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key)


@pytest.fixture(scope="module")
def poor(stack: Stack) -> tuple[Tenant, str]:
    """A tenant that can pay for nothing, and the budget that says so."""
    made = stack.create_tenant()
    return made, set_budget(stack, made, 1_000, name="Pocket money")


OPENAI: dict[str, Callable[[openai.OpenAI], object]] = {
    "chat": lambda client: client.chat.completions.create(model=MODEL, messages=HELLO),
    "chat, streamed": lambda client: client.chat.completions.create(model=MODEL, messages=HELLO, stream=True),
    "responses": lambda client: client.responses.create(model=MODEL, input="Hello"),
    "responses, streamed": lambda client: client.responses.create(model=MODEL, input="Hello", stream=True),
    "completions": lambda client: client.completions.create(model=MODEL, prompt="Hello"),
    "completions, streamed": lambda client: client.completions.create(model=MODEL, prompt="Hello", stream=True),
    "embeddings": lambda client: client.embeddings.create(model=MODEL, input="Hello"),
}


@pytest.mark.parametrize("ask", OPENAI.values(), ids=OPENAI)
def test_openais_clients_are_refused_in_their_words(
    stack: Stack, poor: tuple[Tenant, str], upstream: OpenAIUpstream, ask: Callable[[openai.OpenAI], object]
) -> None:
    tenant, budget = poor
    asked: list[object] = []
    before = len(upstream.records)
    with openai_client(stack, tenant) as client:
        client._client.event_hooks["request"].append(asked.append)
        with pytest.raises(openai.APIStatusError) as refused:
            ask(client)
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    assert (refused.value.type, refused.value.param) == ("billing_error", None)
    assert "“Pocket money”" in refused.value.message
    headers = refused.value.response.headers
    assert (headers["x-should-retry"], headers["x-parley-budget"]) == ("false", budget)
    assert headers["content-type"] == "application/json"
    assert len(asked) == 1
    assert len(upstream.records) == before


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_client_is_refused_in_its_words(
    stack: Stack, poor: tuple[Tenant, str], upstream: OpenAIUpstream, stream: bool
) -> None:
    tenant, budget = poor
    before = len(upstream.records)
    with (
        anthropic.Anthropic(base_url=stack.url, api_key=tenant.api_key) as client,
        pytest.raises(anthropic.APIStatusError) as refused,
    ):
        client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=stream)
    assert (refused.value.status_code, refused.value.type) == (402, "billing_error")
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["details"] == {"error_code": "budget_exceeded"}
    assert "“Pocket money”" in body["error"]["message"]
    headers = refused.value.response.headers
    assert (headers["x-should-retry"], headers["x-parley-budget"]) == ("false", budget)
    assert len(upstream.records) == before


def test_a_refusal_is_told_once_in_the_app(stack: Stack, poor: tuple[Tenant, str]) -> None:
    tenant, budget = poor
    with stack.client(stack.sign_in(tenant.owner, tenant.password)["access"]) as rest:
        for _ in range(2):
            asked = rest.post("/v1/embeddings", json={"model": MODEL, "input": "x"})
            assert asked.status_code == 402
        (alert,) = rest.get("/api/v1/billing/alerts").json()["data"]
        told = eventually(lambda: rest.get("/api/v1/notifications").json()["data"], within_s=20)
    assert (alert["budget"], alert["kind"], alert["threshold"]) == (budget, "refused", None)
    assert [one["type"] for one in told] == ["budget.refused"]
    assert "“Pocket money”" in told[0]["subject"]


def test_a_cap_shrinks_to_what_is_left(stack: Stack, upstream: OpenAIUpstream) -> None:
    tenant = stack.create_tenant()
    with openai_client(stack, tenant) as client:
        free = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
        assert int(free.headers["x-parley-max-tokens"]) == DEFAULT_CAP_TOKENS == upstream.records[-1].body["max_tokens"]
        budget = set_budget(stack, tenant, INPUT_BOUND * INPUT_NANO + ROUNDING_NANO + 100 * OUTPUT_NANO)
        shrunk = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=500)
    assert int(shrunk.headers["x-parley-max-tokens"]) == 100 == upstream.records[-1].body["max_tokens"]
    record = upstream.records[-1]
    used = record.prompt_tokens * INPUT_NANO + record.completion_tokens * OUTPUT_NANO
    assert balance(stack, tenant, budget) == (0, used)
    latest, _ = stack.usage(tenant.api_key)
    assert latest["cost_nano"] == used


def test_what_only_a_providers_format_says_has_to_be_paid_for_too(stack: Stack, upstream: OpenAIUpstream) -> None:
    tenant = stack.create_tenant()
    set_budget(stack, tenant, INPUT_BOUND * INPUT_NANO + ROUNDING_NANO + 100 * OUTPUT_NANO)
    before = len(upstream.records)
    functions: Any = [{"name": "f", "description": "word " * 1_000, "parameters": {"type": "object"}}]
    with openai_client(stack, tenant) as client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=MODEL, messages=HELLO, functions=functions)
    assert refused.value.status_code == 402
    assert len(upstream.records) == before


def test_each_of_several_prompts_has_its_share_of_what_is_left(stack: Stack, upstream: OpenAIUpstream) -> None:
    tenant, prompts = stack.create_tenant(), ["One", "Two", "Six", "Ten"]
    bound = 512 + 16 + len(json.dumps(prompts))
    set_budget(stack, tenant, bound * INPUT_NANO + ROUNDING_NANO + 100 * OUTPUT_NANO)
    with openai_client(stack, tenant) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            client.completions.create(model=MODEL, prompt=prompts, n=2, max_tokens=500)
        shrunk = client.completions.with_raw_response.create(model=MODEL, prompt=prompts, max_tokens=500)
    assert refused.value.status_code == 402
    assert int(shrunk.headers["x-parley-max-tokens"]) == 25 == upstream.records[-1].body["max_tokens"]


def test_ones_own_key_costs_nothing_and_counts_tokens(stack: Stack, upstream: OpenAIUpstream) -> None:
    tenant, alias = stack.create_tenant(), f"own-{secrets.token_hex(4)}"
    whose = ("--base-url", upstream.base_url, "--api-key", "upstream-secret", "--tenant", tenant.slug)
    free = ("--input-price", "0", "--output-price", "0")
    stack.manage("add_provider", "openai-compatible", "--name", alias, *whose, "--model", f"{alias}=fake-model", *free)
    money = set_budget(stack, tenant, 1)
    tokens = set_budget(stack, tenant, INPUT_BOUND + 200, measure="tokens")
    with openai_client(stack, tenant) as client:
        answer = client.chat.completions.with_raw_response.create(model=alias, messages=HELLO)
        usage = answer.parse().usage
        assert usage is not None
        assert int(answer.headers["x-parley-max-tokens"]) == 200
        assert balance(stack, tenant, money) == (0, 0)
        assert balance(stack, tenant, tokens) == (0, usage.total_tokens)
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model=alias, messages=[{"role": "user", "content": "x" * 300}])
    assert refused.value.status_code == 402
    assert refused.value.response.headers["x-parley-budget"] == tokens


async def test_in_a_room_whoever_asks_pays(stack: Stack, upstream: OpenAIUpstream) -> None:
    tenant = stack.create_tenant()
    bob = stack.add_member(tenant, "bob")
    set_budget(stack, tenant, 1_000, scope={"kind": "member", "id": bob.membership})
    tokens = [
        stack.sign_in(bob.email, bob.password)["access"],
        stack.sign_in(tenant.owner, tenant.password)["access"],
    ]
    with stack.client(tokens[1]) as rest:
        room_id: str = rest.post("/api/v1/rooms", json={"title": "R", "kind": "shared", "model": MODEL}).json()["id"]
        assert rest.post(f"/api/v1/rooms/{room_id}/members", json={"member": bob.membership}).status_code == 201
    before = len(upstream.records)
    ended = []
    for token in tokens:
        client = await Client(stack.socket_url, token).hello()
        await client.join(room_id)
        ended.append(await _asked(client, room_id))
        await client.close()
    refused, answered = (frame["body"]["generation"] for frame in ended)
    assert (refused["status"], refused["error"]["code"]) == ("failed", "budget_exceeded")
    assert refused["cost_nano"] in (0, None)
    assert (answered["status"], answered["error"]) == ("complete", None)
    assert len(upstream.records) == before + 1
    (record,) = stack.usage(tenant.api_key)
    assert record["member"] != bob.membership
    assert record["cost_nano"] > 0


async def _asked(client: Client, room_id: str) -> Frame:
    """The event that ends the answer to a question."""
    ack = await client.command("message.send", room_id, text="Hello?")
    assert ack["op"] == "ack", ack
    return await client.frame(
        lambda frame: frame.get("type") == "generation.finished" and frame["body"]["generation"]["prompt"] == ack["id"]
    )


def slow() -> list[Any]:
    """A question whose answer takes its time."""
    script = {"text": f"{secrets.token_hex(4)} " + "word " * 300, "delay_ms": 30}
    return [{"role": "user", "content": "!script " + json.dumps(script)}]


def test_a_stream_that_is_left_gives_the_rest_back(stack: Stack) -> None:
    tenant = stack.create_tenant()
    budget = set_budget(stack, tenant, 10**9)
    with openai_client(stack, tenant) as client:
        stream = client.chat.completions.create(model=MODEL, messages=slow(), stream=True)
        next(stream)
        held, settled = balance(stack, tenant, budget)
        assert held > DEFAULT_CAP_TOKENS * OUTPUT_NANO
        assert settled == 0
        stream.close()
    eventually(lambda: balance(stack, tenant, budget)[0] == 0)
    (record,) = stack.usage(tenant.api_key)
    assert record["status"] == "stopped"
    assert balance(stack, tenant, budget) == (0, record["cost_nano"])
    assert 0 < record["cost_nano"] < held / 4


def test_the_hold_of_a_killed_process_is_resolved(stack: Stack) -> None:
    may_die(stack)
    tenant = stack.create_tenant()
    budget = set_budget(stack, tenant, 10**9)
    doomed = web_processes(stack)["web.0"]
    headers = {"Authorization": f"Bearer {tenant.api_key}", "Content-Type": "application/json"}
    body = {"model": MODEL, "stream": True, "messages": slow()}
    with (
        psycopg.connect(database_url("test_e2e"), autocommit=True) as admin,
        closing(http.client.HTTPConnection("127.0.0.1", stack.port)) as stream,
        raw_connection(stack, pid=doomed) as stream.sock,
    ):
        stream.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        assert stream.getresponse().status == 200

        def reached() -> int:
            held = admin.execute(
                "SELECT checkpoint_output FROM billing_hold WHERE tenant_id = %s", [uuid.UUID(tenant.id)]
            ).fetchone()
            return int(held[0]) if held else 0

        eventually(reached)
        end_process(stack, doomed, signal.SIGKILL)
        written = reached()
        assert balance(stack, tenant, budget)[0] > 0
        # As if a minute and a half had passed.
        admin.execute("UPDATE billing_hold SET expires_at = now() WHERE tenant_id = %s", [uuid.UUID(tenant.id)])
    eventually(lambda: balance(stack, tenant, budget)[0] == 0, within_s=30)
    (record,) = stack.usage(tenant.api_key)
    assert (record["status"], record["estimated"], record["error_code"]) == ("interrupted", True, "process_died")
    assert record["tokens"]["output"] == written > 0
    assert balance(stack, tenant, budget) == (0, record["cost_nano"])
    eventually(lambda: doomed not in web_processes(stack).values() and len(web_processes(stack)) == 2, within_s=30)


def test_a_request_of_a_killed_process_is_billed_though_it_was_never_held(
    stack: Stack, upstream: OpenAIUpstream
) -> None:
    may_die(stack)
    tenant = stack.create_tenant()
    doomed = web_processes(stack)["web.1"]
    headers = {"Authorization": f"Bearer {tenant.api_key}", "Content-Type": "application/json"}
    script = {"text": f"{secrets.token_hex(4)} late", "delay_ms": 20_000}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "!script " + json.dumps(script)}]}
    before = len(upstream.records)
    with (
        psycopg.connect(database_url("test_e2e"), autocommit=True) as admin,
        closing(http.client.HTTPConnection("127.0.0.1", stack.port)) as plain,
        raw_connection(stack, pid=doomed) as plain.sock,
    ):

        def holds() -> int:
            counted = admin.execute(
                "SELECT count(*) FROM billing_hold WHERE tenant_id = %s", [uuid.UUID(tenant.id)]
            ).fetchone()
            return int(counted[0]) if counted else 0

        plain.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        eventually(lambda: len(upstream.records) > before)
        end_process(stack, doomed, signal.SIGKILL)
        assert holds() == 0
        # Who comes in its place finds it in the journal.
        eventually(holds, within_s=30)
        # As if a minute and a half had passed.
        admin.execute("UPDATE billing_hold SET expires_at = now() WHERE tenant_id = %s", [uuid.UUID(tenant.id)])
    (record,) = eventually(lambda: stack.usage(tenant.api_key), within_s=30)
    assert (record["status"], record["estimated"], record["error_code"]) == ("interrupted", True, "process_died")
    assert record["tokens"]["input"] > 0 == record["tokens"]["output"]
    eventually(lambda: doomed not in web_processes(stack).values() and len(web_processes(stack)) == 2, within_s=30)
