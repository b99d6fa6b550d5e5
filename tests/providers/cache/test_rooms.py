"""A room's question that was asked before: its answer comes from the cache, shows its tokens, and costs nothing."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from chat.answering import Answer, Aside, Ending, Question, Turn
from chat.pipeline_answering import PipelineAnswering
from chat.shapes import Usage
from kernel.ids import uuid7
from providers.cache.models import CacheEntry
from providers.cache.writes import writes
from providers.services.forgetting import forget_answers
from tests.providers.cache.conftest import House
from tests.support.patience import soon


async def put_question(house: House, text: str, *, room_id: uuid.UUID | None = None) -> tuple[str, Ending]:
    """The answer to a member's question in a room, and how it ended."""
    answer = await PipelineAnswering().begin(asking(house, text, room_id=room_id or uuid7()))
    return await read(answer)


def asking(house: House, text: str, *, room_id: uuid.UUID) -> Question:
    return Question(
        principal=house.company.alice.principal,
        request_id=uuid7(),
        generation_id=uuid7(),
        room_id=room_id,
        room_title="",
        alias=house.model,
        instructions="Be brief.",
        turns=(Turn("user", text),),
    )


def kept(house: House) -> list[bytes]:
    """The keys of what PostgreSQL keeps."""
    with house.company.scope(), transaction.atomic():
        return [bytes(key) for key in CacheEntry.objects.values_list("key", flat=True)]


async def read(answer: Answer) -> tuple[str, Ending]:
    pieces = [piece async for piece in answer.pieces()]
    async with soon():
        while answer.ending is None:
            await asyncio.sleep(0.01)
    return "".join(piece.text for piece in pieces), answer.ending


async def test_an_answer_from_the_cache_shows_its_tokens_and_costs_nothing(house: House) -> None:
    await house.rest("PATCH", "cache", {"opt_in_all": True})
    said, first = await put_question(house, "How high is it?")
    again, second = await put_question(house, "How high is it?")
    assert said == again == "You said: How high is it?"
    assert house.asked == 1
    assert (first.status, second.status) == ("complete", "complete")
    assert first.usage is not None
    assert first.usage.input > 0
    assert first.usage.output > 0
    assert second.usage == first.usage
    assert first.cost_nano == first.usage.input * 1_000 + first.usage.output * 2_000
    assert second.cost_nano == 0
    billed = [(record.cache, record.output, record.cost_nano > 0) for record in await house.usage(2)]
    assert sorted(billed) == [("exact", 0, False), ("miss", first.usage.output, True)]


async def test_an_answer_that_was_under_way_when_the_room_forgot_is_not_kept(house: House, settings: Any) -> None:
    settings.DEDUPE_WINDOW_S = 0
    await house.rest("PATCH", "cache", {"opt_in_all": True})
    room_id = uuid7()
    under_way = await PipelineAnswering().begin(asking(house, "What did they say?", room_id=room_id))

    def forget() -> None:
        with house.company.scope(), transaction.atomic():
            forget_answers(room_id)

    await sync_to_async(forget)()
    await read(under_way)
    await writes().flush()
    assert await sync_to_async(kept)(house) == []
    for _ in range(2):
        await put_question(house, "What did they say?", room_id=room_id)
        await writes().flush()
    assert house.asked == 2
    assert len(await sync_to_async(kept)(house)) == 1


async def test_a_question_asked_twice_at_once_is_paid_for_once(house: House) -> None:
    await house.rest("PATCH", "cache", {"opt_in_all": True})
    (one, first), (other, second) = await asyncio.gather(*(put_question(house, "And how wide?") for _ in range(2)))
    assert one == other == "You said: And how wide?"
    assert house.asked == 1
    assert first.usage == second.usage != Usage()
    costs = sorted((first.cost_nano, second.cost_nano), key=lambda cost: cost or 0)
    assert costs[0] == 0
    assert costs[1] is not None
    assert costs[1] > 0


async def test_an_aside_is_billed_as_the_rooms(house: House) -> None:
    room_id = uuid7()
    aside = Aside(
        purpose="title",
        principal=house.company.alice.principal,
        room_id=room_id,
        alias=house.model,
        asked="Give this a title.",
        text="How high is it?",
        max_tokens=64,
    )
    said = await PipelineAnswering().aside(aside)
    assert said.text == "You said: How high is it?"
    (record,) = await house.usage(1)
    assert (record.subject_kind, record.subject_id, record.request_id) == ("room", room_id, said.request_id)
    assert record.sell_nano == said.cost_nano
    assert said.cost_nano is not None
    assert said.cost_nano > 0


async def test_a_model_of_a_role_is_asked_only_by_those_who_may(house: House) -> None:
    alice, pipeline = house.company.alice.principal, PipelineAnswering()
    assert await pipeline.helper_model(principal=alice, purpose="title", alias="mine") == "mine"
    await house.rest("PUT", "model-roles", {"roles": {"title": house.model}})
    assert await pipeline.helper_model(principal=alice, purpose="title", alias="mine") == house.model
    keyed = replace(alice, allowed_models=frozenset({"mine"}))
    assert await pipeline.helper_model(principal=keyed, purpose="title", alias="mine") == "mine"
    window = await pipeline.window(principal=alice, alias=house.model)
    assert window.answer_tokens == 4_096
    assert pipeline.tokens_of("x" * 400) == 104
