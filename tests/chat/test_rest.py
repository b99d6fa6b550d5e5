"""Rooms over REST, as a browser without a socket would use them."""

import uuid
from typing import Any

import pytest

from chat.services.members import add_member
from kernel.loop import on_loop
from tests.support.cast import Actor, Company


def call(actor: Actor, method: str, path: str, body: Any = None, *, status: int) -> Any:
    """One call of /api/v1/, with the status it must have."""
    response = getattr(actor.client, method)(f"/api/v1/{path}", body, format="json")
    assert response.status_code == status, response.content
    return response.json() if response.content else None


def shared_room(company: Company) -> str:
    """Alice's, with bob in it."""
    room: dict[str, str] = call(company.alice, "post", "rooms", {"kind": "shared", "title": "Ours"}, status=201)
    body = {"member": str(company.bob.membership_id)}
    call(company.alice, "post", f"rooms/{room['id']}/members", body, status=201)
    return room["id"]


def test_a_room_is_made_shown_changed_and_deleted(company: Company) -> None:
    body = {"kind": "private", "model": "fake", "instructions": " Be brief. "}
    room = call(company.alice, "post", "rooms", body, status=201)
    assert (room["title"], room["model"], room["instructions"]) == ("New room", "fake", " Be brief. ")
    assert (room["role"], room["epoch"], room["head_seq"], room["seen_seq"]) == ("owner", "1", 0, 0)
    path = f"rooms/{room['id']}"
    assert call(company.alice, "get", path, status=200) == room
    changed = call(company.alice, "patch", path, {"title": "Named", "model": None}, status=200)
    assert (changed["title"], changed["model"], changed["kind"]) == ("Named", None, "private")
    assert changed["instructions"] == " Be brief. "
    assert changed["head_seq"] == 1
    assert [one["id"] for one in call(company.alice, "get", "rooms", status=200)["data"]] == [room["id"]]
    call(company.alice, "delete", path, status=204)
    assert call(company.alice, "get", path, status=404)["code"] == "not_found"
    assert call(company.alice, "get", "rooms", status=200)["data"] == []


def test_messages_are_listed_newest_first_page_by_page(company: Company) -> None:
    path = f"rooms/{shared_room(company)}/messages"
    for number in range(5):
        body = {"text": f"{number}", "generate": False, "cid": f"c{number}"}
        call(company.alice if number % 2 else company.bob, "post", path, body, status=201)
    first = call(company.bob, "get", f"{path}?limit=3", status=200)
    assert [message["text"] for message in first["data"]] == ["4", "3", "2"]
    assert [message["author"]["name"] for message in first["data"]] == ["bob", "alice", "bob"]
    rest = call(company.bob, "get", f"{path}?limit=3&cursor={first['next_cursor']}", status=200)
    assert [message["text"] for message in rest["data"]] == ["1", "0"]
    assert rest["next_cursor"] is None
    again = call(company.bob, "post", path, {"text": "0", "generate": False, "cid": "c0"}, status=201)
    assert again["message"]["id"] == rest["data"][1]["id"]
    snapshot = call(company.bob, "get", path.replace("messages", "snapshot"), status=200)
    assert [message["text"] for message in snapshot["messages"]] == list("01234")
    assert (snapshot["seq"], snapshot["has_more"], snapshot["generations"]) == (6, False, [])
    assert {one["role"] for one in snapshot["members"]} == {"owner", "member"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "nul\x00"}, "text"),
        ({"text": " "}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": "x", "cid": "c" * 65}, "cid"),
        ({"text": "x", "colour": "red"}, "colour"),
        ({}, "text"),
    ],
)
def test_a_bad_message_is_refused(company: Company, body: Any, field: str) -> None:
    path = f"rooms/{shared_room(company)}/messages"
    refused = call(company.alice, "post", path, body, status=400)
    assert refused["code"] == "invalid_request"
    assert field in refused["message"]


def test_only_owners_change_a_room(company: Company) -> None:
    room = shared_room(company)
    for method, path, body in (
        ("patch", f"rooms/{room}", {"title": "Mine"}),
        ("delete", f"rooms/{room}", None),
        ("post", f"rooms/{room}/members", {"member": str(company.vera.membership_id)}),
    ):
        assert call(company.bob, method, path, body, status=403)["code"] == "permission_denied"


def test_who_is_in_a_room(company: Company) -> None:
    room = shared_room(company)
    members = call(company.bob, "get", f"rooms/{room}/members", status=200)["data"]
    places = {one["member"]["id"]: one["id"] for one in members}
    assert places.keys() == {str(company.alice.membership_id), str(company.bob.membership_id)}
    alices, bobs = (places[str(actor.membership_id)] for actor in (company.alice, company.bob))
    body = {"member": str(company.bob.membership_id)}
    assert call(company.alice, "post", f"rooms/{room}/members", body, status=200)["id"] == bobs
    assert call(company.alice, "patch", f"rooms/{room}", {"kind": "private"}, status=409)["code"] == "conflict"
    call(company.bob, "delete", f"rooms/{room}/members/{alices}", status=403)
    call(company.bob, "delete", f"rooms/{room}/members/{bobs}", status=204)
    assert call(company.alice, "delete", f"rooms/{room}/members/{alices}", status=409)["code"] == "conflict"
    call(company.bob, "get", f"rooms/{room}", status=404)
    call(company.alice, "delete", f"rooms/{room}/members/{bobs}", status=404)
    call(company.alice, "patch", f"rooms/{room}", {"kind": "private"}, status=200)
    assert call(company.alice, "post", f"rooms/{room}/members", body, status=409)["code"] == "conflict"
    call(company.alice, "patch", f"rooms/{room}", {"kind": "shared"}, status=200)
    assert call(company.alice, "post", f"rooms/{room}/members", body, status=201)["id"] == bobs


def test_strangers_to_the_tenant_are_as_good_as_nobody(company: Company, evil: Company) -> None:
    room = shared_room(company)
    hers = {"member": str(evil.alice.membership_id)}
    call(company.alice, "post", f"rooms/{room}/members", hers, status=404)
    call(company.alice, "post", f"rooms/{room}/members", {"member": str(uuid.uuid4())}, status=404)
    call(company.vera, "get", f"rooms/{room}", status=404)


def test_a_viewer_may_not_write(company: Company) -> None:
    room = uuid.UUID(shared_room(company))
    on_loop(add_member(member=company.alice.principal, room_id=room, membership_id=company.vera.membership_id))
    call(company.vera, "get", f"rooms/{room}/snapshot", status=200)
    refused = call(company.vera, "post", f"rooms/{room}/messages", {"text": "hi"}, status=403)
    assert refused["details"] == {"permission": "rooms.write"}
    assert call(company.vera, "post", "rooms", {"kind": "private"}, status=403)["code"] == "permission_denied"


def test_an_unknown_model_is_not_found(company: Company) -> None:
    call(company.alice, "post", "rooms", {"kind": "private", "model": "no such"}, status=404)
    room = shared_room(company)
    call(company.alice, "patch", f"rooms/{room}", {"model": "no such"}, status=404)
    call(company.alice, "post", f"rooms/{room}/messages", {"text": "x", "model": "no such"}, status=404)


def test_a_question_over_rest_is_begun(company: Company) -> None:
    room = shared_room(company)
    sent = call(company.alice, "post", f"rooms/{room}/messages", {"text": "What?"}, status=201)
    gid = sent["generation"]["id"]
    assert sent["generation"]["prompt"] == sent["message"]["id"]
    shown = call(company.bob, "get", f"generations/{gid}", status=200)
    assert shown["status"] in ("queued", "streaming")
    assert shown["text"] == ""
    call(company.bob, "post", f"generations/{gid}/stop", status=403)
    stopped = call(company.alice, "post", f"generations/{gid}/stop", status=202)
    assert stopped["id"] == gid


def test_what_is_deleted_is_not_answered_again_by_its_key(company: Company) -> None:
    path = f"/api/v1/rooms/{shared_room(company)}/messages"
    client, said = company.alice.client, {"text": "canary", "generate": False}
    first = client.post(path, said, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    again = client.post(path, said, format="json", HTTP_IDEMPOTENCY_KEY="k").json()
    assert first == again
    call(company.alice, "delete", f"messages/{first['message']['id']}", status=204)
    later = client.post(path, said, format="json", HTTP_IDEMPOTENCY_KEY="k")
    assert later.status_code == 201
    assert later.json()["message"]["id"] == first["message"]["id"]
    assert (later.json()["message"]["text"], later.json()["message"]["deleted"]) == ("", True)


def test_history_over_rest(company: Company) -> None:
    room = shared_room(company)
    said = call(company.bob, "post", f"rooms/{room}/messages", {"text": "Q1", "generate": False}, status=201)["message"]
    path = f"messages/{said['id']}"
    edited = call(company.bob, "patch", path, {"text": "Q1, better"}, status=200)
    assert (edited["text"], edited["edited_at"] is None) == ("Q1, better", False)
    beside = call(company.bob, "post", f"{path}/branches", {"text": "Q1b", "generate": False}, status=201)["message"]
    assert beside["parent"] == said["parent"]
    both = call(company.alice, "get", f"{path}/siblings?limit=1", status=200)
    rest = call(company.alice, "get", f"{path}/siblings?limit=1&cursor={both['next_cursor']}", status=200)
    assert [one["text"] for one in both["data"] + rest["data"]] == ["Q1, better", "Q1b"]
    assert both["data"][0]["siblings"] == {"count": 2, "place": 1, "previous": None, "next": beside["id"]}
    chosen = call(company.alice, "put", f"rooms/{room}/branch", {"message": said["id"]}, status=200)
    assert chosen == {"chosen": said["id"], "leaf": said["id"]}
    listed = call(company.alice, "get", f"rooms/{room}/messages", status=200)["data"]
    assert [one["text"] for one in listed] == ["Q1, better"]
    listed = call(company.alice, "get", f"rooms/{room}/messages?branch={beside['id']}", status=200)["data"]
    assert [one["text"] for one in listed] == ["Q1b"]
    listed = call(company.alice, "get", f"rooms/{room}/messages?branch=all", status=200)["data"]
    assert [one["text"] for one in listed] == ["Q1b", "Q1, better"]
    call(company.alice, "get", f"rooms/{room}/messages?branch=nonsense", status=400)
    reacted = call(company.alice, "post", f"{path}/reactions", {"emoji": "👍"}, status=200)
    assert [one["emoji"] for one in reacted["reactions"]] == ["👍"]
    assert call(company.alice, "get", path, status=200)["reactions"] == reacted["reactions"]
    started = call(company.alice, "post", f"{path}/generations", {"models": ["fake", "other"]}, status=201)
    assert [one["model"] for one in started["generations"]] == ["fake", "other"]
    gid = started["generations"][0]["id"]
    call(company.alice, "post", f"generations/{gid}/regenerate", {}, status=409)
