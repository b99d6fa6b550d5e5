"""Groups: who is in them, and that it counts at once."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from tenants.credentials import authenticate, authenticate_sync
from tenants.models import AuditEvent, Group, GroupMember, Membership
from tenants.permissions import PERMISSIONS
from tenants.principals import Principal, matches
from tenants.services.api_keys import issue_key
from tests.support.cast import Actor, Company
from tests.tenants.conftest import sign_in, until_somebody_waits, with_token
from tests.tenants.test_members import join

PATH = "/api/v1/groups"


def make(actor: Actor, name: str = "Research") -> str:
    answer = actor.client.post(PATH, {"name": name}, format="json")
    assert answer.status_code == 201, answer.content
    group_id: str = answer.json()["id"]
    return group_id


def put_in(client: Any, group_id: str, member: Actor) -> int:
    body = {"member_id": str(member.membership_id)}
    return int(client.post(f"{PATH}/{group_id}/members", body, format="json").status_code)


def take_out(client: Any, group_id: str, member: Actor) -> int:
    return int(client.delete(f"{PATH}/{group_id}/members/{member.membership_id}").status_code)


def members_of(actor: Actor, group_id: str) -> set[str]:
    return {item["person"]["name"] for item in actor.client.get(f"{PATH}/{group_id}/members").json()["data"]}


def both_ways(credential: str) -> Principal:
    """The caller as threads and as event loops see it."""
    seen = authenticate_sync(credential, address="127.0.0.1")
    assert async_to_sync(authenticate)(credential, address="127.0.0.1") == seen
    return seen


def events(company: Company) -> list[str]:
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        found = AuditEvent.objects.filter(subject_kind="group").order_by("id")
        return [event.action for event in found]


def test_a_group_is_made_renamed_and_deleted_and_it_is_written_down(company: Company) -> None:
    group = make(company.alice)
    assert put_in(company.alice.client, group, company.bob) == 201
    renamed = company.alice.client.patch(f"{PATH}/{group}", {"name": " Labs "}, format="json")
    assert renamed.json()["name"] == "Labs"
    assert [item["name"] for item in company.alice.client.get(PATH).json()["data"]] == ["Labs"]
    assert take_out(company.alice.client, group, company.bob) == 204
    assert take_out(company.alice.client, group, company.bob) == 404
    assert company.alice.client.delete(f"{PATH}/{group}").status_code == 204
    assert company.alice.client.get(f"{PATH}/{group}").status_code == 404
    assert events(company) == [
        "group.created",
        "group.member_added",
        "group.renamed",
        "group.member_removed",
        "group.deleted",
    ]


def test_a_name_is_taken_once_whatever_its_case(company: Company, neighbour: Company) -> None:
    group = make(company.alice, "Research")
    assert company.alice.client.post(PATH, {"name": "RESEARCH"}, format="json").status_code == 409
    assert company.alice.client.patch(f"{PATH}/{group}", {"name": "research"}, format="json").status_code == 200
    make(neighbour.alice, "Research")
    for name in ("İstanbul", "ΣΑΣ"):
        made = make(company.alice, name)
        assert company.alice.client.post(PATH, {"name": name}, format="json").status_code == 409
        assert company.alice.client.patch(f"{PATH}/{group}", {"name": name}, format="json").status_code == 409
        assert company.alice.client.patch(f"{PATH}/{made}", {"name": f"{name}!"}, format="json").status_code == 200
    for name in ("", "   ", "a\x00b", "x" * 121, None):
        assert company.alice.client.post(PATH, {"name": name}, format="json").status_code == 400


@pytest.mark.usefixtures("forget")
def test_groups_come_with_a_session(company: Company) -> None:
    group = make(company.alice)
    before = sign_in(company.bob)["access"]
    assert both_ways(before).groups == frozenset()
    assert put_in(company.alice.client, group, company.bob) == 201
    assert with_token(before).get("/api/v1/me").status_code == 401, "the session is looked at again"
    after = sign_in(company.bob)["access"]
    assert both_ways(after).groups == {uuid.UUID(group)}
    assert take_out(company.alice.client, group, company.bob) == 204
    assert with_token(after).get("/api/v1/me").status_code == 401
    assert both_ways(sign_in(company.bob)["access"]).groups == frozenset()


def test_groups_come_with_a_key_of_the_member_at_once(company: Company, forget: Any) -> None:
    group = make(company.alice)
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        key = issue_key(membership=Membership.objects.get(id=company.bob.membership_id), name="k").text
    assert both_ways(key).groups == frozenset()
    assert put_in(company.alice.client, group, company.bob) == 201
    assert both_ways(key).groups == {uuid.UUID(group)}
    forget()
    assert both_ways(key).groups == {uuid.UUID(group)}
    assert company.alice.client.delete(f"{PATH}/{group}").status_code == 204
    assert both_ways(key).groups == frozenset()


def test_putting_somebody_in_twice_changes_nothing(company: Company) -> None:
    group = make(company.alice)
    assert put_in(company.alice.client, group, company.bob) == 201
    token = sign_in(company.bob)["access"]
    assert put_in(company.alice.client, group, company.bob) == 201
    assert with_token(token).get("/api/v1/me").status_code == 200
    assert members_of(company.alice, group) == {"bob"}


def test_nobody_puts_members_into_a_group_that_gives_more_than_they_have(company: Company) -> None:
    """A key that manages groups, but not what they open."""
    group, admin = make(company.alice), join(company, "admin")
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        owner = Membership.objects.get(id=company.alice.membership_id)
        narrow = issue_key(membership=owner, name="k", scopes=["groups.manage"]).text
        whole = issue_key(membership=owner, name="k", scopes=sorted(PERMISSIONS)).text
    assert put_in(with_token(narrow), group, company.bob) == 403
    assert put_in(with_token(whole), group, company.bob) == 201
    assert take_out(with_token(narrow), group, company.bob) == 403
    assert with_token(narrow).delete(f"{PATH}/{group}").status_code == 403
    assert put_in(with_token(whole), group, company.alice) == 201
    # Now its owner is in it, and the key may let others in.
    assert put_in(with_token(narrow), group, company.vera) == 201
    assert members_of(admin, group) == {"alice", "bob", "vera"}


def test_only_who_manages_groups_changes_them(company: Company) -> None:
    group = make(company.alice)
    admin = join(company, "admin")
    assert put_in(company.bob.client, group, company.bob) == 403
    assert company.bob.client.post(PATH, {"name": "Mine"}, format="json").status_code == 403
    assert company.bob.client.get(PATH).status_code == 200
    assert company.vera.client.get(PATH).status_code == 403
    assert put_in(admin.client, group, company.bob) == 201


def test_a_member_who_leaves_is_in_no_group(company: Company) -> None:
    group = make(company.alice)
    assert put_in(company.alice.client, group, company.bob) == 201
    assert company.alice.client.delete(f"/api/v1/members/{company.bob.membership_id}").status_code == 204
    assert members_of(company.alice, group) == set()
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        assert GroupMember.objects.count() == 0
    assert put_in(company.alice.client, group, company.bob) == 404


def test_groups_are_bounded(company: Company, settings: Any) -> None:
    settings.GROUPS_PER_TENANT_MAX = 2
    settings.GROUPS_PER_MEMBER_MAX = 1
    first, second = make(company.alice, "one"), make(company.alice, "two")
    assert company.alice.client.post(PATH, {"name": "three"}, format="json").status_code == 409
    assert put_in(company.alice.client, first, company.bob) == 201
    assert put_in(company.alice.client, second, company.bob) == 409


@pytest.mark.no_database
@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("claude-*", "claude-3 claude- claude-*", "claude Claude-3 xclaude-3"),
        ("*", "a * gpt/4", ""),
        ("*-mini", "gpt-mini -mini", "gpt-mini-2 mini"),
        ("a*b*c", "abc axbxc abbc", "ab acb aXc ab-"),
        ("gpt-4", "gpt-4", "gpt-4o GPT-4 gpt-"),
        ("a*a", "aa aba", "a"),
        ("[ab]?.", "[ab]?.", "a1x"),
        ("a**b", "ab axb", "a"),
    ],
)
def test_patterns(pattern: str, fits: str, fits_not: str) -> None:
    assert all(matches(alias, pattern) for alias in fits.split())
    assert not any(matches(alias, pattern) for alias in fits_not.split())


@pytest.mark.no_database
def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not matches("a" * 200, "*a" * 99 + "b")


@pytest.mark.parametrize("renamed", [False, True])
def test_of_two_who_take_a_name_at_once_one_is_told_that_it_is_taken(company: Company, renamed: bool) -> None:
    group = make(company.alice, "Before")

    def second() -> int:
        try:
            client = company.alice.client
            path, ask = (f"{PATH}/{group}", client.patch) if renamed else (PATH, client.post)
            return int(ask(path, {"name": "Research"}, format="json").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with company.scope(), transaction.atomic():
            Group.objects.create(tenant_id=company.id, name="Research")
            answer = pool.submit(second)
            until_somebody_waits()
        assert answer.result(timeout=10) == 409
