"""What a model is told of a long conversation. To the fake a character is a token."""

import asyncio
from typing import Any

import pytest

from chat.answering import Question, Turn
from chat.generations.context import SEVERAL_PEOPLE, SUMMARISED
from chat.generations.runs import runs
from chat.reading import read_summaries
from chat.services.branches import read_on_at
from chat.services.edits import delete_message, edit_message
from chat.services.members import remove_member
from chat.services.messages import send_message
from chat.services.rooms import RoomChange, update_room
from chat.services.stops import stop_generation
from chat.shapes import ContextShape, RoomShape
from chat.snapshots import generation, snapshot
from kernel.errors import UpstreamFailed
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company
from tests.support.conversations import answer, say
from tests.support.patience import soon

LONG = "x" * 90


@pytest.fixture(autouse=True)
def _a_small_model(answering: FakeAnswering) -> None:
    answering.window_tokens = 400


async def asked(answering: FakeAnswering, actor: Actor, room: RoomShape, text: str, **options: Any) -> Question:
    """What a model is told when somebody asks this."""
    sent = await send_message(member=actor.principal, room_id=room.id, text=text, **options)
    assert sent.generation is not None
    question = (await answering.answer_of(sent.generation.id)).question
    await answer(answering, sent.generation.id, f"to {text}")
    return question


async def test_a_short_conversation_is_told_whole(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room(instructions="Be brief.")
    await asked(answering, company.alice, room, "Q1")
    question = await asked(answering, company.alice, room, "Q2")
    assert question.instructions == "Be brief."
    assert question.notes == ()
    assert question.turns == (Turn("user", "Q1"), Turn("assistant", "to Q1"), Turn("user", "Q2"))
    assert answering.asides == []


async def test_old_turns_are_summarised_once(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    answering.aside_text = "In short: x."
    for number in range(4):
        await say(company.alice, room.id, f"{number}{LONG}")
    question = await asked(answering, company.alice, room, "Q")
    assert len(answering.asides) == 1
    aside = answering.asides[0]
    assert (aside.principal.membership_id, aside.room_id, aside.alias) == (company.alice.membership_id, room.id, "fake")
    assert aside.text == f"0{LONG}\n\n1{LONG}\n\n2{LONG}"
    assert question.notes == (SUMMARISED + "In short: x.",)
    assert [turn.text for turn in question.turns] == [f"3{LONG}", "Q"]
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert shown.summary is not None
    assert (shown.summary.text, shown.summary.covers, shown.summary.cost_nano) == ("In short: x.", 3, 11)
    assert shown.summary.until == shown.messages[2].id
    assert len(shown.messages) == 6
    assert shown.messages[5].generation is not None
    told = await generation(member=company.alice.principal, generation_id=shown.messages[5].generation)
    assert told.context == ContextShape(summary=shown.summary.id, left_out=0)
    await asked(answering, company.alice, room, "Q2")
    assert len(answering.asides) == 1
    # When it is time again, the first summary is told to whoever makes the next.
    await say(company.alice, room.id, f"4{LONG}")
    await say(company.alice, room.id, f"5{LONG}")
    await asked(answering, company.alice, room, "Q3")
    assert len(answering.asides) == 2
    assert "In short: x." in answering.asides[1].text
    listed = await read_summaries(member=company.alice.principal, room_id=room.id, before=None, limit=5)
    assert [one.covers > 3 for one in listed] == [True, False]


async def test_a_summary_that_is_too_long_is_cut(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    """Or it would leave no room for the turns, and each question would pay for another."""
    room = await make_room()
    answering.aside_text = "s" * 5_000
    for number in range(4):
        await say(company.alice, room.id, f"{number}{LONG}")
    question = await asked(answering, company.alice, room, "Q")
    assert [turn.text for turn in question.turns] == [f"3{LONG}", "Q"]
    (note,) = question.notes
    assert len(note) < len(SUMMARISED) + 100
    assert answering.asides[0].max_tokens < 100
    await asked(answering, company.alice, room, "Q2")
    assert len(answering.asides) == 1


@pytest.mark.parametrize("why", ["off", "refused"])
async def test_else_old_turns_are_left_out(
    company: Company, make_room: Any, answering: FakeAnswering, why: str
) -> None:
    room = await make_room()
    if why == "off":
        changed = await update_room(member=company.alice.principal, room_id=room.id, change=RoomChange(summaries=False))
        assert not changed.summaries
    for number in range(5):
        await say(company.alice, room.id, f"{number}{LONG}")
    question = await asked(answering, company.alice, room, "Q")
    assert question.notes == ()
    assert [turn.text for turn in question.turns] == [f"{number}{LONG}" for number in (2, 3, 4)] + ["Q"]
    assert len(answering.asides) == (0 if why == "off" else 1)
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert shown.summary is None
    assert shown.messages[-1].generation is not None
    told = await generation(member=company.alice.principal, generation_id=shown.messages[-1].generation)
    assert told.context == ContextShape(summary=None, left_out=2)


@pytest.mark.parametrize("change", ["edit", "delete"])
async def test_a_summary_goes_with_what_it_was_made_of(
    company: Company, make_room: Any, answering: FakeAnswering, change: str
) -> None:
    room = await make_room()
    alice = company.alice.principal
    answering.aside_text = "canary in short"
    said = [await say(company.alice, room.id, f"{number}{LONG}") for number in range(4)]
    await asked(answering, company.alice, room, "Q")
    before = (await snapshot(member=alice, room_id=room.id)).summary
    assert before is not None
    # What comes after it changes nothing.
    await edit_message(member=alice, message_id=said[3].id, text="other")
    assert (await snapshot(member=alice, room_id=room.id)).summary == before
    if change == "edit":
        await edit_message(member=alice, message_id=said[0].id, text="better")
    else:
        await delete_message(member=alice, message_id=said[0].id)
    assert (await snapshot(member=alice, room_id=room.id)).summary is None
    answering.aside_text = "once more"
    for number in range(4, 6):
        await say(company.alice, room.id, f"{number}{LONG}")
    question = await asked(answering, company.alice, room, "Q2")
    assert question.notes == (SUMMARISED + "once more",)
    assert "canary" not in "".join(turn.text for turn in question.turns)
    assert ("better" in answering.asides[1].text) == (change == "edit")


async def test_each_branch_has_its_own_summaries(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    alice = company.alice.principal
    said = [await say(company.alice, room.id, f"{number}{LONG}") for number in range(4)]
    answering.aside_text = "of the first"
    await asked(answering, company.alice, room, "Q")
    # A branch that begins before what was summarised ends knows nothing of it.
    await say(company.alice, room.id, "aside", parent=said[0].id)
    question = await asked(answering, company.alice, room, "Q2")
    assert question.notes == ()
    assert [turn.text for turn in question.turns] == [f"0{LONG}", "aside", "Q2"]
    assert (await snapshot(member=alice, room_id=room.id)).summary is None
    # One that begins after it shares it.
    await say(company.alice, room.id, "later", parent=said[3].id)
    question = await asked(answering, company.alice, room, "Q3")
    assert question.notes == (SUMMARISED + "of the first",)
    assert len(answering.asides) == 1
    await read_on_at(member=alice, room_id=room.id, message_id=None)


async def test_models_side_by_side_share_a_summary(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    answering.aside_text = "in short"
    for number in range(4):
        await say(company.alice, room.id, f"{number}{LONG}")
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="Q", models=["fake", "other"])
    for one in sent.generations:
        assert (await answering.answer_of(one.id)).question.notes == (SUMMARISED + "in short",)
        await answer(answering, one.id, "A")
    assert len(answering.asides) == 1


async def test_names_are_told_in_shared_rooms(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    await say(company.bob, room.id, "I am away from Monday on.")
    members = (await snapshot(member=company.alice.principal, room_id=room.id)).members
    place = next(one for one in members if one.member.id == company.bob.membership_id)
    await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
    question = await asked(answering, company.alice, room, "When is bob away?")
    assert question.notes == (SEVERAL_PEOPLE,)
    assert [turn.text for turn in question.turns] == ["bob: I am away from Monday on.", "alice: When is bob away?"]


async def test_a_question_longer_than_the_context_is_still_asked(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    await say(company.alice, room.id, "before")
    answering.refusal = None
    question = await asked(answering, company.alice, room, "x" * 1_000)
    assert [turn.text for turn in question.turns] == ["x" * 1_000]


async def test_the_answer_comes_though_the_summary_fails(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(aside: object) -> object:
        raise UpstreamFailed

    monkeypatch.setattr(answering, "aside", fail)
    room = await make_room()
    for number in range(5):
        await say(company.alice, room.id, f"{number}{LONG}")
    assert (await asked(answering, company.alice, room, "Q")).turns[-1] == Turn("user", "Q")


async def test_a_summary_is_kept_without_what_no_store_keeps(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    answering.aside_text = "In\x00short \ud83d\ude00\ud83d"
    for number in range(5):
        await say(company.alice, room.id, f"{number}{LONG}")
    question = await asked(answering, company.alice, room, "Q")
    assert question.notes == (SUMMARISED + "In\ufffdshort \U0001f600\ufffd",)


@pytest.mark.parametrize("how", ["stop", "drain"])
async def test_nobody_waits_for_the_summary_of_an_answer_that_is_not_wanted(
    company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    begun, given_up = asyncio.Event(), asyncio.Event()

    async def hang(aside: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    monkeypatch.setattr(answering, "aside", hang)
    room = await make_room()
    for number in range(5):
        await say(company.alice, room.id, f"{number}{LONG}")
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="Q")
    assert sent.generation is not None
    async with soon():
        await begun.wait()
        if how == "stop":
            await stop_generation(member=company.alice.principal, generation_id=sent.generation.id)
        else:
            await runs().drain(0.0)
        await runs().idle()
    assert given_up.is_set()
    ended = await generation(member=company.alice.principal, generation_id=sent.generation.id)
    # What one process doesn't begin, another may.
    assert ended.status == ("stopped" if how == "stop" else "queued")
    assert answering.answers == {}
