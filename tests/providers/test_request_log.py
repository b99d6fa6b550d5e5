"""The log of requests: how each went, and what it said where the tenant wants that kept."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from config.asgi import application
from kernel.errors import ParleyError, RateLimited
from kernel.ids import uuid7
from providers.models import RequestLog
from providers.requests import record
from providers.requests.expiry import expire_requests
from providers.services.connections import Offer, add_provider
from tests.support.asgi import Answer, request
from tests.support.cast import Actor, Company


@pytest.fixture
def model(company: Company) -> str:
    name = f"echo-{secrets.token_hex(4)}"
    offer = Offer("fake", name, "http://127.0.0.1:9", "", ((name, "echo"),), 1_000_000, 2_000_000)
    add_provider(offer, tenant_slug=company.tenant.slug)
    return name


async def _chat(company: Company, model: str, text: str = "hello") -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": f"Bearer {company.api_key}"}
    return await request(application, "POST", "/v1/chat/completions", body=body, headers=headers)


@sync_to_async
def _get(actor: Actor, path: str) -> Any:
    return actor.client.get(f"/api/v1/{path}")


async def _settled() -> None:
    """What the log writes behind the answers is written."""
    writer = record._writer()
    while writer._running is not None:
        await writer._running


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_no_deployment_took_is_listed_too(company: Company, stream: bool) -> None:
    name = f"nobody-{secrets.token_hex(4)}"
    offer = Offer("openai-compatible", name, "http://127.0.0.1:9/v1", "sk", ((name, "m"),), 0, 0)
    await sync_to_async(add_provider)(offer, tenant_slug=company.tenant.slug)
    body = {"model": name, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    headers = {"x-api-key": company.api_key}
    answer = await request(application, "POST", "/v1/messages", body={**body, "only_here": 1}, headers=headers)
    assert answer.status_code == 400, answer.text
    await _settled()
    [logged] = (await _get(company.alice, "requests")).json()["data"]
    assert (logged["id"], logged["alias"]) == (answer.headers["x-request-id"], name)
    assert (logged["error_code"], logged["attempts"]) == ("unsupported_parameter", [])


async def test_a_request_is_listed_with_its_attempts_and_cost(company: Company, model: str) -> None:
    answer = await _chat(company, model)
    [logged] = (await _get(company.alice, "requests")).json()["data"]
    assert logged["id"] == answer.headers["x-request-id"]
    assert (logged["outcome"], logged["alias"], logged["error_code"]) == ("complete", model, None)
    [attempt] = logged["attempts"]
    assert (attempt["provider"], attempt["number"], attempt["status"]) == ("fake", 1, "complete")
    usage = answer.json()["usage"]
    assert attempt["tokens"]["input"] == usage["prompt_tokens"]
    assert logged["cost_nano"] == attempt["cost_nano"] == usage["prompt_tokens"] + 2 * usage["completion_tokens"]
    assert logged["has_content"] is False


async def test_a_request_that_was_refused_is_listed_too(company: Company, model: str) -> None:
    answer = await _chat(company, "no-such-model")
    await _settled()
    [logged] = (await _get(company.alice, "requests")).json()["data"]
    assert logged["id"] == answer.headers["x-request-id"]
    assert (logged["outcome"], logged["error_code"], logged["attempts"]) == ("refused", "model_not_found", [])
    assert logged["surface"] == "openai.chat"


async def test_pages_hold_every_request_once_newest_first(company: Company, model: str) -> None:
    made = [(await _chat(company, alias)).headers["x-request-id"] for alias in (model, "none", model, "none", model)]
    await _settled()
    seen, cursor = [], ""
    while True:
        page = (await _get(company.alice, f"requests?limit=2{cursor}")).json()
        seen += [logged["id"] for logged in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    only = (await _get(company.alice, f"requests?alias={model}")).json()["data"]
    assert [logged["id"] for logged in only] == made[::-2]


async def test_contents_are_kept_only_where_the_tenant_asks_and_encrypted(company: Company, model: str) -> None:
    client = company.alice.client
    changed = await sync_to_async(client.patch)("/api/v1/guardrails", {"capture": True}, format="json")
    assert changed.status_code == 200
    answer = await _chat(company, model, "a secret plan")
    await _settled()
    found = (await _get(company.alice, f"requests/{answer.headers['x-request-id']}")).json()
    assert found["has_content"] is True
    assert found["content"]["request"]["messages"][0]["content"][0]["text"] == "a secret plan"
    assert found["content"]["answer"]["choices"][0]["text"] == "You said: a secret plan"
    stored = await sync_to_async(_stored)(company)
    assert b"secret plan" not in stored
    assert (await _get(company.bob, f"requests/{answer.headers['x-request-id']}")).status_code == 403


def _stored(company: Company) -> bytes:
    with company.scope(), transaction.atomic():
        return bytes(RequestLog.objects.get().content)


def _row(company: Company, **changes: Any) -> RequestLog:
    values = {
        "id": uuid7(),
        "tenant_id": company.id,
        "at": timezone.now(),
        "surface": "openai.chat",
        "alias": "m",
        "principal_kind": "member",
        "membership_id": company.alice.membership_id,
        "status": 200,
        "latency_ms": 1,
    }
    with company.scope(), transaction.atomic():
        return RequestLog.objects.create(**values | changes)


def test_what_was_captured_goes_when_its_time_is_over(company: Company) -> None:
    now = timezone.now()
    kept = [
        _row(company, content=b"x", content_until=now + timedelta(hours=1)),
        _row(company, at=now - timedelta(days=89)),
    ]
    _row(company, content=b"x", content_until=now - timedelta(seconds=1))
    _row(company, at=now - timedelta(days=91))
    assert expire_requests() >= 2
    with company.scope(), transaction.atomic():
        assert {row.id for row in RequestLog.objects.all()} == {row.id for row in kept}


async def test_a_flood_of_refusals_fills_no_disk(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_now", lambda: 1000.0)
    error: ParleyError = RateLimited("slow down", retry_after_s=1)
    for _ in range(record.REFUSALS_PER_S + 30):
        record.record_refusal(
            principal=company.alice.principal,
            request_id=uuid7(),
            surface="openai.chat",
            alias="m",
            error=error,
            latency_s=0.001,
        )
    await _settled()
    page = (await _get(company.alice, "requests?limit=100")).json()["data"]
    assert len(page) == record.REFUSALS_PER_S
