"""`Idempotency-Key`: a POST that is sent again has its effect once, however it is sent again."""

import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from chat.models import Message, Room
from kernel import idempotency
from kernel.errors import InvalidRequest
from kernel.idempotency import Asked
from kernel.models import IdempotencyKey
from tenants.models import ApiKey, Group
from tenants.services import groups
from tests.isolation.calls import calls, routes
from tests.isolation.roles import administrator
from tests.support.cast import Actor, Company

GROUPS, ROOMS, KEYS = "/api/v1/groups", "/api/v1/rooms", "/api/v1/api-keys"
SECRET_FIELDS = {"secret", "access", "refresh", "ticket", "password", "token"}


def post(actor: Actor, path: str, body: dict[str, Any] | None, key: str | None) -> Any:
    return actor.client.post(path, body, format="json", headers={"Idempotency-Key": key} if key is not None else {})


def count(company: Company, model: Any) -> int:
    with company.scope(), transaction.atomic():
        return int(model.objects.count())


def test_the_same_request_is_done_once_and_answered_the_same(company: Company) -> None:
    first = post(company.alice, GROUPS, {"name": "Research"}, "k1")
    again = post(company.alice, GROUPS, {"name": "Research"}, "k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert count(company, Group) == 1


def test_another_request_with_the_key_is_refused(company: Company) -> None:
    post(company.alice, GROUPS, {"name": "Research"}, "k1")
    other = post(company.alice, GROUPS, {"name": "Sales"}, "k1")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert post(company.alice, f"{GROUPS}?x=1", {"name": "Research"}, "k1").status_code == 422
    assert count(company, Group) == 1


def test_keys_are_each_principals_and_each_paths_own(company: Company, neighbour: Company) -> None:
    shared = {"kind": "private"}
    rooms = [post(actor, ROOMS, shared, "k1").json()["id"] for actor in (company.alice, company.bob, neighbour.alice)]
    assert len(set(rooms)) == 3
    assert post(company.alice, GROUPS, {"name": "Research"}, "k1").status_code == 201
    api_key = company.alice.client
    api_key.credentials(HTTP_AUTHORIZATION=f"Bearer {company.api_key}")
    by_key = api_key.post(ROOMS, shared, format="json", headers={"Idempotency-Key": "k1"})
    assert by_key.json()["id"] not in rooms


def test_what_failed_had_no_effect_and_may_be_tried_again(company: Company) -> None:
    refused = post(company.alice, GROUPS, {"name": ""}, "k1")
    assert refused.status_code == 400
    assert post(company.alice, GROUPS, {"name": "Research"}, "k1").status_code == 201


def test_a_crash_after_the_effect_leaves_neither_effect_nor_key(company: Company, monkeypatch: Any) -> None:
    def crash(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(idempotency, "write", crash)
        post(company.alice, GROUPS, {"name": "Research"}, "k1")
    assert count(company, Group) == count(company, IdempotencyKey) == 0
    assert post(company.alice, GROUPS, {"name": "Research"}, "k1").status_code == 201
    assert count(company, Group) == 1


def test_of_many_at_once_one_has_its_effect(company: Company, monkeypatch: Any) -> None:
    inside, done = threading.Event(), threading.Event()
    create = groups.create_group

    def slowly(**given: Any) -> Any:
        inside.set()
        assert done.wait(10)
        return create(**given)

    monkeypatch.setattr(groups, "create_group", slowly)

    def ask(_: int) -> int:
        try:
            return int(post(company.alice, GROUPS, {"name": "Research"}, "k1").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(ask, 0)
        assert inside.wait(10)
        others = list(threads.map(ask, range(5)))
        done.set()
        assert (first.result(10), others) == (201, [409] * 5)
    assert count(company, Group) == 1
    assert post(company.alice, GROUPS, {"name": "Research"}, "k1").status_code == 201


def test_a_request_in_progress_says_so(company: Company) -> None:
    with company.scope(), transaction.atomic():
        asked = Asked(company.alice.principal.id, "POST", ROOMS, "k1", b"d" * 32)
        assert idempotency.find(asked) is None
        idempotency.claim(asked)
    with company.scope(), transaction.atomic(), pytest.raises(idempotency.InProgress) as refused:
        idempotency.find(asked)
    assert refused.value.status == 409
    assert refused.value.headers == {"Retry-After": "1"}


def test_a_secret_is_not_kept_and_the_replay_says_so(company: Company) -> None:
    first = post(company.alice, KEYS, {"name": "ci"}, "k1")
    secret = first.json()["secret"]
    again = post(company.alice, KEYS, {"name": "ci"}, "k1")
    assert (first.status_code, again.status_code) == (201, 409)
    said = again.json()
    assert said["code"] == "idempotency_answer_withheld"
    assert said["details"] == {"status": 201, "answer": {"key": first.json()["key"]}, "withheld": ["secret"]}
    with administrator() as admin:
        kept = admin.execute("SELECT body FROM kernel_idempotencykey WHERE tenant_id = %s", (company.id,)).fetchall()
    assert len(kept) == 1
    assert secret not in str(kept)
    with company.scope(), transaction.atomic():
        assert ApiKey.objects.filter(name="ci").count() == 1


def test_every_answer_that_holds_a_secret_declares_it(company: Company) -> None:
    views = {route.path: route.view for route in routes()}
    seen = 0
    for call in calls():
        if call.method != "POST" or call.public:
            continue
        made = call.make(company)
        answer = post(
            company.alice, call.path(made.ids), dict(made.body) if isinstance(made.body, Mapping) else None, None
        )
        body = answer.json() if answer.content else None
        held = SECRET_FIELDS & set(body) if isinstance(body, dict) else set()
        assert held <= set(views[call.route].shown_once), call.name  # type: ignore[attr-defined]
        seen += len(held)
    assert seen >= 4


def test_a_room_and_a_message_are_made_once(company: Company) -> None:
    room = post(company.alice, ROOMS, {"kind": "private"}, "k1")
    assert post(company.alice, ROOMS, {"kind": "private"}, "k1").json() == room.json()
    path = f"{ROOMS}/{room.json()['id']}/messages"
    said = {"text": "hello", "generate": False}
    first, again = post(company.alice, path, said, "k2"), post(company.alice, path, said, "k2")
    assert (first.status_code, first.json()) == (201, again.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert post(company.alice, path, {"text": "other", "generate": False}, "k2").status_code == 422
    assert (count(company, Room), count(company, Message)) == (1, 1)


def test_a_process_that_dies_after_making_a_room_makes_no_second_one(company: Company, monkeypatch: Any) -> None:
    """Its claim runs out; the service knows the command by itself."""

    def crash(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(idempotency, "end_claim", crash)
        post(company.alice, ROOMS, {"kind": "private"}, "k1")
    assert count(company, Room) == 1
    refused = post(company.alice, ROOMS, {"kind": "private"}, "k1")
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_progress")
    with administrator() as admin:
        admin.execute(
            "UPDATE kernel_idempotencykey SET claimed_until = now() WHERE tenant_id = %s AND status IS NULL",
            (company.id,),
        )
    assert post(company.alice, ROOMS, {"kind": "private"}, "k1").status_code == 201
    assert count(company, Room) == 1


def test_a_room_that_is_refused_leaves_its_key_free(company: Company) -> None:
    assert post(company.alice, ROOMS, {"kind": "nonsense"}, "k1").status_code == 400
    assert post(company.alice, ROOMS, {"kind": "private"}, "k1").status_code == 201


def test_a_key_holds_for_a_day(company: Company) -> None:
    post(company.alice, GROUPS, {"name": "Research"}, "k1")
    with administrator() as admin:
        admin.execute(
            "UPDATE kernel_idempotencykey SET created_at = now() - interval '25 hours', "
            "id = '01000000-0000-7000-8000-000000000001' WHERE tenant_id = %s",
            (company.id,),
        )
    assert post(company.alice, GROUPS, {"name": "Sales"}, "k1").status_code == 201
    assert post(company.alice, GROUPS, {"name": "Sales"}, "k1").headers["Idempotent-Replayed"] == "true"
    with administrator() as admin:
        admin.execute(
            "UPDATE kernel_idempotencykey SET id = '01000000-0000-7000-8000-000000000001' WHERE tenant_id = %s",
            (company.id,),
        )
    assert idempotency.delete_expired() == 1
    assert count(company, IdempotencyKey) == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "snow \u2603".encode().decode("latin-1"), "a\tb"])
def test_a_key_that_is_none_is_refused(company: Company, key: str) -> None:
    assert post(company.alice, GROUPS, {"name": "Research"}, key).status_code == 400
    assert count(company, Group) == 0
    with pytest.raises(InvalidRequest):
        Asked(company.alice.principal.id, "POST", "/" + "x" * 1_000, "k", b"")


def test_without_a_key_nothing_is_kept(company: Company) -> None:
    assert post(company.alice, GROUPS, {"name": secrets.token_hex(4)}, None).status_code == 201
    assert count(company, IdempotencyKey) == 0


def test_an_answer_too_long_to_keep_is_withheld(company: Company, monkeypatch: Any) -> None:
    monkeypatch.setattr(idempotency, "BODY_CHARS_MAX", 10)
    post(company.alice, GROUPS, {"name": "Research"}, "k1")
    again = post(company.alice, GROUPS, {"name": "Research"}, "k1")
    assert again.json()["details"] == {"status": 201, "answer": None, "withheld": ["*"]}
    assert count(company, Group) == 1
