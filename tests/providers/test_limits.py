"""Limits through the front door: what is let through, what answers say, and that what changed holds at once."""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from msgspec.structs import replace

from billing.types import Payer
from config.asgi import application
from kernel import redis
from kernel.redis import async_redis, sync_redis, tenant_key
from providers.limits import rules
from providers.limits.stage import admit, limiter
from providers.models import ModelRole, RateLimit
from providers.pipeline.values import Job
from providers.services.connections import Offer, add_provider
from tenants import credentials
from tenants.epochs import announce_limits
from tenants.models import ApiKey
from tenants.services.api_keys import issue_key
from tenants.services.members import change_role
from tests.providers.conftest import ask as asked
from tests.providers.conftest import job as make_job
from tests.support.asgi import Answer, request
from tests.support.cast import Company
from tests.support.patience import soon


@pytest.fixture(autouse=True)
def _patient(settings: Any) -> None:
    """A busy machine is no server that is away."""
    settings.REDIS_PATIENCE_S = 5.0
    rules._kept.forget_where(lambda _: True)


@pytest.fixture
def model(company: Company) -> str:
    """A model that echoes, which only this company has."""
    alias = f"echo-{secrets.token_hex(4)}"
    offer_model(company, alias)
    return alias


def offer_model(company: Company, alias: str, *, kind: str = "fake") -> None:
    add_provider(
        Offer(
            kind=kind,
            name=alias,
            base_url="http://127.0.0.1:9",
            api_key="",
            models=((alias, "echo"),),
            input_nano_per_mtok=0,
            output_nano_per_mtok=0,
        ),
        tenant_slug=company.tenant.slug,
    )


def limit(company: Company, **fields: Any) -> None:
    """Set a limit, as REST does."""
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        RateLimit.objects.create(tenant_id=company.id, **({"subject": "tenant"} | fields))
        announce_limits(company.id)


async def ask(credential: str, model: str, **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
    headers = {"Authorization": f"Bearer {credential}"}
    return await request(application, "POST", "/v1/chat/completions", body=body, headers=headers)


def key_id(company: Company) -> uuid.UUID:
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        return ApiKey.objects.get().id


def job_of(company: Company, **fields: Any) -> Job:
    """A job of the company's, not run."""
    payer = Payer(tenant_id=company.id, principal_kind="member", membership_id=company.alice.membership_id)
    return replace(make_job(request=asked(**fields)), payer=payer)


async def statuses(count: int, *given: Any, **more: Any) -> list[int]:
    return [(await ask(*given, **more)).status_code for _ in range(count)]


async def test_without_limits_nothing_is_said_of_any(company: Company, model: str) -> None:
    answer = await ask(company.api_key, model)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if "ratelimit" in name]
    assert not await async_redis().keys(tenant_key(company.id, "limit", "*"))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_an_error_says_how_the_limits_stand_too(company: Company, path: str) -> None:
    alias = f"claude-{secrets.token_hex(4)}"
    await sync_to_async(offer_model)(company, alias, kind="anthropic")
    await sync_to_async(limit)(company, requests_per_minute=3)
    body = {"model": alias, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    # What can't be said to its provider: it is refused once it was let through.
    body |= (
        {"n": 2} if path == "/v1/chat/completions" else {"tool_choice": {"type": "new"}, "temperature": 1, "seed": 1}
    )
    headers = {"Authorization": f"Bearer {company.api_key}"}
    answer = await request(application, "POST", path, body=body, headers=headers)
    assert answer.status_code >= 400
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert ("anthropic-ratelimit-requests-remaining" in answer.headers) is (path == "/v1/messages")


@pytest.mark.parametrize("subject", ["tenant", "api_key", "model"])
async def test_requests_beyond_the_limit_are_refused_and_told_when(company: Company, model: str, subject: str) -> None:
    fields = {"tenant": {}, "api_key": {"api_key_id": await sync_to_async(key_id)(company)}, "model": {"model": model}}
    await sync_to_async(limit)(company, subject=subject, requests_per_minute=3, **fields[subject])
    answers = [await ask(company.api_key, model) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert 0 < int(refused.headers["retry-after-ms"]) <= 20_000
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"


async def test_anthropics_clients_are_told_in_their_own_headers(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=1, tokens_per_minute=10_000)
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"x-api-key": company.api_key, "anthropic-version": "2023-06-01"}
    answers = [await request(application, "POST", "/v1/messages", body=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    for answer in answers:
        said = {name: value for name, value in answer.headers.items() if name.startswith("anthropic-ratelimit-")}
        assert said.pop("anthropic-ratelimit-requests-limit") == "1"
        assert said.pop("anthropic-ratelimit-requests-remaining") == "0"
        full_at = datetime.fromisoformat(said.pop("anthropic-ratelimit-requests-reset"))
        assert timedelta(seconds=45) < full_at - datetime.now(UTC) <= timedelta(seconds=61)
        assert said.pop("anthropic-ratelimit-tokens-limit") == "10000"
        assert 9_000 < int(said.pop("anthropic-ratelimit-tokens-remaining")) <= 10_000
        assert said.pop("anthropic-ratelimit-tokens-reset").endswith("Z")
        assert not said
        assert answer.headers["x-ratelimit-limit-requests"] == "1"


async def test_asking_for_models_that_are_not_there_takes_requests(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=3)
    guesses = [await ask(company.api_key, f"guess-{number}") for number in range(4)]
    assert [answer.status_code for answer in guesses] == [404, 404, 404, 429]
    assert guesses[-1].headers["x-ratelimit-limit-requests"] == "3"
    assert int(guesses[-1].headers["retry-after"]) >= 1
    assert await statuses(1, company.api_key, model) == [429]


async def test_a_limit_is_for_whom_it_names(company: Company, new_company: Any, model: str) -> None:
    other = await sync_to_async(new_company)()
    await sync_to_async(offer_model)(other, model)
    await sync_to_async(limit)(
        company, subject="api_key", api_key_id=await sync_to_async(key_id)(company), requests_per_minute=1
    )
    assert await statuses(2, company.api_key, model) == [200, 429]
    assert await statuses(2, company.alice.access_token(), model) == [200, 200]
    assert await statuses(2, other.api_key, model) == [200, 200]


async def test_a_wildcard_covers_all_aliases_that_begin_so(company: Company) -> None:
    for alias in ("house-a", "house-b", "other"):
        await sync_to_async(offer_model)(company, alias)
    await sync_to_async(limit)(company, subject="model", model="house-*", requests_per_minute=2)
    assert await statuses(1, company.api_key, "house-a") == [200]
    assert await statuses(2, company.api_key, "house-b") == [200, 429]
    assert await statuses(2, company.api_key, "other") == [200, 200]


async def test_a_models_limit_holds_for_the_name_that_only_stands_for_it(company: Company, model: str) -> None:
    def choose() -> None:
        with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            ModelRole.objects.create(tenant_id=company.id, role="chat", alias=model)

    await sync_to_async(choose)()
    await sync_to_async(limit)(company, subject="model", model=model, requests_per_minute=1)
    assert (await ask(company.api_key, "default")).status_code == 200
    assert (await ask(company.api_key, "default")).status_code == 429
    assert (await ask(company.api_key, model)).status_code == 429


async def test_a_burst_is_what_may_come_at_once(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=10, requests_burst_percent=20)
    assert await statuses(3, company.api_key, model) == [200, 200, 429]


async def test_all_limits_give_or_none_does(company: Company, model: str) -> None:
    """Who is refused for one model has not used up what all models share."""
    await sync_to_async(offer_model)(company, "spare")
    await sync_to_async(limit)(company, requests_per_minute=4)
    await sync_to_async(limit)(company, subject="model", model=model, requests_per_minute=1)
    assert await statuses(4, company.api_key, model) == [200, 429, 429, 429]
    assert await statuses(4, company.api_key, "spare") == [200, 200, 200, 429]


async def test_tokens_are_taken_beforehand_and_corrected_after_the_answer(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, tokens_per_minute=10_000)
    first = await ask(company.api_key, model, max_tokens=3000)
    assert first.headers["x-ratelimit-limit-tokens"] == "10000"
    assert 6_900 < int(first.headers["x-ratelimit-remaining-tokens"]) < 7_000
    used = first.json()["usage"]["total_tokens"]
    assert used < 100

    async def remaining() -> int:
        tat = int(await async_redis().get(tenant_key(company.id, "limit", "t", "t")) or 0)
        ahead_us = max(0, tat - time.time_ns() // 1000)
        return int(10_000 - ahead_us * 10_000 / 60_000_000)

    async with soon():
        while await remaining() < 10_000 - used - 1:
            await asyncio.sleep(0.01)
    answers = [await ask(company.api_key, model, max_tokens=3000) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]


async def test_an_estimate_beyond_the_limit_is_refused_while_the_bucket_is_not_full(
    company: Company, model: str
) -> None:
    await sync_to_async(limit)(company, tokens_per_minute=5_000)
    await admit(job_of(company, max_output_tokens=4_000))
    refused = await ask(company.api_key, model, max_tokens=4_000)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["x-ratelimit-remaining-tokens"]) < 4_000
    assert "tokens a minute" in refused.json()["error"]["message"]


async def test_what_a_later_stage_refuses_costs_no_tokens(company: Company, model: str, monkeypatch: Any) -> None:
    from kernel.errors import Unavailable
    from providers.pipeline import run

    await sync_to_async(limit)(company, tokens_per_minute=5_000)

    def full(**_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(run.pumps, "start", full)
    assert await statuses(3, company.api_key, model, max_tokens=4_000) == [503, 503, 503]


async def test_a_new_limit_holds_within_one_request(company: Company, model: str) -> None:
    """Also where another process has read the limits before."""
    assert await statuses(1, company.api_key, model) == [200]
    await sync_to_async(limit)(company, requests_per_minute=1)
    seen = await statuses(3, company.api_key, model)
    assert seen[1:] == [200, 429]


async def test_the_operators_limit_is_a_ceiling(company: Company, model: str, settings: Any) -> None:
    settings.DEFAULT_RPM = 2
    await sync_to_async(limit)(company, requests_per_minute=100, requests_burst_percent=1000)
    answers = [await ask(company.api_key, model) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "2"


async def test_limits_tighten_while_the_process_is_late_and_relax_slowly(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=8)
    limiter().lag_s = lambda: 1.0
    assert await statuses(3, company.api_key, model) == [200, 200, 429]
    assert limiter().overload.factor == 0.25


async def commands(company: Company, model: str, send: Callable[[], Any]) -> list[str]:
    """What Redis is sent meanwhile, by this process's shared line."""
    seen: list[str] = []
    line = redis.line()
    sent = line._wire.send  # type: ignore[union-attr]

    def noting(command: Any, future: Any) -> None:
        seen.append(str(command[0]))
        sent(command, future)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line._wire, "send", noting)
        await send()
    return seen


@pytest.mark.parametrize("limited", [False, True])
async def test_a_request_makes_one_round_trip_in_all(company: Company, model: str, limited: bool) -> None:
    if limited:
        await sync_to_async(limit)(company, requests_per_minute=100, tokens_per_minute=1_000_000)
    await statuses(3, company.api_key, model)
    await asyncio.sleep(0)
    seen = await commands(company, model, lambda: ask(company.api_key, model))
    waited_for = [name for name in seen if name in ("EVALSHA", "HMGET", "GET")]
    # The correction of tokens is sent too; nobody waits for it.
    assert waited_for == (["EVALSHA", "EVALSHA"] if limited else ["HMGET"])


@pytest.mark.parametrize("limited", [False, True])
async def test_the_caches_entry_comes_in_the_same_round_trip(company: Company, model: str, limited: bool) -> None:
    if limited:
        await sync_to_async(limit)(company, requests_per_minute=10)
    entry = tenant_key(company.id, "cache", "x").encode()
    await async_redis().set(entry, b"an answer", ex=60)
    assert (await admit(job_of(company), cache_key=entry)).cached == b"an answer"
    assert (await admit(job_of(company), cache_key=entry + b"y")).cached is None


async def test_a_revoked_key_is_refused_at_once_though_its_record_is_kept(company: Company, model: str) -> None:
    assert await statuses(1, company.api_key, model) == [200]
    found = await sync_to_async(key_id)(company)
    assert (await sync_to_async(company.alice.client.delete)(f"/api/v1/api-keys/{found}")).status_code == 204
    assert credentials._records
    assert await statuses(2, company.api_key, model) == [401, 401]
    assert await statuses(1, company.api_key, "no-such-model") == [401]


async def test_a_key_that_was_rotated_is_refused_at_once_though_its_record_is_kept(
    company: Company, model: str
) -> None:
    assert await statuses(1, company.api_key, model) == [200]
    found = await sync_to_async(key_id)(company)

    @sync_to_async
    def rotate() -> None:
        answer = company.alice.client.post(f"/api/v1/api-keys/{found}/rotate", {"overlap_s": 0}, format="json")
        assert answer.status_code == 201, answer.content

    await rotate()
    assert credentials._records
    assert await statuses(2, company.api_key, model) == [401, 401]


async def test_a_key_whose_member_lost_the_right_is_refused_at_once(company: Company, model: str) -> None:
    @sync_to_async
    def bobs() -> str:
        from tenants.models import Membership

        with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            return issue_key(membership=Membership.objects.get(id=company.bob.membership_id), name="bob's").text

    @sync_to_async
    def make(role: str) -> None:
        with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            change_role(caller=company.alice.principal, member_id=company.bob.membership_id, role=role)

    key = await bobs()
    assert await statuses(1, key, model) == [200]
    await make("viewer")
    assert await statuses(1, key, model) == [403]
    await make("member")
    assert await statuses(1, key, model) == [200]


async def test_a_member_whose_rights_changed_has_to_refresh(company: Company, model: str) -> None:
    token = company.bob.access_token()
    assert await statuses(2, token, model) == [200, 200]
    assert (
        await sync_to_async(company.alice.client.patch)(
            f"/api/v1/members/{company.bob.membership_id}", {"role": "viewer"}, format="json"
        )
    ).status_code == 200
    assert await statuses(1, token, model) == [401]


async def test_an_epoch_that_redis_lost_is_read_again(company: Company, model: str) -> None:
    assert await statuses(1, company.api_key, model) == [200]
    await sync_to_async(sync_redis().delete)(tenant_key(company.id, "epochs"))
    assert await statuses(1, company.api_key, model) == [200]
    assert await sync_to_async(sync_redis().exists)(tenant_key(company.id, "epochs")) == 1


async def test_a_server_that_forgot_its_scripts_is_told_them_again(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=2)
    assert await statuses(1, company.api_key, model) == [200]
    await async_redis().script_flush()
    assert await statuses(2, company.api_key, model) == [200, 429]


async def test_counting_tokens_takes_a_request_and_no_tokens(company: Company, model: str) -> None:
    await sync_to_async(limit)(company, requests_per_minute=3, tokens_per_minute=5_000)
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"x-api-key": company.api_key, "anthropic-version": "2023-06-01"}

    async def count() -> Answer:
        return await request(application, "POST", "/v1/messages/count_tokens", body=body, headers=headers)

    counted = [await count() for _ in range(2)]
    assert [answer.status_code for answer in counted] == [200, 200]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in counted] == ["2", "1"]
    said = await ask(company.api_key, model)
    assert said.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(said.headers["x-ratelimit-remaining-tokens"]) > 3_900, "all but what this one took"
    refused = await count()
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) >= 1
