"""Who may do what in a room; where a room stands in one's own list; whose it is when its owner goes; rooms by API key."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from rest_framework.test import APIClient

from chat.realtime import streams
from chat.services import members
from chat.services.members import add_member, change_role, leave_all_rooms, next_owner, remove_member
from chat.services.messages import send_message
from chat.services.rooms import RoomChange, create_room, delete_room, update_room
from chat.services.stops import stop_generation
from chat.shapes import NamedMember, RoomMemberShape
from chat.snapshots import snapshot
from kernel.errors import Conflict, NotFound, PermissionDenied
from kernel.ids import uuid7
from kernel.loop import on_loop
from kernel.redis import async_redis
from tenants.services import members as tenant_members
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company, hire
from tests.support.outbox import work_off


def room_with(company: Company, **roles: Actor) -> tuple[uuid.UUID, dict[str, uuid.UUID]]:
    """A shared room of alice's with others in the roles given, and the ids of everybody's places."""
    room = on_loop(create_room(member=company.alice.principal, kind="shared", title="Plans"))
    for role, actor in roles.items():
        on_loop(
            add_member(member=company.alice.principal, room_id=room.id, membership_id=actor.membership_id, role=role)
        )
    return room.id, places(company.alice, room.id)


def places(actor: Actor, room_id: uuid.UUID) -> dict[str, uuid.UUID]:
    shown = actor.client.get(f"/api/v1/rooms/{room_id}/members").json()["data"]
    return {place["member"]["id"]: uuid.UUID(place["id"]) for place in shown}


def role_of(actor: Actor, room_id: uuid.UUID) -> str:
    return str(actor.client.get(f"/api/v1/rooms/{room_id}").json()["role"])


def say(actor: Actor, room_id: uuid.UUID) -> Any:
    return actor.client.post(f"/api/v1/rooms/{room_id}/messages", {"text": "hi", "generate": False}, format="json")


def test_a_reader_reads_and_says_nothing(company: Company) -> None:
    room_id, _ = room_with(company, reader=company.bob)
    assert say(company.alice, room_id).status_code == 201
    shown = company.bob.client.get(f"/api/v1/rooms/{room_id}/messages").json()["data"]
    assert [message["text"] for message in shown] == ["hi"]
    refused = say(company.bob, room_id)
    assert (refused.status_code, refused.json()["details"]) == (403, {"reason": "room_reader"})
    with pytest.raises(PermissionDenied):
        on_loop(send_message(member=company.bob.principal, room_id=room_id, text="hi"))


def test_a_moderator_looks_after_members_and_not_after_the_room(company: Company, answering: FakeAnswering) -> None:
    carol, dave = hire(company, "carol", "member"), hire(company, "dave", "member")
    room_id, at = room_with(company, moderator=company.bob, member=carol)
    path = f"/api/v1/rooms/{room_id}"
    bob = company.bob.client
    assert (
        bob.post(f"{path}/members", {"member": str(dave.membership_id), "role": "reader"}, format="json").status_code
        == 201
    )
    vera = str(company.vera.membership_id)
    assert bob.post(f"{path}/members", {"member": vera, "role": "moderator"}, format="json").status_code == 403
    assert bob.delete(f"{path}/members/{at[str(company.alice.membership_id)]}").status_code == 403
    assert bob.delete(f"{path}/members/{at[str(carol.membership_id)]}").status_code == 204
    assert bob.patch(path, {"title": "Mine"}, format="json").status_code == 403
    assert (
        bob.patch(f"{path}/members/{at[str(company.bob.membership_id)]}", {"role": "owner"}, format="json").status_code
        == 403
    )
    assert bob.delete(path).status_code == 403
    sent = on_loop(send_message(member=company.alice.principal, room_id=room_id, text="why?"))
    on_loop(stop_generation(member=company.bob.principal, generation_id=sent.generations[0].id))
    with pytest.raises(PermissionDenied):
        on_loop(stop_generation(member=dave.principal, generation_id=sent.generations[0].id))


def test_roles_change_and_somebody_always_owns_the_room(company: Company) -> None:
    room_id, at = room_with(company, member=company.bob)
    alices, bobs = (
        f"/api/v1/rooms/{room_id}/members/{at[str(who.membership_id)]}" for who in (company.alice, company.bob)
    )
    client = company.alice.client
    assert client.patch(alices, {"role": "member"}, format="json").status_code == 409
    changed = client.patch(bobs, {"role": "owner"}, format="json")
    assert changed.json()["role"] == "owner"
    assert role_of(company.bob, room_id) == "owner"
    assert client.patch(alices, {"role": "reader"}, format="json").status_code == 200
    assert client.patch(bobs, {"role": "member"}, format="json").status_code == 403
    assert client.patch(bobs, {"role": "emperor"}, format="json").status_code in (400, 403)


def test_a_room_passes_on_when_its_owner_leaves(company: Company) -> None:
    carol = hire(company, "carol", "member")
    room_id, at = room_with(company, member=company.bob, moderator=carol)
    left = company.alice.client.delete(f"/api/v1/rooms/{room_id}/members/{at[str(company.alice.membership_id)]}")
    assert left.status_code == 204
    assert role_of(carol, room_id) == "owner"
    assert role_of(company.bob, room_id) == "member"
    alone = on_loop(create_room(member=company.bob.principal, kind="private"))
    mine = places(company.bob, alone.id)[str(company.bob.membership_id)]
    assert company.bob.client.delete(f"/api/v1/rooms/{alone.id}/members/{mine}").status_code == 409


def test_a_room_passes_on_when_its_owner_is_removed_from_the_tenant(company: Company) -> None:
    carol = hire(company, "carol", "member")
    shared = on_loop(create_room(member=carol.principal, kind="shared"))
    on_loop(add_member(member=carol.principal, room_id=shared.id, membership_id=company.bob.membership_id))
    assert company.alice.client.delete(f"/api/v1/members/{carol.membership_id}").status_code == 204
    work_off(company.id)
    assert role_of(company.bob, shared.id) == "owner"
    assert places(company.bob, shared.id).keys() == {str(company.bob.membership_id)}


def test_who_comes_next() -> None:
    def place(role: str, joined: int) -> RoomMemberShape:
        from datetime import UTC, datetime

        at = datetime(2026, 1, joined, tzinfo=UTC)
        return RoomMemberShape(id=uuid7(), member=NamedMember(id=uuid7(), name="x"), role=role, joined_at=at)

    early, late, moderator, reader = place("member", 1), place("member", 2), place("moderator", 3), place("reader", 1)
    assert next_owner([late, early, reader, moderator]) is moderator
    assert next_owner([late, early, reader]) is early
    assert next_owner([reader]) is reader
    assert next_owner([]) is None


def test_nothing_is_said_in_an_archived_room_until_it_is_opened_again(company: Company) -> None:
    room_id, _ = room_with(company, member=company.bob)
    path, client = f"/api/v1/rooms/{room_id}", company.alice.client
    assert client.patch(path, {"archived": True}, format="json").json()["archived"] is True
    refused = say(company.bob, room_id)
    assert (refused.status_code, refused.json()["details"]) == (409, {"reason": "archived"})
    with pytest.raises(Conflict):
        on_loop(send_message(member=company.alice.principal, room_id=room_id, text="hi"))
    assert company.bob.client.get(path).status_code == 200
    listed = {
        archived: client.get(f"/api/v1/rooms?archived={archived}").json()["data"] for archived in ("true", "false")
    }
    assert [room["id"] for room in listed["true"]] == [str(room_id)]
    assert listed["false"] == []
    assert client.patch(path, {"archived": False, "title": "Open"}, format="json").json()["archived"] is False
    assert say(company.bob, room_id).status_code == 201


def test_who_follows_without_a_socket_says_what_they_have_read(company: Company) -> None:
    room_id, _ = room_with(company, member=company.bob)
    alices, bobs = company.alice.client, company.bob.client
    for text in ("one", "two"):
        said = alices.post(f"/api/v1/rooms/{room_id}/messages", {"text": text, "generate": False}, format="json")
        assert said.status_code == 201
    before = bobs.get(f"/api/v1/rooms/{room_id}").json()
    assert before["unread"] == 2

    def read(seen: int) -> dict[str, Any]:
        mine: dict[str, Any] = bobs.patch(f"/api/v1/rooms/{room_id}/mine", {"seen": seen}, format="json").json()
        return mine

    assert read(before["head_seq"] - 1)["unread"] == 1
    assert read(10**9)["unread"] == 0
    assert read(0)["seen_seq"] == before["head_seq"]
    assert alices.get(f"/api/v1/rooms/{room_id}").json()["unread"] == 0
    assert bobs.patch(f"/api/v1/rooms/{room_id}/mine", {"seen": -1}, format="json").status_code == 400
    strangers = company.vera.client.patch(f"/api/v1/rooms/{room_id}/mine", {"seen": 1}, format="json")
    assert strangers.status_code == 404


def test_pins_folders_and_silence_are_ones_own(company: Company) -> None:
    room_id, _ = room_with(company, member=company.bob)
    other = on_loop(create_room(member=company.alice.principal, kind="private"))
    client = company.alice.client
    mine = client.patch(
        f"/api/v1/rooms/{room_id}/mine", {"pinned": True, "folder": " Work ", "muted": True}, format="json"
    ).json()
    assert (mine["pinned"], mine["folder"], mine["muted"]) == (True, "Work", True)
    theirs = company.bob.client.get(f"/api/v1/rooms/{room_id}").json()
    assert (theirs["pinned"], theirs["folder"], theirs["muted"]) == (False, "", False)

    def listed(query: str, actor: Actor = company.alice) -> set[str]:
        return {room["id"] for room in actor.client.get(f"/api/v1/rooms?{query}").json()["data"]}

    assert listed("pinned=true") == listed("folder=Work") == {str(room_id)}
    assert listed("pinned=false") == listed("kind=private") == {str(other.id)}
    assert listed("pinned=true", company.bob) == set()
    assert listed("folder=") == {str(other.id)}
    assert client.get("/api/v1/rooms?colour=red").status_code == 400
    assert client.patch(f"/api/v1/rooms/{room_id}/mine", {"folder": "x" * 61}, format="json").status_code == 400
    unpinned = client.patch(f"/api/v1/rooms/{room_id}/mine", {"pinned": False}, format="json").json()
    assert (unpinned["pinned"], unpinned["folder"]) == (False, "Work")


def test_rooms_by_api_key_are_those_of_who_made_it_within_its_scopes(company: Company) -> None:
    def client(*scopes: str) -> APIClient:
        made = company.alice.client.post(
            "/api/v1/api-keys", {"name": "k", "scopes": list(scopes)}, format="json"
        ).json()
        with_key = APIClient()
        with_key.credentials(HTTP_AUTHORIZATION=f"Bearer {made['secret']}")
        return with_key

    bobs, _ = room_with(company, member=company.bob)
    theirs = on_loop(create_room(member=company.bob.principal, kind="private"))
    writer, reader, neither = client("rooms.read", "rooms.write"), client("rooms.read"), client("models.use")
    made = writer.post("/api/v1/rooms", {"kind": "private", "title": "By key"}, format="json")
    assert made.status_code == 201
    path = f"/api/v1/rooms/{made.json()['id']}"
    assert company.alice.client.get(path).json()["role"] == "owner", "what a key makes is its maker's"
    assert writer.post(f"{path}/messages", {"text": "hi", "generate": False}, format="json").status_code == 201
    refused = writer.post(f"{path}/messages", {"text": "hi"}, format="json")
    assert refused.status_code == 403, "an answer takes models.use"
    assert reader.get(f"/api/v1/rooms/{bobs}").status_code == 200
    assert reader.get("/api/v1/messages/search?q=hi").json()["data"] != []
    assert reader.post(f"{path}/messages", {"text": "hi", "generate": False}, format="json").status_code == 403
    assert reader.delete(path).status_code == 403
    assert neither.get("/api/v1/rooms").status_code == 403
    assert neither.get("/api/v1/messages/search?q=hi").status_code == 403
    places = reader.get(f"/api/v1/rooms/{bobs}/members").json()["data"]
    (place,) = [one["id"] for one in places if one["member"]["id"] == str(company.alice.membership_id)]
    assert reader.delete(f"/api/v1/rooms/{bobs}/members/{place}").status_code == 403
    assert writer.delete(f"/api/v1/rooms/{bobs}/members/{place}").status_code == 204
    assert writer.get(f"/api/v1/rooms/{theirs.id}").status_code == 404
    assert writer.patch("/api/v1/room-policy", {"retention_days": 1}, format="json").status_code == 403


async def place_of(room_id: uuid.UUID, actor: Actor, reader: Actor) -> uuid.UUID:
    shown = await snapshot(member=reader.principal, room_id=room_id)
    return next(one.id for one in shown.members if one.member.id == actor.membership_id)


def just_before(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]) -> None:
    """Something happens between the check of who asks and the lock of the room."""
    taking = members.take_numbers

    async def first(*args: Any, **options: Any) -> Any:
        monkeypatch.undo()
        await happens()
        return await taking(*args, **options)

    monkeypatch.setattr(members, "take_numbers", first)


@pytest.mark.parametrize("act", ["remove", "demote", "add"])
@pytest.mark.parametrize("lost", ["place", "role"])
async def test_who_loses_their_place_or_role_meanwhile_changes_nobodys(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch, act: str, lost: str
) -> None:
    alice, bob = company.alice, company.bob
    room = await make_room("shared")
    carol = await sync_to_async(hire)(company, "carol", "member")
    await add_member(member=alice.principal, room_id=room.id, membership_id=carol.membership_id)
    at_alice, at_bob = [await place_of(room.id, actor, alice) for actor in (alice, bob)]
    await change_role(member=alice.principal, room_id=room.id, room_member_id=at_bob, role="owner")

    async def takes() -> None:
        if lost == "place":
            await remove_member(member=bob.principal, room_id=room.id, room_member_id=at_alice)
        else:
            await change_role(member=bob.principal, room_id=room.id, room_member_id=at_alice, role="member")

    just_before(monkeypatch, takes)
    with pytest.raises(NotFound if lost == "place" else PermissionDenied):
        if act == "remove":
            await remove_member(member=alice.principal, room_id=room.id, room_member_id=at_bob)
        elif act == "demote":
            await change_role(member=alice.principal, room_id=room.id, room_member_id=at_bob, role="reader")
        else:
            await add_member(member=alice.principal, room_id=room.id, membership_id=company.vera.membership_id)
    shown = await snapshot(member=bob.principal, room_id=room.id)
    roles = {one.member.id: one.role for one in shown.members}
    left = {bob.membership_id: "owner", carol.membership_id: "member"}
    assert roles == (left if lost == "place" else left | {alice.membership_id: "member"})


async def test_nobody_gets_into_a_room_that_is_made_private_meanwhile(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room("shared")
    at_bob = await place_of(room.id, company.bob, company.alice)
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=at_bob)

    async def closes() -> None:
        await update_room(member=company.alice.principal, room_id=room.id, change=RoomChange(kind="private"))

    just_before(monkeypatch, closes)
    with pytest.raises(Conflict):
        await add_member(member=company.alice.principal, room_id=room.id, membership_id=company.bob.membership_id)
    assert len((await snapshot(member=company.alice.principal, room_id=room.id)).members) == 1


async def test_who_goes_leaves_no_room_that_is_no_more(company: Company, make_room: Any) -> None:
    carol = await sync_to_async(hire)(company, "carol", "member")
    rooms = [await make_room("shared") for _ in range(2)]
    for room in rooms:
        await add_member(member=company.alice.principal, room_id=room.id, membership_id=carol.membership_id)
    await delete_room(member=company.alice.principal, room_id=rooms[0].id)
    await async_redis().delete(streams.meta_key(company.id, rooms[0].id), streams.stream_key(company.id, rooms[0].id))

    def go() -> None:
        with company.scope(), transaction.atomic():
            tenant_members.remove_member(caller=company.alice.principal, member_id=carol.membership_id)

    await sync_to_async(go)()
    assert await leave_all_rooms(company.id, carol.membership_id) == 1
    assert await streams.stream_head(company.id, rooms[0].id) is None
