"""Two members of a room, served by two processes, see the same; a stranger sees nothing."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack
from tests.support.web_processes import connect_to, web_processes
from tests.support.ws_client import Client, Frame

pytestmark = pytest.mark.no_database

TEXT = "naïve 🎈 e\u0301 👩‍👩‍👧 " * 20


def in_room(client: Client, room_id: str) -> list[Frame]:
    return [frame for frame in client.frames if frame.get("room") == room_id and frame["op"] in ("ev", "delta")]


async def test_two_processes_show_one_stream_and_strangers_none(stack: Stack, upstream: OpenAIUpstream) -> None:
    acme, evil = stack.create_tenant(), stack.create_tenant()
    bob = stack.add_member(acme, "bob")
    alice_token = stack.sign_in(acme.owner, acme.password)["access"]
    bob_token = stack.sign_in(bob.email, bob.password)["access"]
    mallory_token = stack.sign_in(evil.owner, evil.password)["access"]
    with stack.client(alice_token) as rest:
        room_id: str = rest.post("/api/v1/rooms", json={"title": "Both", "kind": "shared", "model": MODEL}).json()["id"]
        assert rest.post(f"/api/v1/rooms/{room_id}/members", json={"member": bob.membership}).status_code == 201
    first, second = web_processes(stack).values()
    alice = await connect_to(stack, alice_token, pid=first)
    bobs = await connect_to(stack, bob_token, pid=second)
    strangers = [await connect_to(stack, mallory_token, pid=pid) for pid in (first, second)]
    for stranger in strangers:
        for command, body in (("room.join", {}), ("message.send", {"text": "Let me in"}), ("typing", {})):
            refused = await stranger.command(command, room_id, **body)
            assert (refused["op"], refused["code"]) == (
                "err",
                "not_found" if command != "typing" else "invalid_request",
            )
    mine, his = await alice.join(room_id), await bobs.join(room_id)

    for client in (alice, bobs):
        await _ask(client, room_id, upstream)
    for client, room in ((alice, mine), (bobs, his)):
        await client.until(lambda room=room: len(room.ended) == 2)
        assert set(room.ended.values()) == set(room.streamed.values()) == {TEXT}
        assert not room.gaps
        assert not room.resets
    assert in_room(alice, room_id) == in_room(bobs, room_id)
    assert sum(frame["op"] == "delta" for frame in in_room(alice, room_id)) > 10
    for stranger in strangers:
        assert in_room(stranger, room_id) == []
    for client in (alice, bobs, *strangers):
        await client.close()


async def _ask(client: Client, room_id: str, upstream: OpenAIUpstream) -> None:
    script: dict[str, Any] = {"text": TEXT, "chunk": 7, "delay_ms": 10}
    before = len(client.rooms[room_id].ended)
    assert (await client.command("message.send", room_id, text="!script " + json.dumps(script)))["op"] == "ack"
    await client.until(lambda: len(client.rooms[room_id].ended) > before)
    assert upstream.records[-1].text == TEXT
