"""What else may come to the API: each is answered in OpenAI's format, and nothing brings it down."""

import contextlib
import http.client
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tests.e2e.conftest import MODEL
from tests.support.stack import SOON_S, Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

COMPLETIONS = "/v1/chat/completions"
MAX_BODY_BYTES = 32 * 1024 * 1024
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def api(stack: Stack, tenant: Tenant) -> Iterator[httpx.Client]:
    with stack.client(tenant.api_key) as client:
        yield client


@pytest.fixture(scope="module")
def token(stack: Stack, tenant: Tenant) -> str:
    access: str = stack.sign_in(tenant.owner, tenant.password)["access"]
    return access


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer in OpenAI's format."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def chat(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post(COMPLETIONS, json={"model": MODEL, "messages": HELLO} | body)


DEEP = 10_000
BODIES = {
    "empty": b"",
    "not JSON": b"{not json",
    "not an object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"model": "fake", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "half a character": b'{"model": "fake", "messages": [{"role": "user", "content": "\xf0\x9f"}]}',
    "deep list": b'{"model": "fake", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep object": b'{"model": "fake", "messages": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "never closed": b"[" * DEEP,
    "two values": b'{"model": "fake", "messages": []}{}',
    "NaN": b'{"model": "fake", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "huge number": b'{"model": "fake", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1e400}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request_is_a_bad_request(api: httpx.Client, name: str) -> None:
    answer = api.post(COMPLETIONS, content=BODIES[name], headers={"Content-Type": "application/json"})
    assert error_of(answer, 400)["type"] == "invalid_request_error"


def test_a_value_nested_deeply_where_anything_may_be_is_no_failure(api: httpx.Client) -> None:
    nested = (
        b'{"model": "fake", "messages": [{"role": "user", "content": "x"}], "metadata": ' + b"[" * DEEP + b"]" * DEEP
    )
    answer = api.post(COMPLETIONS, content=nested + b"}", headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("text", ["\x00", "\x1b[31m", "\u2028", "a" * 200_000, "\U0010ffff", "<script>", "'; --"])
def test_text_arrives_as_it_is(api: httpx.Client, text: str) -> None:
    answer = chat(api, messages=[{"role": "user", "content": text}])
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == f"You said: {text}"


def test_half_a_surrogate_pair_is_no_failure(api: httpx.Client) -> None:
    body = b'{"model": "fake", "messages": [{"role": "user", "content": "a \\ud83c b"}]}'
    answer = api.post(COMPLETIONS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("model", ["a\x00b", "x" * 256, "../../etc/passwd", "fake ", "FAKE", "%66ake", "🎈"])
def test_a_model_that_is_none_is_not_found(api: httpx.Client, model: str) -> None:
    assert error_of(chat(api, model=model), 404)["code"] == "model_not_found"


@pytest.mark.parametrize("model", ["", "x" * 257, 7, None])
def test_what_names_no_model_is_a_bad_request(api: httpx.Client, model: object) -> None:
    assert error_of(chat(api, model=model), 400)["param"] == "model"


@pytest.mark.parametrize("alias", ["%00", "%FF", "no-such", "a/b", "..%2F..", "x" * 2_000])
def test_a_model_that_is_none_can_not_be_retrieved(api: httpx.Client, alias: str) -> None:
    assert error_of(api.get(f"/v1/models/{alias}"), 404)["type"] == "not_found_error"


@pytest.mark.parametrize(
    "path", ["/v1/", "/v1", "/v1/nope", "/v1/chat", "/v1/chat/completions/", "/v1//models", "/v1/é"]
)
def test_an_unknown_path_is_not_found(api: httpx.Client, path: str) -> None:
    assert error_of(api.get(path), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", COMPLETIONS, "POST"),
        ("DELETE", COMPLETIONS, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", f"/v1/models/{MODEL}", "GET, HEAD"),
        ("PROPFIND", "/v1/models", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_has_not_is_refused(api: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = api.request(method, path)
    assert error_of(answer, 405)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == allowed


def test_a_page_of_another_origin_may_ask_what_it_may_do(api: httpx.Client) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = api.request("OPTIONS", COMPLETIONS, headers={**asked, "Authorization": ""})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    refused = api.post(COMPLETIONS, json={}, headers={"Origin": "https://app.example", "Authorization": ""})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")


def test_head_is_get_without_the_body(api: httpx.Client) -> None:
    asked, whole = api.head("/v1/models"), api.get("/v1/models")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == whole.headers["content-length"]
    refused = api.head(COMPLETIONS)
    assert (refused.status_code, refused.content) == (405, b"")


def test_a_body_that_says_it_is_too_large_is_refused_unread(stack: Stack, tenant: Tenant) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    connection.putrequest("POST", COMPLETIONS)
    connection.putheader("Authorization", f"Bearer {tenant.api_key}")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "payload_too_large")
    connection.close()


def test_a_body_that_turns_out_too_large_is_refused(stack: Stack, tenant: Tenant) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=20)
    connection.putrequest("POST", COMPLETIONS)
    connection.putheader("Authorization", f"Bearer {tenant.api_key}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(MAX_BODY_BYTES // 0x100000 + 1):
            connection.send(chunk)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "payload_too_large")
    connection.close()


def test_an_access_token_is_as_good_as_a_key(stack: Stack, token: str) -> None:
    with stack.client(token) as client:
        assert client.get("/v1/models").status_code == 200
        answer = chat(client)
    assert answer.status_code == 200
    (record,) = stack.usage(token, request_id=answer.headers["x-request-id"])
    assert record["api_key"] is None


@pytest.mark.parametrize("header", ["", "Bearer", "Basic eDp5", "Bearer a.b.c", "Bearer " + "x" * 5_000])
def test_no_credential_is_not_authenticated(stack: Stack, header: str) -> None:
    answer = stack.http.get("/v1/models", headers={"Authorization": header} if header else {})
    assert error_of(answer, 401)["type"] == "authentication_error"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_stops_working_within_a_second(stack: Stack, token: str) -> None:
    with stack.client(token) as owner:
        made = owner.post("/api/v1/api-keys", json={"name": "short-lived"}).json()
        with stack.client(made["secret"]) as client:
            for _ in range(4):
                assert chat(client).status_code == 200
            assert owner.delete(f"/api/v1/api-keys/{made['key']['id']}").status_code == 204

            def refused() -> bool:
                # Each on a connection of its own, so that both processes are asked.
                with stack.client(made["secret"]) as fresh:
                    return fresh.get("/v1/models").status_code == 401

            eventually(lambda: all(refused() for _ in range(6)), within_s=SOON_S)


def test_a_key_for_some_models_is_for_no_others(stack: Stack, token: str) -> None:
    with stack.client(token) as owner:
        made = owner.post("/api/v1/api-keys", json={"name": "narrow", "allowed_models": ["other"]}).json()
    with stack.client(made["secret"]) as client:
        assert client.get("/v1/models").json()["data"] == []
        assert error_of(chat(client), 404)["code"] == "model_not_found"
        assert error_of(client.get(f"/v1/models/{MODEL}"), 404)["code"] == "model_not_found"


def test_a_suspended_tenant_is_refused_until_it_is_resumed(stack: Stack) -> None:
    tenant = stack.create_tenant()
    with stack.client(tenant.api_key) as client:
        assert chat(client).status_code == 200
        stack.manage("tenant", "suspend", tenant.slug)
        eventually(lambda: chat(client).status_code == 403, within_s=SOON_S)
        assert error_of(chat(client), 403)["type"] == "permission_error"
        stack.manage("tenant", "resume", tenant.slug)
        eventually(lambda: chat(client).status_code == 200, within_s=SOON_S)


def test_a_tenant_that_has_spent_its_limit_is_told_not_to_try_again(stack: Stack) -> None:
    tenant = stack.create_tenant()
    # Enough for what a short request may cost at most, and soon too little: what is held beforehand is much more than it costs.
    stack.manage("tenant", "limit", tenant.slug, "0.00065")
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=5) as client:
        client.chat.completions.create(model=MODEL, messages=HELLO)

        def refusal() -> openai.APIStatusError | None:
            try:
                client.chat.completions.create(model=MODEL, messages=HELLO)
            except openai.APIStatusError as error:
                return error
            return None

        error = eventually(refusal, within_s=SOON_S)
    assert (error.status_code, error.type) == (402, "billing_error")
    assert error.response.headers["x-should-retry"] == "false"
    assert all(record["status"] == "complete" for record in stack.usage(tenant.api_key))


def test_fifty_streams_at_once_are_all_whole(stack: Stack, tenant: Tenant) -> None:
    texts = [f"{secrets.token_hex(4)} naïve 🎈 {number} " * 10 for number in range(50)]

    def stream(client: openai.OpenAI, text: str) -> tuple[str, str]:
        script = json.dumps({"text": text, "delay_ms": 5, "chunk": 3})
        messages: Any = [{"role": "user", "content": f"!script {script}"}]
        answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in answer.parse() if chunk.choices]
        return "".join(pieces), answer.headers["x-request-id"]

    with (
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client,
        ThreadPoolExecutor(len(texts)) as pool,
    ):
        got = list(pool.map(lambda text: stream(client, text), texts))
    assert [text for text, _ in got] == texts
    records = {record["request_id"]: record for record in stack.usage(tenant.api_key)}
    assert {records[request_id]["status"] for _, request_id in got} == {"complete"}
