"""When a key was last used."""

import pytest
from asgiref.sync import sync_to_async
from rest_framework.test import APIClient

from tenants import last_used
from tenants.credentials import authenticate
from tests.support.cast import Company


def shown(company: Company) -> object:
    (key,) = company.alice.client.get("/api/v1/api-keys").json()["data"]
    return key["last_used_at"]


def test_a_key_shows_when_it_was_last_used(company: Company) -> None:
    assert shown(company) is None
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {company.api_key}")
    assert client.get("/api/v1/me").status_code == 200
    assert shown(company) is not None


async def test_a_use_of_the_gateway_counts_too(company: Company) -> None:
    await authenticate(company.api_key, address="127.0.0.1")
    assert await sync_to_async(shown)(company) is not None


async def test_use_is_written_once_a_while(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    await authenticate(company.api_key, address="127.0.0.1")
    first = await sync_to_async(shown)(company)
    await authenticate(company.api_key, address="127.0.0.1")
    assert await sync_to_async(shown)(company) == first
    monkeypatch.setattr(last_used, "NOTE_EVERY_S", 0.0)
    await authenticate(company.api_key, address="127.0.0.1")
    assert await sync_to_async(shown)(company) != first
