"""Limits and keys' terms over REST: who may set them, what is refused, and that they hold."""

import asyncio
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from providers.gateway.pace import paced
from providers.types import TextDelta
from tenants.credentials import authenticate_sync
from tests.providers.test_limits import ask, model, statuses
from tests.support.cast import Actor, Company

__all__ = ["model"]
LIMITS = "/api/v1/limits"
KEYS = "/api/v1/api-keys"


def post(actor: Actor, path: str, **body: Any) -> Any:
    return actor.client.post(path, body, format="json")


def make_key(company: Company, actor: Actor, **body: Any) -> Any:
    return post(actor, KEYS, name="k", **body)


async def test_a_limit_set_over_rest_holds_is_changed_and_lifted(company: Company, model: str) -> None:
    made = await sync_to_async(post)(company.alice, LIMITS, subject="model", model=model, requests_per_minute=1)
    assert made.status_code == 201
    assert await statuses(2, company.api_key, model) == [200, 429]
    path = f"{LIMITS}/{made.json()['id']}"
    changed = await sync_to_async(company.alice.client.patch)(path, {"requests_per_minute": 600}, format="json")
    assert changed.json() == made.json() | {"requests_per_minute": 600}
    await ask(company.api_key, model)
    assert (await ask(company.api_key, model)).headers["x-ratelimit-limit-requests"] == "600"
    assert (await sync_to_async(company.alice.client.delete)(path)).status_code == 204
    await ask(company.api_key, model)
    assert "x-ratelimit-limit-requests" not in (await ask(company.api_key, model)).headers


def test_every_change_is_in_the_audit(company: Company) -> None:
    from tenants.models import AuditEvent

    made = post(company.alice, LIMITS, subject="tenant", tokens_per_minute=10).json()
    path = f"{LIMITS}/{made['id']}"
    company.alice.client.patch(path, {"tokens_burst_percent": 50}, format="json")
    company.alice.client.delete(path)
    with company.scope():  # type: ignore[attr-defined]
        from django.db import transaction

        with transaction.atomic():
            events = list(AuditEvent.objects.filter(subject_kind="rate_limit").order_by("id"))
    assert [event.action for event in events] == ["rate_limit.created", "rate_limit.changed", "rate_limit.lifted"]
    assert events[1].data["tokens_burst_percent"] == 50


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"subject": "tenant"}, 400),
        ({"subject": "tenant", "requests_per_minute": 0}, 400),
        ({"subject": "tenant", "requests_per_minute": 1, "model": "x"}, 400),
        ({"subject": "api_key", "requests_per_minute": 1}, 400),
        ({"subject": "api_key", "requests_per_minute": 1, "api_key": "00000000-0000-0000-0000-000000000000"}, 400),
        ({"subject": "model", "requests_per_minute": 1}, 400),
        ({"subject": "model", "requests_per_minute": 1, "model": "a*b"}, 400),
        ({"subject": "model", "requests_per_minute": 1, "model": "x", "tokens_burst_percent": 1001}, 400),
        ({"subject": "nobody", "requests_per_minute": 1}, 400),
        ({"subject": "tenant", "requests_per_minute": 1, "burst": 2}, 400),
    ],
)
def test_what_limits_nothing_or_nobody_is_refused(company: Company, body: dict[str, Any], status: int) -> None:
    assert company.alice.client.post(LIMITS, body, format="json").status_code == status


def test_a_subject_has_one_limit(company: Company) -> None:
    assert post(company.alice, LIMITS, subject="tenant", requests_per_minute=1).status_code == 201
    assert post(company.alice, LIMITS, subject="tenant", requests_per_minute=2).status_code == 409


def test_a_limit_is_not_emptied(company: Company) -> None:
    made = post(company.alice, LIMITS, subject="tenant", requests_per_minute=1).json()
    answer = company.alice.client.patch(f"{LIMITS}/{made['id']}", {"requests_per_minute": None}, format="json")
    assert answer.status_code == 400


def test_another_companys_key_is_no_key(company: Company, evil: Company) -> None:
    theirs = make_key(evil, evil.alice).json()["key"]["id"]
    assert post(company.alice, LIMITS, subject="api_key", api_key=theirs, requests_per_minute=1).status_code == 400


def test_the_limits_of_a_tenant_are_bounded(company: Company, settings: Any) -> None:
    settings.RATE_LIMITS_PER_TENANT_MAX = 1
    assert post(company.alice, LIMITS, subject="tenant", requests_per_minute=1).status_code == 201
    assert post(company.alice, LIMITS, subject="model", model="x", requests_per_minute=1).status_code == 409


def test_members_set_no_limits(company: Company) -> None:
    assert post(company.bob, LIMITS, subject="tenant", requests_per_minute=1).status_code == 403
    assert company.bob.client.get(LIMITS).status_code == 403


def test_a_keys_terms_come_with_its_principal_and_change_at_once(company: Company) -> None:
    made = make_key(company, company.alice, max_priority="batch", pace_tokens_per_s=7).json()
    principal = authenticate_sync(made["secret"], address="")
    assert (principal.priority, principal.pace_tokens_per_s) == ("batch", 7)
    path = f"{KEYS}/{made['key']['id']}"
    changed = company.alice.client.patch(
        path, {"max_priority": "interactive", "pace_tokens_per_s": None}, format="json"
    )
    assert (changed.json()["max_priority"], changed.json()["pace_tokens_per_s"]) == ("interactive", None)
    principal = authenticate_sync(made["secret"], address="")
    assert (principal.priority, principal.pace_tokens_per_s) == ("interactive", None)
    rotated = company.alice.client.post(f"{path}/rotate", {"overlap_s": 60}, format="json").json()
    assert rotated["key"]["max_priority"] == "interactive"


def test_who_doesnt_manage_keys_raises_nothing(company: Company) -> None:
    assert make_key(company, company.bob, max_priority="interactive").status_code == 403
    own = make_key(company, company.bob, pace_tokens_per_s=5).json()["key"]["id"]
    for raised in ({"max_priority": "interactive"}, {"pace_tokens_per_s": 6}, {"pace_tokens_per_s": None}):
        assert company.bob.client.patch(f"{KEYS}/{own}", raised, format="json").status_code == 403
    lowered = company.bob.client.patch(
        f"{KEYS}/{own}", {"max_priority": "batch", "pace_tokens_per_s": 4}, format="json"
    )
    assert lowered.status_code == 200
    assert company.bob.client.patch(f"{KEYS}/{own}", {"max_priority": "normal"}, format="json").status_code == 403


async def test_a_key_with_a_pace_is_streamed_to_at_that_pace(company: Company, model: str) -> None:
    """80 characters, about 20 tokens, at 40 a second: half a second, less what the last piece would have kept others waiting."""
    made = await sync_to_async(make_key)(company, company.alice, pace_tokens_per_s=40)
    text = "wordword" * 10
    body = {
        "messages": [{"role": "user", "content": " ".join([text[i : i + 8] for i in range(0, 80, 8)])}],
        "stream": True,
    }
    began = time.perf_counter()
    answer = await ask(made.json()["secret"], model, **body)
    assert time.perf_counter() - began > 0.3
    assert answer.status_code == 200
    assert answer.content.endswith(b"[DONE]\n\n")


async def test_each_piece_waits_for_those_before_it(monkeypatch: Any) -> None:
    slept: list[float] = []
    rest = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await rest(0)

    async def events() -> Any:
        for _ in range(5):
            yield TextDelta("four")

    monkeypatch.setattr(asyncio, "sleep", noted)
    seen = [event async for event in paced(events(), tokens_per_s=10)]
    assert seen == [TextDelta("four")] * 5
    assert slept == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.05)
