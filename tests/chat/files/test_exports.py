"""Exports: a room as a file, for the member who asked; nothing that was deleted is in one."""

import asyncio
import io
import json
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction as django_transaction
from pypdf import PdfReader

from chat.models import Note
from chat.services.attachments import forget_attachments
from chat.services.members import remove_member
from chat.services.messages import send_message
from chat.snapshots import snapshot
from chat.store import transaction
from chat.transfers import bounds, exporting, leases
from chat.transfers.run import due_transfers, take_turn
from chat.transfers.store import object_of
from chat.transfers.upkeep import delete_expired_transfers
from kernel.objects import object_name, object_storage, put_object
from tests.chat.files.support import call, follow, uploaded
from tests.isolation.roles import administrator
from tests.support.cast import Actor, Company

TITLE = "Plans\n# for «2027» 計画"


async def asked(actor: Actor, room: uuid.UUID, format_: str) -> dict[str, Any]:
    """An export that somebody asked for."""
    answer = await call(actor, "POST", f"rooms/{room}/exports", {"format": format_})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def work(company: Company) -> None:
    """What workers do until nothing of the company's waits."""
    while mine := [id_ for tenant_id, id_ in await sync_to_async(due_transfers)() if tenant_id == company.id]:
        assert await take_turn(company.id, mine[0])


async def downloaded(actor: Actor, export: str) -> bytes:
    """An export's file."""
    found = await call(actor, "GET", f"exports/{export}/link")
    assert found.status_code == 200, found.text
    answer = await follow(found.json()["url"])
    assert answer.status_code == 200, answer.text
    return answer.content


@sync_to_async
def notes_of(company: Company) -> list[Note]:
    """What members were told of exports and imports."""
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        return list(Note.objects.filter(type__endswith="_done"))


async def exported(company: Company, actor: Actor, room: uuid.UUID, format_: str) -> bytes:
    """A room, as a file."""
    made = await asked(actor, room, format_)
    assert made["state"] == "queued"
    await work(company)
    shown = (await call(actor, "GET", f"exports/{made['id']}")).json()
    assert (shown["state"], shown["error"]) == ("complete", None)
    content = await downloaded(actor, made["id"])
    assert shown["size"] == len(content)
    assert shown["done"] == shown["total"]
    return content


async def talked(company: Company, make_room: Any) -> Any:
    """A room with two branches, a file, and text of many scripts."""
    room = await make_room("shared", title=TITLE, instructions="Be brief.")
    file = (await uploaded(company.alice, b"x", name="list.txt"))["id"]
    alice, bob = company.alice.principal, company.bob.principal
    said = {"room_id": room.id, "generate": False}
    first = await send_message(member=alice, text="root alpha", attachments=[uuid.UUID(file)], **said)
    left = await send_message(member=bob, text="left beta\n    code()  計画 Привет", parent=first.message.id, **said)
    await send_message(member=alice, text="right gamma", parent=first.message.id, **said)
    await send_message(member=bob, text="left delta", parent=left.message.id, **said)
    return room


async def test_json_holds_the_whole_tree(company: Company, make_room: Any) -> None:
    room = await talked(company, make_room)
    said = json.loads(await exported(company, company.alice, room.id, "json"))
    (note,) = await notes_of(company)
    assert (note.type, note.membership_id, note.body["state"]) == (
        "export_done",
        company.alice.membership_id,
        "complete",
    )  # type: ignore[attr-defined]
    assert (said["format"], said["version"]) == ("parley.room", 1)
    assert (said["room"]["id"], said["room"]["title"]) == (str(room.id), room.title)
    assert {one["name"] for one in said["members"]} == {"alice", "bob"}
    root, left, right, more = said["messages"]
    assert more["parent"] == left["id"]
    assert (root["parent"], left["parent"], right["parent"]) == (None, root["id"], root["id"])
    assert (root["text"], left["author"]["name"], right["text"]) == ("root alpha", "bob", "right gamma")
    assert [part["type"] for part in root["parts"]] == ["text", "file"]
    assert root["parts"][1]["name"] == "list.txt"


async def test_markdown_and_pdf_follow_the_branch_that_one_reads(company: Company, make_room: Any) -> None:
    room = await talked(company, make_room)
    text = (await exported(company, company.alice, room.id, "markdown")).decode()
    assert text.startswith("# Plans # for «2027» 計画\n")
    assert "root alpha" in text
    assert "right gamma" in text
    assert "left beta" not in text
    assert "*File: list.txt (1 bytes)*" in text
    document = PdfReader(io.BytesIO(await exported(company, company.bob, room.id, "pdf")))
    shown = "\n".join(page.extract_text() for page in document.pages)
    # bob reads the branch that he wrote on.
    assert "left beta" in shown
    assert "right gamma" not in shown
    assert "root alpha" in shown
    assert "left delta" in shown


async def test_an_export_is_its_members_own_while_they_are_in_the_room(
    company: Company, evil: Company, make_room: Any
) -> None:
    room = await talked(company, make_room)
    made = await asked(company.bob, room.id, "json")
    assert (await call(company.bob, "GET", f"exports/{made['id']}/link")).status_code == 409
    await work(company)
    url = (await call(company.bob, "GET", f"exports/{made['id']}/link")).json()["url"]
    answer = await follow(url)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["content-disposition"].startswith("attachment")
    assert headers["content-type"] == "application/json"
    for stranger in (company.alice, evil.alice):
        for method, path in (("GET", ""), ("GET", "/link"), ("DELETE", "")):
            assert (await call(stranger, method, f"exports/{made['id']}{path}")).status_code == 404
        assert (await call(stranger, "GET", "exports")).json()["data"] == []
    assert (await call(company.vera, "POST", f"rooms/{room.id}/exports", {"format": "json"})).status_code == 403
    places = (await snapshot(member=company.alice.principal, room_id=room.id)).members
    (bobs,) = [place.id for place in places if place.member.id == company.bob.membership_id]
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=bobs)
    assert (await follow(url)).status_code == 404
    assert (await call(company.bob, "GET", "exports")).json()["data"] == []


async def test_what_is_deleted_is_in_no_export(company: Company, make_room: Any) -> None:
    room = await talked(company, make_room)
    made = await asked(company.alice, room.id, "json")
    await work(company)
    url = (await call(company.alice, "GET", f"exports/{made['id']}/link")).json()["url"]
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    gone = shown.messages[-1]
    async with transaction(company.id) as connection:
        await connection.execute(
            "UPDATE chat_message SET deleted_at = now(), text = '', parts = '[]' WHERE id = %s", (gone.id,)
        )
        await forget_attachments(connection, message_ids=[gone.id])
    assert (await follow(url)).status_code == 404
    name = object_name(company.id, "transfers", made["id"])
    assert object_storage().exists(name)
    assert await sync_to_async(delete_expired_transfers)() >= 1
    assert not object_storage().exists(name)
    for format_ in ("json", "markdown", "pdf"):
        content = await exported(company, company.alice, room.id, format_)
        assert gone.text.encode() not in content


async def test_an_export_that_something_was_deleted_under_begins_anew(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await talked(company, make_room)
    await asked(company.alice, room.id, "json")
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    gone, store, turns = shown.messages[-1], exporting._store, []

    def stored(*given: Any) -> None:
        turns.append(1)
        store(*given)

    async def renew(claimed: Any, **told: Any) -> None:
        if told.get("done") and not turns:
            async with transaction(company.id) as connection:
                await connection.execute("UPDATE chat_message SET deleted_at = now() WHERE id = %s", (gone.id,))
                await forget_attachments(connection, message_ids=[gone.id])
            turns.append(0)
        await keep(claimed, **told)

    keep = leases.renew
    monkeypatch.setattr(exporting, "_store", stored)
    monkeypatch.setattr(leases, "renew", renew)
    await work(company)
    assert turns == [0, 1]
    listed = (await call(company.alice, "GET", "exports")).json()["data"]
    assert [one["state"] for one in listed] == ["complete"]
    said = json.loads(await downloaded(company.alice, listed[0]["id"]))
    (shown_gone,) = [message for message in said["messages"] if message["id"] == str(gone.id)]
    assert shown_gone == {"id": str(gone.id), "parent": str(gone.parent), "deleted": True}


async def test_an_export_has_bounds(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    room = await talked(company, make_room)
    for module, bound, value, format_, code in (
        (exporting, "EXPORT_BYTES_MAX", 10, "markdown", "export_too_large"),
        (exporting, "PDF_MESSAGES_MAX", 1, "pdf", "export_too_large"),
        (settings, "FILES_QUOTA_BYTES", 10, "json", "storage_quota_reached"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, bound, value)
            made = await asked(company.alice, room.id, format_)
            await work(company)
        shown = (await call(company.alice, "GET", f"exports/{made['id']}")).json()
        assert (shown["state"], shown["error"]["code"]) == ("failed", code)
    for _ in range(bounds.RUNNING_PER_MEMBER_MAX):
        await asked(company.alice, room.id, "json")
    refused = await call(company.alice, "POST", f"rooms/{room.id}/exports", {"format": "json"})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    listed = (await call(company.alice, "GET", "exports")).json()["data"]
    for one in listed:
        assert (await call(company.alice, "DELETE", f"exports/{one['id']}")).status_code == 204
    assert (await call(company.alice, "GET", "exports")).json()["data"] == []


async def test_a_worker_that_stores_what_was_just_deleted_leaves_nothing(company: Company, make_room: Any) -> None:
    room = await talked(company, make_room)
    made = await asked(company.alice, room.id, "json")
    claimed = await leases.claim(company.id, uuid.UUID(made["id"]))
    assert claimed is not None
    assert (await call(company.alice, "DELETE", f"exports/{made['id']}")).status_code == 204
    assert (await call(company.alice, "GET", f"exports/{made['id']}")).status_code == 404
    assert (await call(company.alice, "GET", "exports")).json()["data"] == []
    name = object_of(company.id, claimed.id)
    await asyncio.to_thread(put_object, name, io.BytesIO(b"what was said"))
    with pytest.raises(leases.LeaseLost):
        await leases.complete(claimed, total=1, done=1, size=13, kept=bounds.EXPORT_KEPT)

    @sync_to_async
    def later() -> None:
        with administrator() as admin:
            admin.execute(
                "UPDATE chat_transfer SET expires_at = expires_at - %s WHERE id = %s", [bounds.ENDING_MAX, claimed.id]
            )
        delete_expired_transfers()

    await later()
    assert not await asyncio.to_thread(object_storage().exists, name)
