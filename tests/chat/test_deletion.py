"""What was deleted is nowhere: not in any column of any table, nor in Redis, nor in the files."""

import asyncio
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import transaction as django_transaction

from chat import selectors, tasks
from chat.generations.titles import titles
from chat.models import Message, Room, RoomEvent
from chat.realtime import streams
from chat.search import Asked, search_messages
from chat.services.attachments import create_attachment
from chat.services.erasure import BATCH, erase_and_tell
from chat.services.messages import send_message
from chat.services.policies import PolicyChange, change_policy, read_policy
from chat.services.retention import expire_messages, tenants_with_something_to_expire
from chat.services.rooms import RoomChange, create_room, delete_room, update_room
from chat.shapes import RoomShape
from chat.snapshots import snapshot
from chat.store import transaction
from kernel.errors import InvalidRequest, PermissionDenied
from kernel.ids import uuid7
from kernel.loop import on_loop
from providers.cache import stored
from providers.cache.models import CacheEntry
from providers.models import RequestLog
from tests.support.answers import FakeAnswering, ScriptedAnswer
from tests.support.canary import places_of
from tests.support.cast import Company
from tests.support.outbox import work_off
from tests.support.patience import soon

MakeRoom = Callable[..., Coroutine[Any, Any, RoomShape]]


def new_canary() -> str:
    return f"canary{secrets.token_hex(12)}"


async def converse(
    company: Company, room_id: uuid.UUID, canary: str, answering: FakeAnswering
) -> tuple[uuid.UUID, uuid.UUID]:
    """A question with a file, and an answer, that all say the canary. The ids of both messages."""
    member = company.alice.principal
    with tempfile.TemporaryFile() as file:
        size = file.write(f"the file says {canary}".encode())
        file.seek(0)
        attached = await create_attachment(
            member=member, name=f"{canary}.txt", media_type="text/plain", content=file, size=size
        )
    sent = await send_message(
        member=member, room_id=room_id, text=f"what is {canary}?", attachments=[attached.id], cid=secrets.token_hex(8)
    )
    generation = sent.generations[0]
    answer = await answering.answer_of(generation.id)
    answer.say(f"It is {canary}.")
    answer.end()
    async with soon():
        while True:
            async with transaction(company.id) as connection:
                shape = (await selectors.generations(connection, [generation.id]))[generation.id]
            if shape.answer is not None:
                break
            await asyncio.sleep(0.01)
    await titles().idle()
    return sent.message.id, shape.answer


async def keep_elsewhere(company: Company, room_id: uuid.UUID, canary: str) -> None:
    """What the completion pipeline may keep of it: a captured request and a kept answer."""
    row = stored.Row(uuid7().bytes * 2, "fake", canary.encode(), 1, 0.0, datetime.now(UTC).timestamp() + 600, room_id)
    await stored.put(company.id, [row])
    async with transaction(company.id) as connection:
        await connection.execute(
            b"INSERT INTO providers_requestlog (id, tenant_id, at, surface, alias, principal_kind, membership_id, status, "
            b"latency_ms, content, content_until) SELECT request_id, tenant_id, now(), 'room', 'fake', 'member', "
            b"requested_by_id, 200, 1, %s, now() + interval '1 day' FROM chat_generation WHERE room_id = %s",
            (canary.encode(), room_id),
        )
        await connection.execute(
            b"INSERT INTO kernel_idempotencykey (id, tenant_id, principal_id, method, path, key, request_digest, body) "
            b"VALUES (%s, %s, %s, 'POST', %s, 'k', %s, %s)",
            (uuid7(), company.id, uuid7(), f"/api/v1/rooms/{room_id}/messages", b"d" * 32, canary),
        )


def expire_files(company: Company) -> None:
    from chat.files.upkeep import delete_expired_attachments

    delete_expired_attachments()


def delete_by_hand(company: Company, room_id: uuid.UUID, ids: list[uuid.UUID]) -> None:
    async def delete() -> None:
        async with transaction(company.id) as connection:
            events, epoch = await erase_and_tell(
                connection, tenant_id=company.id, room_id=room_id, ids=ids, now=datetime.now(UTC)
            )
        await streams.publish(company.id, room_id, epoch=epoch, events=events)

    on_loop(delete())


def delete_by_age(company: Company, room_id: uuid.UUID, ids: list[uuid.UUID]) -> None:
    on_loop(change_policy(member=company.alice.principal, change=PolicyChange(retention_days=30)))
    on_loop(grow_old(company, ids, days=31))
    assert company.id in tenants_with_something_to_expire()
    assert on_loop(expire_messages(company.id)) == len(ids)


def delete_with_room(company: Company, room_id: uuid.UUID, ids: list[uuid.UUID]) -> None:
    on_loop(delete_room(member=company.alice.principal, room_id=room_id))


async def grow_old(company: Company, ids: list[uuid.UUID], *, days: int) -> None:
    async with transaction(company.id) as connection:
        await connection.execute(
            b"UPDATE chat_message SET created_at = now() - make_interval(days => %s) WHERE id = ANY(%s)", (days, ids)
        )


async def execute(company: Company, statement: str, *arguments: Any) -> None:
    async with transaction(company.id) as connection:
        await connection.execute(statement.encode(), arguments)


@pytest.mark.parametrize("delete", [delete_by_hand, delete_by_age, delete_with_room])
def test_what_was_deleted_is_nowhere(
    company: Company, make_room: MakeRoom, answering: FakeAnswering, delete: Any
) -> None:
    canary = answering.title_text = new_canary()
    room = on_loop(make_room("shared"))
    question, answer = on_loop(converse(company, room.id, canary, answering))
    on_loop(keep_elsewhere(company, room.id, canary))
    before = set(places_of(canary))
    # The search sees what there is to be deleted.
    assert {"chat_message.text", "chat_message.parts", "chat_message.search", "chat_attachment.name"} <= before
    assert {"kernel_idempotencykey.body", "providers_requestlog.content", "chat_room.title"} <= before
    assert any(place.startswith("redis:") for place in before)
    assert any(place.startswith("file:") for place in before)
    member = company.alice.principal
    assert (on_loop(search_messages(member=member, asked=Asked(words=canary), limit=5))).hits

    delete(company, room.id, [question, answer])
    work_off(company.id)
    expire_files(company)

    assert places_of(canary) == []
    assert not _kept(company, room.id), "an answer that was kept for the room"
    assert (on_loop(search_messages(member=member, asked=Asked(words=canary), limit=5))).hits == []


@pytest.mark.parametrize("delete", [delete_by_hand, delete_by_age, delete_with_room])
def test_no_answer_that_was_kept_for_a_key_shows_what_was_deleted(
    company: Company, make_room: MakeRoom, delete: Any
) -> None:
    canary, room, client = new_canary(), on_loop(make_room("shared")), company.alice.client
    said = {"text": canary, "generate": False}

    def call(path: str, body: Any, status: int) -> Any:
        answer = client.post(f"/api/v1/{path}", body, format="json", HTTP_IDEMPOTENCY_KEY=secrets.token_hex(8))
        assert answer.status_code == status, answer.content
        return answer.json()

    first = call(f"rooms/{room.id}/messages", said, 201)["message"]["id"]
    beside = call(f"messages/{first}/branches", said, 201)["message"]["id"]
    call(f"messages/{first}/reactions", {"emoji": "👍"}, 200)
    assert "kernel_idempotencykey.body" in places_of(canary)
    delete(company, room.id, [uuid.UUID(first), uuid.UUID(beside)])
    work_off(company.id)
    assert places_of(canary) == []


def test_a_deleted_room_leaves_no_title(company: Company) -> None:
    canary, client = new_canary(), company.alice.client
    made = client.post(
        "/api/v1/rooms", {"kind": "private", "title": canary}, format="json", HTTP_IDEMPOTENCY_KEY=secrets.token_hex(8)
    )
    path = f"/api/v1/rooms/{made.json()['id']}"
    assert client.post(f"{path}/exports", {"format": "json"}, format="json").status_code == 202
    assert {"kernel_idempotencykey.body", "chat_transfer.name", "chat_room.title"} <= set(places_of(canary))
    assert client.delete(path).status_code == 204
    work_off(company.id)
    assert places_of(canary) == []


def test_an_export_that_waits_bears_no_title_that_was_made_of_what_was_deleted(
    company: Company, make_room: MakeRoom, answering: FakeAnswering
) -> None:
    canary = answering.title_text = new_canary()
    room = on_loop(make_room("shared"))
    question, answer = on_loop(converse(company, room.id, canary, answering))
    asked = company.alice.client.post(f"/api/v1/rooms/{room.id}/exports", {"format": "pdf"}, format="json").json()
    assert asked["name"] == f"{canary}.pdf"
    delete_by_hand(company, room.id, [question, answer])
    work_off(company.id)
    expire_files(company)
    assert places_of(canary) == []
    shown = company.alice.client.get(f"/api/v1/exports/{asked['id']}").json()
    assert shown["name"] == "New room.pdf"


def _kept(company: Company, room_id: uuid.UUID) -> bool:
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        assert not RequestLog.objects.filter(content__isnull=False).exists()
        return CacheEntry.objects.filter(subject_id=room_id).exists()


def test_who_reads_on_hears_of_it_and_sees_nothing_of_the_text(
    company: Company, make_room: MakeRoom, answering: FakeAnswering
) -> None:
    room = on_loop(make_room("shared"))
    question, answer = on_loop(converse(company, room.id, new_canary(), answering))
    kept = on_loop(send_message(member=company.alice.principal, room_id=room.id, text="this stays", generate=False))
    delete_by_hand(company, room.id, [question])
    work_off(company.id)
    shown = {said.id: said for said in (on_loop(snapshot(member=company.alice.principal, room_id=room.id))).messages}
    assert shown[question].deleted
    assert shown[question].text == ""
    assert shown[question].parts == ()
    assert not shown[answer].deleted
    assert shown[kept.message.id].text == "this stays"
    told = _events(company, room.id)
    assert told[-1] == ("message.deleted", {"message": str(question)})


def _events(company: Company, room_id: uuid.UUID) -> list[tuple[str, Any]]:
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        return list(RoomEvent.objects.filter(room=room_id).order_by("seq").values_list("type", "ids"))


def test_only_messages_beyond_the_retention_go(company: Company, neighbour: Company, make_room: MakeRoom) -> None:
    room, brief = on_loop(make_room()), on_loop(make_room())
    member = company.alice.principal
    on_loop(change_policy(member=member, change=PolicyChange(retention_days=30)))
    on_loop(update_room(member=member, room_id=brief.id, change=RoomChange(retention_days=5)))
    elsewhere = on_loop(create_room(member=neighbour.alice.principal, kind="private"))
    said = {}
    for name, who, room_id, days in (
        ("old", company, room.id, 31),
        ("young", company, room.id, 29),
        ("brief and old", company, brief.id, 6),
        ("brief and young", company, brief.id, 4),
        ("another tenant's", neighbour, elsewhere.id, 400),
    ):
        sent = on_loop(send_message(member=who.alice.principal, room_id=room_id, text=name, generate=False))
        said[name] = sent.message.id
        on_loop(grow_old(who, [sent.message.id], days=days))
    tenants = tenants_with_something_to_expire()
    assert company.id in tenants
    assert neighbour.id not in tenants
    assert on_loop(expire_messages(company.id)) == 2
    assert on_loop(expire_messages(company.id)) == 0
    assert on_loop(expire_messages(neighbour.id)) == 0
    left = {*_texts(company), *_texts(neighbour)}
    assert left == {"young", "brief and young", "another tenant's"}


def test_a_tenant_whose_messages_cannot_be_deleted_keeps_no_other_waiting(
    company: Company, neighbour: Company, make_room: MakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, well = sorted((company, neighbour), key=lambda one: one.id)
    sent = {}
    for one in (broken, well):
        room = on_loop(create_room(member=one.alice.principal, kind="private"))
        sent[one.id] = on_loop(send_message(member=one.alice.principal, room_id=room.id, text="old", generate=False))
        on_loop(change_policy(member=one.alice.principal, change=PolicyChange(retention_days=30)))
        on_loop(grow_old(one, [sent[one.id].message.id], days=31))

    async def expire(tenant_id: uuid.UUID) -> int:
        if tenant_id == broken.id:
            raise RuntimeError("broken")
        return await expire_messages(tenant_id)

    monkeypatch.setattr(tasks, "expire_messages_of", expire)
    assert tasks.expire_messages() >= 1
    assert _texts(broken) == {"old"}
    assert "old" not in _texts(well)


def _texts(company: Company) -> set[str]:
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        return set(Message.objects.filter(deleted_at=None).values_list("text", flat=True))


def test_a_room_keeps_its_messages_no_longer_than_its_tenant(company: Company, make_room: MakeRoom) -> None:
    member, room = company.alice.principal, on_loop(make_room())
    assert (
        on_loop(update_room(member=member, room_id=room.id, change=RoomChange(retention_days=90)))
    ).retention_days == 90
    assert (on_loop(change_policy(member=member, change=PolicyChange(retention_days=30)))).retention_days == 30
    for days in (0, -1, 31, 10_000):
        with pytest.raises(InvalidRequest):
            on_loop(update_room(member=member, room_id=room.id, change=RoomChange(retention_days=days)))
    assert (
        on_loop(update_room(member=member, room_id=room.id, change=RoomChange(retention_days=None)))
    ).retention_days is None
    for days in (0, 3_651):
        with pytest.raises(InvalidRequest):
            on_loop(change_policy(member=member, change=PolicyChange(retention_days=days)))
    with pytest.raises(PermissionDenied):
        on_loop(change_policy(member=company.bob.principal, change=PolicyChange(retention_days=1)))
    assert (on_loop(read_policy(member=company.vera.principal))).retention_days == 30


def test_a_large_room_goes_in_more_than_one_step(company: Company, make_room: MakeRoom) -> None:
    room = on_loop(make_room())
    many = (
        "INSERT INTO chat_message (tenant_id, id, room_id, author_kind, author_membership_id, parts, text) "
        "SELECT %s, gen_random_uuid(), %s, 'member', %s, '[]', 'said ' || n FROM generate_series(1, %s) n"
    )
    on_loop(execute(company, many, company.id, room.id, company.alice.membership_id, BATCH * 2 + 1))
    on_loop(delete_room(member=company.alice.principal, room_id=room.id))
    assert _texts(company) == set()
    erased = _room(company, room.id)
    assert erased.erased_at is not None
    assert (erased.title, erased.settings) == ("", {})


async def finish(answer: ScriptedAnswer) -> None:
    answer.say("because")
    answer.end()


def test_what_is_still_written_in_a_deleted_room_goes_later(
    company: Company, make_room: MakeRoom, answering: FakeAnswering
) -> None:
    room = on_loop(make_room())
    sent = on_loop(send_message(member=company.alice.principal, room_id=room.id, text="why?"))
    answer = on_loop(answering.answer_of(sent.generations[0].id))
    on_loop(execute(company, "UPDATE chat_room SET deleted_at = now() WHERE id = %s", room.id))
    on_loop(expire_messages(company.id))
    assert _room(company, room.id).erased_at is None
    on_loop(finish(answer))
    deadline = time.monotonic() + 10
    while _room(company, room.id).erased_at is None:
        assert time.monotonic() < deadline
        on_loop(expire_messages(company.id))
    assert _texts(company) == set()


def _room(company: Company, room_id: uuid.UUID) -> Room:
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        return Room.objects.get(id=room_id)
