"""What was said is changed, taken back, and reacted to."""

from typing import Any

import pytest

from chat.events import events_after
from chat.generations.runs import runs
from chat.realtime import streams, texts
from chat.services.edits import branch_message, delete_message, edit_message, react
from chat.services.messages import send_message
from chat.shapes import ReactionShape
from chat.snapshots import generation, snapshot
from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from kernel.redis import async_redis
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.conversations import ask, say, texts_of
from tests.support.patience import soon


async def told(company: Company, room_id: Any) -> list[bytes]:
    """What Redis holds of a room's events."""
    entries = await async_redis().xrange(streams.stream_key(company.id, room_id))
    return [fields[b"p"] for _, fields in entries]


async def test_an_edited_message_has_its_new_text_everywhere(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    alice = company.alice.principal
    sent = await ask(answering, company.alice, room.id, "canary", "A1")
    edited = await edit_message(member=alice, message_id=sent.message.id, text="Q1", cid="e")
    assert edited.message.text == "Q1"
    assert edited.message.edited_at is not None
    again = await edit_message(member=alice, message_id=sent.message.id, text="Q1", cid="e")
    assert again == edited
    assert await texts_of(company.alice, room.id) == ["Q1", "A1"]
    head, events = await events_after(company.id, room.id, seq=0, limit=10)
    assert [event.type for event in events][-1] == "message.edited"
    assert head.seq == edited.seq == len(events)
    assert b"canary" not in b"".join(bytes(event.body) for event in events)
    assert b"canary" not in b"".join(await told(company, room.id))
    same = await edit_message(member=alice, message_id=sent.message.id, text="Q1")
    assert same.seq is None
    two = await send_message(member=alice, room_id=room.id, text="Q2")
    assert two.generation is not None
    assert two.seq == head.seq + 1
    question = (await answering.answer_of(two.generation.id)).question
    assert [turn.text for turn in question.turns] == ["Q1", "A1", "Q2"]


async def test_another_text_begins_a_branch_that_is_answered(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    sent = await ask(answering, company.alice, room.id, "Q1", "A1")
    alice = company.alice.principal
    branched = await branch_message(member=alice, message_id=sent.message.id, text="Q1b", models=["other"], cid="b")
    assert branched.message.parent == sent.message.parent
    assert [one.model for one in branched.generations] == ["other"]
    repeated = await branch_message(member=alice, message_id=sent.message.id, text="Q1b", cid="b")
    assert repeated.message.id == branched.message.id
    question = (await answering.answer_of(branched.generations[0].id)).question
    assert [turn.text.rpartition(": ")[2] for turn in question.turns] == ["Q1b"]
    assert await texts_of(company.alice, room.id) == ["Q1b"]
    with pytest.raises(PermissionDenied):
        await branch_message(member=company.bob.principal, message_id=sent.message.id, text="mine")
    with pytest.raises(PermissionDenied):
        await edit_message(member=company.bob.principal, message_id=sent.message.id, text="mine")


async def test_a_deleted_message_keeps_its_place_and_nothing_else(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    first = await ask(answering, company.bob, room.id, "canary question", "canary answer")
    answered = (await snapshot(member=company.bob.principal, room_id=room.id)).messages[1]
    await say(company.bob, room.id, "Q2")
    await react(member=company.alice.principal, message_id=first.message.id, emoji="👍")
    with pytest.raises(PermissionDenied):
        await delete_message(member=company.bob.principal, message_id=(await say(company.alice, room.id, "hers")).id)
    # Bob wrote one and asked for the other.
    deleted = await delete_message(member=company.bob.principal, message_id=first.message.id, cid="d")
    await delete_message(member=company.bob.principal, message_id=answered.id)
    assert (deleted.message.deleted, deleted.message.text, deleted.message.parts) == (True, "", ())
    assert deleted.message.reactions == ()
    twice = await delete_message(member=company.alice.principal, message_id=first.message.id)
    assert twice.seq is None
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert [(message.text, message.deleted) for message in shown.messages] == [
        ("", True),
        ("", True),
        ("Q2", False),
        ("hers", False),
    ]
    _, events = await events_after(company.id, room.id, seq=0, limit=20)
    assert [event.type for event in events][-2:] == ["message.deleted", "message.deleted"]
    assert b"canary" not in b"".join(bytes(event.body) for event in events)
    assert b"canary" not in b"".join(await told(company, room.id))
    assert first.generation is not None
    assert await texts.read_parts(company.id, room.id, [first.generation.id]) == {}
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="Q3")
    assert sent.generation is not None
    question = (await answering.answer_of(sent.generation.id)).question
    assert "canary" not in "".join(turn.text for turn in question.turns)
    with pytest.raises(Conflict):
        await edit_message(member=company.bob.principal, message_id=first.message.id, text="x")
    with pytest.raises(Conflict):
        await react(member=company.bob.principal, message_id=first.message.id, emoji="👍")


async def test_the_answer_to_a_deleted_question_is_stopped(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    alice = company.alice.principal
    sent = await send_message(member=alice, room_id=room.id, text="Q1")
    assert sent.generation is not None
    written = await answering.answer_of(sent.generation.id)
    await delete_message(member=alice, message_id=sent.message.id)
    async with soon():
        await runs().idle()
    assert written.stopped
    assert (await generation(member=alice, generation_id=sent.generation.id)).status == "stopped"


async def test_without_redis_a_deleted_text_is_left_behind_by_a_new_epoch(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    said = await say(company.alice, room.id, "canary")
    key = streams.stream_key(company.id, room.id)
    await async_redis().rename(key, f"{key}-kept")
    await async_redis().set(key, "no stream")
    await delete_message(member=company.alice.principal, message_id=said.id)
    await async_redis().delete(key)
    await async_redis().rename(f"{key}-kept", key)
    await say(company.alice, room.id, "next")
    assert b"canary" not in b"".join(await told(company, room.id))
    head = await streams.stream_head(company.id, room.id)
    assert head is not None
    assert head.epoch > 1


async def test_emoji_are_counted_once_a_member(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    said = await say(company.alice, room.id, "Q1")
    alice, bob = company.alice.principal, company.bob.principal
    for member, emoji in ((alice, "👍"), (bob, "👍"), (bob, "👍"), (bob, "❤️")):
        changed = await react(member=member, message_id=said.id, emoji=emoji)
    assert changed.message.reactions == (
        ReactionShape(emoji="👍", count=2, members=(alice.membership_id, bob.membership_id)),
        ReactionShape(emoji="❤️", count=1, members=(bob.membership_id,)),
    )
    taken = await react(member=bob, message_id=said.id, emoji="👍", remove=True, cid="r")
    assert [(one.emoji, one.count) for one in taken.message.reactions] == [("👍", 1), ("❤️", 1)]
    _, events = await events_after(company.id, room.id, seq=taken.seq - 1 if taken.seq else 0, limit=9)
    assert [event.type for event in events] == ["message.reacted"]
    with pytest.raises(NotFound):
        await react(member=company.vera.principal, message_id=said.id, emoji="👍")


@pytest.mark.parametrize("emoji", ["", "x", "👍x", " ", "1", "<b>", "👍" * 17])
async def test_what_is_no_emoji_is_refused(company: Company, make_room: Any, emoji: str) -> None:
    said = await say(company.alice, (await make_room()).id, "Q1")
    with pytest.raises(InvalidRequest):
        await react(member=company.alice.principal, message_id=said.id, emoji=emoji)


@pytest.mark.parametrize("emoji", ["1️⃣", "👩‍👩‍👧", "🏳️‍🌈", "🇩🇪", "☑", "✔️", "➕"])
async def test_emoji_of_several_characters_are_taken(company: Company, make_room: Any, emoji: str) -> None:
    said = await say(company.alice, (await make_room()).id, "Q1")
    changed = await react(member=company.alice.principal, message_id=said.id, emoji=emoji)
    assert changed.message.reactions[0].emoji == emoji


async def test_a_message_has_so_many_emoji_at_most(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.services.edits.REACTIONS_PER_MESSAGE_MAX", 2)
    said = await say(company.alice, (await make_room("shared")).id, "Q1")
    for emoji in ("👍", "👎"):
        await react(member=company.alice.principal, message_id=said.id, emoji=emoji)
    await react(member=company.bob.principal, message_id=said.id, emoji="👍")
    with pytest.raises(Conflict):
        await react(member=company.bob.principal, message_id=said.id, emoji="🎉")
