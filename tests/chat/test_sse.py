"""Rooms and answers over server-sent events: the same bodies, resumed by the last id, watched over like sockets."""

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from chat.generations.runs import runs
from chat.realtime import sse
from chat.realtime.hub import hub
from chat.services.members import remove_member
from chat.services.messages import send_message
from chat.snapshots import snapshot
from kernel.ids import uuid7
from tenants.models import ApiKey
from tenants.services.api_keys import revoke_api_key
from tests.support.answers import FakeAnswering, ScriptedAnswer
from tests.support.cast import Company
from tests.support.sse_client import listening


@pytest.fixture
def base(server: str) -> str:
    return server.replace("ws://", "http://").removesuffix("/ws") + "/api/v1"


async def say(company: Company, room_id: uuid.UUID, text: str) -> None:
    await send_message(member=company.alice.principal, room_id=room_id, text=text, generate=False)


async def begin(company: Company, room_id: uuid.UUID, answering: FakeAnswering) -> tuple[str, ScriptedAnswer]:
    sent = await send_message(member=company.alice.principal, room_id=room_id, text="Go on.")
    assert sent.generation is not None
    return str(sent.generation.id), await answering.answer_of(sent.generation.id)


async def test_a_room_is_heard_and_resumed_by_the_last_id(
    base: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    url = f"{base}/rooms/{room.id}/events"
    async with listening(url, company.bob.access_token()) as first:
        assert first.headers["content-type"].startswith("text/event-stream")
        await first.until(lambda: first.frames)
        assert (first.frames[0]["op"], first.frames[0]["reason"]) == ("reset", "fresh")
        gid, answer = await begin(company, room.id, answering)
        answer.say("Hm", kind="reasoning")
        answer.say("naïve 𝒳")
        await first.until(lambda: first.texts(gid) == {0: "Hm", 1: "naïve 𝒳"})
        last_id = first.last_id
        assert last_id.split(":")[1] == str(first.frames[-3]["seq"] if first.frames[-3]["op"] == "ev" else 3)
    await say(company, room.id, "while away")
    async with listening(url, company.bob.access_token(), last_id=last_id) as second:
        answer.say(" e\u0301.")
        answer.end()
        await second.until(lambda: any(frame.get("type") == "generation.finished" for frame in second.frames))
        assert [frame["type"] for frame in second.frames if frame["op"] == "ev"] == [
            "message.created",
            "generation.finished",
        ]
        assert second.texts(gid) == {0: "Hm", 1: "naïve 𝒳 e\u0301."}


async def test_an_answer_is_followed_to_its_end_from_any_place(
    base: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room()
    gid, answer = await begin(company, room.id, answering)
    url, token = f"{base}/generations/{gid}/stream", company.alice.access_token()
    answer.say("think", kind="reasoning")
    answer.say("012345")
    async with listening(url, token) as whole:
        await whole.until(lambda: whole.texts(gid) == {0: "think", 1: "012345"})
        assert whole.last_id == "1:6"
        async with listening(url, token, last_id="1:4") as rest:
            await rest.until(lambda: rest.frames)
            assert (rest.frames[0]["part"], rest.frames[0]["off"], rest.frames[0]["text"]) == (1, 4, "45")
            await say(company, room.id, "Others talk meanwhile.")
            answer.say("6")
            answer.end()
            await rest.over()
            assert [frame["op"] for frame in rest.frames] == ["delta", "delta", "ev"]
        await whole.over()
        assert whole.frames[-1]["type"] == "generation.finished"
        assert whole.frames[-1]["body"]["message"]["text"] == "0123456"
    await runs().idle()
    async with listening(url, token, last_id="0:2") as ended:
        await ended.over()
        shown = [(frame["op"], frame.get("part"), frame.get("text")) for frame in ended.frames]
        assert shown == [("delta", 0, "ink"), ("delta", 1, "0123456"), ("ev", None, None)]
    async with listening(url, token, last_id="1:99") as ahead:
        await ahead.over()
        assert [frame["op"] for frame in ahead.frames] == ["ev"]


async def test_what_is_said_while_one_begins_to_follow_comes_in_its_place(
    base: str, company: Company, make_room: Any, answering: FakeAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each id says that all before it was heard: whoever is cut right after it goes on from there."""
    room = await make_room()
    gid, answer = await begin(company, room.id, answering)
    url, token = f"{base}/generations/{gid}/stream", company.alice.access_token()
    answer.say("012345")
    look = sse.live_parts

    async def slow(*arguments: Any) -> Any:
        answer.say("6")
        await asyncio.sleep(0.2)
        return await look(*arguments)

    async with listening(url, token) as whole:
        await whole.until(lambda: whole.texts(gid) == {0: "012345"})
        monkeypatch.setattr(sse, "live_parts", slow)
        async with listening(url, token, last_id="0:2") as rest:
            await whole.until(lambda: whole.texts(gid) == {0: "0123456"})
            await rest.until(lambda: rest.frames)
            answer.say("7")
            answer.end()
            await rest.over()
        *deltas, last = rest.frames
        assert [(delta["off"], delta["text"]) for delta in deltas] in (
            [(2, "23456"), (7, "7")],
            [(2, "234567")],
        )
        assert last["body"]["message"]["text"] == "01234567"
    await runs().idle()


@pytest.mark.parametrize("what", ["rooms", "generations"])
async def test_nobody_and_mallory_hear_nothing(
    base: str, company: Company, evil: Company, make_room: Any, answering: FakeAnswering, what: str
) -> None:
    room = await make_room()
    gid, answer = await begin(company, room.id, answering)
    named, how = (room.id, "events") if what == "rooms" else (gid, "stream")
    mallory = evil.alice.access_token()
    async with listening(f"{base}/{what}/{named}/{how}", None) as nobody:
        assert nobody.status == 401
    async with (
        listening(f"{base}/{what}/{named}/{how}", mallory) as theirs,
        listening(f"{base}/{what}/{uuid7()}/{how}", mallory) as nothing,
    ):
        assert theirs.status == nothing.status == 404
        assert theirs.body | {"request_id": ""} == nothing.body | {"request_id": ""}
    async with listening(f"{base}/{what}/{named}/{how}", company.alice.access_token()) as ours:
        assert ours.status == 200
    answer.end()
    await runs().idle()


@pytest.mark.parametrize("last_id", ["x", "1", "1:2:3", "-1:0", "9" * 40 + ":1", "1:"])
async def test_an_id_that_is_none_is_refused(base: str, company: Company, make_room: Any, last_id: str) -> None:
    room = await make_room()
    async with listening(f"{base}/rooms/{room.id}/events", company.alice.access_token(), last_id=last_id) as refused:
        assert (refused.status, refused.body["code"]) == (400, "invalid_request")


async def test_a_revoked_key_ends_its_streams(base: str, company: Company, make_room: Any) -> None:
    room = await make_room()

    def revoke() -> None:
        with company.scope(), transaction.atomic():
            revoke_api_key(caller=company.alice.principal, key_id=ApiKey.objects.get().id)

    async with listening(f"{base}/rooms/{room.id}/events", company.api_key) as events:
        await events.until(lambda: events.frames)
        await sync_to_async(revoke)()
        await events.over()
        assert (events.frames[-1]["op"], events.frames[-1]["code"]) == ("close", 4401)


async def test_who_is_removed_hears_no_more(base: str, company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    async with listening(f"{base}/rooms/{room.id}/events", company.bob.access_token()) as events:
        await events.until(lambda: events.frames)
        shown = await snapshot(member=company.alice.principal, room_id=room.id)
        place = next(one for one in shown.members if one.member.id == company.bob.membership_id)
        await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
        await events.over()
        assert (events.frames[-1]["op"], events.frames[-1]["code"]) == ("close", 4404)


async def test_the_stream_of_an_answer_tells_nothing_of_others(
    base: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    gid, answer = await begin(company, room.id, answering)
    async with listening(f"{base}/generations/{gid}/stream", company.alice.access_token()) as events:
        answer.say("1")
        await events.until(lambda: events.texts(gid) == {0: "1"})
        shown = await snapshot(member=company.alice.principal, room_id=room.id)
        place = next(one for one in shown.members if one.member.id == company.bob.membership_id)
        await remove_member(member=company.alice.principal, room_id=room.id, room_member_id=place.id)
        answer.say("2")
        answer.end()
        await events.over()
        assert [frame.get("type", frame["op"]) for frame in events.frames] == ["delta", "delta", "generation.finished"]
    await runs().idle()


async def test_silence_is_broken_by_pings_and_draining_ends(
    base: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "SSE_PING_S", 0.0)
    room = await make_room()
    async with listening(f"{base}/rooms/{room.id}/events", company.alice.access_token()) as events:
        await events.until(lambda: events.pings)
        await hub().drain(1.0)
        await events.over()
        assert events.frames[-1]["code"] == 4503
    async with listening(f"{base}/rooms/{room.id}/events", company.alice.access_token()) as late:
        assert late.status == 503
