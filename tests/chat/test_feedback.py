"""What people think of answers: changed, taken back, listed for those who look after models, told to the cache."""

from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from chat.disliked import forget_answer
from chat.models import Generation
from chat.services.edits import delete_message
from chat.services.feedback import DISLIKED, give_feedback, list_feedback, take_feedback_back
from chat.snapshots import snapshot
from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from kernel.ids import uuid7
from kernel.models import OutboxMessage
from kernel.outbox import Message
from tests.support.answers import FakeAnswering
from tests.support.cast import Company
from tests.support.conversations import ask, say


async def test_feedback_is_given_changed_listed_and_taken_back(
    company: Company, evil: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    await ask(answering, company.alice, room.id, "Q1", "A1")
    answer = (await snapshot(member=company.alice.principal, room_id=room.id)).messages[1]
    bob, alice = company.bob.principal, company.alice.principal
    first = await give_feedback(member=bob, message_id=answer.id, rating="up")
    second = await give_feedback(member=bob, message_id=answer.id, rating="down", comment="Wrong.")
    assert (second.id, second.rating, second.comment, second.model) == (first.id, "down", "Wrong.", "fake")
    hers = await give_feedback(member=alice, message_id=answer.id, rating="up")
    shown = (await snapshot(member=company.bob.principal, room_id=room.id)).messages
    assert [message.feedback for message in shown] == [None, "down"]
    listed = await list_feedback(caller=alice, before=None, limit=9)
    assert [one.id for one in listed] == [hers.id, second.id]
    assert await list_feedback(caller=alice, before=hers.id, limit=9) == [second]
    assert await list_feedback(caller=alice, before=None, limit=9, rating="down", model="fake") == [second]
    assert await list_feedback(caller=alice, before=None, limit=9, model="other") == []
    assert await list_feedback(caller=evil.alice.principal, before=None, limit=9) == []
    with pytest.raises(PermissionDenied):
        await list_feedback(caller=bob, before=None, limit=9)
    await take_feedback_back(member=bob, message_id=answer.id)
    assert [one.id for one in await list_feedback(caller=alice, before=None, limit=9)] == [hers.id]


async def test_only_answers_of_ones_rooms_are_judged(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    said = await say(company.alice, room.id, "Q0")
    with pytest.raises(Conflict):
        await give_feedback(member=company.alice.principal, message_id=said.id, rating="up")
    await ask(answering, company.alice, room.id, "Q1", "A1")
    answer = (await snapshot(member=company.alice.principal, room_id=room.id)).messages[-1]
    for message_id in (answer.id, uuid7()):
        with pytest.raises(NotFound):
            await give_feedback(member=company.bob.principal, message_id=message_id, rating="up")
    with pytest.raises(InvalidRequest):
        await give_feedback(member=company.alice.principal, message_id=answer.id, rating="up", comment="x" * 2_001)
    await delete_message(member=company.alice.principal, message_id=answer.id)
    with pytest.raises(Conflict):
        await give_feedback(member=company.alice.principal, message_id=answer.id, rating="up")


async def test_a_thumb_down_is_told_to_the_cache_once(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    sent = await ask(answering, company.alice, room.id, "Q1", "A1")
    answer = (await snapshot(member=company.alice.principal, room_id=room.id)).messages[1]
    for rating in ("up", "down", "down"):
        await give_feedback(member=company.alice.principal, message_id=answer.id, rating=rating)

    def told() -> list[dict[str, Any]]:
        with company.scope(), transaction.atomic():
            asked = Generation.objects.get(id=sent.generation.id if sent.generation else None).request_id
            payloads = list(OutboxMessage.objects.filter(topic=DISLIKED).values_list("payload", flat=True))
            assert payloads == [{"request_id": str(asked)}]
            # No cache served it: nothing happens.
            forget_answer(Message(uuid7(), company.id, DISLIKED, payloads[0], 1, False, datetime.now(UTC)))
            return payloads

    assert len(await sync_to_async(told)()) == 1
