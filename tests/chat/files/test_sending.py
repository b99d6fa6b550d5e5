"""Files with messages: they become the room's, models are given them, and they go with their message."""

import asyncio
import uuid
from base64 import b64decode
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.answering import Turn
from chat.files.upkeep import delete_expired_attachments
from chat.generations import files as seen
from chat.generations.runs import runs
from chat.message_parts import FilePart
from chat.pipeline_answering import _request
from chat.services.attachments import forget_attachments
from chat.services.edits import branch_message, delete_message
from chat.services.members import remove_member
from chat.services.messages import send_message
from chat.snapshots import snapshot
from chat.store import first, transaction
from kernel.errors import InvalidRequest, NotFound
from kernel.objects import object_storage
from providers.capabilities import needs
from providers.estimate import TOKENS_PER_IMAGE, estimate_input
from providers.types import ImagePart
from tests.chat.files.support import call, follow, link, pdf, picture, uploaded
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company
from tests.support.patience import soon


async def files_of(actor: Actor, *contents: bytes, name: str = "notes.md") -> list[uuid.UUID]:
    """Files of somebody's that wait for a message."""
    return [uuid.UUID((await uploaded(actor, content, name=name))["id"]) for content in contents]


async def test_a_message_claims_its_files_and_the_room_may_read_them(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    first, second = await files_of(company.alice, b"one", b"two")
    body = {"text": "", "generate": False, "attachments": [str(second), str(first)]}
    sent = await call(company.alice, "POST", f"rooms/{room.id}/messages", body)
    assert sent.status_code == 201, sent.text
    message = sent.json()["message"]
    assert [part["attachment"] for part in message["parts"]] == [str(second), str(first)]
    assert {part["type"] for part in message["parts"]} == {"file"}
    shown = await snapshot(member=company.bob.principal, room_id=room.id)
    assert [part.attachment for part in shown.messages[0].parts] == [second, first]  # type: ignore[union-attr]
    assert (await follow(await link(company.bob, str(first)))).content == b"one"
    found = (await call(company.bob, "GET", f"attachments/{first}")).json()
    assert (found["room"], found["message"], found["expires_at"]) == (str(room.id), message["id"], None)
    refused = await call(company.alice, "DELETE", f"attachments/{first}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_a_link_ends_when_its_member_leaves_the_room(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    (file,) = await files_of(company.alice, b"ours")
    await send_message(member=company.alice.principal, room_id=room.id, text="x", generate=False, attachments=[file])
    url = await link(company.bob, str(file))
    assert (await follow(url)).status_code == 200
    places = (await snapshot(member=company.alice.principal, room_id=room.id)).members
    (bobs,) = [place.id for place in places if place.member.id == company.bob.membership_id]
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=bobs)
    assert (await follow(url)).status_code == 404
    assert (await call(company.bob, "GET", f"attachments/{file}/link")).status_code == 404


async def test_nobody_sends_what_is_not_theirs(company: Company, evil: Company, make_room: Any) -> None:
    room = await make_room("shared")
    (bobs,) = await files_of(company.bob, b"bob's")
    (theirs,) = await files_of(evil.alice, b"another company's")
    (mine,) = await files_of(company.alice, b"mine")
    path = f"rooms/{room.id}/messages"
    answers = []
    for named in ([bobs], [theirs], [uuid.uuid4()], [mine, theirs]):
        body = {"text": "x", "generate": False, "attachments": [str(one) for one in named]}
        refused = await call(company.alice, "POST", path, body)
        assert refused.status_code == 404
        answers.append({**refused.json(), "request_id": ""})
    assert all(answer == answers[0] for answer in answers)
    with pytest.raises(InvalidRequest):
        await send_message(member=company.alice.principal, room_id=room.id, text="x", attachments=[mine, mine])
    # What was refused left no message, and the file free to be sent.
    assert (await snapshot(member=company.bob.principal, room_id=room.id)).messages == ()
    said = {"member": company.alice.principal, "room_id": room.id, "text": "x", "generate": False}
    await send_message(**said, attachments=[mine])
    with pytest.raises(NotFound):
        await send_message(**said, attachments=[mine])


async def test_a_model_is_given_images_and_texts(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    (image,) = await files_of(company.alice, picture(size=(3000, 1500)), name="wide.png")
    (paper,) = await files_of(company.alice, pdf("the canary sings"), name="paper.pdf")
    alice = company.alice.principal
    sent = await send_message(member=alice, room_id=room.id, text="What is it?", attachments=[image, paper])
    assert sent.generation is not None
    answer = await answering.answer_of(sent.generation.id)
    (turn,) = answer.question.turns
    shown, read = turn.files
    assert shown.name == "wide.png"
    assert shown.image is not None
    assert b64decode(shown.image.partition(",")[2]).startswith(b"\x89PNG")
    assert (read.name, read.text) == ("paper.pdf", "the canary sings")
    request = _request(answer.question)
    assert [type(part).__name__ for part in request.messages[-1].content] == [
        "TextPart",
        "ImagePart",
        "TextPart",
        "TextPart",
    ]
    assert request.messages[-1].text.endswith("What is it?")
    assert "the canary sings" in request.messages[-1].text
    # What is asked for can't be had from a model without eyes, and counts in the estimate.
    assert ("images", "messages") in needs(request)
    assert estimate_input(request) > TOKENS_PER_IMAGE
    answer.end()
    await runs().idle()
    # Of an earlier turn a model that sees no images is told the name.
    answering.sees = False
    again = await send_message(member=alice, room_id=room.id, text="And now?")
    assert again.generation is not None
    answer = await answering.answer_of(again.generation.id)
    earlier: Turn = answer.question.turns[0]
    assert (earlier.files[0].image, earlier.files[0].note) == (None, "an image that this model can't see")
    assert not any(isinstance(part, ImagePart) for part in _request(answer.question).messages[0].content)
    answer.end()
    await runs().idle()


async def test_long_files_are_cut_and_named(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "FILE_CHARS_MAX", 1_000)
    room = await make_room()
    long, short = await files_of(company.alice, "ä".encode() * 3_000, b"short")
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="x", attachments=[long, short])
    assert sent.generation is not None
    answer = await answering.answer_of(sent.generation.id)
    first, second = answer.question.turns[0].files
    assert (first.text, first.note) == ("ä" * 1_000, "cut: only its beginning is shown")
    assert (second.text, second.note) == ("short", "")
    answer.end()
    await runs().idle()


async def test_a_file_that_is_sent_while_it_is_deleted_keeps_its_bytes(company: Company, make_room: Any) -> None:
    room = await make_room()
    (file,) = await files_of(company.alice, b"kept")
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="here", generate=False)
    async with transaction(company.id) as connection:
        await connection.execute(
            b"UPDATE chat_attachment SET room_id = %s, message_id = %s, expires_at = NULL WHERE id = %s",
            (room.id, sent.message.id, file),
        )
        deleting = asyncio.create_task(call(company.alice, "DELETE", f"attachments/{file}"))
        async with soon():
            while (await first(connection, _WAITED_FOR, ())) is None:
                await asyncio.sleep(0.01)
    assert (await deleting).status_code == 404
    assert (await follow(await link(company.alice, str(file)))).content == b"kept"


_WAITED_FOR = "SELECT 1 FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"


async def test_a_file_goes_with_its_message(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    (file,) = await files_of(company.alice, b"canary to be deleted")
    said = {"room_id": room.id, "text": "x", "generate": False}
    sent = await send_message(member=company.alice.principal, attachments=[file], **said)
    url = await link(company.bob, str(file))
    async with transaction(company.id) as connection:
        assert await forget_attachments(connection, message_ids=[sent.message.id]) == 1
    assert (await follow(url)).status_code == 404
    assert (await call(company.alice, "GET", f"attachments/{file}")).status_code == 404
    folder = f"{company.id}/attachments/{file}"
    assert object_storage().listdir(folder)[1] == ["content"]
    assert await sync_to_async(delete_expired_attachments)() >= 1
    assert object_storage().listdir(folder)[1] == []


async def test_a_message_written_in_place_of_another_shares_its_files(company: Company, make_room: Any) -> None:
    room = await make_room()
    alice = company.alice.principal
    (file,) = await files_of(company.alice, b"shared by two")
    sent = await send_message(member=alice, room_id=room.id, text="one", generate=False, attachments=[file])
    beside = await branch_message(member=alice, message_id=sent.message.id, text="two", generate=False)
    assert [part.attachment for part in beside.message.parts if isinstance(part, FilePart)] == [file]
    await delete_message(member=alice, message_id=sent.message.id)
    found = (await call(company.alice, "GET", f"attachments/{file}")).json()
    assert found["message"] == str(beside.message.id)
    assert (await follow(await link(company.alice, str(file)))).content == b"shared by two"
    await delete_message(member=alice, message_id=beside.message.id)
    assert (await call(company.alice, "GET", f"attachments/{file}")).status_code == 404
