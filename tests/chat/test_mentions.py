"""Who answers, and who is told that they were mentioned."""

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from chat.models import Note
from chat.services.edits import edit_message
from chat.services.messages import Sent, send_message
from chat.services.rooms import RoomChange, update_room
from kernel.errors import InvalidRequest, NotFound, PaymentRequired
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company


async def said(actor: Actor, room_id: uuid.UUID, text: str, **options: Any) -> Sent:
    return await send_message(member=actor.principal, room_id=room_id, text=text, **options)


def models_of(sent: Sent) -> list[str]:
    return [generation.model for generation in sent.generations]


@pytest.mark.parametrize(
    ("text", "models", "mentions_bob"),
    [
        ("What is up?", ["fake"], False),
        ("@other what is up?", ["other"], False),
        ("(@other, @fake.) @nobody", ["other", "fake"], False),
        ("@bob, what is up?", [], True),
        ("@Bob and @other: what is up?", ["other"], True),
        ("@bobby? bob@example.org", ["fake"], False),
        ("@alice to myself", ["fake"], False),
    ],
)
async def test_a_text_says_whom_it_addresses(
    company: Company, make_room: Any, text: str, models: list[str], mentions_bob: bool
) -> None:
    room = await make_room("shared")
    sent = await said(company.alice, room.id, text)
    assert models_of(sent) == models
    assert (company.bob.membership_id in sent.message.mentions) == mentions_bob


async def test_nobody_is_addressed_in_a_private_room(company: Company, make_room: Any) -> None:
    sent = await said(company.alice, (await make_room()).id, "@other @bob what is up?")
    assert models_of(sent) == ["fake"]
    assert sent.message.mentions == ()


async def test_a_room_may_let_only_those_answer_that_are_mentioned(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    change = RoomChange(answers="mentioned")
    assert (await update_room(member=company.alice.principal, room_id=room.id, change=change)).answers == "mentioned"
    assert models_of(await said(company.bob, room.id, "What is up?")) == []
    assert models_of(await said(company.bob, room.id, "What is up, @fake?")) == ["fake"]
    assert models_of(await said(company.bob, room.id, "What is up?", model="other")) == ["other"]


async def test_at_most_five_models_answer(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    with pytest.raises(InvalidRequest):
        await said(company.alice, room.id, "Q", models=[f"m{number}" for number in range(6)])
    with pytest.raises(NotFound):
        await said(company.alice, room.id, "Q", models=["fake", "none"])


async def test_who_is_mentioned_gets_a_note(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    sent = await said(company.alice, room.id, "@bob @vera look")
    await edit_message(member=company.alice.principal, message_id=sent.message.id, text="@bob @bob look here")

    def notes() -> list[tuple[uuid.UUID, dict[str, Any]]]:
        with company.scope(), transaction.atomic():
            found = Note.objects.filter(type="mentioned")
            return [(note.membership_id, note.body) for note in found]

    assert await sync_to_async(notes)() == [
        (
            company.bob.membership_id,
            {"room": str(room.id), "message": str(sent.message.id), "by": str(company.alice.membership_id)},
        )
    ]


async def test_a_model_that_cannot_answer_keeps_nobody_from_naming_it(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room("shared")

    async def refuses(**asked: object) -> str:
        raise PaymentRequired

    sent = await said(company.alice, room.id, "What is up?", generate=False)
    monkeypatch.setattr(answering, "choose_model", refuses)
    assert (await said(company.alice, room.id, "I asked @fake.", generate=False)).generations == ()
    changed = await edit_message(member=company.alice.principal, message_id=sent.message.id, text="@fake and @bob")
    assert changed.message.mentions == (company.bob.membership_id,)
    with pytest.raises(PaymentRequired):
        await said(company.alice, room.id, "@fake?")
