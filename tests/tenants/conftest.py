"""What the tests of identity share."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from rest_framework.test import APIClient

from kernel.redis import sync_redis
from tenants import credentials, epochs
from tests.support.cast import PASSWORD, Actor
from tests.support.servers import database_url

DEAD_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def forget() -> Any:
    """Forgets what this process remembers of credentials, as another process never knew it."""

    def now() -> None:
        credentials._records.forget_where(lambda _: True)
        credentials._members.clear()
        epochs._local.forget_where(lambda _: True)

    now()
    return now


@pytest.fixture
def redis_away(settings: Any, forget: Any) -> Iterator[None]:
    """Nothing listens where Redis should be."""
    settings.REDIS_URL = DEAD_REDIS
    sync_redis.cache_clear()
    yield
    sync_redis.cache_clear()


@pytest.fixture(autouse=True)
def _no_attempts_counted() -> None:
    """Each test begins with all its tries to sign in."""
    if keys := list(sync_redis().scan_iter("parley:login:*")):
        sync_redis().delete(*keys)


def sign_in(actor: Actor, **more: Any) -> dict[str, Any]:
    """A session by password, its refresh token in the body."""
    body = {"email": actor.email, "password": PASSWORD, "transport": "body", **more}
    response = APIClient().post("/api/v1/auth/login", body, format="json")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def refresh(token: str) -> Any:
    return APIClient().post("/api/v1/auth/refresh", {"refresh": token}, format="json")


def with_token(token: str, **more: Any) -> APIClient:
    client = APIClient(**more)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def until_somebody_waits() -> None:
    """For a transaction that has not ended."""
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    with psycopg.connect(database_url("test_parley"), autocommit=True) as admin:
        for _ in range(500):
            if admin.execute(asked).fetchone() != (0,):
                return
            time.sleep(0.01)
    raise AssertionError("nobody waits")
