"""What happens to sockets from second to second: silence, expiry, revocation, too many."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import transaction

from chat.bounds import IDLE_FEED_S
from chat.realtime import hub as hub_module
from chat.realtime.hub import hub
from chat.realtime.sessions import Session, open_session
from chat.realtime.socket import Socket
from chat.services.members import add_member
from chat.services.messages import send_message
from tenants.models import ApiKey, Membership, Tenant
from tenants.services.api_keys import issue_key, revoke_api_key
from tenants.services.members import change_role, remove_member
from tests.support.cast import Actor, Company, hire
from tests.support.ws_client import Client


class Wire:
    """What a socket sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        self.sent.append(dict(message))


def quiet(session: Session | None) -> Socket:
    """A socket that nobody serves."""
    socket = Socket(send=Wire(), address="192.0.2.1")
    if session is not None:
        socket.renewed(session)
    return socket


async def session_of(company: Company) -> Session:
    return await open_session(token=company.alice.access_token(), ticket=None, address="192.0.2.1")


async def test_no_hello_in_time_closes() -> None:
    socket = quiet(None)
    socket.tick(time.monotonic() + 9)
    assert not socket.closing
    socket.tick(time.monotonic() + 11)
    assert socket._closing == (4408, "no hello came")


async def test_silence_is_pinged_and_then_closed(company: Company) -> None:
    socket = quiet(await session_of(company))
    socket.tick(time.monotonic() + 31)
    socket.tick(time.monotonic() + 32)
    assert len(socket._outbox) == 1
    assert '"op":"ping"' in (await socket._outbox.get()).message["text"]
    socket.tick(time.monotonic() + 41)
    assert socket._closing == (4408, "the heartbeat stopped")


async def test_a_token_that_ends_is_told_of_and_then_closes(company: Company) -> None:
    session = await session_of(company)
    at = datetime.now(UTC)
    socket = quiet(ending(session, at + timedelta(seconds=59)))
    socket.tick(time.monotonic())
    socket.tick(time.monotonic())
    assert len(socket._outbox) == 1
    assert '"op":"expiring"' in (await socket._outbox.get()).message["text"]
    socket.renewed(ending(session, at - timedelta(seconds=1)))
    socket.tick(time.monotonic())
    assert socket._closing == (4401, "the token has expired")


def ending(session: Session, at: datetime) -> Session:
    return Session(
        principal=session.principal,
        subject=session.subject,
        epochs=session.epochs,
        expires_at=at,
        address=session.address,
    )


@pytest.mark.parametrize(("change", "code"), [("removed", 4401), ("role", 4401), ("suspended", 4403)])
async def test_whose_rights_changed_is_closed_within_seconds(
    server: str, company: Company, change: str, code: int
) -> None:
    bob = await Client(server, company.bob.access_token()).hello()

    def carry_out() -> None:
        with company.scope(), transaction.atomic():
            if change == "removed":
                remove_member(caller=company.alice.principal, member_id=company.bob.membership_id)
            elif change == "role":
                change_role(caller=company.alice.principal, member_id=company.bob.membership_id, role="viewer")
        if change == "suspended":
            from tenants.services.provisioning import set_tenant_status

            set_tenant_status(slug=company.tenant.slug, status=Tenant.Status.SUSPENDED)

    await sync_to_async(carry_out)()
    began = time.monotonic()
    assert await bob.closed() == code
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("trouble", ["nothing", "failing", "hanging"])
async def test_a_revoked_key_is_closed(
    server: str, company: Company, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Whatever else is looked after, and fails or never ends."""

    async def troubled() -> None:
        if trouble == "hanging":
            await asyncio.Event().wait()
        raise RuntimeError("failing")

    if trouble != "nothing":
        monkeypatch.setattr(hub_module, "GAP_CHECK_S", 0.1)
        monkeypatch.setattr(hub(), "_tick", troubled)
        monkeypatch.setattr(hub(), "_check_gaps", troubled)
        monkeypatch.setattr(hub().notes, "check", troubled)
    client = await Client(server, company.api_key).hello()

    def revoke() -> None:
        with company.scope(), transaction.atomic():
            for key in ApiKey.objects.all():
                revoke_api_key(caller=company.alice.principal, key_id=key.id)

    await sync_to_async(revoke)()
    assert await client.closed() == 4401


async def key_of(company: Company, actor: Actor, scopes: list[str]) -> str:
    def issue() -> str:
        with company.scope(), transaction.atomic():
            return issue_key(membership=Membership.objects.get(id=actor.membership_id), name="bot", scopes=scopes).text

    return await sync_to_async(issue)()


async def give_role(company: Company, actor: Actor, role: str) -> None:
    def change() -> None:
        with company.scope(), transaction.atomic():
            change_role(caller=company.alice.principal, member_id=actor.membership_id, role=role)

    await sync_to_async(change)()


async def test_a_key_on_an_open_socket_may_what_its_owner_may_now(
    server: str, company: Company, make_room: Any
) -> None:
    room = await make_room("shared")
    client = await Client(server, await key_of(company, company.bob, ["rooms.read", "rooms.write"])).hello()
    state = await client.join(room.id)
    assert (await client.command("message.send", room.id, text="1", generate=False))["op"] == "ack"
    await give_role(company, company.bob, "viewer")
    began = time.monotonic()
    while (answer := await client.command("message.send", room.id, text="2", generate=False))["op"] == "ack":
        assert time.monotonic() - began < 5
        await asyncio.sleep(0.1)
    assert answer["code"] == "permission_denied"
    # What it still may, it goes on with.
    await send_message(member=company.alice.principal, room_id=room.id, text="3", generate=False)
    await client.until(lambda: state.events[-1]["body"]["message"]["text"] == "3")
    await client.close()


async def test_a_key_that_may_read_rooms_no_more_hears_nothing_more(
    server: str, company: Company, make_room: Any
) -> None:
    carol = await sync_to_async(hire)(company, "carol", "admin")
    room = await make_room("shared")
    await add_member(member=company.alice.principal, room_id=room.id, membership_id=carol.membership_id)
    client = await Client(server, await key_of(company, carol, ["rooms.read", "usage.read"])).hello()
    await client.join(room.id)
    await give_role(company, carol, "billing")
    assert await client.closed() == 4403


async def test_a_member_with_too_many_sockets_loses_the_oldest(
    server: str, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SOCKETS_PER_MEMBER_MAX", 2)
    first, second, third = [await Client(server, company.alice.access_token()).hello() for _ in range(3)]
    assert await first.closed() == 4409
    for client in (second, third):
        assert client.close_code is None
        await client.close()


async def test_a_tenant_with_too_many_sockets_waits(
    server: str, company: Company, evil: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SOCKETS_PER_TENANT", 1)
    alice = await Client(server, company.alice.access_token()).hello()
    bob = await Client(server, company.bob.access_token()).open()
    await bob.send({"op": "hello", "v": 1, "token": company.bob.access_token()})
    assert await bob.closed() == 4429
    mallory = await Client(server, evil.alice.access_token()).hello()
    await alice.close()
    await mallory.close()


async def test_too_many_who_say_nothing_are_refused(server: str) -> None:
    silent = [await Client(server, "").open() for _ in range(10)]
    assert await (await Client(server, "").open()).closed() == 4429
    for client in silent:
        await client.close()


async def test_feeds_that_nobody_follows_are_dropped(server: str, company: Company, make_room: Any) -> None:
    room = await make_room()
    client = await Client(server, company.alice.access_token()).hello()
    await client.join(room.id)
    await client.command("room.leave", room.id)
    now = time.monotonic()
    await hub()._drop_idle(now)
    assert hub()._feeds
    await hub()._drop_idle(now + IDLE_FEED_S + 1)
    assert not hub()._feeds
    await client.join(room.id)
    state = client.rooms[str(room.id)]
    await client.command("message.send", room.id, text="1", generate=False)
    await client.until(lambda: state.seq == 1)
    await client.close()
