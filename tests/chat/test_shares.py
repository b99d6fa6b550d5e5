"""A conversation shared by link: read-only, as it was, for whoever has the link, until it dies."""

import html
import secrets
import uuid
from typing import Any

import psycopg
import pytest
from django.test import Client
from psycopg.types.json import Jsonb

from chat.bounds import SHARE_VIEWS_PER_MINUTE
from chat.services.erasure import erase_messages
from chat.services.members import add_member
from chat.services.messages import send_message
from chat.services.policies import PolicyChange, change_policy
from chat.services.rooms import create_room
from chat.store import transaction
from kernel.loop import on_loop
from tests.isolation.roles import administrator
from tests.support.canary import places_of
from tests.support.cast import Actor, Company


@pytest.fixture
def sharing(company: Company) -> Company:
    """A company in which rooms may be shared."""
    on_loop(change_policy(member=company.alice.principal, change=PolicyChange(sharing=True)))
    return company


def visit(path: str, address: str | None = None) -> Any:
    """Somebody from an address of their own, who has a link and nothing else."""
    return Client().get(path, REMOTE_ADDR=address or f"192.0.2.{secrets.randbelow(250)}:{secrets.token_hex(4)}")


def room_of_two(company: Company) -> uuid.UUID:
    room = on_loop(create_room(member=company.alice.principal, kind="shared", title="Plans & <b>more</b>"))
    on_loop(add_member(member=company.alice.principal, room_id=room.id, membership_id=company.bob.membership_id))
    return room.id


def say(actor: Actor, room_id: uuid.UUID, text: str) -> uuid.UUID:
    return on_loop(send_message(member=actor.principal, room_id=room_id, text=text, generate=False)).message.id


def share(actor: Actor, room_id: uuid.UUID, *, status: int = 201, **asked: Any) -> Any:
    answer = actor.client.post(f"/api/v1/rooms/{room_id}/shares", asked, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


def texts(made: Any) -> list[str]:
    answer = visit(f"/api/v1/shared/{made['token']}")
    assert answer.status_code == 200, answer.content
    return [message["text"] for message in answer.json()["messages"]]


def title_of(made: Any) -> str:
    title: str = visit(f"/api/v1/shared/{made['token']}").json()["title"]
    return title


def is_dead(made: Any) -> bool:
    statuses = {visit(f"/api/v1/shared/{made['token']}").status_code, visit(made["path"]).status_code}
    assert len(statuses) == 1
    return statuses == {404}


def test_a_title_made_of_others_words_is_left_out_with_them(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    mine, theirs = say(sharing.alice, room_id, "mine"), say(sharing.bob, room_id, "theirs")
    for made_of, title in (([mine], "About a secret"), ([mine, theirs], "New room")):
        with administrator() as admin:
            admin.execute(
                "UPDATE chat_room SET title = 'About a secret', settings = settings || %s WHERE id = %s",
                [Jsonb({"titled_by": [str(id_) for id_ in made_of]}), room_id],
            )
        assert title_of(share(sharing.alice, room_id)) == title
    assert title_of(share(sharing.alice, room_id, with_others=True)) == "About a secret"


def test_what_was_said_then_is_shown_and_nothing_later(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.alice, room_id, "first <script>alert(1)</script>")
    made = share(sharing.alice, room_id)
    say(sharing.alice, room_id, "later")
    assert texts(made) == ["first <script>alert(1)</script>"]
    page = visit(made["path"])
    assert page.status_code == 200
    body = page.content.decode()
    assert html.escape("first <script>alert(1)</script>") in body
    assert "Plans &amp; &lt;b&gt;more" in body
    assert "<script" not in body
    assert '<meta name="robots" content="noindex, nofollow">' in body
    for answer in (page, visit(f"/api/v1/shared/{made['token']}")):
        assert answer["X-Robots-Tag"] == "noindex, nofollow"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert "no-store" in answer["Cache-Control"]
    assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_others_are_left_out_unless_the_owner_ticks_them(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.alice, room_id, "alice's")
    say(sharing.bob, room_id, "bob's")
    assert texts(share(sharing.alice, room_id)) == ["alice's"]
    assert texts(share(sharing.bob, room_id)) == ["bob's"]
    assert texts(share(sharing.alice, room_id, with_others=True)) == ["alice's", "bob's"]
    assert share(sharing.bob, room_id, status=403, with_others=True)["details"] == {"reason": "not_room_owner"}


def test_nothing_is_shared_where_the_tenant_or_the_role_says_no(company: Company) -> None:
    room_id = room_of_two(company)
    say(company.alice, room_id, "hello")
    assert share(company.alice, room_id, status=403)["details"] == {"reason": "sharing_off"}
    on_loop(change_policy(member=company.alice.principal, change=PolicyChange(sharing=True)))
    on_loop(
        add_member(
            member=company.alice.principal, room_id=room_id, membership_id=company.vera.membership_id, role="reader"
        )
    )
    assert share(company.vera, room_id, status=403)["details"] == {"permission": "rooms.share"}
    made = share(company.alice, room_id)
    assert share(company.alice, room_id, status=400, days=0)
    assert share(company.alice, room_id, status=400, days=91)
    assert share(company.alice, room_id, status=404, message=str(uuid.uuid4()))
    on_loop(change_policy(member=company.alice.principal, change=PolicyChange(sharing=False)))
    assert is_dead(made)
    on_loop(change_policy(member=company.alice.principal, change=PolicyChange(sharing=True)))
    assert not is_dead(made)


def test_a_link_dies_when_it_is_revoked(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    canary = f"canary{secrets.token_hex(8)}"
    say(sharing.bob, room_id, canary)
    made = share(sharing.bob, room_id)
    path = f"/api/v1/rooms/{room_id}/shares"
    assert "chat_share.messages" in places_of(canary)
    (listed,) = sharing.alice.client.get(path).json()["data"]
    assert listed["id"] == made["id"]
    assert "token" not in listed
    alices = share_of_alice = share_id(sharing, room_id)
    assert [each["id"] for each in sharing.bob.client.get(path).json()["data"]] == [made["id"]]
    assert sharing.bob.client.delete(f"{path}/{alices}").status_code == 404
    assert sharing.alice.client.delete(f"{path}/{made['id']}").status_code == 204
    assert is_dead(made)
    assert "chat_share.messages" not in places_of(canary)
    assert share_of_alice


def share_id(company: Company, room_id: uuid.UUID) -> str:
    say(company.alice, room_id, "mine")
    return str(share(company.alice, room_id)["id"])


def test_a_link_dies_with_its_time_its_maker_and_its_room(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.bob, room_id, "hello")
    expired, left, removed = share(sharing.bob, room_id), share(sharing.bob, room_id), share(sharing.bob, room_id)
    with administrator() as admin:
        expire(admin, expired["id"])
    assert is_dead(expired)
    assert not is_dead(left)
    (place,) = [
        one["id"]
        for one in sharing.bob.client.get(f"/api/v1/rooms/{room_id}/members").json()["data"]
        if one["member"]["id"] == str(sharing.bob.membership_id)
    ]
    assert sharing.bob.client.delete(f"/api/v1/rooms/{room_id}/members/{place}").status_code == 204
    assert is_dead(left)
    assert is_dead(removed)
    say(sharing.alice, room_id, "hello")
    made = share(sharing.alice, room_id)
    assert not is_dead(made)
    assert sharing.alice.client.delete(f"/api/v1/rooms/{room_id}").status_code == 204
    assert is_dead(made)


def test_a_link_of_somebody_who_left_stays_dead_when_they_return(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    canary = f"canary{secrets.token_hex(8)}"
    gone = say(sharing.bob, room_id, canary)
    made = share(sharing.bob, room_id)
    places = sharing.bob.client.get(f"/api/v1/rooms/{room_id}/members").json()["data"]
    (place,) = [one["id"] for one in places if one["member"]["id"] == str(sharing.bob.membership_id)]
    assert sharing.alice.client.delete(f"/api/v1/rooms/{room_id}/members/{place}").status_code == 204
    assert is_dead(made)
    assert "chat_share.messages" not in places_of(canary)
    on_loop(add_member(member=sharing.alice.principal, room_id=room_id, membership_id=sharing.bob.membership_id))
    assert is_dead(made)
    (listed,) = sharing.bob.client.get(f"/api/v1/rooms/{room_id}/shares").json()["data"]
    assert listed["revoked_at"] is not None
    assert texts(share(sharing.bob, room_id, message=str(gone))) == [canary]


def test_what_others_wrote_before_a_room_became_private_is_theirs(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.alice, room_id, "alice's")
    say(sharing.bob, room_id, "bob's")
    places = sharing.bob.client.get(f"/api/v1/rooms/{room_id}/members").json()["data"]
    (place,) = [one["id"] for one in places if one["member"]["id"] == str(sharing.bob.membership_id)]
    assert sharing.bob.client.delete(f"/api/v1/rooms/{room_id}/members/{place}").status_code == 204
    made_private = sharing.alice.client.patch(f"/api/v1/rooms/{room_id}", {"kind": "private"}, format="json")
    assert made_private.json()["kind"] == "private"
    assert texts(share(sharing.alice, room_id)) == ["alice's"]
    assert texts(share(sharing.alice, room_id, with_others=True)) == ["alice's", "bob's"]


def expire(admin: psycopg.Connection[Any], share_id: str) -> None:
    admin.execute("UPDATE chat_share SET expires_at = now() - interval '1 s' WHERE id = %s", (share_id,))


def test_what_is_deleted_is_in_no_link_any_more(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.alice, room_id, "stays")
    goes = say(sharing.alice, room_id, "goes")
    made = share(sharing.alice, room_id)
    assert texts(made) == ["stays", "goes"]

    async def erase() -> None:
        from datetime import UTC, datetime

        async with transaction(sharing.id) as connection:
            await erase_messages(connection, tenant_id=sharing.id, room_id=room_id, ids=[goes], now=datetime.now(UTC))

    on_loop(erase())
    assert texts(made) == ["stays"]


def test_a_token_is_whole_or_nothing(sharing: Company) -> None:
    room_id = room_of_two(sharing)
    say(sharing.alice, room_id, "hello")
    made = share(sharing.alice, room_id)
    token = made["token"]
    assert len(token) == 22, "128 bits"
    for wrong in (token[:-1], token + "A", token.swapcase(), "x", "%", "é" * 22):
        assert visit(f"/api/v1/shared/{wrong}").status_code == 404
        assert visit(f"/share/{wrong}").status_code == 404
    assert places_of(token) == [], "a digest of it is all that is kept"


def test_one_address_looks_so_often(sharing: Company) -> None:
    address = f"198.51.100.7:{secrets.token_hex(8)}"
    answers = [visit("/share/x", address).status_code for _ in range(SHARE_VIEWS_PER_MINUTE * 2 + 1)]
    assert answers[0] == 404
    # A new minute may have begun meanwhile.
    assert 429 in answers
    refused = visit("/share/x", address)
    assert refused.status_code in (404, 429)
    assert visit("/share/x").status_code == 404
