"""One connection hears all channels, and says when it may have missed something."""

import asyncio

import pytest
from redis.asyncio.client import PubSub

from chat.realtime.subscriptions import Subscriptions
from kernel.redis import async_redis
from tests.support.patience import soon

pytestmark = pytest.mark.no_database


class Ear:
    """Hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.subscribed = asyncio.Event()
        self.times = 0

    def on_payload(self, payload: bytes) -> None:
        self.heard.append(payload)
        if payload == b"bad":
            raise ValueError(payload)

    def on_subscribed(self) -> None:
        self.times += 1
        self.subscribed.set()


async def until(ear: Ear, payload: bytes) -> None:
    async with soon():
        while payload not in ear.heard:
            await asyncio.sleep(0.01)


async def connections() -> list[str]:
    """The ids of the subscribed connections to this database: other tests share the server, each with a database of its own."""
    own = async_redis().connection_pool.connection_kwargs.get("db", 0)
    return [client["id"] for client in await async_redis().client_list(_type="pubsub") if client["db"] == str(own)]


async def cut() -> None:
    for each in await connections():
        await async_redis().client_kill_filter(_id=each)


async def test_channels_wanted_at_any_moment_are_heard() -> None:
    subscriptions, ears = Subscriptions(), [Ear() for _ in range(40)]
    try:
        for number, ear in enumerate(ears):
            await subscriptions.subscribe(f"c{number}", ear)
            for _ in range(number % 4):
                await asyncio.sleep(0)
        async with soon():
            for ear in ears:
                await ear.subscribed.wait()
        for number, ear in enumerate(ears):
            await async_redis().publish(f"c{number}", b"bad")
            await async_redis().publish(f"c{number}", b"%d" % number)
            await until(ear, b"%d" % number)
        await subscriptions.unsubscribe("c0", ears[0])
        await async_redis().publish("c0", b"more")
        await async_redis().publish("c1", b"more")
        await until(ears[1], b"more")
        assert ears[0].heard == [b"bad", b"0"]
    finally:
        await subscriptions.close()


async def test_who_leaves_late_takes_nobody_with_them() -> None:
    subscriptions, first, second = Subscriptions(), Ear(), Ear()
    try:
        await subscriptions.subscribe("c", first)
        await subscriptions.subscribe("c", second)
        async with soon():
            await second.subscribed.wait()
        await subscriptions.unsubscribe("c", first)
        await async_redis().publish("c", b"still")
        await until(second, b"still")
    finally:
        await subscriptions.close()


@pytest.mark.timeout(30)
async def test_the_last_channel_may_go_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection hears that nothing is listened to any more before who left has: the loop must go on."""
    leave = PubSub.unsubscribe

    async def leave_slowly(self: PubSub, *channels: bytes) -> None:
        await leave(self, *channels)
        await asyncio.sleep(0.05)

    monkeypatch.setattr(PubSub, "unsubscribe", leave_slowly)
    subscriptions = Subscriptions()
    try:
        for _ in range(3):
            ear = Ear()
            await subscriptions.subscribe("last", ear)
            async with soon():
                await ear.subscribed.wait()
            await subscriptions.unsubscribe("last", ear)
    finally:
        await subscriptions.close()


async def test_a_lost_connection_is_made_again_and_told() -> None:
    subscriptions, ear = Subscriptions(), Ear()
    try:
        await subscriptions.subscribe("c", ear)
        async with soon():
            await ear.subscribed.wait()
            ear.subscribed.clear()
            await cut()
            await ear.subscribed.wait()
        await async_redis().publish("c", b"after")
        await until(ear, b"after")
        assert ear.times == 2
    finally:
        await subscriptions.close()


async def test_connections_lost_while_others_subscribe_are_all_closed() -> None:
    """Who listens and who subscribes find out that it was lost, in either order: one makes the next, and none is left behind."""
    subscriptions, ears = Subscriptions(), [Ear() for _ in range(60)]
    before = len(await connections())
    try:
        for number, ear in enumerate(ears):
            if number % 5 == 4:
                await cut()
            await subscriptions.subscribe(f"c{number}", ear)
            for _ in range(number % 3):
                await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        for number, _ in enumerate(ears):
            async with soon():
                # It may be making the next connection still.
                while not await async_redis().publish(f"c{number}", b"at last"):
                    await asyncio.sleep(0.01)
        for ear in ears:
            await until(ear, b"at last")
        assert len(await connections()) == before + 1
    finally:
        await subscriptions.close()
    async with soon():
        while len(await connections()) != before:
            await asyncio.sleep(0.01)
