"""A room gets its title from its first exchange."""

from typing import Any

import pytest

from chat.events import events_after
from chat.generations.titles import titles
from chat.services.edits import delete_message
from chat.services.messages import send_message
from chat.services.policies import PolicyChange, change_policy
from chat.services.rooms import RoomChange, update_room
from chat.shapes import RoomShape
from chat.snapshots import snapshot
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.conversations import answer, ask, say


async def title_of(company: Company, room: RoomShape) -> str:
    """Once nobody looks for one."""
    await titles().idle()
    return (await snapshot(member=company.alice.principal, room_id=room.id)).room.title


async def test_the_first_exchange_names_the_room(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room()
    answering.title_text = '"Colours of the **sky**"\nBecause of the light.'
    await ask(answering, company.alice, room.id, "Why is it blue?", "Light scatters.")
    assert await title_of(company, room) == "Colours of the **sky"
    asked = answering.titles[0]
    assert (asked.room_id, asked.principal.membership_id) == (room.id, company.alice.membership_id)
    assert asked.text == "Why is it blue?\n\nLight scatters."
    head, events = await events_after(company.id, room.id, seq=0, limit=9)
    assert events[-1].type == "room.updated"
    assert head.seq == len(events) == 4
    answering.title_text = "Another"
    await ask(answering, company.alice, room.id, "And at night?", "It isn't.")
    assert await title_of(company, room) == "Colours of the **sky"
    assert len(answering.titles) == 1


@pytest.mark.parametrize("why", ["titled", "off", "off for all", "renamed meanwhile", "blank"])
async def test_a_room_keeps_its_name(company: Company, make_room: Any, answering: FakeAnswering, why: str) -> None:
    alice = company.alice.principal
    room = await make_room(title="Mine") if why == "titled" else await make_room()
    answering.title_text = " \n" if why == "blank" else "Another"
    if why == "off":
        await update_room(member=alice, room_id=room.id, change=RoomChange(titles=False))
    if why == "off for all":
        assert not (await change_policy(member=alice, change=PolicyChange(titles=False))).titles
    sent = await send_message(member=alice, room_id=room.id, text="Q")
    assert sent.generation is not None
    if why == "renamed meanwhile":
        await update_room(member=alice, room_id=room.id, change=RoomChange(title="New room"))
    await answer(answering, sent.generation.id, "A")
    assert await title_of(company, room) == ("Mine" if why == "titled" else "New room")
    assert len(answering.titles) == (1 if why == "blank" else 0)


async def test_it_is_tried_a_few_times_and_then_no_more(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    for number in range(5):
        await ask(answering, company.alice, room.id, f"Q{number}", "A")
        assert await title_of(company, room) == "New room"
    assert len(answering.titles) == 3


@pytest.mark.parametrize("by", ["a model", "a person"])
async def test_a_title_goes_with_what_it_was_made_of(
    company: Company, make_room: Any, answering: FakeAnswering, by: str
) -> None:
    alice, room = company.alice.principal, await make_room()
    answering.title_text = "About secrets"
    await ask(answering, company.alice, room.id, "A secret?", "None.")
    title = await title_of(company, room)
    if by == "a person":
        title = (await update_room(member=alice, room_id=room.id, change=RoomChange(title="Ours"))).title
    await say(company.alice, room.id, "something else")
    question, _, last = (await snapshot(member=alice, room_id=room.id)).messages
    await delete_message(member=alice, message_id=last.id)
    assert await title_of(company, room) == title
    deleted = await delete_message(member=alice, message_id=question.id)
    assert await title_of(company, room) == ("Ours" if by == "a person" else "New room")
    assert deleted.seq is not None
    assert (await snapshot(member=alice, room_id=room.id)).seq == deleted.seq + (by == "a model")
    answering.title_text = "About the weather"
    await ask(answering, company.alice, room.id, "Rain?", "No.")
    assert await title_of(company, room) == ("Ours" if by == "a person" else "About the weather")
