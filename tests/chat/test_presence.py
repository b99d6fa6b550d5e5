"""Presence and typing: told when something changes, and quietly when a crowd comes back."""

import asyncio
import uuid
from typing import Any

import pytest

from chat.realtime import presence
from chat.realtime.hub import hub
from chat.realtime.presence import RoomPresence, Shown, read_present
from chat.snapshots import snapshot
from kernel.redis import async_redis
from tests.support.cast import Company
from tests.support.ws_client import Client, Frame

A, B = uuid.uuid4(), uuid.uuid4()


class Here:
    """Somebody on a socket."""

    def __init__(self, state: Shown = "online", who: uuid.UUID | None = None) -> None:
        self.shows: tuple[uuid.UUID, Shown] | None = (who or uuid.uuid4(), state)


def told(client: Client) -> list[tuple[str, str]]:
    return [(frame["who"], frame["state"]) for frame in client.frames if frame["op"] == "presence"]


def is_of(who: uuid.UUID, state: str) -> Any:
    def wanted(frame: Frame) -> bool:
        return (frame["op"], frame.get("who"), frame.get("state")) == ("presence", str(who), state)

    return wanted


async def test_who_comes_is_away_or_goes_is_told(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "PRESENCE_GRACE_S", 0.0)
    room = await make_room("shared")
    alice = await Client(server, company.alice.access_token()).hello()
    await alice.join(room.id)
    bob = await Client(server, company.bob.access_token()).hello()
    await bob.join(room.id)
    await alice.frame(is_of(company.bob.membership_id, "online"))
    assert (await bob.command("presence.set", state="away"))["op"] == "ack"
    await alice.frame(is_of(company.bob.membership_id, "away"))
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert {(one.who, one.state) for one in shown.present} == {
        (company.alice.membership_id, "online"),
        (company.bob.membership_id, "away"),
    }
    late = await Client(server, company.alice.access_token()).hello()
    await late.join(room.id)
    await late.frame(is_of(company.bob.membership_id, "away"))
    await bob.close()
    await alice.frame(is_of(company.bob.membership_id, "offline"))
    assert (await alice.command("presence.set", state="asleep"))["code"] == "invalid_request"
    for client in (alice, late):
        await client.close()


async def listen(tenant: uuid.UUID, room: uuid.UUID) -> Any:
    heard = async_redis().pubsub()
    await heard.subscribe(presence.channel(tenant, room))
    await heard.get_message(timeout=1)
    return heard


async def said(heard: Any) -> list[str]:
    """What was published, up to now."""
    await async_redis().publish(next(iter(heard.channels)), "end")
    found: list[str] = []
    while (message := await heard.get_message(timeout=1)) is not None and message["data"] != b"end":
        found.append(message["data"].decode().split("\n")[0])
    return found


@pytest.mark.no_database
async def test_a_crowd_that_comes_back_is_told_of_by_nobody() -> None:
    tenant, room, crowd = uuid.uuid4(), uuid.uuid4(), [Here() for _ in range(400)]
    heard = await listen(tenant, room)
    here = RoomPresence(tenant, room)
    passes = 0
    while not passes or await said(heard):
        passes += 1
        await here.tell(crowd, process=A, now=float(passes))
    # Five in each pass of a second, so that 400 sockets get 2,000 frames a second; the last pass finds nothing to tell.
    assert passes == 81
    # All are cut, and come back to another process within the grace.
    await here.tell([], process=A, now=600.0)
    there = RoomPresence(tenant, room)
    for number in range(81):
        await there.tell(crowd, process=B, now=600.0 + number / 100)
    # The first process finds that they didn't come back to it, but it isn't who has them now.
    await here.tell([], process=A, now=620.0)
    assert await said(heard) == []
    assert len(await read_present(tenant, room)) == 400
    await heard.aclose()


@pytest.mark.no_database
async def test_of_two_devices_the_one_that_stays_counts() -> None:
    tenant, room, who = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    heard = await listen(tenant, room)
    here = RoomPresence(tenant, room)
    await here.tell([Here("online", who), Here("away", who)], process=A, now=0.0)
    await here.tell([Here("away", who)], process=A, now=1.0)
    await here.tell([], process=A, now=2.0)
    await here.tell([Here("away", who)], process=A, now=10.0)
    await here.tell([], process=A, now=20.0)
    await here.tell([], process=A, now=40.0)
    assert await said(heard) == [f"P {who} online", f"P {who} away", f"P {who} offline"]
    await heard.aclose()


async def test_typing_is_told_as_often_as_it_is_of_use(server: str, company: Company, make_room: Any) -> None:
    room = await make_room("shared")
    alice = await Client(server, company.alice.access_token()).hello()
    bob = await Client(server, company.bob.access_token()).hello()
    await alice.join(room.id)
    await bob.join(room.id)
    for _ in range(20):
        assert (await alice.command("typing", room.id))["op"] == "ack"
    await alice.command("message.send", room.id, text="Done.", generate=False)
    await bob.frame(lambda frame: frame["op"] == "ev")
    assert sum(frame["op"] == "typing" for frame in bob.frames) == 1
    for client in (alice, bob):
        await client.close()


async def test_who_comes_back_costs_no_query(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat import consumers, events, store

    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    state = await client.join(room.id)
    await client.command("message.send", room.id, text="One.", generate=False)
    await client.until(lambda: state.events)
    await asyncio.sleep(0)
    await client.cut()
    queries: list[int] = []

    def counted(tenant_id: uuid.UUID) -> Any:
        queries.append(1)
        return store.transaction(tenant_id)

    for module in (consumers, events):
        monkeypatch.setattr(module, "transaction", counted)
    state.seq = 0
    await client.hello()
    await client.until(lambda: len(state.events) == 2)
    assert queries == []
    assert hub().admitted(company.id, room.id, membership_id=company.alice.membership_id)
    assert not hub().admitted(company.id, room.id, membership_id=company.bob.membership_id)
    await client.close()
