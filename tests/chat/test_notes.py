"""Notes: durable, numbered per member, told on every socket and again on the next, until they were seen."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.services.alerting import REFUSED, THRESHOLD_REACHED
from chat.alerted import note_budget_alert
from chat.realtime import noted, unread
from chat.realtime.hub import hub
from chat.services.edits import edit_message
from chat.services.members import OwnPlace, add_member, arrange_room, mark_seen
from chat.services.messages import send_message
from chat.services.notes import note_unread
from chat.services.rooms import create_room
from chat.snapshots import own_room, snapshot
from kernel.ids import uuid7
from kernel.outbox import Message
from kernel.redis import async_redis
from tenants.notifications.models import Notice
from tenants.notifications.notify import TOPIC as NOTICE
from tenants.notifications.notify import Audience, notify
from tests.support.cast import Company
from tests.support.outbox import work_off
from tests.support.ws_client import Client, Frame


def notes(client: Client) -> list[Frame]:
    return [frame for frame in client.frames if frame["op"] == "note" and frame["type"] != "balance"]


def repeated(company: Company, notice_id: uuid.UUID) -> Message:
    """What the outbox gives a consumer that it gave it before."""
    return Message(
        id=uuid7(),
        tenant_id=company.id,
        topic=NOTICE,
        payload={"notice_id": str(notice_id)},
        attempt=2,
        is_last=False,
        created_at=datetime.now(UTC),
    )


async def invite(company: Company) -> Any:
    room = await create_room(member=company.alice.principal, kind="shared")
    await add_member(member=company.alice.principal, room_id=room.id, membership_id=company.bob.membership_id)
    return room


async def opened(server: str, company: Company, **hello: Any) -> Client:
    return await Client(server, company.bob.access_token()).hello(**hello)


async def test_who_is_invited_is_told_on_every_socket_and_once(server: str, company: Company) -> None:
    first, second = await opened(server, company), await opened(server, company)
    alice = await Client(server, company.alice.access_token()).hello()
    room = await invite(company)
    for client in (first, second):
        note = await client.frame(lambda frame: frame["op"] == "note")
        assert (note["type"], note["body"]) == (
            "invited",
            {"room": str(room.id), "by": str(company.alice.membership_id)},
        )
    # Whatever concerns alice would have come before the answer to a later question.
    await alice.command("room.join", room.id)
    assert notes(alice) == []
    assert notes(first) == notes(second)
    for client in (first, second, alice):
        await client.close()


async def test_notes_of_an_absence_come_after_hello_in_their_order(server: str, company: Company) -> None:
    rooms = [await invite(company) for _ in range(3)]
    client = await opened(server, company)
    await client.until(lambda: len(notes(client)) == 3)
    assert [note["body"]["room"] for note in notes(client)] == [str(room.id) for room in rooms]
    seqs = [note["seq"] for note in notes(client)]
    assert seqs == sorted(set(seqs))
    await client.close()
    again = await opened(server, company, notes=seqs[1])
    await again.until(lambda: notes(again))
    assert notes(again) == notes(client)[2:]
    await again.close()


async def test_who_has_seen_them_all_costs_no_query(
    server: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    await invite(company)
    client = await opened(server, company)
    await client.until(lambda: notes(client))
    await client.close()
    reads: list[int] = []
    read = noted.NoteFeeds._read

    async def counted(self: noted.NoteFeeds, *args: Any) -> None:
        reads.append(1)
        await read(self, *args)

    monkeypatch.setattr(noted.NoteFeeds, "_read", counted)
    again = await opened(server, company, notes=notes(client)[0]["seq"])
    room = await invite(company)
    await again.until(lambda: notes(again))
    assert notes(again)[0]["body"]["room"] == str(room.id)
    assert len(reads) == 1
    await again.close()


async def test_what_redis_lost_is_found_by_the_next_look(
    server: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat.services import members

    async def lost(_: Any) -> None:
        return

    monkeypatch.setattr(members, "tell_notes", lost)
    client = await opened(server, company)
    await invite(company)
    assert notes(client) == []
    await async_redis().flushdb()
    await hub().notes.check()
    await client.until(lambda: notes(client))
    await client.close()


async def test_what_is_unread_is_counted_and_noted_once_until_it_is_read(
    server: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "UNREAD_AFTER_S", 0.0)
    room = await invite(company)
    client = await opened(server, company)
    await client.until(lambda: notes(client))

    async def say(company_member: Any) -> int:
        sent = await send_message(member=company_member.principal, room_id=room.id, text="Hear!", generate=False)
        return sent.seq

    last = await say(company.alice)
    await client.until(lambda: len(notes(client)) == 2)
    assert (notes(client)[1]["type"], notes(client)[1]["body"]) == ("unread", {"room": str(room.id), "unread": 1})
    last = await say(company.alice)
    await note_unread(tenant_id=company.id, room_id=room.id)
    assert (await own_room(member=company.bob.principal, room_id=room.id)).unread == 2
    assert (await own_room(member=company.alice.principal, room_id=room.id)).unread == 0
    assert len(notes(client)) == 2
    await mark_seen(member=company.bob.principal, room_id=room.id, seq=last)
    assert (await own_room(member=company.bob.principal, room_id=room.id)).unread == 0
    await say(company.bob)
    await note_unread(tenant_id=company.id, room_id=room.id)
    assert (await own_room(member=company.bob.principal, room_id=room.id)).unread == 0
    await say(company.alice)
    await client.until(lambda: len(notes(client)) == 3)
    assert notes(client)[2]["body"]["unread"] == 1
    await client.close()


async def test_old_notes_go_when_new_ones_come(company: Company, server: str) -> None:
    from chat.models import Note

    await invite(company)

    def age() -> None:
        with company.scope(), transaction.atomic():
            assert Note.objects.update(at="2026-01-01T00:00:00Z") == 1

    await sync_to_async(age)()
    room = await invite(company)

    def left() -> list[Any]:
        with company.scope(), transaction.atomic():
            return list(Note.objects.values_list("room_id", flat=True))

    assert await sync_to_async(left)() == [room.id]


async def test_who_is_named_in_a_message_is_told(server: str, company: Company) -> None:
    room = await invite(company)
    client = await opened(server, company)
    await client.until(lambda: notes(client))
    name = company.bob.principal
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    bobs = next(one.member.name for one in shown.members if one.member.id == name.membership_id)
    sent = await send_message(member=company.alice.principal, room_id=room.id, text=f"@{bobs}, look!", generate=True)
    assert sent.message.mentions == (name.membership_id,)
    await client.until(lambda: len(notes(client)) == 2)
    assert (notes(client)[1]["type"], notes(client)[1]["body"]) == (
        "mentioned",
        {"room": str(room.id), "message": str(sent.message.id), "by": str(company.alice.membership_id)},
    )
    await client.close()


async def test_who_is_named_only_since_an_edit_is_told_then(server: str, company: Company) -> None:
    room = await invite(company)
    client = await opened(server, company)
    await client.until(lambda: notes(client))
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    bobs = next(one.member.name for one in shown.members if one.member.id == company.bob.membership_id)
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="Look!", generate=False)
    for text in (f"@{bobs}, look!", f"@{bobs}, do look!"):
        await edit_message(member=company.alice.principal, message_id=sent.message.id, text=text)
    await send_message(member=company.alice.principal, room_id=room.id, text=f"@{bobs}?", generate=False)
    await client.until(lambda: len([note for note in notes(client) if note["type"] == "mentioned"]) == 2)
    named = [note["body"]["message"] for note in notes(client) if note["type"] == "mentioned"]
    assert (named[0], len(set(named))) == (str(sent.message.id), 2)
    await client.close()


async def test_whoever_is_told_of_a_budget_is_told_on_the_socket_once(server: str, company: Company) -> None:
    budget, alert = str(uuid7()), str(uuid7())
    data = {"budget_id": budget, "alert_id": alert, "percent": 80}

    def alerted() -> None:
        told = Audience(memberships=(company.bob.membership_id,))
        kinds = {THRESHOLD_REACHED: data, REFUSED: {**data, "percent": None}, "webhook.test": {}}
        with transaction.atomic():
            for topic, said in kinds.items():
                notify(
                    tenant_id=company.id,
                    topic=topic,
                    once_key=topic,
                    audience=told,
                    subject="Much is used.",
                    text="80 %.",
                    data=said,
                )
        work_off(company.id)
        with company.scope(), transaction.atomic():
            for notice_id in Notice.objects.values_list("id", flat=True):
                note_budget_alert(repeated(company, notice_id))

    client = await opened(server, company)
    await sync_to_async(alerted)()
    await client.until(lambda: len(notes(client)) == 2)
    room = await invite(company)
    await client.until(lambda: len(notes(client)) == 3)
    assert [(note["type"], note["body"]) for note in notes(client)] == [
        ("budget_alert", {"budget": budget, "alert": alert, "percent": 80}),
        ("budget_alert", {"budget": budget, "alert": alert, "percent": None}),
        ("invited", {"room": str(room.id), "by": str(company.alice.membership_id)}),
    ]
    await client.close()


async def test_of_a_muted_room_only_what_names_one_is_noted(server: str, company: Company) -> None:
    room = await invite(company)
    await arrange_room(member=company.bob.principal, room_id=room.id, place=OwnPlace(muted=True))
    client = await opened(server, company)
    for text in ("hi", "@bob hi"):
        await send_message(member=company.alice.principal, room_id=room.id, text=text, generate=False)
        await note_unread(tenant_id=company.id, room_id=room.id)
    await client.until(lambda: len(notes(client)) == 2)
    assert [note["type"] for note in notes(client)] == ["invited", "mentioned"]
    assert (await own_room(member=company.bob.principal, room_id=room.id)).unread == 2
    await arrange_room(member=company.bob.principal, room_id=room.id, place=OwnPlace(muted=False))
    await note_unread(tenant_id=company.id, room_id=room.id)
    await client.until(lambda: len(notes(client)) == 3)
    assert notes(client)[2]["type"] == "unread"
    await client.close()
