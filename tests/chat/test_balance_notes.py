"""Notes of the balance on the socket: to whom and when, and that nobody else pays for them."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from asgiref.sync import sync_to_async

from billing.ledger import admit, settle
from billing.services.balances import account_balance
from billing.services.subscriptions import subscribe
from billing.watched import Balance, balances_of
from chat.realtime import balances
from chat.realtime.hub import hub
from tests.billing.ledger_support import asking, used
from tests.billing.plan_support import give, inside, plan
from tests.support.cast import Actor, Company, hire
from tests.support.patience import soon
from tests.support.ws_client import Client, Frame


async def spend(who: Actor, nano: int) -> None:
    asked = asking(who, cap=nano)
    await settle(await admit(asked), [used(who, asked, nano)])


async def opened(server: str, who: Actor, **options: Any) -> Client:
    return await Client(server, who.access_token()).hello(**options)


def is_balance(owed: int, funds: int | None = None) -> Callable[[Frame], bool]:
    return lambda frame: frame["op"] == "note" and frame["body"] == {"owed_nano": owed, "funds_nano": funds}


def notes(client: Client) -> list[Frame]:
    return [frame for frame in client.frames if frame["op"] == "note"]


async def test_whoever_may_see_the_balance_is_told_when_it_changes(
    server: str, company: Company, neighbour: Company
) -> None:
    bookkeeper = await sync_to_async(hire)(company, "bella", "billing")
    told = [await opened(server, who) for who in (company.alice, bookkeeper)]
    untold = [await opened(server, who) for who in (company.bob, company.vera)]
    stranger = await opened(server, neighbour.alice)
    for client in told:
        first = await client.frame(is_balance(0))
        assert first["type"] == "balance"
    await spend(company.alice, 700)
    for client in told:
        await client.frame(is_balance(700))
        assert {note["seq"] for note in notes(client)} == {0}
    await stranger.frame(is_balance(0))
    # As much as the others were told of by now, these would have been.
    assert [notes(client) for client in untold] == [[], []]
    assert len(notes(stranger)) == 1
    for client in (*told, *untold, stranger):
        await client.close()


async def test_a_balance_is_told_as_rest_tells_it(server: str, company: Company) -> None:
    def prepay() -> None:
        with inside(company):
            subscribe(plan=plan("prepaid"))
        give(company, 5_000)

    await sync_to_async(prepay)()
    client = await opened(server, company.alice)
    await client.frame(is_balance(-5_000, 5_000))
    held = await admit(asking(company.alice, cap=1_200))
    await client.frame(is_balance(-5_000, 3_800))
    await settle(held, [])
    await spend(company.alice, 900)
    await client.frame(is_balance(-4_100, 4_100))

    def shown() -> tuple[int, int | None]:
        with inside(company):
            found = account_balance()
            return found.owed_nano, found.funds_nano

    assert await sync_to_async(shown)() == (-4_100, 4_100)
    await client.close()


async def test_after_a_reconnect_the_newest_is_told_under_the_number_of_the_last_note(
    server: str, company: Company
) -> None:
    client = await opened(server, company.alice)
    await client.frame(is_balance(0))
    await client.cut()
    await spend(company.alice, 300)
    ahead = 2**52
    client = await opened(server, company.alice, notes=ahead)
    note = await client.frame(is_balance(300))
    assert note["seq"] == ahead
    assert len(notes(client)) == 1
    await client.close()


class Reading:
    """Stands between the notes and the books."""

    def __init__(self) -> None:
        self.asked: list[set[UUID]] = []
        self.fails = False

    async def __call__(self, tenants: Collection[UUID]) -> Mapping[UUID, Balance]:
        self.asked.append(set(tenants))
        if self.fails:
            raise psycopg.OperationalError("away")
        return await balances_of(tenants)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    found = Reading()
    monkeypatch.setattr(balances, "balances_of", found)
    return found


async def test_balances_are_read_of_those_alone_that_somebody_looks_at(
    server: str, company: Company, neighbour: Company, reading: Reading
) -> None:
    viewers = [await opened(server, company.vera), await opened(server, neighbour.bob)]
    await hub()._balances.tell(hub().sockets)
    assert reading.asked == []
    owners = [await opened(server, company.alice), await opened(server, company.alice)]
    for client in owners:
        await client.frame(is_balance(0))
    assert reading.asked != []
    assert all(asked == {company.id} for asked in reading.asked)
    for client in (*viewers, *owners):
        await client.close()


async def test_with_the_database_away_for_a_while_the_next_note_says_it_all(
    server: str, company: Company, reading: Reading
) -> None:
    client = await opened(server, company.alice)
    await client.frame(is_balance(0))
    reading.fails = True
    await spend(company.alice, 40)
    tries = len(reading.asked)
    async with soon():
        while len(reading.asked) < tries + 2:
            await asyncio.sleep(0.01)
    assert len(notes(client)) == 1
    reading.fails = False
    await client.frame(is_balance(40))
    await client.close()


async def test_the_balances_of_many_are_read_each_as_its_own(company: Company, neighbour: Company) -> None:
    await spend(company.alice, 10)
    await spend(neighbour.alice, 20)
    nobody = UUID(int=7)
    many = {UUID(int=number + 1_000): Balance(0, None) for number in range(450)}
    expected = {company.id: Balance(10, None), neighbour.id: Balance(20, None), nobody: Balance(0, None), **many}
    assert await balances_of(expected.keys()) == expected
