"""A room's state tells of each answer how it came to be, and of those that came to nothing."""

from typing import Any

from chat.generations.runs import runs
from chat.services.messages import send_message
from chat.shapes import Answered, Failure, Usage
from chat.snapshots import snapshot
from kernel.errors import UpstreamFailed
from tests.support.answers import FakeAnswering
from tests.support.cast import Company


async def test_each_answer_tells_what_it_cost_and_how_it_ended(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    alice = company.alice.principal
    for stopped in (False, True):
        sent = await send_message(member=alice, room_id=room.id, text="Go on.")
        assert sent.generation is not None
        answer = await answering.answer_of(sent.generation.id)
        answer.say("Here it is.")
        if stopped:
            answer.stop()
        else:
            answer.end()
        await runs().idle()

    shown = (await snapshot(member=alice, room_id=room.id)).messages
    spent = Usage(input=3, output=5)
    assert [message.answered for message in shown] == [
        None,
        Answered(status="complete", error=None, usage=spent, cost_nano=13),
        None,
        Answered(status="stopped", error=None, usage=spent, cost_nano=13),
    ]


async def test_an_answer_that_failed_without_a_word_is_still_told(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    alice = company.alice.principal
    sent = await send_message(member=alice, room_id=room.id, text="Anybody there?")
    assert sent.generation is not None
    (await answering.answer_of(sent.generation.id)).fail(UpstreamFailed("The provider is not to be had."))
    await runs().idle()

    (told,) = (await snapshot(member=alice, room_id=room.id)).generations
    assert told.id == sent.generation.id
    assert told.prompt == sent.message.id
    assert (told.status, told.answer, told.text) == ("failed", None, None)
    assert told.error == Failure(code="upstream_failed", message="The provider is not to be had.")
