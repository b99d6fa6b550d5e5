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

A, B, C = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()


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


async def lapse(tenant: uuid.UUID, room: uuid.UUID, *, process: uuid.UUID) -> None:
    """A process has ended, and so long ago that nothing that it told holds any more."""
    held = await async_redis().hgetall(presence.key(tenant, room))
    for who, record in held.items():
        state, owner, _ = record.decode().split(" ")
        if owner == str(process):
            await async_redis().hset(presence.key(tenant, room), who, f"{state} {owner} 1")


@pytest.mark.no_database
@pytest.mark.parametrize("shown", [True, False], ids=["a person", "a program"])
async def test_who_was_on_a_process_that_died_is_told_as_gone_once(shown: bool) -> None:
    tenant, room, bob, carol = (uuid.uuid4() for _ in range(4))
    watcher = Here()
    if not shown:
        watcher.shows = None
    died, here, third = (RoomPresence(tenant, room) for _ in range(3))
    await died.tell([Here("online", bob), Here("away", carol)], process=A, now=0.0)
    await here.tell([watcher], process=B, now=0.0)
    await third.tell([watcher], process=C, now=0.0)
    heard = await listen(tenant, room)
    await here.tell([watcher, Here("away", carol)], process=B, now=10.0)
    await here.tell([watcher, Here("away", carol)], process=B, now=40.0)
    assert await said(heard) == []
    await lapse(tenant, room, process=A)
    for now in (60.0, 80.0):
        await here.tell([watcher, Here("away", carol)], process=B, now=now)
        await third.tell([watcher], process=C, now=now)
    assert await said(heard) == [f"P {bob} offline"]
    assert carol in await read_present(tenant, room)
    assert bob not in await read_present(tenant, room)
    await heard.aclose()


@pytest.mark.no_database
async def test_who_comes_back_before_they_are_told_as_gone_is_not() -> None:
    tenant, room, bob, carol = (uuid.uuid4() for _ in range(4))
    await RoomPresence(tenant, room).tell([Here("online", bob), Here("online", carol)], process=A, now=0.0)
    await lapse(tenant, room, process=A)
    heard = await listen(tenant, room)
    await RoomPresence(tenant, room).tell([Here("online", bob)], process=B, now=60.0)
    assert await said(heard) == [f"P {bob} online", f"P {carol} offline"]
    await heard.aclose()


@pytest.mark.no_database
async def test_a_crowd_whose_process_died_is_silent_in_another_however_long_it_takes() -> None:
    tenant, room, crowd = uuid.uuid4(), uuid.uuid4(), [Here() for _ in range(400)]
    died, there = RoomPresence(tenant, room), RoomPresence(tenant, room)
    for number in range(81):
        await died.tell(crowd, process=A, now=float(number))
    heard = await listen(tenant, room)
    await there.tell(crowd, process=B, now=100.0)
    await lapse(tenant, room, process=A)
    for number in range(1, 81):
        await there.tell(crowd, process=B, now=100.0 + number)
    assert await said(heard) == []
    await heard.aclose()


@pytest.mark.no_database
async def test_who_waits_to_be_told_as_away_is_not_told_as_gone() -> None:
    tenant, room, carol, crowd = uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), [Here() for _ in range(20)]
    await RoomPresence(tenant, room).tell([*crowd, Here("online", carol)], process=A, now=0.0)
    heard = await listen(tenant, room)
    for one in crowd:
        one.shows = (one.shows[0], "away") if one.shows else None
    there = RoomPresence(tenant, room)
    await there.tell(crowd * 20, process=B, now=10.0)
    await lapse(tenant, room, process=A)
    await RoomPresence(tenant, room).tell(crowd[:1], process=C, now=11.0)
    for number in range(5):
        await there.tell(crowd * 20, process=B, now=12.0 + number)
    away = [f"P {one.shows[0]} away" for one in crowd if one.shows]
    assert await said(heard) == [*away[:5], f"P {carol} offline", *away[5:]]
    await heard.aclose()


@pytest.mark.no_database
async def test_a_crowd_that_doesnt_come_back_is_told_of_bit_by_bit() -> None:
    tenant, room, crowd, others = uuid.uuid4(), uuid.uuid4(), [Here() for _ in range(40)], [Here()] * 400
    here = RoomPresence(tenant, room)
    await RoomPresence(tenant, room).tell(crowd, process=A, now=0.0)
    await here.tell(others, process=B, now=0.0)
    await lapse(tenant, room, process=A)
    heard = await listen(tenant, room)
    passes = []
    for number in range(9):
        await here.tell(others, process=B, now=20.0 + number)
        passes.append(len(await said(heard)))
    assert passes == [5] * 8 + [0]
    assert len(await read_present(tenant, room)) == 1
    await heard.aclose()


async def test_clients_and_newcomers_hear_of_whom_a_dead_process_had(
    server: str, company: Company, make_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "PRESENCE_RENEW_S", 0.0)
    room, bob = await make_room("shared"), company.bob.membership_id
    alice = await Client(server, company.alice.access_token()).hello()
    await alice.join(room.id)
    await RoomPresence(company.id, room.id).tell([Here("online", bob)], process=A, now=0.0)
    await alice.frame(is_of(bob, "online"))
    await lapse(company.id, room.id, process=A)
    await alice.frame(is_of(bob, "offline"))
    late = await Client(server, company.alice.access_token()).hello()
    await late.join(room.id)
    await late.frame(is_of(company.alice.membership_id, "online"))
    shown = await snapshot(member=company.alice.principal, room_id=room.id)
    assert [one.who for one in shown.present] == [company.alice.membership_id]
    assert str(bob) not in dict(told(late))
    assert [state for who, state in told(alice) if who == str(bob)] == ["online", "offline"]
    for client in (alice, late):
        await client.close()


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
    from chat import access, events, store

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

    async def read(*asked: Any) -> Any:
        queries.append(1)
        return await store.read(*asked)

    monkeypatch.setattr(access, "read", read)
    monkeypatch.setattr(events, "transaction", counted)
    state.seq = 0
    await client.hello()
    await client.until(lambda: len(state.events) == 2)
    assert queries == []
    assert (await hub().feed(company.id, room.id)).admitted == {company.alice.membership_id}
    await client.close()
