"""Budgets over REST: who may set them, what they may be for, and how they stand."""

import uuid
from datetime import date
from typing import Any

from django.db import transaction

from billing.ledger import admit, settle
from billing.services.budgets import Subject, period_end
from billing.services.funds import add_grant, limit_by_credit
from billing.services.operators_limit import enforce_limit
from kernel.loop import on_loop
from tenants.models import AuditEvent
from tenants.services.provisioning import add_member
from tests.billing.ledger_support import asking, used
from tests.support.cast import Actor, Company

URL = "/api/v1/billing/budgets"


def make(actor: Actor, scope: dict[str, Any] | None = None, **values: Any) -> Any:
    body = {"scope": scope or {"kind": "tenant"}, "limit": 1_000, **values}
    return actor.client.post(URL, body, format="json")


def listed(actor: Actor) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = actor.client.get(URL).json()["data"]
    return page


def test_a_budget_is_made_changed_and_deleted_and_the_audit_says_so(company: Company) -> None:
    made = make(company.alice, name="Research", thresholds=[80, 50, 80])
    assert made.status_code == 201, made.content
    body = made.json()
    assert body["scope"] == {"kind": "tenant", "id": None, "model": None}
    assert (body["measure"], body["period"], body["limit"]) == ("nano", "month", 1_000)
    assert (body["mode"], body["thresholds"], body["owner"], body["active"]) == ("hard", [50, 80], "tenant", True)
    one = f"{URL}/{body['id']}"
    changed = company.alice.client.patch(one, {"limit": 10, "active": False}, format="json").json()
    assert changed == {**body, "limit": 10, "active": False, "balance": {**body["balance"], "available": 10}}
    assert company.alice.client.get(one).json() == changed
    refused = company.alice.client.patch(one, {"period": "day"}, format="json")
    assert (refused.status_code, "period" in refused.content.decode()) == (400, True)
    assert company.alice.client.delete(one).status_code == 204
    assert company.alice.client.get(one).status_code == 404
    with company.scope(), transaction.atomic():
        trail = AuditEvent.objects.filter(subject_id=uuid.UUID(body["id"])).order_by("id")
        told = [(event.action, event.data) for event in trail]
    assert [action for action, _ in told] == ["budget.created", "budget.changed", "budget.deleted"]
    assert told[1][1] == {"limit": [1_000, 10], "active": [True, False]}


def test_a_budget_says_how_it_stands(company: Company) -> None:
    made = make(company.alice, period="total").json()
    first, second = asking(company.alice), asking(company.alice)

    async def use() -> None:
        await settle(await admit(first), [used(company.alice, first, 30)])
        await admit(second)

    on_loop(use())
    (found,) = listed(company.alice)
    assert found["id"] == made["id"]
    assert found["balance"] == {
        "held": 100,
        "settled": 30,
        "available": 870,
        "would_refuse": 0,
        "period_start": "1970-01-01",
        "period_end": None,
    }
    balance = company.alice.client.get("/api/v1/billing/balance").json()
    assert (balance["owed_nano"], balance["month_nano"], balance["funds_nano"]) == (30, 30, None)


def test_funds_are_what_is_left_in_advance(company: Company) -> None:
    with company.scope(), transaction.atomic():
        add_grant(amount_nano=500, source="topup", key="a")
        limit_by_credit(is_hard=True)
    on_loop(admit(asking(company.alice)))
    assert company.alice.client.get("/api/v1/billing/balance").json()["funds_nano"] == 400
    (found,) = listed(company.bob)
    assert (found["scope"]["kind"], found["owner"]) == ("funds", "plan")


def test_members_see_what_applies_to_themselves(company: Company) -> None:
    mine = {"kind": "member", "id": str(company.bob.membership_id)}
    hers = {"kind": "member", "id": str(company.vera.membership_id)}
    room = {"kind": "room", "id": str(uuid.uuid4())}
    for scope in ({"kind": "tenant"}, mine, hers, room, {"kind": "model", "model": "fast"}):
        assert make(company.alice, scope).status_code == 201
    assert [one["scope"]["kind"] for one in listed(company.alice)] == ["model", "room", "member", "member", "tenant"]
    assert [one["scope"]["id"] for one in listed(company.bob)] == [None, mine["id"], None]
    hidden = next(one for one in listed(company.alice) if one["scope"]["id"] == hers["id"])
    assert company.bob.client.get(f"{URL}/{hidden['id']}").status_code == 404
    assert make(company.bob).status_code == 403


def test_finance_may_set_budgets(company: Company) -> None:
    added = add_member(slug=company.tenant.slug, email="f@x.example", role="billing", name="f", password="x" * 20)
    finance = Actor("f", "f@x.example", company.id, added.person.id, added.membership.id, "billing")
    assert make(finance).status_code == 201


def test_the_operators_and_the_plans_are_shown_and_not_changed(company: Company) -> None:
    enforce_limit(company.id, 77)
    (found,) = listed(company.bob)
    assert (found["owner"], found["limit"]) == ("operator", 77)
    one = f"{URL}/{found['id']}"
    assert company.alice.client.patch(one, {"limit": 78}, format="json").status_code == 403
    assert company.alice.client.delete(one).status_code == 403
    assert listed(company.alice)[0]["limit"] == 77


def test_what_is_not_there_has_no_budget(company: Company, neighbour: Company) -> None:
    theirs = {"kind": "member", "id": str(neighbour.bob.membership_id)}
    nobody = {"kind": "member", "id": str(uuid.uuid4())}
    first, second = make(company.alice, theirs), make(company.alice, nobody)
    assert (first.status_code, first.json()["details"]) == (400, {"param": "scope"})
    assert {**first.json(), "request_id": ""} == {**second.json(), "request_id": ""}
    for scope in (
        {"kind": "group", "id": str(uuid.uuid4())},
        {"kind": "key", "id": str(uuid.uuid4())},
        {"kind": "tenant", "id": str(uuid.uuid4())},
        {"kind": "room"},
        {"kind": "model"},
        {"kind": "funds"},
        {"kind": "member", "model": "m"},
    ):
        assert make(company.alice, scope).status_code == 400, scope
    for bad in ({"limit": -1}, {"thresholds": [0]}, {"mode": "stern"}, {"name": "a\x07"}, {"owner": "plan"}):
        assert make(company.alice, **bad).status_code == 400, bad
    assert listed(company.alice) == []


def test_periods_end_where_the_next_begins() -> None:
    assert period_end("day", date(2028, 2, 28)) == date(2028, 2, 29)
    assert period_end("month", date(2026, 12, 1)) == date(2027, 1, 1)
    assert period_end("month", date(2028, 2, 1)) == date(2028, 3, 1)
    assert period_end("total", date(1970, 1, 1)) is None


def test_a_scope_is_kept_as_holds_name_it() -> None:
    group = uuid.uuid4()
    for subject in (Subject("tenant"), Subject("group", group), Subject("model", model="a:b"), Subject("funds")):
        assert Subject.of(subject.scope) == subject
    assert Subject("model", model="a:b").scope == "model:a:b"
