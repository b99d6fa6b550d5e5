"""Rooms of a running platform with two web processes: one stream for all, and none that hangs when a process dies."""

import json
import os
import signal
import time
from typing import Any

import pytest

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant, eventually
from tests.support.ws_client import Client, RoomState

pytestmark = pytest.mark.no_database
REAPED_WITHIN_S = 10.0


def socket_url(stack: Stack) -> str:
    return stack.url.replace("http://", "ws://") + "/ws"


async def follow(stack: Stack, credential: str, room: str) -> tuple[Client, RoomState]:
    """A client that shows a room from its snapshot on."""
    client = await Client(socket_url(stack), credential).hello()
    await client.command("room.join", room)
    with stack.client(credential) as http:
        snapshot = http.get(f"/api/v1/rooms/{room}/snapshot").json()
    state = client.follow(room)
    state.load(snapshot)
    return client, state


def new_room(stack: Stack, tenant: Tenant, **body: Any) -> str:
    with stack.client(tenant.api_key) as http:
        made = http.post("/api/v1/rooms", json={"kind": "shared", "model": MODEL} | body)
    assert made.status_code == 201, made.text
    room: str = made.json()["id"]
    return room


def script(**fields: Any) -> str:
    return "!script " + json.dumps(fields)


async def test_every_socket_sees_the_same_stream(stack: Stack, tenant: Tenant) -> None:
    room = new_room(stack, tenant)
    bob = stack.add_member(tenant, "bob")
    token = stack.sign_in(bob.email, bob.password)["access"]
    with stack.client(tenant.api_key) as http:
        assert http.post(f"/api/v1/rooms/{room}/members", json={"member": bob.membership}).status_code == 201
    # The processes share one listening socket: some of these are on the one, some on the other.
    watchers = [await follow(stack, credential, room) for credential in (tenant.api_key, token) * 4]
    text = "The 👩‍👩‍👧 family went to 漢字 town; é, 𝒳. " * 6
    ack = await watchers[0][0].command("message.send", room, text=script(text=text, chunk=5, delay_ms=5))
    assert ack["op"] == "ack", ack
    for client, state in watchers:
        await client.until(lambda state=state: state.ended)
        (gid,) = state.ended
        assert state.streamed[gid] == state.ended[gid] == text
        assert (state.gaps, state.resets, state.overlaps) == ([], [], 0)
        assert state.statuses[gid] == "complete"
        await client.close()


async def test_a_killed_process_leaves_a_prefix_that_is_billed(
    stack: Stack, tenant: Tenant, upstream: OpenAIUpstream
) -> None:
    room = new_room(stack, tenant)
    client, state = await follow(stack, tenant.api_key, room)
    text = "".join(f"word-{number} " for number in range(2000))
    await client.command("message.send", room, text=script(text=text, chunk=8, delay_ms=10))
    await client.until(lambda: any(len(held) > 300 for held in state.texts.values()))
    (gid,) = state.texts
    killed = {pid for name, pid in stack.children().items() if name.startswith("web")}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    died_at = time.monotonic()
    await client.closed()
    eventually(lambda: not killed & set(stack.children().values()))

    def ended() -> Any:
        with stack.client(tenant.api_key) as http:
            shown = http.get(f"/api/v1/generations/{gid}").json()
            return shown if shown["status"] not in ("queued", "streaming") else None

    shown = eventually(ended, within_s=died_at + REAPED_WITHIN_S - time.monotonic())
    assert shown["status"] == "interrupted"
    assert shown["text"].startswith(state.texts[gid])
    record = next(record for record in reversed(upstream.records) if record.text.startswith("word-0 "))
    assert record.text.startswith(shown["text"])
    assert shown["cost_nano"] > 0
    with stack.client(tenant.api_key) as http:
        bills = [bill for bill in http.get("/api/v1/usage").json()["data"] if bill["room"] == room]
    assert [(bill["status"], bill["estimated"], bill["cost_nano"]) for bill in bills] == [
        ("interrupted", True, shown["cost_nano"])
    ]
    await client.hello()
    await client.until(lambda: gid in state.ended)
    assert state.ended[gid] == shown["text"]
    assert (state.gaps, state.resets) == ([], [])
    assert (await client.command("message.send", room, text="And now?"))["op"] == "ack"
    await client.until(lambda: len(state.ended) == 2)
    await client.close()
