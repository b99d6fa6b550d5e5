"""Requests that are meant to do harm are answered as what they are: wrong, and never by an error of ours."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from psycopg import OperationalError

from config.asgi import application
from providers.gateway import http
from providers.gateway.http import MAX_DROPPED_CHARS
from providers.guardrails import store
from providers.pipeline.accept import factory
from providers.services.connections import Offer, add_provider
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.asgi import Answer, request
from tests.support.cast import Company

LONG_NUMBER = "000000001" + "0" * 5_000
"""What looks small at its beginning and is more than Python converts."""


@pytest.fixture
async def chatting(company: Company, upstream: OpenAIUpstream) -> AsyncIterator[str]:
    """A model at the fake upstream of OpenAI's format."""
    name = f"model-{secrets.token_hex(4)}"
    offer = Offer("openai-compatible", name, upstream.base_url, "sk", ((name, "fake-model"),), 0, 0)
    await sync_to_async(add_provider)(offer, tenant_slug=company.tenant.slug)
    yield name
    await factory().close()


@pytest.fixture
def echo(company: Company) -> str:
    """A model that echoes."""
    name = f"echo-{secrets.token_hex(4)}"
    offer = Offer("fake", name, "http://127.0.0.1:9", "", ((name, "echo"),), 0, 0)
    add_provider(offer, tenant_slug=company.tenant.slug)
    return name


async def chat(company: Company, model: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
    given = {"authorization": f"Bearer {company.api_key}"} | (headers or {})
    return await request(application, "POST", "/v1/chat/completions", body=body, headers=given)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-parley-deadline-ms": LONG_NUMBER},
        {"x-parley-deadline-ms": "000000001999999"},
        {"x-parley-deadline-ms": "0"},
        {"x-parley-deadline-ms": "-1"},
        {"x-parley-deadline-ms": "1e3"},
        {"x-parley-deadline-ms": "\u0663"},
        {"x-parley-priority": "\x00"},
        {"x-parley-cache": "maybe"},
        {"content-length": "-1"},
        {"content-length": "1, 2"},
    ],
)
async def test_absurd_headers_are_refused_by_name(company: Company, echo: str, headers: dict[str, str]) -> None:
    answer = await chat(company, echo, headers=headers)
    assert answer.status_code == 400, answer.text
    (name,) = headers
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert name in answer.json()["error"]["message"].lower()


async def test_a_body_of_a_length_beyond_reckoning_is_too_large(company: Company, echo: str) -> None:
    answer = await chat(company, echo, headers={"content-length": "9" * 5_000})
    assert answer.status_code == 413, answer.text


@pytest.mark.parametrize("query", [f"limit={LONG_NUMBER}", "limit=0000000019", "limit=0", "&".join(["a=b"] * 200)])
async def test_absurd_pages_of_models_are_refused(company: Company, query: str) -> None:
    headers = {"x-api-key": company.api_key, "anthropic-version": "2023-06-01"}
    answer = await _get("/v1/models", query, headers)
    wanted = 200 if query == "limit=0000000019" else 400
    assert answer.status_code == wanted, answer.text


@pytest.mark.parametrize("query", [f"limit={LONG_NUMBER}", "limit=101", "&".join(["a=b"] * 200)])
async def test_absurd_pages_of_input_items_are_refused(company: Company, echo: str, query: str) -> None:
    headers = {"authorization": f"Bearer {company.api_key}"}
    made = await request(application, "POST", "/v1/responses", body={"model": echo, "input": "hello"}, headers=headers)
    answer = await _get(f"/v1/responses/{made.json()['id']}/input_items", query, headers)
    assert answer.status_code == 400, answer.text


def _scope(method: str, path: str, headers: dict[str, str], query: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
    }


async def _get(path: str, query: str, headers: dict[str, str]) -> Answer:
    connection = ApplicationCommunicator(application, _scope("GET", path, headers, query))
    await connection.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await connection.receive_output(10)
    body = await connection.receive_output(10)
    await connection.wait(10)
    return Answer(start["status"], {}, body["body"])


async def _message(company: Company, model: str, **more: Any) -> Answer:
    headers = {"x-api-key": company.api_key, "x-parley-drop-params": "true"}
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], **more}
    return await request(application, "POST", "/v1/messages", body=body, headers=headers)


async def test_no_name_in_a_body_begins_a_header_of_the_answer(company: Company, chatting: str) -> None:
    answer = await _message(company, chatting, **{"x\r\nset-cookie: a=b": 1})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-parley-dropped"] == "x??set-cookie: a=b"


async def test_names_in_a_body_make_no_header_that_clients_cant_read(company: Company, chatting: str) -> None:
    answer = await _message(
        company, chatting, **{f"{number}-{'x' * 50}": 1 for number in range(3_000)}, **{"y" * 99_999: 1}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-parley-dropped"].startswith("0-xxx")
    assert len(answer.headers["x-parley-dropped"]) <= MAX_DROPPED_CHARS + 1


async def test_a_body_that_never_ends_is_not_waited_for(
    company: Company, echo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BODY_MAX_S", 0.05)
    connection = ApplicationCommunicator(application, _scope("POST", "/v1/messages", {"x-api-key": company.api_key}))
    await connection.send_input({"type": "http.request", "body": b"{", "more_body": True})
    start = await connection.receive_output(10)
    body = await connection.receive_output(10)
    await connection.wait(10)
    assert start["status"] == 400
    assert json.loads(body["body"])["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_database_that_goes_away_in_the_middle_is_said_to_be_away(
    company: Company, echo: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    @asynccontextmanager
    async def dying(*_: object, **__: object) -> AsyncIterator[None]:
        raise OperationalError("the connection was lost")
        yield

    monkeypatch.setattr(store.adb, "transaction", dying)
    message = [{"role": "user", "content": "hello"}]
    body = {"model": echo, "max_tokens": 9, "messages": message}
    if path == "/v1/responses":
        body = {"model": echo, "input": "hello"}
    headers = {"authorization": f"Bearer {company.api_key}"}
    answer = await request(application, "POST", path, body=body, headers=headers)
    # Anthropic's clients know this one.
    assert answer.status_code == (529 if path == "/v1/messages" else 503), answer.text
    assert "connection was lost" not in answer.text


HELLO = {"role": "user", "content": "hello"}
THOUGHT = {"type": "reasoning", "summary": [], "content": "hm"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {"input": "hello", "stream_options": 5}, "stream_options"),
        (
            "/v1/chat/completions",
            {"input": "x", "tools": [{"type": "custom", "name": "c", "format": "x"}]},
            "tools.format",
        ),
        ("/v1/responses", {"input": [THOUGHT, HELLO]}, None),
        ("/v1/responses", {"input": [THOUGHT, HELLO], "stream": True}, None),
        ("/v1/messages", {"messages": [HELLO], "max_tokens": 5, "tools": None, "system": None}, None),
    ],
)
async def test_what_is_oddly_put_is_answered_or_refused_by_name(
    company: Company, echo: str, path: str, body: dict[str, Any], param: str | None
) -> None:
    headers = {"authorization": f"Bearer {company.api_key}"}
    answer = await request(application, "POST", path, body={"model": echo, **body}, headers=headers)
    if param is None:
        assert answer.status_code == 200, answer.text
        assert "hello" in answer.text
        return
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
