"""Tickets open one socket, once, within thirty seconds."""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from kernel.errors import NotAuthenticated, Unavailable
from kernel.redis import sync_redis
from tenants.credentials import authenticate
from tenants.services.tickets import issue_ticket, redeem_ticket
from tests.support.cast import Company
from tests.tenants.conftest import with_token


async def test_a_ticket_stands_for_its_credential_once(company: Company) -> None:
    token = company.alice.access_token()
    answer = await sync_to_async(lambda: with_token(token).post("/api/v1/auth/ws-ticket").json())()
    assert answer["expires_in"] == 30
    assert token not in answer["ticket"]
    credential = await redeem_ticket(answer["ticket"])
    assert (await authenticate(credential, address="")).membership_id == company.alice.membership_id
    with pytest.raises(NotAuthenticated):
        await redeem_ticket(answer["ticket"])


async def test_of_many_who_present_a_ticket_one_gets_in(company: Company) -> None:
    ticket = await sync_to_async(issue_ticket)(credential="x")
    answers = await asyncio.gather(*(redeem_ticket(ticket) for _ in range(10)), return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, NotAuthenticated)] == ["x"]


async def test_a_ticket_runs_out_and_redis_holds_neither_it_nor_what_it_stands_for() -> None:
    before = set(sync_redis().scan_iter("parley:ws-ticket:*"))
    ticket = await sync_to_async(issue_ticket)(credential="the credential itself")
    (key,) = set(sync_redis().scan_iter("parley:ws-ticket:*")) - before
    assert 0 < int(str(sync_redis().ttl(key))) <= 30
    assert ticket.encode() not in key
    assert b"credential itself" not in bytes(sync_redis().get(key) or b"")  # type: ignore[arg-type]


@pytest.mark.parametrize("ticket", ["", "x", "x" * 65, "é", "*"])
async def test_an_unknown_ticket_opens_nothing(ticket: str) -> None:
    with pytest.raises(NotAuthenticated):
        await redeem_ticket(ticket)


@pytest.mark.usefixtures("redis_away")
async def test_with_redis_away_there_are_no_tickets(company: Company) -> None:
    with pytest.raises(Unavailable):
        await sync_to_async(issue_ticket)(credential="x")
    with pytest.raises(Unavailable):
        await redeem_ticket("x")
    answer = await sync_to_async(company.alice.client.post)("/api/v1/auth/ws-ticket")
    assert answer.status_code == 503
