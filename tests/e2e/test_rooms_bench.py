"""The benches of conversation and of fan-out, small: after a minute everybody has PostgreSQL's history, and hears all once."""

import pytest

from bench import fanout, rooms
from bench.fanout import World
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.servers import database_url
from tests.support.stack import Stack

pytestmark = pytest.mark.no_database
PEOPLE = 4


@pytest.fixture(scope="module")
def world(stack: Stack, upstream: OpenAIUpstream) -> World:
    return fanout.make_world(stack, rooms=2, people=PEOPLE, model=MODEL, database_url=database_url("test_e2e"))


async def test_everybody_ends_with_the_same_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PAUSE_S", (0.3, 1.5))
    monkeypatch.setattr(rooms, "ANSWERED_ONE_IN", 5)
    course, wrong = await rooms.converse(world, seconds=60.0)
    assert wrong == []
    assert course.said > PEOPLE


async def test_everybody_hears_it_once_and_comes_back_for_what_they_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "PEOPLE", PEOPLE)
    monkeypatch.setattr(fanout, "SETTLE_S", 0.0)
    ears = await fanout.ears_in(world, world.rooms, 10)
    took = await fanout.one_message(world, ears, world.rooms, "mark-a")
    assert len(took) == len(ears) == 20
    assert not any(ear.repeated for ear in ears)
    for ear in ears:
        await ear.cut()
    _, missed, _ = await fanout.come_back(world, sockets=20)
    assert missed == 0
