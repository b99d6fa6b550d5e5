"""What is set for a key holds for its successors, and for the keys that it makes."""

import secrets
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.ledger import drained
from config.asgi import application
from providers import routes
from tenants.models import ApiKey
from tests.billing.test_verification import found
from tests.providers.test_limits import ask, model, offer_model, statuses
from tests.support.asgi import Answer, request
from tests.support.cast import Company
from tests.tenants.conftest import with_token

__all__ = ["model"]
KEYS = "/api/v1/api-keys"
BUDGETS = "/api/v1/billing/budgets"
MAKES_KEYS = ["models.use", "api_keys.use"]


def made(client: Any, **body: Any) -> tuple[str, str]:
    """A new key's id and text."""
    answer = client.post(KEYS, {"name": "k", **body}, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()["key"]["id"], answer.json()["secret"]


def rotated(client: Any, key_id: str, overlap_s: int = 0) -> tuple[str, str]:
    """The id and text of a key's successor."""
    answer = client.post(f"{KEYS}/{key_id}/rotate", {"overlap_s": overlap_s}, format="json")
    assert answer.status_code == 201, answer.content
    return answer.json()["key"]["id"], answer.json()["secret"]


def limit(company: Company, key_id: str, requests_per_minute: int) -> None:
    body = {"subject": "api_key", "api_key": key_id, "requests_per_minute": requests_per_minute}
    assert company.alice.client.post("/api/v1/limits", body, format="json").status_code == 201


def budget(company: Company, key_id: str, tokens: int) -> str:
    body = {"scope": {"kind": "key", "id": key_id}, "measure": "tokens", "period": "total", "limit": tokens}
    answer = company.alice.client.post(BUDGETS, body, format="json")
    assert answer.status_code == 201, answer.content
    return str(answer.json()["id"])


def settled(company: Company, budget_id: str) -> int:
    return int(company.alice.client.get(f"{BUDGETS}/{budget_id}").json()["balance"]["settled"])


async def test_a_keys_rate_limit_holds_for_its_successors_together(company: Company, model: str) -> None:
    def prepare() -> list[str]:
        first, text = made(company.alice.client)
        limit(company, first, 2)
        second, next_text = rotated(company.alice.client, first, overlap_s=60)
        return [text, next_text, rotated(company.alice.client, second, overlap_s=60)[1]]

    texts = await sync_to_async(prepare)()
    assert [(await ask(text, model)).status_code for text in texts] == [200, 200, 429]


async def test_a_rotation_gives_no_new_budget(company: Company, model: str) -> None:
    key, text = await sync_to_async(made)(company.alice.client)
    one = await sync_to_async(budget)(company, key, 1_000_000)
    assert (await ask(text, model)).status_code == 200
    await drained()
    used = await sync_to_async(settled)(company, one)
    key, text = await sync_to_async(rotated)(company.alice.client, key)
    assert (await ask(text, model)).status_code == 200
    await drained()
    assert await sync_to_async(settled)(company, one) == 2 * used > 0
    changed = await sync_to_async(company.alice.client.patch)(f"{BUDGETS}/{one}", {"limit": 2 * used}, format="json")
    assert changed.status_code == 200
    _, text = await sync_to_async(rotated)(company.alice.client, key)
    assert (await ask(text, model)).status_code == 402


@pytest.mark.parametrize("by", ["itself", "its own key"])
async def test_a_key_rids_itself_of_no_limit(company: Company, model: str, by: str) -> None:
    """Neither by rotating itself, nor by making another key, nor by rotating one that it made."""

    def prepare() -> tuple[str, str]:
        key, text = made(company.alice.client, scopes=MAKES_KEYS)
        limit(company, key, 1)
        client = with_token(text)
        if by == "itself":
            return text, rotated(client, key, overlap_s=60)[1]
        child, _ = made(client, scopes=["models.use"])
        return text, rotated(client, child)[1]

    first, second = await sync_to_async(prepare)()
    assert [(await ask(text, model)).status_code for text in (first, second)] == [200, 429]


async def test_the_books_agree_with_budgets_of_rotated_keys(company: Company, model: str) -> None:
    key, text = await sync_to_async(made)(company.alice.client)
    await sync_to_async(budget)(company, key, 1_000_000)
    _, text = await sync_to_async(rotated)(company.alice.client, key)
    assert await statuses(2, text, model) == [200, 200]
    await drained()
    body = await sync_to_async(found)(company)
    assert (body["differences"], body["checked"]["settled"]) == ([], 1)


def test_a_key_is_bound_by_no_more_keys_than_it_must_be(company: Company) -> None:
    first, _ = made(company.alice.client)
    limit(company, first, 5)
    last = first
    for _ in range(4):
        before, last = last, rotated(company.alice.client, last)[0]
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        assert {str(key) for key in ApiKey.objects.get(id=last).bound_by} == {first, before}


async def test_a_rotated_keys_successor_may_use_what_is_for_it_alone(company: Company) -> None:
    alias = f"only-{secrets.token_hex(4)}"

    def prepare() -> tuple[str, str]:
        offer_model(company, alias)
        key, text = made(company.bob.client)
        path = f"/api/v1/route-access/{alias}"
        body = {"open": False, "api_keys": [key]}
        assert company.alice.client.put(path, body, format="json").status_code == 200
        key, _ = rotated(company.bob.client, key)
        key, next_text = rotated(company.bob.client, key)
        assert company.alice.client.get(path).json()["api_keys"] == [key]
        return text, next_text

    old, new = await sync_to_async(prepare)()
    routes._kept.forget_where(lambda _: True)
    assert (await ask(old, alias)).status_code == 401
    assert (await ask(new, alias)).status_code == 200


async def test_a_rotated_keys_successor_goes_on_from_its_responses(company: Company, model: str) -> None:
    async def said(text: str, body: dict[str, Any]) -> Answer:
        headers = {"authorization": f"Bearer {text}"}
        return await request(application, "POST", "/v1/responses", body={"model": model, **body}, headers=headers)

    key, text = await sync_to_async(made)(company.alice.client)
    first = await said(text, {"input": "My name is Ada."})
    assert first.status_code == 200, first.text
    after = {"input": "What is my name?", "previous_response_id": first.json()["id"]}
    _, other = await sync_to_async(made)(company.alice.client)
    assert (await said(other, after)).status_code == 404
    key, _ = await sync_to_async(rotated)(company.alice.client, key)
    _, text = await sync_to_async(rotated)(company.alice.client, key)
    assert (await said(text, after)).status_code == 200
