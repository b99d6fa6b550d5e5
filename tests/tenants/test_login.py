"""Signing in tells nobody who exists, and is not tried for ever."""

import statistics
import time
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher
from rest_framework.test import APIClient

from kernel.redis import sync_redis
from tenants import passwords, throttle
from tenants.models import Tenant
from tenants.services.provisioning import set_tenant_status
from tests.support.cast import PASSWORD, Company
from tests.support.servers import database_url
from tests.tenants.conftest import sign_in

WRONG = "wrong wrong wrong"


def attempt(email: str, password: str = WRONG, client: APIClient | None = None, **more: Any) -> Any:
    body = {"email": email, "password": password, **more}
    return (client or APIClient()).post("/api/v1/auth/login", body, format="json")


def shown(response: Any) -> tuple[int, dict[str, Any]]:
    body = response.json()
    body.pop("request_id")
    return response.status_code, body


def test_an_unknown_address_and_a_wrong_password_look_alike(company: Company) -> None:
    known, unknown = attempt(company.alice.email), attempt("nobody@nowhere.example")
    assert shown(known) == shown(unknown)
    assert known.status_code == 401
    assert known.headers.keys() == unknown.headers.keys()


def test_somebody_inactive_looks_like_nobody(company: Company) -> None:
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute("UPDATE tenants_person SET is_active = false WHERE id = %s", (company.bob.person_id,))
    assert shown(attempt(company.bob.email, PASSWORD)) == shown(attempt("nobody@nowhere.example"))


def test_an_unknown_address_costs_as_much_work_as_a_known_one(
    company: Company, monkeypatch: Any, settings: Any
) -> None:
    """With a hasher slow enough to measure, both take one hash; without hashing a refusal takes a fraction of that."""
    settings.LOGIN_ATTEMPTS_PER_ACCOUNT = 1000
    slow = PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", slow)
    passwords._nobodys_hash.cache_clear()
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute(
            "UPDATE tenants_credential SET password_hash = %s WHERE person_id = %s",
            (slow.hash(PASSWORD), company.alice.person_id),
        )
    attempt("warm@up.example")

    def took(email: str) -> float:
        began = time.process_time()
        assert attempt(email).status_code == 401
        return time.process_time() - began

    known, unknown = [], []
    for _ in range(5):
        known.append(took(company.alice.email))
        unknown.append(took("nobody@nowhere.example"))
    passwords._nobodys_hash.cache_clear()
    assert 0.4 < statistics.median(known) / statistics.median(unknown) < 2.5


def test_the_address_is_found_whatever_its_case(company: Company) -> None:
    assert attempt(f"  {company.alice.email.upper()} ", PASSWORD).status_code == 200


@pytest.mark.parametrize("slug", ["no-such-tenant", "evil", "x" * 63])
def test_a_tenant_that_one_is_no_member_of_looks_like_none(company: Company, evil: Company, slug: str) -> None:
    answer = attempt(company.alice.email, PASSWORD, tenant=slug)
    assert shown(answer) == shown(attempt(company.alice.email, PASSWORD, tenant="no-such-tenant"))
    assert answer.status_code == 403


def test_a_suspended_tenant_is_not_entered(company: Company) -> None:
    session = sign_in(company.alice)
    set_tenant_status(slug=company.tenant.slug, status=Tenant.Status.SUSPENDED)
    assert attempt(company.alice.email, PASSWORD).status_code == 403
    assert attempt(company.alice.email, PASSWORD, tenant=company.tenant.slug).status_code == 403
    refused = APIClient().post("/api/v1/auth/refresh", {"refresh": session["refresh"]}, format="json")
    assert refused.status_code == 401


def test_tries_at_one_account_from_one_address_run_out(company: Company) -> None:
    answers = [attempt(company.alice.email).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]
    right = attempt(company.alice.email, PASSWORD)
    assert right.status_code == 429
    assert 1 <= int(right.headers["Retry-After"]) <= 300
    assert attempt(company.bob.email, PASSWORD).status_code == 200
    elsewhere = APIClient(REMOTE_ADDR="203.0.113.9")
    assert attempt(company.alice.email, PASSWORD, elsewhere).status_code == 200


def test_case_and_spaces_give_no_fresh_tries(company: Company) -> None:
    name = company.alice.email
    for text in [name.upper(), f" {name}", name.title(), name] * 3:
        last = attempt(text).status_code
    assert last == 429


def test_a_header_gives_no_fresh_address(company: Company) -> None:
    for number in range(11):
        client = APIClient(headers={"X-Forwarded-For": f"198.51.100.{number}"})
        last = attempt(company.alice.email, client=client).status_code
    assert last == 429


def test_the_right_password_clears_the_count(company: Company) -> None:
    for _ in range(3):
        for _ in range(9):
            attempt(company.alice.email)
        assert attempt(company.alice.email, PASSWORD).status_code == 200


def test_one_address_runs_out_over_many_accounts(settings: Any) -> None:
    settings.LOGIN_ATTEMPTS_PER_ADDRESS = 5
    answers = [attempt(f"somebody-{number}@nowhere.example").status_code for number in range(6)]
    assert answers == [401] * 5 + [429]


def test_an_address_runs_out_of_wrong_passwords_only(company: Company, settings: Any) -> None:
    """Everybody in an office may come from one address. A right password gives nobody more wrong ones."""
    settings.LOGIN_ATTEMPTS_PER_ADDRESS = 5
    people = [company.alice, company.bob] * 4
    assert [attempt(person.email, PASSWORD).status_code for person in people] == [200] * 8
    wrong = []
    for number in range(6):
        wrong.append(attempt(f"somebody-{number}@nowhere.example").status_code)
        last = attempt(company.alice.email, PASSWORD).status_code
    assert wrong == [401] * 5 + [429]
    assert last == 429


def test_a_right_password_after_its_window_leaves_no_count_for_ever(company: Company) -> None:
    counted = throttle.begin(email=company.alice.email, address="203.0.113.77")
    sync_redis().delete(counted.address_key)
    throttle.succeeded(counted)
    assert 1 <= sync_redis().ttl(counted.address_key) <= 300


@pytest.mark.usefixtures("redis_away")
def test_with_redis_away_one_still_signs_in(company: Company) -> None:
    assert attempt(company.alice.email, PASSWORD).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@b.example"},
        {"email": "a\x00@b.example", "password": "x"},
        {"email": ["a"], "password": "x"},
        {"email": "a@b.example", "password": "x" * 257},
        {"email": "a@b.example", "password": "x", "admin": True},
    ],
)
def test_a_log_in_that_makes_no_sense_is_a_bad_request(body: dict[str, Any]) -> None:
    assert APIClient().post("/api/v1/auth/login", body, format="json").status_code == 400


def test_a_count_that_lost_its_end_gets_one(company: Company) -> None:
    """It ran out between being looked at and counted on: nobody may be locked out for ever by that."""
    attempt(company.alice.email)
    counters = list(sync_redis().scan_iter("parley:login:*"))
    for counter in counters:
        sync_redis().persist(counter)
    attempt(company.alice.email)
    assert len(counters) == 2
    assert all(0 < int(str(sync_redis().ttl(counter))) <= 300 for counter in counters)


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 50_000, b'{"email":' + b"[" * 900 + b"]" * 900 + b"}"])
def test_a_body_nested_too_deeply_is_a_bad_request(deep: bytes) -> None:
    answer = APIClient().post("/api/v1/auth/login", deep, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
