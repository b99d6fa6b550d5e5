"""API keys: made, used within their bounds, rotated, revoked."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from kernel import adb, redis
from kernel.errors import Conflict, NotAuthenticated, ParleyError, PermissionDenied
from tenants.credentials import authenticate, authenticate_sync
from tenants.keys import lookup_id
from tenants.models import ApiKey, Membership, Tenant
from tenants.permissions import DEFAULT_SCOPES, PERMISSIONS
from tenants.principals import Principal
from tenants.services.api_keys import issue_key, live_keys
from tenants.services.members import change_role, remove_member
from tenants.services.provisioning import add_member, set_tenant_status
from tests.support.cast import Actor, Company
from tests.support.servers import database_url
from tests.tenants.conftest import refresh, sign_in, until_somebody_waits, with_token

KEYS = "/api/v1/api-keys"


def make(actor: Actor | APIClient, **body: Any) -> Any:
    client = actor.client if isinstance(actor, Actor) else actor
    return client.post(KEYS, {"name": "a key"} | body, format="json")


def issue(company: Company, actor: Actor | None = None, **more: Any) -> str:
    """A key's text, without the limits on who makes it."""
    with company.scope(), transaction.atomic():
        membership = Membership.objects.get(id=(actor or company.alice).membership_id)
        return issue_key(membership=membership, name="k", **more).text


def both_ways(text: str, address: str = "203.0.113.1") -> Principal | type[ParleyError]:
    """What threads and the event loop say of a key: they must agree."""
    answers: list[Principal | type[ParleyError]] = []
    try:
        answers.append(authenticate_sync(text, address=address))
    except ParleyError as error:
        answers.append(type(error))

    async def ask() -> Principal:
        try:
            return await authenticate(text, address=address)
        finally:
            await adb.close()
            await redis.close()

    try:
        answers.append(asyncio.run(ask()))
    except ParleyError as error:
        answers.append(type(error))
    assert answers[0] == answers[1]
    return answers[0]


def test_a_key_is_shown_once_and_stored_as_a_digest(company: Company) -> None:
    answer = make(company.alice)
    secret, key = answer.json()["secret"], answer.json()["key"]
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert key["hint"] == secret[-4:]
    assert key["status"] == "active"
    for path in (KEYS, f"{KEYS}/{key['id']}"):
        assert secret not in company.alice.client.get(path).content.decode()
    with psycopg.connect(database_url("test_parley")) as admin:
        rows = admin.execute("SELECT k::text FROM tenants_apikey k").fetchall()
    assert not [row for row in rows if secret.split("_")[1] in str(row)]


def test_a_key_acts_for_its_member_within_its_scopes(company: Company) -> None:
    secret = make(company.bob, scopes=["rooms.read"]).json()["secret"]
    caller = both_ways(secret)
    assert isinstance(caller, Principal)
    assert (caller.kind, caller.membership_id, caller.permissions) == (
        "api_key",
        company.bob.membership_id,
        {"rooms.read"},
    )
    assert caller.id == caller.api_key_id != caller.membership_id
    assert with_token(secret).get("/api/v1/members").status_code == 403
    assert with_token(secret).patch("/api/v1/me", {"name": "x"}, format="json").status_code == 403
    with pytest.raises(PermissionDenied):
        caller.require("rooms.write")
    me = with_token(secret).get("/api/v1/me").json()
    assert me["membership"]["permissions"] == ["rooms.read"]


def test_without_scopes_named_a_key_manages_nothing(company: Company) -> None:
    caller = both_ways(make(company.alice).json()["secret"])
    assert isinstance(caller, Principal)
    assert caller.permissions == DEFAULT_SCOPES


def test_scopes_beyond_the_role_are_worth_nothing(company: Company) -> None:
    caller = both_ways(issue(company, company.vera, scopes=sorted(PERMISSIONS)))
    assert isinstance(caller, Principal)
    assert caller.permissions == company.vera.principal.permissions


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scopes": ["members.manage"]}, 403),
        ({"scopes": ["everything"]}, 400),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400),
        ({"expires_at": "soon"}, 400),
        ({"allowed_ips": ["10.0.0.0/33"]}, 400),
        ({"allowed_ips": ["example.org"]}, 400),
        ({"name": ""}, 400),
        ({"membership": "x"}, 400),
    ],
)
def test_what_nobody_may_or_nothing_means_is_refused(company: Company, body: dict[str, Any], status: int) -> None:
    assert make(company.bob, **body).status_code == status


def test_a_key_expires(company: Company, forget: Any) -> None:
    secret = issue(company, expires_at=timezone.now() + timedelta(hours=1))
    assert isinstance(both_ways(secret), Principal)
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute("UPDATE tenants_apikey SET expires_at = now() WHERE lookup_id = %s", (lookup_id(secret),))
    forget()
    assert both_ways(secret) is NotAuthenticated
    listed = company.alice.client.get(KEYS).json()["data"]
    assert {key["status"] for key in listed} == {"active", "expired"}


def test_a_key_works_only_from_its_addresses(company: Company) -> None:
    secret = issue(company, allowed_networks=["203.0.113.0/24", "2001:db8::/32"])
    for address in ("203.0.113.9", "::ffff:203.0.113.9", "2001:db8::5"):
        assert isinstance(both_ways(secret, address), Principal)
    for address in ("203.0.114.9", "::ffff:203.0.114.9", "", "unknown"):
        assert both_ways(secret, address) is PermissionDenied
    assert with_token(secret, REMOTE_ADDR="203.0.113.9").get("/api/v1/me").status_code == 200
    forwarded = with_token(secret, REMOTE_ADDR="192.0.2.1", headers={"X-Forwarded-For": "203.0.113.9"})
    assert forwarded.get("/api/v1/me").status_code == 403
    assert both_ways(issue(company, allowed_networks=[])) is PermissionDenied


def test_a_key_carries_its_models(company: Company) -> None:
    caller = both_ways(issue(company, allowed_models=["small"]))
    assert isinstance(caller, Principal)
    assert caller.allowed_models == {"small"}


def test_a_key_makes_no_key_beyond_itself(company: Company) -> None:
    soon = timezone.now() + timedelta(hours=1)
    secret = issue(
        company,
        scopes=["api_keys.use", "rooms.read"],
        allowed_models=["small"],
        allowed_networks=["127.0.0.0/8"],
        expires_at=soon,
    )
    within = {
        "scopes": ["rooms.read"],
        "allowed_models": ["small"],
        "allowed_ips": ["127.0.0.1"],
        "expires_at": soon.isoformat(),
    }
    client = with_token(secret)
    assert make(client, **within).status_code == 201
    beyond: list[dict[str, Any]] = [
        {"scopes": ["rooms.write"]},
        {"allowed_models": None},
        {"allowed_models": ["small", "large"]},
        {"allowed_ips": None},
        {"allowed_ips": ["0.0.0.0/0"]},
        {"expires_at": None},
        {"expires_at": (soon + timedelta(seconds=1)).isoformat()},
    ]
    for change in beyond:
        assert make(client, **within | change).status_code == 403, change


def test_a_key_is_shown_no_successor_of_a_stronger_one(company: Company) -> None:
    weak = issue(company, scopes=["api_keys.use"])
    strong = make(company.alice, scopes=sorted(PERMISSIONS)).json()["key"]["id"]
    assert with_token(weak).post(f"{KEYS}/{strong}/rotate", {}, format="json").status_code == 403
    likewise = make(company.alice, scopes=["api_keys.use"]).json()["key"]["id"]
    assert with_token(weak).post(f"{KEYS}/{likewise}/rotate", {}, format="json").status_code == 201
    bounded = issue(company, scopes=["api_keys.use"], allowed_models=["small"])
    likewise = make(company.alice, scopes=["api_keys.use"]).json()["key"]["id"]
    assert with_token(bounded).post(f"{KEYS}/{likewise}/rotate", {}, format="json").status_code == 403


def test_a_key_rotates_with_an_overlap(company: Company, forget: Any) -> None:
    made = make(company.alice, scopes=["rooms.read"]).json()
    old, key = made["secret"], made["key"]["id"]
    rotated = company.alice.client.post(f"{KEYS}/{key}/rotate", {"overlap_s": 60}, format="json").json()
    for secret in (old, rotated["secret"]):
        assert isinstance(both_ways(secret), Principal)
    assert rotated["key"]["scopes"] == ["rooms.read"]
    assert company.alice.client.post(f"{KEYS}/{key}/rotate", {}, format="json").status_code == 409
    with psycopg.connect(database_url("test_parley")) as admin:
        admin.execute("UPDATE tenants_apikey SET expires_at = expires_at - interval '61 s' WHERE id = %s", (key,))
    forget()
    assert both_ways(old) is NotAuthenticated
    assert isinstance(both_ways(rotated["secret"]), Principal)


def test_a_rotation_without_overlap_ends_the_old_key_at_once(company: Company) -> None:
    made = make(company.alice).json()
    assert isinstance(both_ways(made["secret"]), Principal)
    company.alice.client.post(f"{KEYS}/{made['key']['id']}/rotate", {}, format="json")
    assert both_ways(made["secret"]) is NotAuthenticated


@pytest.mark.parametrize("overlap", [-1, 7 * 24 * 3600 + 1, "x"])
def test_an_overlap_has_its_bounds(company: Company, overlap: Any) -> None:
    key = make(company.alice).json()["key"]["id"]
    assert company.alice.client.post(f"{KEYS}/{key}/rotate", {"overlap_s": overlap}, format="json").status_code == 400


def test_a_revoked_key_stops_working_at_once_both_ways(company: Company) -> None:
    made = make(company.alice).json()
    assert isinstance(both_ways(made["secret"]), Principal)
    path = f"{KEYS}/{made['key']['id']}"
    assert company.alice.client.delete(path).status_code == 204
    assert both_ways(made["secret"]) is NotAuthenticated
    assert company.alice.client.delete(path).status_code == 204
    assert company.alice.client.get(path).json()["status"] == "revoked"


async def test_a_key_revoked_by_another_process_stops_within_a_second(company: Company) -> None:
    """This process knows the key already; all it can go by is the epoch in Redis."""
    made = await sync_to_async(lambda: make(company.alice).json())()
    assert (await authenticate(made["secret"], address="")).kind == "api_key"
    await sync_to_async(lambda: company.alice.client.delete(f"{KEYS}/{made['key']['id']}"))()
    with pytest.raises(NotAuthenticated):
        await authenticate(made["secret"], address="")


def test_members_see_their_own_keys_and_admins_everybodys(company: Company) -> None:
    theirs = make(company.bob).json()["key"]["id"]
    ours = make(company.alice).json()["key"]["id"]
    assert company.bob.client.get(f"{KEYS}/{ours}").status_code == 404
    assert company.bob.client.delete(f"{KEYS}/{ours}").status_code == 404
    assert company.alice.client.get(f"{KEYS}/{theirs}").status_code == 200
    assert company.alice.client.post(f"{KEYS}/{theirs}/rotate", {}, format="json").status_code == 403
    mine = company.alice.client.get(f"{KEYS}?mine=true").json()["data"]
    assert ours in {key["id"] for key in mine}
    assert theirs not in {key["id"] for key in mine}
    assert [key["id"] for key in company.bob.client.get(KEYS).json()["data"]] == [theirs]


def test_a_key_follows_its_members_role(company: Company) -> None:
    secret = issue(company, company.bob, scopes=["models.use", "rooms.read"])
    assert isinstance(both_ways(secret), Principal)
    with company.scope(), transaction.atomic():
        change_role(caller=company.alice.principal, member_id=company.bob.membership_id, role="viewer")
    caller = both_ways(secret)
    assert isinstance(caller, Principal)
    assert caller.permissions == {"rooms.read"}


def test_keys_and_sessions_of_a_removed_member_end_and_stay_ended(company: Company) -> None:
    secret = issue(company, company.bob)
    session = sign_in(company.bob)
    assert isinstance(both_ways(secret), Principal)
    with company.scope(), transaction.atomic():
        remove_member(caller=company.alice.principal, member_id=company.bob.membership_id)
    assert both_ways(secret) is NotAuthenticated
    assert with_token(session["access"]).get("/api/v1/me").status_code == 401
    assert refresh(session["refresh"]).status_code == 401
    again = add_member(slug=company.tenant.slug, email=company.bob.email, role="member")
    assert again.membership.id == company.bob.membership_id
    assert both_ways(secret) is NotAuthenticated
    assert with_token(session["access"]).get("/api/v1/me").status_code == 401
    assert refresh(session["refresh"]).status_code == 401
    assert with_token(sign_in(company.bob)["access"]).get("/api/v1/me").status_code == 200


def test_a_suspended_tenants_keys_and_sessions_are_refused_until_it_is_resumed(company: Company) -> None:
    session = sign_in(company.alice)
    assert isinstance(both_ways(company.api_key), Principal)
    set_tenant_status(slug=company.tenant.slug, status=Tenant.Status.SUSPENDED)
    assert both_ways(company.api_key) is PermissionDenied
    assert with_token(session["access"]).get("/api/v1/me").status_code == 401
    set_tenant_status(slug=company.tenant.slug, status=Tenant.Status.ACTIVE)
    assert isinstance(both_ways(company.api_key), Principal)
    assert refresh(session["refresh"]).status_code == 200


def test_a_tenant_has_so_many_keys_and_no_more(company: Company, settings: Any) -> None:
    settings.API_KEYS_PER_TENANT_MAX = 2
    issue(company)
    with pytest.raises(Conflict):
        issue(company)


@pytest.mark.parametrize("text", ["", "sk-parley-", "sk-parley-abc_def", "sk-parley-" + "x" * 5000, "x" * 5000, "é"])
def test_what_is_no_credential_is_refused(text: str) -> None:
    assert both_ways(text) is NotAuthenticated


def test_keys_that_have_ended_make_room_for_others(company: Company, settings: Any) -> None:
    """A program that rotates its key every day would otherwise find no room one day."""
    settings.API_KEYS_PER_TENANT_MAX = 2
    key = make(company.alice).json()["key"]["id"]
    assert make(company.alice).status_code == 409
    for _ in range(3):
        with company.scope(), transaction.atomic():
            ApiKey.objects.filter(id=key).update(expires_at=timezone.now())
        made = make(company.alice)
        assert made.status_code == 201, made.content
        key = made.json()["key"]["id"]


@pytest.mark.parametrize("terms", [{"max_priority": "normal"}, {"pace_tokens_per_s": 50}, {"pace_tokens_per_s": None}])
def test_a_key_is_shown_no_successor_that_is_quicker_than_itself(company: Company, terms: dict[str, Any]) -> None:
    own = {"scopes": ["api_keys.use", "models.use"], "max_priority": "batch", "pace_tokens_per_s": 20}
    program = with_token(make(company.alice, **own).json()["secret"])
    quicker = make(company.alice, **own | terms).json()["key"]["id"]
    assert program.post(f"{KEYS}/{quicker}/rotate", {}, format="json").status_code == 403
    alike = make(company.alice, **own).json()["key"]["id"]
    assert program.post(f"{KEYS}/{alike}/rotate", {}, format="json").status_code == 201


@pytest.mark.parametrize("rotated", [False, True])
def test_a_key_made_while_its_member_is_removed_does_not_come_back_with_them(company: Company, rotated: bool) -> None:
    key = make(company.bob).json()["key"]["id"]
    path = f"{KEYS}/{key}/rotate" if rotated else KEYS

    def meanwhile() -> Any:
        try:
            return company.bob.client.post(path, {} if rotated else {"name": "k"}, format="json")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with company.scope(), transaction.atomic():
            Tenant.objects.select_for_update().get(id=company.id)
            answer = pool.submit(meanwhile)
            until_somebody_waits()
            remove_member(caller=company.alice.principal, member_id=company.bob.membership_id)
        assert answer.result(timeout=10).status_code == 401
    add_member(slug=company.tenant.slug, email=company.bob.email, role="member")
    with company.scope(), transaction.atomic():
        assert not live_keys().filter(membership=company.bob.membership_id).exists()
