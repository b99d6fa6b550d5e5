"""Sessions: families of refresh tokens."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection
from rest_framework.test import APIClient

from tenants.services.provisioning import add_member
from tenants.tasks import expire_sessions
from tenants.tokens import child_of, refresh_digest
from tests.support.cast import PASSWORD, Company
from tests.support.servers import database_url
from tests.tenants.conftest import refresh, sign_in, with_token

COOKIE = "parley_refresh"


def age(token: str, seconds: int) -> None:
    """Let a token have been spent, and its family made, so many seconds ago."""
    with psycopg.connect(database_url("test_parley")) as admin:
        moved = admin.execute(
            "UPDATE tenants_refreshtoken SET spent_at = spent_at - make_interval(secs => %s), "
            "expires_at = expires_at - make_interval(secs => %s) WHERE digest = %s",
            (seconds, seconds, refresh_digest(token)),
        )
        assert moved.rowcount == 1


def test_a_session_says_who_where_and_what(company: Company) -> None:
    session = sign_in(company.alice)
    assert session.keys() == {"access", "expires_in", "refresh", "person", "tenant", "membership", "memberships"}
    assert session["expires_in"] == 300
    assert session["person"] == {"id": str(company.alice.person_id), "email": company.alice.email, "name": "alice"}
    assert session["tenant"]["slug"] == company.tenant.slug
    assert session["membership"]["role"] == "owner"
    assert "members.manage" in session["membership"]["permissions"]
    me = with_token(session["access"]).get("/api/v1/me").json()
    assert me == {name: session[name] for name in ("person", "tenant", "membership", "memberships")}


def test_a_refresh_gives_new_tokens_and_spends_the_old_one(company: Company) -> None:
    first = sign_in(company.alice)
    second = refresh(first["refresh"]).json()
    assert second["refresh"] not in (first["refresh"], "")
    assert with_token(second["access"]).get("/api/v1/me").status_code == 200
    assert refresh(second["refresh"]).status_code == 200


def test_a_client_that_lost_the_answer_gets_the_same_child(company: Company) -> None:
    first = sign_in(company.alice)
    assert refresh(first["refresh"]).json()["refresh"] == refresh(first["refresh"]).json()["refresh"]


def test_a_spent_token_after_its_child_was_used_ends_the_family(company: Company) -> None:
    first = sign_in(company.alice)["refresh"]
    second = refresh(first).json()["refresh"]
    third = refresh(second).json()["refresh"]
    assert refresh(first).status_code == 401
    assert refresh(third).status_code == 401
    assert refresh(second).status_code == 401


def test_a_spent_token_after_ten_seconds_ends_the_family(company: Company) -> None:
    first = sign_in(company.alice)["refresh"]
    second = refresh(first).json()["refresh"]
    age(first, 9)
    assert refresh(first).json()["refresh"] == second
    age(first, 2)
    assert refresh(first).status_code == 401
    assert refresh(second).status_code == 401


def test_reuse_ends_only_its_own_family(company: Company) -> None:
    other = sign_in(company.alice)["refresh"]
    first = sign_in(company.alice)["refresh"]
    refresh(refresh(first).json()["refresh"])
    assert refresh(first).status_code == 401
    assert refresh(other).status_code == 200


def test_an_expired_token_is_refused(company: Company) -> None:
    token = sign_in(company.alice)["refresh"]
    age(token, 31 * 24 * 3600)
    assert refresh(token).status_code == 401


def test_concurrent_refreshes_get_one_child(company: Company) -> None:
    token = sign_in(company.alice)["refresh"]

    def go(_: int) -> tuple[int, str]:
        try:
            response = refresh(token)
            return response.status_code, response.json().get("refresh", "")
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(go, range(6)))
    assert answers == {(200, child_of(token))}
    with psycopg.connect(database_url("test_parley")) as admin:
        family = "(SELECT family_id FROM tenants_refreshtoken WHERE digest = %s)"
        made = admin.execute(
            f"SELECT count(*) FROM tenants_refreshtoken WHERE family_id = {family}".encode(), (refresh_digest(token),)
        ).fetchone()
    assert made == (2,)


def test_logging_out_ends_the_family_and_says_nothing_of_unknown_tokens(company: Company) -> None:
    first = sign_in(company.alice)["refresh"]
    second = refresh(first).json()["refresh"]
    client = APIClient()
    assert client.post("/api/v1/auth/logout", {"refresh": first}, format="json").status_code == 204
    assert refresh(second).status_code == 401
    assert client.post("/api/v1/auth/logout", {"refresh": "unknown"}, format="json").status_code == 204
    assert client.post("/api/v1/auth/logout", {}, format="json").status_code == 204


def test_no_token_is_kept_in_the_database(company: Company) -> None:
    token = sign_in(company.alice)["refresh"]
    with psycopg.connect(database_url("test_parley")) as admin:
        rows = admin.execute("SELECT t::text FROM tenants_refreshtoken t").fetchall()
    assert rows
    assert not [row for row in rows if token in str(row)]


def cookie_client(company: Company, **more: Any) -> tuple[APIClient, Any]:
    client = APIClient(**more)
    response = client.post("/api/v1/auth/login", {"email": company.alice.email, "password": PASSWORD}, format="json")
    return client, response


def test_the_cookie_is_out_of_scripts_reach_and_the_body_without_token(company: Company) -> None:
    _, response = cookie_client(company)
    cookie = response.cookies[COOKIE]
    assert "refresh" not in response.json()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/api/v1/auth")
    assert cookie["secure"] is True
    assert response.headers["Cache-Control"] == "no-store"
    local = APIClient(headers={"host": "127.0.0.1:8000"})
    answer = local.post("/api/v1/auth/login", {"email": company.alice.email, "password": PASSWORD}, format="json")
    assert not answer.cookies[COOKIE]["secure"]


def test_a_session_goes_on_by_cookie(company: Company) -> None:
    client, response = cookie_client(company, headers={"host": "localhost"})
    before = response.cookies[COOKIE].value
    again = client.post("/api/v1/auth/refresh", {}, format="json")
    assert again.status_code == 200
    assert again.cookies[COOKIE].value == child_of(before)
    out = client.post("/api/v1/auth/logout", {}, format="json")
    assert out.cookies[COOKIE].value == ""
    assert refresh(child_of(before)).status_code == 401


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
        ("http://[", 403),
    ],
)
def test_a_cookie_is_taken_only_from_our_own_pages(company: Company, origin: str, status: int) -> None:
    client, _ = cookie_client(company, headers={"host": "localhost"})
    answer = client.post("/api/v1/auth/refresh", {}, format="json", headers={"origin": origin})
    assert answer.status_code == status


def test_an_allowed_origin_may_use_the_cookie(company: Company, settings: Any) -> None:
    settings.ALLOWED_ORIGINS = frozenset({"https://app.example"})
    client, _ = cookie_client(company, headers={"host": "localhost"})
    answer = client.post("/api/v1/auth/refresh", {}, format="json", headers={"origin": "https://app.example"})
    assert answer.status_code == 200


def test_without_a_token_there_is_nothing_to_go_on_with() -> None:
    assert APIClient().post("/api/v1/auth/refresh", {}, format="json").status_code == 401
    for token in ("x", "A" * 200, "ü"):
        assert refresh(token).status_code == 401
    assert refresh("A" * 201).status_code == 400


def test_switching_goes_to_another_of_ones_own_tenants(company: Company, new_company: Any) -> None:
    other = new_company()
    add_member(slug=other.tenant.slug, email=company.bob.email, role="viewer")
    session = sign_in(company.bob, tenant=company.tenant.slug)
    assert {item["tenant"]["slug"] for item in session["memberships"]} == {company.tenant.slug, other.tenant.slug}
    body = {"tenant": other.tenant.slug, "refresh": session["refresh"]}
    switched = with_token(session["access"]).post("/api/v1/auth/switch", body, format="json").json()
    assert switched["tenant"]["slug"] == other.tenant.slug
    assert switched["membership"]["role"] == "viewer"
    assert refresh(session["refresh"]).status_code == 401
    assert refresh(switched["refresh"]).json()["tenant"]["slug"] == other.tenant.slug
    assert with_token(switched["access"]).get("/api/v1/members").status_code == 403


def test_a_key_belongs_to_one_tenant(company: Company) -> None:
    answer = with_token(company.api_key).post("/api/v1/auth/switch", {"tenant": company.tenant.slug}, format="json")
    assert answer.status_code == 403


def test_tokens_whose_time_is_over_are_deleted_and_no_others(company: Company) -> None:
    """Every refresh writes a row: they don't stay for ever."""
    old, live = (sign_in(company.alice)["refresh"] for _ in range(2))
    child = refresh(live).json()["refresh"]
    digests = [refresh_digest(token) for token in (old, live, child)]
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute("UPDATE tenants_refreshtoken SET expires_at = now() WHERE digest = %s", (digests[0],))
    assert expire_sessions() >= 1
    with psycopg.connect(database_url("test_parley")) as admin:
        kept = admin.execute("SELECT count(*) FROM tenants_refreshtoken WHERE digest = ANY (%s)", (digests,)).fetchone()
        left = admin.execute("SELECT count(*) FROM tenants_refreshtoken WHERE expires_at <= now()").fetchone()
    assert (kept, left) == ((2,), (0,))
    assert refresh(old).status_code == 401
    assert refresh(child).status_code == 200
