"""Messages: numbered without gaps, written once, answered."""

import asyncio
import uuid
from typing import Any

import pytest

from chat.events import events_after
from chat.generations.runs import runs
from chat.realtime import streams
from chat.services import messages
from chat.services.members import remove_member
from chat.services.messages import send_message
from chat.services.rooms import delete_room
from chat.snapshots import snapshot
from chat.store import first, transaction
from kernel.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, UpstreamFailed
from kernel.redis import async_redis
from kernel.redis_line import Script
from tests.support.answers import FakeAnswering
from tests.support.cast import Company


async def test_a_message_is_answered(company: Company, make_room: Any, answering: FakeAnswering) -> None:
    room = await make_room(instructions="Be brief.")
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="What is up?")
    assert sent.generation is not None
    answer = await answering.answer_of(sent.generation.id)
    answer.say("The ", "sky.")
    answer.end()
    await runs().idle()
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert [message.text for message in shown.messages] == ["What is up?", "The sky."]
    assert shown.messages[1].author.kind == "model"
    assert shown.messages[1].parent == sent.message.id
    assert shown.generations == ()
    assert shown.seq == 3
    assert answer.question.instructions == "Be brief."
    assert [turn.text for turn in answer.question.turns] == ["What is up?"]


async def test_events_have_no_gaps_when_many_write_at_once(company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    members = [company.alice.principal, company.bob.principal]
    await asyncio.gather(
        *(
            send_message(member=members[number % 2], room_id=room.id, text=f"{number}", generate=False)
            for number in range(20)
        )
    )
    head, events = await events_after(company.id, room.id, seq=0, limit=100)
    assert [event.seq for event in events] == list(range(1, 22))
    held = await streams.read_after(company.id, room.id, seq=0)
    assert held is not None
    assert held.head.seq == head.seq == 21
    assert len(held.payloads) == 21


async def test_the_same_cid_writes_once(company: Company, make_room: Any) -> None:
    room = await make_room()
    alice = company.alice.principal
    sent = await asyncio.gather(
        *(send_message(member=alice, room_id=room.id, text="once", generate=False, cid="c1") for _ in range(5))
    )
    assert len({one.message.id for one in sent}) == 1
    assert {one.seq for one in sent} == {1}
    shown = await snapshot(member=alice, room_id=room.id)
    assert len(shown.messages) == 1
    assert shown.seq == 1


async def test_a_cid_of_another_rooms_message_is_a_conflict(company: Company, make_room: Any) -> None:
    one, other = await make_room(), await make_room()
    alice = company.alice.principal
    await send_message(member=alice, room_id=one.id, text="once", generate=False, cid="c1")
    with pytest.raises(Conflict):
        await send_message(member=alice, room_id=other.id, text="twice", generate=False, cid="c1")


@pytest.mark.parametrize("text", ["", "   ", "nul\x00", "half \ud83d", "x" * 100_001])
async def test_text_that_cannot_be_kept_is_refused(company: Company, make_room: Any, text: str) -> None:
    room = await make_room()
    with pytest.raises(InvalidRequest):
        await send_message(member=company.alice.principal, room_id=room.id, text=text)


async def test_strangers_find_no_room(company: Company, evil: Company, make_room: Any) -> None:
    room = await make_room()
    for stranger in (company.bob, evil.alice):
        with pytest.raises(NotFound):
            await send_message(member=stranger.principal, room_id=room.id, text="hi")


async def test_a_viewer_reads_but_does_not_write(company: Company, make_room: Any) -> None:
    from chat.services.members import add_member

    room = await make_room("shared")
    await add_member(member=company.alice.principal, room_id=room.id, membership_id=company.vera.membership_id)
    assert (await snapshot(member=company.vera.principal, room_id=room.id)).room.id == room.id
    with pytest.raises(PermissionDenied):
        await send_message(member=company.vera.principal, room_id=room.id, text="hi")


async def test_a_provider_that_fails_leaves_the_room_usable(
    company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    alice = company.alice.principal
    sent = await send_message(member=alice, room_id=room.id, text="one")
    assert sent.generation is not None
    answer = await answering.answer_of(sent.generation.id)
    answer.say("half")
    answer.fail(UpstreamFailed("The provider is away."))
    await runs().idle()
    _, events = await events_after(company.id, room.id, seq=2, limit=10)
    assert events[0].type == "generation.finished"
    assert b'"status":"failed"' in bytes(events[0].body)
    assert b'"upstream_failed"' in bytes(events[0].body)
    assert b'"text":"half"' in bytes(events[0].body)
    answering.refusal = UpstreamFailed()
    await send_message(member=alice, room_id=room.id, text="two")
    await runs().idle()
    shown = await snapshot(member=alice, room_id=room.id)
    assert [message.text for message in shown.messages] == ["one", "half", "two"]
    assert shown.seq == 6


async def test_a_lost_stream_gets_a_new_epoch_and_loses_nothing(company: Company, make_room: Any) -> None:
    room = await make_room()
    alice = company.alice.principal
    await send_message(member=alice, room_id=room.id, text="1", generate=False)
    await async_redis().delete(streams.meta_key(company.id, room.id), streams.stream_key(company.id, room.id))
    await send_message(member=alice, room_id=room.id, text="2", generate=False)
    head = await streams.stream_head(company.id, room.id)
    assert head is not None
    assert (head.epoch, head.seq) == (2, 2)
    assert await streams.read_after(company.id, room.id, seq=0) is None
    found, events = await events_after(company.id, room.id, seq=0, limit=10)
    assert found == head
    assert [event.seq for event in events] == [1, 2]


async def test_a_gap_in_the_stream_is_filled_by_the_next_to_publish(company: Company, make_room: Any) -> None:
    room = await make_room()
    alice = company.alice.principal
    await send_message(member=alice, room_id=room.id, text="1", generate=False)
    await async_redis().hset(streams.meta_key(company.id, room.id), "head", "0")
    await async_redis().delete(streams.stream_key(company.id, room.id))
    await send_message(member=alice, room_id=room.id, text="2", generate=False)
    held = await streams.read_after(company.id, room.id, seq=0)
    assert held is not None
    assert len(held.payloads) == 2


async def test_nobody_waits_for_redis_to_write(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await make_room()
    monkeypatch.setattr(streams, "_APPEND", Script("return redis.error_reply('away')"))
    sent = await send_message(member=company.alice.principal, room_id=room.id, text="1", generate=False)
    assert sent.seq == 1


async def test_unknown_rooms_are_not_found(company: Company) -> None:
    with pytest.raises(NotFound):
        await send_message(member=company.alice.principal, room_id=uuid.uuid4(), text="hi")


@pytest.mark.parametrize("meanwhile", ["deleted", "removed"])
async def test_nothing_is_said_in_a_room_that_one_has_just_lost(
    company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    room = await make_room("shared")
    taking = messages.take_numbers_to_speak

    async def loses(*args: Any, **options: Any) -> Any:
        if meanwhile == "deleted":
            await delete_room(member=company.alice.principal, room_id=room.id)
        else:
            shown = await snapshot(member=company.alice.principal, room_id=room.id)
            place = next(one.id for one in shown.members if one.member.id == company.bob.membership_id)
            await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place)
        return await taking(*args, **options)

    monkeypatch.setattr(messages, "take_numbers_to_speak", loses)
    with pytest.raises(NotFound):
        await send_message(member=company.bob.principal, room_id=room.id, text="Too late.")
    async with transaction(company.id) as connection:
        left = await first(connection, "SELECT 1 FROM chat_message WHERE room_id = %s", (room.id,))
    assert left is None
