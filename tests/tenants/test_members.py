"""Members: nobody raises what they lack, and an owner stays."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from kernel.errors import Conflict, InvalidRequest
from tenants.models import AuditEvent, Membership
from tenants.permissions import BUILTIN_ROLES, PERMISSIONS
from tenants.services.api_keys import issue_key
from tenants.services.members import change_role
from tenants.services.provisioning import add_member
from tests.support.cast import PASSWORD, Actor, Company
from tests.tenants.conftest import sign_in, with_token


def join(company: Company, role: str, name: str = "") -> Actor:
    email = f"{name or role}@{company.tenant.slug}.example"
    made = add_member(slug=company.tenant.slug, email=email, role=role, password=PASSWORD)
    return Actor(name or role, email, company.id, made.person.id, made.membership.id, role)


def patch(actor: Actor, member: Actor, role: str) -> int:
    answer = actor.client.patch(f"/api/v1/members/{member.membership_id}", {"role": role}, format="json")
    return int(answer.status_code)


def remove(actor: Actor, member: Actor) -> int:
    return int(actor.client.delete(f"/api/v1/members/{member.membership_id}").status_code)


def role_of(company: Company, actor: Actor) -> str:
    with company.scope(), transaction.atomic():
        return Membership.objects.get(id=actor.membership_id).role_id


def test_an_owner_changes_roles_and_it_is_written_down(company: Company) -> None:
    assert patch(company.alice, company.bob, "admin") == 200
    assert role_of(company, company.bob) == "admin"
    with company.scope(), transaction.atomic():
        event = AuditEvent.objects.get(action="member.role_changed")
    assert (event.actor_id, event.subject_id) == (company.alice.membership_id, company.bob.membership_id)
    assert event.data == {"from": "member", "to": "admin"}


def test_a_changed_role_changes_a_session_at_once(company: Company) -> None:
    session = sign_in(company.bob)
    assert with_token(session["access"]).get("/api/v1/members").status_code == 200
    assert patch(company.alice, company.bob, "viewer") == 200
    assert with_token(session["access"]).get("/api/v1/members").status_code == 401
    assert with_token(sign_in(company.bob)["access"]).get("/api/v1/members").status_code == 403


def test_nobody_raises_what_they_lack(company: Company) -> None:
    admin, second = join(company, "admin"), join(company, "admin", "second")
    assert patch(admin, company.bob, "owner") == 403
    assert patch(admin, admin, "owner") == 403
    assert patch(admin, company.alice, "member") == 403
    assert remove(admin, company.alice) == 403
    assert patch(admin, company.bob, "admin") == 200
    assert patch(admin, second, "viewer") == 200
    assert role_of(company, company.alice) == "owner"


def test_a_key_raises_nobody_beyond_its_own_scopes(company: Company) -> None:
    """It may manage members, and lacks all else that an owner has."""
    with company.scope(), transaction.atomic():
        membership = Membership.objects.get(id=company.alice.membership_id)
        narrow = issue_key(membership=membership, name="k", scopes=["members.manage"]).text
        whole = issue_key(membership=membership, name="k", scopes=sorted(PERMISSIONS)).text
    path = f"/api/v1/members/{company.bob.membership_id}"
    assert with_token(narrow).patch(path, {"role": "owner"}, format="json").status_code == 403
    assert with_token(whole).patch(path, {"role": "admin"}, format="json").status_code == 200


def test_the_last_owner_stays(company: Company) -> None:
    assert patch(company.alice, company.alice, "member") == 409
    assert remove(company.alice, company.alice) == 409
    second = join(company, "owner")
    assert patch(company.alice, company.alice, "member") == 200
    assert remove(second, second) == 409


def test_two_owners_who_demote_each_other_leave_one(company: Company) -> None:
    second = join(company, "owner")
    pairs = [(company.alice, second), (second, company.alice)]

    def demote(pair: tuple[Actor, Actor]) -> str:
        caller, member = pair
        try:
            with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
                change_role(caller=caller.principal, member_id=member.membership_id, role="member")
            return "done"
        except Conflict:
            return "refused"
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(demote, pairs)) == ["done", "refused"]
    assert sorted(role_of(company, actor) for actor in (company.alice, second)) == ["member", "owner"]


def test_a_removed_member_is_gone_from_every_answer(company: Company) -> None:
    assert remove(company.alice, company.bob) == 204
    listed = company.alice.client.get("/api/v1/members").json()["data"]
    assert {item["person"]["name"] for item in listed} == {"alice", "vera"}
    path = f"/api/v1/members/{company.bob.membership_id}"
    assert company.alice.client.get(path).status_code == 404
    assert remove(company.alice, company.bob) == 404


@pytest.mark.parametrize("role", ["king", "", None, ["owner"]])
def test_there_are_no_other_roles(company: Company, role: Any) -> None:
    path = f"/api/v1/members/{company.bob.membership_id}"
    assert company.alice.client.patch(path, {"role": role}, format="json").status_code == 400
    with company.scope(), transaction.atomic(), pytest.raises(InvalidRequest):
        change_role(caller=company.alice.principal, member_id=company.bob.membership_id, role="king")


def test_the_same_role_again_changes_nothing(company: Company) -> None:
    token = sign_in(company.bob)["access"]
    assert patch(company.alice, company.bob, "member") == 200
    assert with_token(token).get("/api/v1/me").status_code == 200


def test_one_changes_ones_own_name_everywhere(company: Company) -> None:
    answer = company.bob.client.patch("/api/v1/me", {"name": "Robert"}, format="json")
    assert answer.json()["person"]["name"] == "Robert"
    names = [item["person"]["name"] for item in company.alice.client.get("/api/v1/members").json()["data"]]
    assert "Robert" in names
    for field in ("email", "id", "is_active"):
        assert company.bob.client.patch("/api/v1/me", {"name": "x", field: "y"}, format="json").status_code == 400


def test_roles_are_listed_with_what_they_permit(acme: Company) -> None:
    listed = {role["slug"]: set(role["permissions"]) for role in acme.vera.client.get("/api/v1/roles").json()["data"]}
    assert listed == {slug: set(permissions) for slug, permissions in BUILTIN_ROLES.items()}
