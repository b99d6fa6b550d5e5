"""Among whom an answer is shared, and when it crosses from one member to another."""

import random
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.providers.cache.conftest import House, text_of
from tests.providers.cache.semantic.conftest import entries, switch_on
from tests.providers.cache.semantic.test_alike import ALIKE, ASKED, Written

WORDINGS = ("How do I reach the {} office?", "how do I reach the {} office", "Please, how do I reach the {} office?")
TOPICS = ("harbour", "tax", "passport", "forest", "library", "mining", "fishing", "postal")
TENANTS, QUESTIONS, OPERATIONS = 4, 8, 200


async def ask_as(house: House, who: str, prompt: str) -> Any:
    """Ask as a member of the house's company."""
    return await house.ask(prompt, credential=getattr(house.company, who).access_token())


async def test_an_answer_is_given_to_another_member_once_one_of_theirs_agreed(alike: House, written: Written) -> None:
    alike.upstream.script(text="Paris.")
    assert (await ask_as(alike, "alice", ASKED)).headers["x-parley-cache"] == "miss"
    await written()
    assert (await ask_as(alike, "alice", ALIKE)).headers["x-parley-cache"] == "semantic"
    assert (await ask_as(alike, "bob", ALIKE)).headers["x-parley-cache"] == "miss"
    await written()
    assert [entry.confirmed for entry in await sync_to_async(entries)(alike.company)] == [True, True]
    assert (await ask_as(alike, "bob", f"{ASKED}?!")).headers["x-parley-cache"] == "semantic"
    assert alike.asked == 2


async def test_an_answer_that_another_members_contradicts_stays_with_its_member(alike: House, written: Written) -> None:
    alike.upstream.script(text="Paris.")
    await ask_as(alike, "alice", ASKED)
    await written()
    alike.upstream.script(text="It is Lyon, at least for you and your department.")
    assert (await ask_as(alike, "bob", ALIKE)).headers["x-parley-cache"] == "miss"
    await written()
    kept = await sync_to_async(entries)(alike.company)
    assert [entry.confirmed for entry in kept] == [False, False]
    assert len({entry.cluster for entry in kept}) == 2


async def test_by_default_each_principal_has_its_own(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, sharing="principal")
    await ask_as(alike, "alice", ASKED)
    await written()
    for expected in ("miss", "exact"):
        assert (await ask_as(alike, "bob", ALIKE)).headers["x-parley-cache"] == expected
        await written()
    assert alike.asked == 2
    assert not any(entry.confirmed or entry.shared for entry in await sync_to_async(entries)(alike.company))


@pytest.mark.parametrize("sharing", ["principal", "tenant"])
async def test_nothing_crosses_tenants_and_most_is_served_within(
    house: House, open_house: Any, new_company: Any, written: Written, sharing: str
) -> None:
    """`bench/semantic.py` does the same with 20 tenants, 200 questions and 100,000 operations."""
    chance = random.Random(7)
    houses = [house]
    for _ in range(TENANTS - 1):
        houses.append(await open_house(await sync_to_async(new_company)()))
    for one in houses:
        await sync_to_async(switch_on)(one.company, sharing=sharing)
    hits = asked = 0
    for number in range(OPERATIONS):
        which = chance.randrange(TENANTS)
        topic = chance.randrange(QUESTIONS)
        one = houses[which]
        expected = f"The {TOPICS[topic]} office of house {which} is known to it alone."
        one.upstream.script(text=expected)
        answer = await one.ask(chance.choice(WORDINGS).format(TOPICS[topic]))
        assert text_of(answer) == expected
        await written()
        asked += number >= TENANTS * QUESTIONS * 2
        hits += number >= TENANTS * QUESTIONS * 2 and answer.headers["x-parley-cache"] in ("exact", "semantic")
    assert hits >= 0.9 * asked
