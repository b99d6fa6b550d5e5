"""Stored responses: whose they are, how long they last, and what is told when one can't be stored."""

import json
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction

from kernel import adb
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from providers.gateway.http import Responder
from providers.responses import (
    MAX_CHAIN,
    PreviousNotFound,
    ResponseNotFound,
    access_chain,
    access_response,
    delete_response,
    keep_response,
)
from providers.services.responses import delete_expired_responses
from tenants.principals import Principal
from tests.support.cast import Company


def principal_of(company: Company, api_key_id: uuid.UUID | None = None) -> Principal:
    """Somebody of a company who may do nothing: whose a response is isn't a matter of permissions."""
    return Principal(
        kind="api_key" if api_key_id else "member",
        tenant_id=company.id,
        membership_id=uuid.UUID(int=1),
        person_id=uuid.UUID(int=1),
        role="member",
        permissions=frozenset(),
        api_key_id=api_key_id,
    )


async def kept(owner: Principal, previous: uuid.UUID | None = None, content: bytes = b"said") -> uuid.UUID:
    response_id = uuid7()
    await keep_response(principal=owner, response_id=response_id, previous_id=previous, content=content)
    return response_id


async def age(owner: Principal, response_id: uuid.UUID, by: timedelta) -> None:
    """Make a response as old as that. Nobody may change one, so it is deleted and written again."""
    async with adb.transaction(owner.tenant_id) as opened:
        cursor = await opened.execute("DELETE FROM providers_storedresponse WHERE id = %s RETURNING *", (response_id,))
        row = await cursor.fetchone()
        assert row is not None
        await opened.execute(
            "INSERT INTO providers_storedresponse (id, tenant_id, principal_id, content, created_at, expires_at) "
            "VALUES (%(id)s, %(tenant_id)s, %(principal_id)s, %(content)s, %(created_at)s, %(expires_at)s)",
            {**row, "expires_at": row["expires_at"] - by},
        )


async def test_it_is_its_owners_alone(acme: Company, evil: Company) -> None:
    owner = principal_of(acme, uuid.uuid4())
    response_id = await kept(owner)
    assert (await access_response(principal=owner, response_id=response_id)).content == b"said"
    for stranger in (principal_of(acme), principal_of(acme, uuid.uuid4()), principal_of(evil, owner.api_key_id)):
        with pytest.raises(ResponseNotFound):
            await access_response(principal=stranger, response_id=response_id)
        with pytest.raises(ResponseNotFound):
            await delete_response(principal=stranger, response_id=response_id)
        with pytest.raises(PreviousNotFound):
            await access_chain(principal=stranger, response_id=response_id)
    await delete_response(principal=owner, response_id=response_id)
    with pytest.raises(ResponseNotFound):
        await access_response(principal=owner, response_id=response_id)


async def test_it_is_encrypted_for_its_cell(acme: Company) -> None:
    owner = principal_of(acme, uuid.uuid4())
    response_id = await kept(owner, content=b"a secret word")
    async with adb.transaction(acme.id) as opened:
        cursor = await opened.execute("SELECT content FROM providers_storedresponse WHERE id = %s", (response_id,))
        row = await cursor.fetchone()
    assert row is not None
    assert b"secret" not in row["content"]


async def test_a_chain_comes_oldest_first_and_needs_every_link(acme: Company) -> None:
    owner = principal_of(acme, uuid.uuid4())
    first = await kept(owner, content=b"1")
    second = await kept(owner, first, b"2")
    third = await kept(owner, second, b"3")
    assert [link.content for link in await access_chain(principal=owner, response_id=third)] == [b"1", b"2", b"3"]
    await delete_response(principal=owner, response_id=first)
    with pytest.raises(PreviousNotFound):
        await access_chain(principal=owner, response_id=third)


async def test_a_chain_has_an_end(acme: Company) -> None:
    owner = principal_of(acme, uuid.uuid4())
    last: uuid.UUID | None = None
    for _ in range(MAX_CHAIN):
        last = await kept(owner, last, b"x")
    assert len(await access_chain(principal=owner, response_id=last)) == MAX_CHAIN
    last = await kept(owner, last, b"x")
    with pytest.raises(Exception, match="longer than") as too_long:
        await access_chain(principal=owner, response_id=last)
    assert getattr(too_long.value, "status", None) == 400


async def test_an_expired_one_is_gone_and_then_deleted(acme: Company) -> None:
    owner = principal_of(acme, uuid.uuid4())
    old, young = await kept(owner), await kept(owner)
    await age(owner, old, timedelta(days=31))
    await age(owner, young, timedelta(days=29))
    with pytest.raises(ResponseNotFound):
        await access_response(principal=owner, response_id=old)
    assert (await access_response(principal=owner, response_id=young)).id == young


def test_what_expired_is_deleted_whosever_it_is(acme: Company, evil: Company) -> None:
    ids = [uuid7() for _ in range(4)]
    for number, response_id in enumerate(ids):
        company = (acme, evil)[number % 2]
        with tenant_scope(company.id), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO providers_storedresponse "
                "(id, tenant_id, principal_id, content, created_at, expires_at) "
                "VALUES (%s, %s, %s, '', now(), now() + %s)",
                [response_id, company.id, uuid.uuid4(), timedelta(days=-1 if number < 2 else 1)],
            )
    assert delete_expired_responses() >= 2
    left = []
    for company in (acme, evil):
        with tenant_scope(company.id), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT id FROM providers_storedresponse WHERE id = ANY(%s)", [ids])
            left += [row[0] for row in cursor.fetchall()]
    assert set(left) == set(ids[2:])


async def test_nothing_is_sent_before_what_must_be_durable() -> None:
    order: list[str] = []

    async def send(message: dict[str, object]) -> None:
        order.append(str(message["type"]))

    async def keep() -> None:
        order.append("kept")

    for use in (lambda responder: responder.whole(200, b"{}"), lambda responder: responder.chunk(b"data")):
        order.clear()
        responder = Responder(send, request_id=uuid7())
        responder.before_sending = keep
        await use(responder)
        assert order[0] == "kept", json.dumps(order)
        assert len(order) > 1
    order.clear()
    await responder.comment(b": ping\n\n")
    assert "kept" not in order
