"""The operator's commands, and what they print for programs."""

import json
import secrets
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import transaction
from rest_framework.test import APIClient

from kernel.errors import Conflict, InvalidRequest, NotFound
from tenants.credentials import authenticate_sync
from tenants.models import AuditEvent, Tenant
from tenants.permissions import DEFAULT_SCOPES
from tenants.services import provisioning
from tenants.services.provisioning import create_tenant, owner_of, usd_to_nano
from tests.support.cast import Company
from tests.tenants.conftest import sign_in, with_token


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def slug() -> str:
    return f"cmd-{secrets.token_hex(4)}"


def audited(company: Company, action: str) -> int:
    with company.scope(), transaction.atomic():
        return AuditEvent.objects.filter(action=action, actor_kind="operator").count()


def test_create_tenant_prints_exactly_the_contract() -> None:
    name = slug()
    made = run_json("create_tenant", name, "--owner", f"ann@{name}.example")
    assert list(made) == ["tenant", "slug", "owner", "password", "api_key"]
    assert (made["slug"], made["owner"]) == (name, f"ann@{name}.example")
    caller = authenticate_sync(made["api_key"], address="")
    assert (str(caller.tenant_id), caller.role) == (made["tenant"], "owner")
    assert Tenant.objects.using("platform").get(slug=name).monthly_limit_nano is None
    body = {"email": made["owner"], "password": made["password"]}
    assert APIClient().post("/api/v1/auth/login", body, format="json").status_code == 200


def test_an_existing_person_keeps_name_and_password(company: Company) -> None:
    made = run_json("create_tenant", slug(), "--owner", company.alice.email.upper())
    assert made["password"] is None
    assert made["owner"] == company.alice.email
    assert len(sign_in(company.alice)["memberships"]) == 2
    again = create_tenant(slug=slug(), owner_email=company.alice.email, password="another password")
    assert again.owner.password is None
    assert sign_in(company.alice)["person"]["name"] == "alice"


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a_b", "a" * 64, "ä", "a\n"])
def test_a_bad_slug_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        create_tenant(slug=name, owner_email="a@b.example")


def test_what_goes_wrong_is_one_line(company: Company) -> None:
    with pytest.raises(CommandError, match="already"):
        run("create_tenant", company.tenant.slug, "--owner", "a@b.example")
    with pytest.raises(CommandError, match="no e-mail address"):
        run("create_tenant", slug(), "--owner", "nobody")
    with pytest.raises(CommandError, match="no tenant"):
        run("create_api_key", "no-such-tenant", "--name", "k")
    with pytest.raises(InvalidRequest):
        create_tenant(slug=slug(), owner_email="short@b.example", password="short")
    with pytest.raises(InvalidRequest):
        provisioning.add_member(slug=company.tenant.slug, email="a@b.example", role="king")


def test_a_failed_tenant_leaves_nothing_behind() -> None:
    name = slug()
    with pytest.raises(InvalidRequest):
        create_tenant(slug=name, owner_email="nobody")
    assert not Tenant.objects.using("platform").filter(slug=name).exists()


def test_create_api_key_prints_exactly_the_contract(company: Company) -> None:
    made = run_json("create_api_key", company.tenant.slug, "--name", "ci")
    assert list(made) == ["id", "api_key"]
    caller = authenticate_sync(made["api_key"], address="")
    assert (str(caller.api_key_id), caller.permissions) == (made["id"], DEFAULT_SCOPES)
    scoped = run_json("create_api_key", company.tenant.slug, "--name", "ci", "--scope", "rooms.read")
    assert authenticate_sync(scoped["api_key"], address="").permissions == {"rooms.read"}
    assert (caller.priority, audited(company, "api_key.created")) == ("normal", 2)
    urgent = run_json("create_api_key", company.tenant.slug, "--name", "chat", "--max-priority", "interactive")
    assert authenticate_sync(urgent["api_key"], address="").priority == "interactive"
    with pytest.raises(CommandError, match="no such scope"):
        run("create_api_key", company.tenant.slug, "--name", "ci", "--scope", "everything")


def test_add_member_prints_a_new_persons_password_once(company: Company) -> None:
    email = f"new@{company.tenant.slug}.example"
    made = run_json("add_member", company.tenant.slug, "--email", email, "--role", "viewer", "--name", "New")
    assert list(made) == ["membership", "person", "password"]
    assert made["password"]
    with pytest.raises(CommandError, match="member already"):
        run("add_member", company.tenant.slug, "--email", email)
    assert audited(company, "member.added") == 3


def test_suspend_and_resume(company: Company) -> None:
    client = with_token(company.api_key)
    assert client.get("/api/v1/me").status_code == 200
    assert run_json("tenant", "suspend", company.tenant.slug)["status"] == "suspended"
    assert client.get("/api/v1/me").status_code == 403
    assert run_json("tenant", "suspend", company.tenant.slug)["status"] == "suspended"
    assert run_json("tenant", "resume", company.tenant.slug)["status"] == "active"
    assert client.get("/api/v1/me").status_code == 200
    assert (audited(company, "tenant.suspended"), audited(company, "tenant.resumed")) == (1, 1)


def test_limit_is_in_whole_nano_dollars(company: Company) -> None:
    limited = run_json("tenant", "limit", company.tenant.slug, "12.5")
    assert limited["monthly_limit_nano"] == 12_500_000_000
    assert run_json("tenant", "limit", company.tenant.slug, "none")["monthly_limit_nano"] is None
    with pytest.raises(CommandError, match="amount"):
        run("tenant", "limit", company.tenant.slug)
    with pytest.raises(CommandError, match="amount"):
        run("tenant", "limit", company.tenant.slug, "-1")


def test_a_tenant_has_the_time_zone_that_was_named(company: Company) -> None:
    name = slug()
    run("create_tenant", name, "--owner", f"ann@{name}.example", "--time-zone", "Asia/Kathmandu")
    assert run_json("tenant", "show", name)["time_zone"] == "Asia/Kathmandu"
    assert run_json("tenant", "time-zone", company.tenant.slug, "Europe/Berlin")["time_zone"] == "Europe/Berlin"
    assert audited(company, "tenant.time_zone") == 1
    for wrong in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(CommandError, match="no time zone"):
            run("tenant", "time-zone", company.tenant.slug, wrong)
        with pytest.raises(InvalidRequest):
            create_tenant(slug=slug(), owner_email="a@b.example", time_zone=wrong)
    with pytest.raises(CommandError, match="needs the name"):
        run("tenant", "time-zone", company.tenant.slug)
    assert Tenant.objects.using("platform").get(id=company.id).timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("1", 10**9),
        ("0.000000001", 1),
        ("999999999.999999999", 999_999_999_999_999_999),
        ("1.10", 1_100_000_000),
    ],
)
def test_dollars_become_nano_dollars(text: str, nano: int) -> None:
    assert usd_to_nano(text) == nano


@pytest.mark.parametrize("text", ["", ".5", "1.", "1e3", "-1", "1,5", "1.0000000001", "1000000000", "٣", "nan"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        usd_to_nano(text)


def test_every_look_at_a_tenant_is_in_its_audit(company: Company) -> None:
    shown = run_json("tenant", "show", company.tenant.slug)
    assert list(shown) == ["tenant", "slug", "name", "status", "time_zone", "monthly_limit_nano", "created_at"]
    assert company.tenant.slug in run("tenant", "list")
    rows = [json.loads(line) for line in run("tenant", "list", "--json").splitlines()]
    assert company.tenant.slug in {row["slug"] for row in rows}
    assert (audited(company, "tenant.shown"), audited(company, "tenant.listed")) == (1, 2)
    with pytest.raises(CommandError, match="slug"):
        run("tenant", "show")
    with pytest.raises(CommandError, match="no tenant"):
        run("tenant", "suspend", "no-such-tenant")


def test_people_read_lines(company: Company) -> None:
    assert f"slug         {company.tenant.slug}" in run("tenant", "show", company.tenant.slug)
    assert "monthly_limit_nano -" in run("tenant", "show", company.tenant.slug)


def test_a_tenant_without_an_owner_says_so(company: Company) -> None:
    with pytest.raises(NotFound):
        owner_of(company.alice.person_id)
    assert owner_of(company.id).id == company.alice.membership_id


def test_a_member_who_was_removed_may_come_back(company: Company) -> None:
    company.alice.client.delete(f"/api/v1/members/{company.bob.membership_id}")
    back = provisioning.add_member(slug=company.tenant.slug, email=company.bob.email, role="viewer")
    assert (back.membership.id, back.password) == (company.bob.membership_id, None)
    assert sign_in(company.bob)["membership"]["role"] == "viewer"
    with pytest.raises(Conflict):
        provisioning.add_member(slug=company.tenant.slug, email=company.bob.email, role="viewer")


def test_the_demo_company_is_made_only_where_there_is_none(company: Company) -> None:
    assert run("ensure_demo") == ""
