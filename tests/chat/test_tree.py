"""History as a tree: branches begin where somebody writes, and everybody reads their own."""

import uuid
from typing import Any

import pytest

from chat.reading import read_branch, read_siblings
from chat.services.answers import regenerate, start_generations
from chat.services.branches import read_on_at
from chat.services.messages import send_message
from chat.snapshots import snapshot
from chat.store import transaction
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.ids import unix_ms, uuid7, uuid7_floor
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.conversations import answer, ask, say, texts_of


async def test_messages_follow_one_another(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    first = await ask(answering, company.alice, room.id, "Q1", "A1")
    second = await say(company.bob, room.id, "Q2")
    shown = await snapshot(member=company.bob.principal, room_id=room.id)
    assert [message.text for message in shown.messages] == ["Q1", "A1", "Q2"]
    assert [message.parent for message in shown.messages] == [None, first.message.id, shown.messages[1].id]
    assert (shown.branch.chosen, shown.branch.leaf) == (None, second.id)
    assert [message.siblings for message in shown.messages] == [None, None, None]


async def test_a_message_after_an_earlier_one_begins_a_branch(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    first = await ask(answering, company.alice, room.id, "Q1", "A1")
    answered = (await snapshot(member=company.alice.principal, room_id=room.id)).messages[1]
    here = await say(company.alice, room.id, "Q2")
    await say(company.alice, room.id, "Q3")
    await say(company.bob, room.id, "other", parent=answered.id)
    assert await texts_of(company.bob, room.id) == ["Q1", "A1", "other"]
    shown = (await snapshot(member=company.bob.principal, room_id=room.id)).messages[2]
    assert shown.siblings is not None
    assert (shown.siblings.count, shown.siblings.place, shown.siblings.previous) == (2, 2, here.id)
    # Bob's branch is told to a model, alice's isn't.
    sent = await send_message(member=company.bob.principal, room_id=room.id, text="Q4")
    assert sent.generation is not None
    asked = (await answering.answer_of(sent.generation.id)).question
    assert [turn.text.removeprefix("bob: ").removeprefix("alice: ") for turn in asked.turns] == [
        "Q1",
        "A1",
        "other",
        "Q4",
    ]
    await read_on_at(member=company.alice.principal, room_id=room.id, message_id=here.id)
    assert await texts_of(company.alice, room.id) == ["Q1", "A1", "Q2", "Q3"]
    assert await texts_of(company.bob, room.id) == ["Q1", "A1", "other", "Q4"]
    assert (await read_on_at(member=company.alice.principal, room_id=room.id, message_id=None)).leaf == sent.message.id
    beginning = await say(company.alice, room.id, "anew", parent=first.message.id)
    assert beginning.parent == first.message.id


async def test_what_is_said_while_an_answer_is_written_is_no_branch(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    one = await send_message(member=company.alice.principal, room_id=room.id, text="Q1")
    two = await send_message(member=company.bob.principal, room_id=room.id, text="Q2")
    assert one.generation is not None
    assert two.generation is not None
    assert two.message.parent == one.message.id
    await answer(answering, two.generation.id, "A2")
    await answer(answering, one.generation.id, "A1")
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert [message.text for message in shown.messages] == ["Q1", "Q2", "A2", "A1"]
    assert {message.siblings for message in shown.messages} == {None}
    three = await send_message(member=company.alice.principal, room_id=room.id, text="Q3")
    assert three.generation is not None
    asked = (await answering.answer_of(three.generation.id)).question
    assert [turn.role for turn in asked.turns] == ["user", "assistant", "user", "assistant", "user"]


async def test_several_models_answer_side_by_side(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    sent = await send_message(
        member=company.alice.principal, room_id=room.id, text="Q1", models=["fake", "other", "fake"]
    )
    assert [generation.model for generation in sent.generations] == ["fake", "other"]
    for generation in sent.generations:
        await answer(answering, generation.id, f"by {generation.model}")
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert [message.text for message in shown.messages] == ["Q1", "by other"]
    beside = shown.messages[1].siblings
    assert beside is not None
    assert (beside.count, beside.place, beside.next) == (2, 2, None)
    assert beside.previous is not None
    chosen = await read_on_at(member=company.alice.principal, room_id=room.id, message_id=beside.previous)
    assert chosen.leaf == beside.previous
    await say(company.alice, room.id, "Q2")
    assert await texts_of(company.alice, room.id) == ["Q1", "by fake", "Q2"]
    both = await read_siblings(member=company.bob.principal, message_id=beside.previous, after=None, limit=10)
    assert [message.text for message in both] == ["by fake", "by other"]


async def test_an_answer_is_asked_for_anew(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    alice = company.alice.principal
    first = await ask(answering, company.alice, room.id, "Q1", "A1")
    await say(company.bob, room.id, "Q2")
    assert first.generation is not None
    again = await regenerate(member=alice, generation_id=first.generation.id, model="other", cid="r1")
    assert (again.generations[0].model, again.generations[0].anew) == ("other", True)
    assert await texts_of(company.alice, room.id) == ["Q1"]
    with pytest.raises(Conflict):
        await regenerate(member=alice, generation_id=again.generations[0].id)
    assert (await answering.answer_of(again.generations[0].id)).question.anew
    await answer(answering, again.generations[0].id, "A1 again")
    assert await texts_of(company.alice, room.id) == ["Q1", "A1 again"]
    assert await texts_of(company.bob, room.id) == ["Q1", "A1", "Q2"]
    repeated = await regenerate(member=alice, generation_id=first.generation.id, model="other", cid="r1")
    assert repeated.generations[0].id == again.generations[0].id
    assert repeated.seq == again.seq


async def test_any_message_can_be_answered_later(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room("shared")
    said = await say(company.bob, room.id, "Q1")
    started = await start_generations(
        member=company.alice.principal, message_id=said.id, models=["other", "fake"], cid="s"
    )
    for generation in started.generations:
        assert generation.prompt == said.id
        await answer(answering, generation.id, generation.model)
    assert await texts_of(company.alice, room.id) == ["Q1", "other"]
    repeated = await start_generations(member=company.alice.principal, message_id=said.id, models=["fake"], cid="s")
    assert [one.id for one in repeated.generations] == [one.id for one in started.generations]
    with pytest.raises(Conflict):
        await send_message(member=company.alice.principal, room_id=room.id, text="x", generate=False, cid="s")


async def test_strangers_find_no_message(company: Company, evil: Company, make_room: Any) -> None:
    room = await make_room()
    said = await say(company.alice, room.id, "Q1")
    for stranger in (company.bob, evil.alice):
        with pytest.raises(NotFound):
            await start_generations(member=stranger.principal, message_id=said.id)
        with pytest.raises(NotFound):
            await read_siblings(member=stranger.principal, message_id=said.id, after=None, limit=1)


@pytest.mark.parametrize("what", ["nothing", "of another room"])
async def test_a_parent_must_be_in_the_room(company: Company, make_room: Any, what: str) -> None:
    room, other = await make_room(), await make_room()
    parent = uuid.uuid4() if what == "nothing" else (await say(company.alice, other.id, "x")).id
    with pytest.raises(InvalidRequest):
        await say(company.alice, room.id, "y", parent=parent)
    with pytest.raises(InvalidRequest):
        await read_on_at(member=company.alice.principal, room_id=room.id, message_id=parent)


async def test_what_another_clock_made_comes_before_what_follows(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    """A host whose clock is an hour ahead wrote in the room before: the order of what is said there is that of its numbers."""
    room = await make_room()
    ahead = uuid7_floor(unix_ms(uuid7()) + 3_600_000)
    async with transaction(company.id) as connection:
        await connection.execute("UPDATE chat_room SET last_id = %s WHERE id = %s", (ahead, room.id))
    asked = await send_message(
        member=company.alice.principal, room_id=room.id, text="Q1", models=["fake", "other"], generate=True
    )
    second = await say(company.alice, room.id, "Q2")
    for number, generation in enumerate(asked.generations):
        await answer(answering, generation.id, f"A{number}")
    shown = (await snapshot(member=company.alice.principal, room_id=room.id)).messages
    assert [message.text for message in shown] == ["Q1", "Q2", "A0", "A1"]
    made = [ahead, asked.message.id, *(one.id for one in asked.generations), second.id, shown[2].id, shown[3].id]
    assert made == sorted(set(made))


async def test_a_branch_is_read_page_by_page(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    alice = company.alice.principal
    one = await send_message(member=alice, room_id=room.id, text="0")
    assert one.generation is not None
    said = [await say(company.alice, room.id, f"{number}") for number in range(1, 6)]
    await answer(answering, one.generation.id, "late")
    await say(company.alice, room.id, "aside", parent=one.message.id)

    async def read(through: uuid.UUID | None, limit: int) -> list[list[str]]:
        pages: list[list[str]] = []
        after: uuid.UUID | None = None
        while len(pages) < 9:
            found = await read_branch(member=alice, room_id=room.id, through=through, after=after, limit=limit + 1)
            shown = found[:limit]
            pages.append([message.text for stretch in shown for message in stretch.messages])
            if len(found) <= limit:
                break
            after = shown[-1].id
        return pages

    assert await read(None, 2) == [["aside", "0"]]
    assert await read(said[2].id, 2) == [["5", "4"], ["3", "2"], ["1", "late", "0"]]
    assert await read(said[2].id, 5) == [["5", "4", "3", "2", "1"], ["late", "0"]]
    with pytest.raises(NotFound):
        await read(uuid.uuid4(), 2)
