"""What rooms ask: a thumbs-down evicts."""

import uuid

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from chat.answering import Question, Turn
from chat.pipeline_answering import PipelineAnswering
from kernel.ids import uuid7
from providers.services.cache import forget_disliked
from providers.services.forgetting import forget_answers
from tests.providers.cache.conftest import House
from tests.providers.cache.semantic.conftest import entries, switch_on
from tests.providers.cache.semantic.test_alike import ASKED, Written


@pytest.fixture(autouse=True)
def _no_window(settings: object) -> None:
    settings.DEDUPE_WINDOW_S = 0  # type: ignore[attr-defined]


async def put_question(house: House, room_id: uuid.UUID, *, request_id: uuid.UUID | None = None) -> uuid.UUID:
    """A member's question in a room, answered; the request's id."""
    request_id = request_id or uuid7()
    question = Question(
        principal=house.company.alice.principal,
        request_id=request_id,
        generation_id=uuid7(),
        room_id=room_id,
        room_title="",
        alias=house.model,
        instructions="Be brief.",
        turns=(Turn("user", ASKED),),
    )
    answer = await PipelineAnswering().begin(question)
    assert [piece async for piece in answer.pieces()]
    return request_id


async def test_a_thumbs_down_on_an_answer_that_was_kept_evicts_it(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, opt_in_all=True)
    request_id = await put_question(alike, uuid7())
    await written()

    def thumbs_down() -> bool:
        with alike.company.scope(), transaction.atomic():
            return forget_disliked(request_id)

    assert await sync_to_async(thumbs_down)()
    assert [(one.wrong, one.size) for one in await sync_to_async(entries)(alike.company)] == [(1, 0)]
    await put_question(alike, uuid7())
    assert alike.asked == 2
    assert not await sync_to_async(thumbs_down)()


async def test_an_answer_that_was_under_way_when_the_room_forgot_is_not_kept(alike: House, written: Written) -> None:
    await sync_to_async(switch_on)(alike.company, opt_in_all=True)
    room_id, under_way = uuid7(), uuid7()

    def forget() -> None:
        with alike.company.scope(), transaction.atomic():
            forget_answers(room_id)

    await sync_to_async(forget)()
    await put_question(alike, room_id, request_id=under_way)
    await alike.written()
    await written()
    assert await sync_to_async(entries)(alike.company) == []
    await put_question(alike, uuid7())
    await written()
    assert len(await sync_to_async(entries)(alike.company)) == 1
