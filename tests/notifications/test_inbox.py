"""What happened is told in the app: to those whom it concerns, once, and to nobody else."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from tenants.models import Membership
from tenants.notifications import Attachment, Audience, notify
from tenants.notifications.upkeep import delete_old_notices
from tenants.services.members import remove_member
from tests.isolation.roles import administrator
from tests.support.cast import Actor, Company


def tell(company: Company, audience: Audience, once_key: str = "once", **said: Any) -> uuid.UUID | None:
    values: dict[str, Any] = {"subject": "80 % of the budget is spent", "text": "Now.", **said}
    with company.scope(), transaction.atomic():
        return notify(tenant_id=company.id, topic="webhook.test", once_key=once_key, audience=audience, **values)


def told(actor: Actor, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = actor.client.get("/api/v1/notifications", query).json()["data"]
    return found


def test_those_who_have_the_permission_are_told(company: Company, work_off: Callable[[], int]) -> None:
    tell(company, Audience(permission="usage.read"), link="/console/usage")
    assert told(company.alice) == []
    work_off()
    (found,) = told(company.alice)
    assert found["subject"] == "80 % of the budget is spent"
    assert (found["type"], found["text"], found["link"]) == ("webhook.test", "Now.", "/console/usage")
    assert found["read_at"] is None
    assert told(company.bob) == told(company.vera) == []


def test_members_named_are_told(company: Company, neighbour: Company, work_off: Callable[[], int]) -> None:
    tell(company, Audience(memberships=(company.bob.membership_id, neighbour.alice.membership_id)))
    work_off()
    assert len(told(company.bob)) == 1
    assert told(company.alice) == told(neighbour.alice) == []


def test_a_member_who_left_is_not_told(company: Company, work_off: Callable[[], int]) -> None:
    tell(company, Audience(memberships=(company.bob.membership_id, company.vera.membership_id)))
    with company.scope(), transaction.atomic():
        remove_member(caller=company.owner.principal, member_id=company.bob.membership_id)
    work_off()
    with administrator() as admin:
        rows = admin.execute("SELECT membership_id FROM tenants_notification WHERE tenant_id = %s", (company.id,))
        assert rows.fetchall() == [(company.vera.membership_id,)]


def test_one_key_is_told_once(company: Company, neighbour: Company, work_off: Callable[[], int]) -> None:
    audience = Audience(permission="usage.read")
    assert tell(company, audience, "budget 80") is not None
    assert tell(company, audience, "budget 80") is None
    assert tell(company, audience, "budget 100") is not None
    assert tell(neighbour, audience, "budget 80") is not None
    work_off()
    assert len(told(company.alice)) == 2
    assert len(told(neighbour.alice)) == 1


def test_what_is_rolled_back_is_not_told(company: Company, work_off: Callable[[], int]) -> None:
    with pytest.raises(RuntimeError), company.scope(), transaction.atomic():
        audience = Audience(permission="usage.read")
        notify(tenant_id=company.id, topic="webhook.test", once_key="k", audience=audience, subject="s", text="t")
        raise RuntimeError
    assert work_off() == 0
    assert tell(company, Audience(permission="usage.read"), "k") is not None


def test_the_unread_are_counted_and_marked_one_by_one_and_all_at_once(
    company: Company, work_off: Callable[[], int]
) -> None:
    for number in range(3):
        tell(company, Audience(permission="usage.read"), f"{number}", subject=f"number {number}")
    work_off()
    client = company.alice.client
    assert client.get("/api/v1/notifications/unread").json() == {"unread": 3}
    first = told(company.alice)[-1]
    marked = client.patch(f"/api/v1/notifications/{first['id']}", {"read": True}, format="json").json()
    assert marked["read_at"] is not None
    again = client.patch(f"/api/v1/notifications/{first['id']}", {"read": True}, format="json").json()
    assert again["read_at"] == marked["read_at"]
    assert [one["subject"] for one in told(company.alice, unread="true")] == ["number 2", "number 1"]
    assert client.post("/api/v1/notifications/read").json() == {"read": 2}
    assert client.get("/api/v1/notifications/unread").json() == {"unread": 0}
    assert (
        client.patch(f"/api/v1/notifications/{first['id']}", {"read": False}, format="json").json()["read_at"] is None
    )
    assert client.get("/api/v1/notifications", {"unread": "perhaps"}).status_code == 400


def test_the_list_is_paged_newest_first(company: Company, work_off: Callable[[], int]) -> None:
    for number in range(5):
        tell(company, Audience(permission="usage.read"), f"{number}", subject=f"{number}")
        work_off()
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = company.alice.client.get("/api/v1/notifications", query).json()
        seen += [one["subject"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == ["4", "3", "2", "1", "0"]


def test_a_key_reads_its_owners_notifications_only_if_scoped_for_it(
    company: Company, work_off: Callable[[], int]
) -> None:
    tell(company, Audience(permission="usage.read"))
    work_off()
    headers = {"Authorization": f"Bearer {company.api_key}"}
    client = company.alice.client
    client.credentials()
    assert client.get("/api/v1/notifications", headers=headers).status_code == 403


def test_a_subject_is_one_line_whatever_is_in_it(company: Company, work_off: Callable[[], int]) -> None:
    tell(company, Audience(permission="usage.read"), subject="two\r\nBcc: lines\x00" + "x" * 300)
    work_off()
    (found,) = told(company.alice)
    assert found["subject"].startswith("two  Bcc: lines xxx")
    assert found["subject"].endswith("x…")
    assert len(found["subject"]) == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": " \n"},
        {"text": "x" * 20_001},
        {"link": "https://elsewhere.example"},
        {"link": "//elsewhere.example"},
        {"once_key": ""},
        {"data": {"much": "x" * 20_000}},
        {"attachments": (Attachment("a.pdf", "application/pdf", "somebody-else/a.pdf"),)},
    ],
)
def test_what_does_not_fit_is_a_bug_of_the_caller(company: Company, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says what is wrong
        tell(company, Audience(), **wrong)


def test_an_unknown_type_or_permission_is_a_bug_of_the_caller(company: Company) -> None:
    with pytest.raises(LookupError):
        Audience(permission="usage.raed")
    with pytest.raises(LookupError), company.scope(), transaction.atomic():
        notify(tenant_id=company.id, topic="no.such", once_key="k", audience=Audience(), subject="s", text="t")


def test_old_notices_are_deleted_with_their_notifications(company: Company, work_off: Callable[[], int]) -> None:
    tell(company, Audience(permission="usage.read"), "old")
    work_off()
    with administrator() as admin:
        # A notice made long ago: its id begins with the time.
        admin.execute(
            "WITH moved AS (UPDATE tenants_notice SET id = '01000000-0000-7000-8000-000000000000' WHERE tenant_id = %s "
            "RETURNING id) UPDATE tenants_notification SET notice_id = (SELECT id FROM moved) WHERE tenant_id = %s",
            (company.id, company.id),
        )
    tell(company, Audience(permission="usage.read"), "new")
    assert delete_old_notices() >= 1
    assert told(company.alice) == []
    work_off()
    assert len(told(company.alice)) == 1
    with company.scope(), transaction.atomic():
        assert Membership.objects.filter(id=company.alice.membership_id).exists()
