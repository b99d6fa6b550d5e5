"""Imports: conversations become private rooms with their trees; their authors are nobody here; what can't be taken over is
named; nothing is imported twice."""

import io
import json
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction as django_transaction

from chat.imports import rooms, run, scanning, source
from chat.imports.scanning import Damaged, Scanner
from chat.models import Message, RoomMember
from chat.services.messages import send_message
from chat.snapshots import snapshot
from kernel.objects import object_name, object_storage
from tests.chat.files.export_files import (
    archive,
    as_json,
    branched,
    chatgpt_conversation,
    chatgpt_node,
    open_webui_chat,
)
from tests.chat.files.support import call
from tests.chat.files.test_exports import work
from tests.support.answers import FakeAnswering
from tests.support.asgi import Answer
from tests.support.cast import Actor, Company

PIECES = (1, 2, 3, 7, 64, 100_000)


async def sent(actor: Actor, content: bytes, name: str = "conversations.json") -> Answer:
    head = f'--form\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=form"}
    return await call(actor, "POST", "imports", head.encode() + content + b"\r\n--form--\r\n", kind)


async def imported(company: Company, content: bytes, **said: str) -> dict[str, Any]:
    """What became of an import of alice's."""
    made = await sent(company.alice, content, **said)
    assert made.status_code == 202, made.text
    await work(company)
    found: dict[str, Any] = (await call(company.alice, "GET", f"imports/{made.json()['id']}")).json()
    return found


async def rooms_of(actor: Actor) -> list[dict[str, Any]]:
    """Somebody's rooms, newest first."""
    found: list[dict[str, Any]] = (await call(actor, "GET", "rooms")).json()["data"]
    return found


@sync_to_async
def messages_of(company: Company, room: str) -> list[Message]:
    """All that a room holds, in its order."""
    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        return list(Message.objects.filter(room=room).order_by("id"))


async def test_a_conversation_of_chatgpt_becomes_a_room_with_its_tree(
    company: Company, answering: FakeAnswering
) -> None:
    found = await imported(company, as_json(branched()))
    assert (found["state"], found["done"], found["failed"], found["total"]) == ("complete", 1, 0, 1)
    (problem,) = found["problems"]
    assert (problem["conversation"], problem["code"]) == (1, "skipped")
    assert "image_asset_pointer" in problem["message"]
    assert "thoughts" in problem["message"]
    (room,) = await rooms_of(company.alice)
    assert (room["title"], room["kind"], room["role"]) == ('Trips "to" Oslo ✈', "private", "owner")
    assert await rooms_of(company.bob) == []
    system, question, north, south, code, output = await messages_of(company, room["id"])
    assert [one.parent_id for one in (system, question, north, south, code, output)] == [  # type: ignore[attr-defined]
        None,
        system.id,
        question.id,
        question.id,
        south.id,
        code.id,
    ]
    assert question.text == "Where to?\n\n[image_asset_pointer: not imported]"
    assert (code.text, output.text) == ("```python\nprint(1)\n```", "```\n1\n```")
    assert {(one.author_kind, one.author_membership_id, one.model) for one in (system, question, north)} == {  # type: ignore[attr-defined]
        ("imported", None, "")
    }
    assert north.created_at.timestamp() == 1_700_000_001.0
    shown = await snapshot(member=company.alice.principal, room_id=uuid.UUID(room["id"]))
    # It was left on the second branch.
    assert [message.text for message in shown.messages][2].startswith("South.")
    assert [(message.author.kind, message.author.role, message.author.name) for message in shown.messages] == [
        ("imported", "system", "System"),
        ("imported", "user", "User"),
        ("imported", "assistant", "gpt-4o"),
        ("imported", "assistant", "ChatGPT"),
        ("imported", "tool", "python"),
    ]
    # The conversation goes on, and the model knows who said what.
    on = await send_message(member=company.alice.principal, room_id=uuid.UUID(room["id"]), text="And then?")
    assert on.generation is not None
    answer = await answering.answer_of(on.generation.id)
    assert [turn.role for turn in answer.question.turns] == ["user", "user", "assistant", "assistant", "user", "user"]
    answer.end()


async def test_chats_of_open_webui_become_rooms(company: Company) -> None:
    old = {"title": "Old", "messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
    found = await imported(company, as_json(open_webui_chat(), {"chat": old}), name="chat-export.json")
    assert (found["state"], found["done"], found["failed"]) == ("complete", 2, 0)
    assert "image_url" in found["problems"][0]["message"]
    assert "doc" in found["problems"][0]["message"]
    older, soup = await rooms_of(company.alice)
    assert (older["title"], soup["title"]) == ("Old", "Soup")
    question, pea, leek, thanks = await messages_of(company, soup["id"])
    assert [one.parent_id for one in (question, pea, leek, thanks)] == [None, question.id, question.id, leek.id]  # type: ignore[attr-defined]
    assert (pea.imported_name, leek.imported_name) == ("Llama", "llama3.2:3b")
    assert leek.created_at.timestamp() == 1_720_000_010
    assert question.created_at.timestamp() == 1_720_000_000
    first, second = await messages_of(company, older["id"])
    assert (first.text, second.text, second.parent_id) == ("one", "two", first.id)  # type: ignore[attr-defined]


async def test_a_chat_whose_tree_is_empty_is_read_message_by_message(company: Company) -> None:
    chat = open_webui_chat("By a program")
    chat["chat"]["history"] = {"messages": {}, "currentId": None}
    found = await imported(company, as_json(chat))
    assert (found["state"], found["done"], found["failed"]) == ("complete", 1, 0)
    (room,) = await rooms_of(company.alice)
    texts = [message.text for message in await messages_of(company, room["id"])]  # type: ignore[attr-defined]
    assert [text.partition("\n")[0] for text in texts] == ["Soup?", "Leek.", "Thanks"]


async def test_files_that_were_sent_to_chatgpt_are_named_where_they_were(company: Company) -> None:
    paper = {"id": "file-1", "name": "plan.pdf", "mime_type": "application/pdf"}
    photo = {"id": "file-2", "name": "cat.png", "mime_type": "image/png"}
    pointer = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-2"}
    conversation = chatgpt_conversation(
        "Files",
        chatgpt_node("u1", "root", "user", "Read this.", metadata={"attachments": [paper, None]}),
        chatgpt_node("u2", "u1", "user", "", metadata={"attachments": [paper]}),
        chatgpt_node("u3", "u2", "user", pointer, "And this.", metadata={"attachments": [photo, paper]}),
        current="u3",
    )
    found = await imported(company, as_json(conversation))
    assert found["problems"][0]["message"] == "Not imported: file, image_asset_pointer."
    (room,) = await rooms_of(company.alice)
    named = "[file plan.pdf: not imported]"
    assert [message.text for message in await messages_of(company, room["id"])] == [  # type: ignore[attr-defined]
        f"Read this.\n\n{named}\n\n[file: not imported]",
        named,
        f"[image_asset_pointer: not imported]\n\nAnd this.\n\n{named}",
    ]


async def test_marks_of_sources_become_links_or_go(company: Company) -> None:
    known, unknown = "\ue200cite\ue202turn0search1\ue201", "\ue200cite\ue202turn0search2\ue202turn0search3\ue201"
    references = [
        None,
        {"matched_text": known, "alt": "([Soup](https://soup.example))", "type": "grouped_webpages"},
        {"matched_text": unknown, "alt": None},
        {"matched_text": " ", "alt": "x"},
    ]
    conversation = chatgpt_conversation(
        "Sources",
        chatgpt_node("u1", "root", "user", f"What of \ue200 and {unknown}?"),
        chatgpt_node("a1", "u1", "assistant", f"Leek{known}.{unknown}", metadata={"content_references": references}),
        chatgpt_node("a2", "a1", "assistant", unknown),
        current="a2",
    )
    await imported(company, as_json(conversation))
    (room,) = await rooms_of(company.alice)
    assert [message.text for message in await messages_of(company, room["id"])] == [  # type: ignore[attr-defined]
        "What of \ue200 and ?",
        "Leek([Soup](https://soup.example)).",
    ]


async def test_the_archive_that_chatgpt_sends_is_read_as_it_is(company: Company) -> None:
    members = {
        "chat.html": b"<html>",
        "conversations-001.json": as_json(branched()),
        "conversations-000.json": as_json(open_webui_chat()),
        "user.json": b"{}",
    }
    found = await imported(company, archive(members), name="export.zip")
    assert (found["state"], found["done"]) == ("complete", 2)
    assert [room["title"] for room in await rooms_of(company.alice)] == ['Trips "to" Oslo ✈', "Soup"]
    # The file is gone once it was read, and no longer counts.
    assert found["size"] == 0
    assert not object_storage().exists(object_name(company.id, "transfers", found["id"]))


async def test_a_bad_conversation_keeps_the_others_from_nothing(company: Company, monkeypatch: Any) -> None:
    monkeypatch.setattr(scanning, "CONVERSATION_BYTES_MAX", 20_000)
    deep = b"[" * 100 + b"]" * 100
    parts = [
        as_json(branched())[1:-1],
        b'{"mapping": {"a": ' + deep + b"}}",
        b'{"title": "big", "mapping": {"x": "' + b"y" * 30_000 + b'"}}',
        b'{"title": "no json", "mapping": {oops}}',
        json.dumps(chatgpt_conversation("empty", current="root")).encode(),
        b'{"title": "what is this"}',
        as_json(open_webui_chat())[1:-1],
    ]
    found = await imported(company, b"[" + b",".join(parts) + b"]")
    assert (found["state"], found["done"], found["failed"], found["total"]) == ("complete", 2, 5, 7)
    codes = {problem["conversation"]: problem["code"] for problem in found["problems"]}
    assert codes == {
        1: "skipped", 2: "too_deep", 3: "too_large", 4: "damaged", 5: "empty", 6: "unknown_format", 7: "skipped"
    }  # fmt: skip
    assert len(await rooms_of(company.alice)) == 2


async def test_nothing_of_a_file_names_rows_that_are_here(company: Company, evil: Company) -> None:
    """Ids in a file are its own words: those of another company's rows mean nothing."""
    theirs = await call(evil.alice, "POST", "rooms", {"kind": "private", "title": "theirs"})
    hers = str(evil.alice.membership_id)
    node = chatgpt_node(theirs.json()["id"], hers, "user", "hello \x00 \ud800", name=hers)
    node["message"]["author"]["id"] = hers
    conversation = chatgpt_conversation("T\x00" * 500, node, current=theirs.json()["id"])
    conversation |= {"id": theirs.json()["id"], "tenant_id": str(evil.id), "room_id": theirs.json()["id"]}
    found = await imported(company, as_json(conversation))
    assert (found["done"], found["failed"]) == (1, 0)
    (room,) = await rooms_of(company.alice)
    assert room["id"] != theirs.json()["id"]
    assert room["title"] == "T" * 200
    (message,) = await messages_of(company, room["id"])
    assert (message.text, str(message.id) == theirs.json()["id"]) == ("hello  ?", False)
    assert len(await rooms_of(evil.alice)) >= 1

    @sync_to_async
    def members() -> list[uuid.UUID]:
        with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
            return [place.membership_id for place in RoomMember.objects.filter(room=room["id"])]

    assert await members() == [company.alice.membership_id]


async def test_an_import_goes_on_where_it_was(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns end after each conversation; the worker of the third dies in the middle of it."""
    monkeypatch.setattr(run, "TURN_S", -1.0)
    made, insert, deaths = [], rooms.make_room, [0]

    async def dying(connection: Any, conversation: Any, **whose: Any) -> Any:
        result = await insert(connection, conversation, **whose)
        if conversation.title == "2" and not deaths[0]:
            deaths[0] = 1
            raise asyncio_death()
        made.append(conversation.title)
        return result

    monkeypatch.setattr(run, "make_room", dying)
    names = [str(number) for number in range(4)]
    conversations = [
        chatgpt_conversation(name, chatgpt_node("a", "root", "user", f"text {name}"), current="a") for name in names
    ]
    answer = await sent(company.alice, as_json(*conversations))
    with pytest.raises(WorkerDied):
        await work(company)
    await lapse(company)
    await work(company)
    found = (await call(company.alice, "GET", f"imports/{answer.json()['id']}")).json()
    assert (found["state"], found["done"], found["failed"], found["total"]) == ("complete", 4, 0, 4)
    assert made == names
    assert sorted(room["title"] for room in await rooms_of(company.alice)) == names


class WorkerDied(BaseException):
    """As if the process were gone: nothing is written any more."""


def asyncio_death() -> WorkerDied:
    return WorkerDied()


@sync_to_async
def lapse(company: Company) -> None:
    """The leases of the dead run out."""
    from chat.models import Transfer

    with company.scope(), django_transaction.atomic():  # type: ignore[attr-defined]
        for transfer in Transfer.objects.filter(state="running"):
            Transfer.objects.filter(id=transfer.id).update(lease_until=transfer.created_at)


async def test_files_that_are_none_are_refused_or_fail(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, code in (
        (b"\x89PNG\r\n\x1a\n", "import_type_refused"),
        (b"<html>", "import_type_refused"),
        (b"hello", "import_type_refused"),
    ):
        refused = await sent(company.alice, content)
        assert (refused.status_code, refused.json()["code"]) == (415, code)
    monkeypatch.setattr(source, "UNPACKED_RATIO_MAX", 5)
    bomb = archive({"conversations.json": b"[" + b" " * 10_000_000 + b"]"})
    for content, code in (
        (b'[{"mapping": {', "import_damaged"),
        (b"[1, 2]", "import_without_conversations"),
        (archive({"notes.txt": b"x"}), "import_without_conversations"),
        (b"PK\x03\x04 and nothing else", "import_damaged"),
        (bomb, "import_too_large"),
    ):
        found = await imported(company, content)
        assert (found["state"], found["error"] and found["error"]["code"]) == ("failed", code)
    refused = await call(company.vera, "POST", "imports", b"", {"content-type": "multipart/form-data; boundary=form"})
    assert refused.status_code == 403
    headers = {"content-type": "multipart/form-data; boundary=form", "content-length": str(2 * 1024**3)}
    refused = await call(company.alice, "POST", "imports", b"", headers)
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")


@pytest.mark.no_database
@pytest.mark.parametrize("length", PIECES)
def test_elements_are_found_however_the_document_is_cut(length: int) -> None:
    content = as_json(branched(), open_webui_chat(), {"text": '\\" } ] \\\\', "deep": [[{"a": []}]]}, {})
    pieces = [content[at : at + length] for at in range(0, len(content), length)]
    found = [json.loads(element.data) for element in Scanner().elements(pieces)]
    assert found == json.loads(content)
    one = json.dumps(open_webui_chat()).encode()
    (alone,) = Scanner().elements([one[at : at + length] for at in range(0, len(one), length)])
    assert json.loads(alone.data) == json.loads(one)


@pytest.mark.no_database
@pytest.mark.parametrize("value", [b"{}", b"[]", b'"a"', b"1.5"])
def test_a_conversation_has_so_many_values(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory they take much more than in the file."""
    monkeypatch.setattr(scanning, "VALUES_MAX", 1_000)
    many, few, text = (b'{"mapping":{"a":[%s]}}' % b",".join([value] * count) for count in (1_001, 400, 1))
    long = text.replace(value, b'"' + b"a, b [c] {d} " * 1_000 + b'"')
    found = list(Scanner().elements([b"[" + b",".join((few, many, few, long)) + b"]"]))
    assert [element.problem for element in found] == ["", "too_large", "", ""]
    assert [element.data for element in found] == [few, b"", few, long]


@pytest.mark.no_database
@pytest.mark.parametrize("content", [b"", b"   ", b"[{}", b'[{"a": "', b"]", b"[]]", b"[{}]{}", b'"text"'])
def test_what_is_no_list_of_objects_is_damaged(content: bytes) -> None:
    with pytest.raises(Damaged):
        list(Scanner().elements([content]))


@pytest.mark.no_database
def test_a_large_document_is_never_whole_in_memory() -> None:
    import tracemalloc

    piece = as_json({"mapping": {"a": "x" * 50_000}})[1:-1]
    tracemalloc.start()
    try:
        pieces = (b"[" if number == 0 else piece + (b"," if number < 1_000 else b"]") for number in range(1_001))
        assert sum(1 for _ in Scanner().elements(pieces)) == 1_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert source.begins_like_one(io.BytesIO(b"\xef\xbb\xbf [").read())
