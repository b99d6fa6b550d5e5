"""Web processes that die, or are told to stop, while they write answers: nothing that was shown is lost, nothing hangs."""

import asyncio
import http.client
import json
import secrets
import signal
import time
from contextlib import ExitStack, closing
from typing import Any

import httpx2 as httpx
import pytest

from providers.estimate import estimate_tokens
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Record
from tests.support.stack import Stack, Tenant, eventually
from tests.support.web_processes import (
    connect_to,
    end_process,
    may_die,
    raw_connection,
    serving_socket,
    talks_to,
    web_processes,
)
from tests.support.ws_client import Client, Frame, RoomState

pytestmark = pytest.mark.no_database

WORDS = " ".join(f"{number}:naïve🎈" for number in range(200))


@pytest.fixture(scope="module")
def token(stack: Stack, tenant: Tenant) -> str:
    """The owner's access token; good for longer than these tests take."""
    access: str = stack.sign_in(tenant.owner, tenant.password)["access"]
    return access


@pytest.fixture
def room_id(stack: Stack, token: str) -> str:
    with stack.client(token) as rest:
        made = rest.post("/api/v1/rooms", json={"title": "A room", "kind": "shared", "model": MODEL})
    room: str = made.json()["id"]
    return room


def slow(**script: Any) -> str:
    """A prompt whose answer takes its time."""
    return "!script " + json.dumps({"text": f"{secrets.token_hex(4)} {WORDS}", "delay_ms": 30} | script)


def emitted(upstream: OpenAIUpstream, prompt: str) -> Record:
    (record,) = [record for record in upstream.records if record.prompt == prompt]
    return record


def finished_of(room: RoomState, generation: str) -> Frame | None:
    found = (event["body"] for event in room.events if event["type"] == "generation.finished")
    return next((body for body in found if body["generation"]["id"] == generation), None)


async def ask(client: Client, room: RoomState, text: str) -> str:
    """Say something; the id of the generation that answers."""
    ack = await client.command("message.send", room.id, text=text)
    assert ack["op"] == "ack", ack
    started = await client.frame(
        lambda frame: frame.get("type") == "generation.started" and frame["body"]["generation"]["prompt"] == ack["id"]
    )
    generation: str = started["body"]["generation"]["id"]
    return generation


def assert_same_as_snapshot(stack: Stack, token: str, room: RoomState) -> None:
    with stack.client(token) as rest:
        snapshot = rest.get(f"/api/v1/rooms/{room.id}/snapshot").json()
    assert (snapshot["seq"], str(snapshot["epoch"]), snapshot["generations"]) == (room.seq, str(room.epoch), [])
    answers = {message["generation"]: message["text"] for message in snapshot["messages"] if message["generation"]}
    assert answers == {generation: text for generation, text in room.ended.items() if text}
    assert not room.texts
    assert not room.gaps


async def test_a_process_killed_in_mid_answer_leaves_what_was_shown(
    stack: Stack, tenant: Tenant, token: str, room_id: str, upstream: OpenAIUpstream
) -> None:
    may_die(stack)
    asking = await Client(stack.socket_url, token).hello()
    writer = serving_socket(stack, asking)
    (other,) = set(web_processes(stack).values()) - {writer}
    watching = await connect_to(stack, token, pid=other)
    mine, theirs = await asking.join(room_id), await watching.join(room_id)
    prompt = slow()
    generation = await ask(asking, mine, prompt)
    await watching.until(lambda: len(theirs.texts.get(generation, "")) > 60)
    await asking.until(lambda: len(mine.texts.get(generation, "")) > 60)
    assert talks_to(writer, upstream.base_url)

    end_process(stack, writer, signal.SIGKILL)
    killed_at = time.monotonic()
    await asking.closed()
    shown = max(mine.texts[generation], theirs.texts[generation], key=len)
    await watching.until(lambda: finished_of(theirs, generation))
    assert time.monotonic() - killed_at < 10.0

    finished = finished_of(theirs, generation)
    assert finished is not None
    assert finished["generation"]["status"] == "interrupted"
    assert finished["generation"]["error"]["code"] == "interrupted"
    kept = finished["message"]["text"]
    sent = emitted(upstream, prompt)
    assert sent.outcome == "disconnected"
    assert sent.text.startswith(kept)
    assert kept.startswith(shown)
    assert kept.startswith(theirs.streamed[generation])
    (record,) = stack.usage(tenant.api_key, room=room_id)
    assert (record["status"], record["estimated"]) == ("interrupted", True)
    assert record["tokens"]["output"] == estimate_tokens(len(kept.encode()))
    assert record["cost_nano"] == 1_000 * record["tokens"]["input"] + 2_000 * record["tokens"]["output"] > 0
    assert (finished["generation"]["usage"], finished["generation"]["cost_nano"]) == (
        record["tokens"],
        record["cost_nano"],
    )

    await asking.hello()
    await asking.until(lambda: finished_of(mine, generation))
    assert kept.startswith(mine.streamed[generation])
    following = await ask(asking, mine, "Are you there?")
    await asking.until(lambda: mine.ended.get(following) == "You said: Are you there?")
    assert not mine.resets
    assert_same_as_snapshot(stack, token, mine)
    assert len(stack.usage(tenant.api_key, room=room_id)) == 2
    await asking.close()
    await watching.close()
    eventually(lambda: writer not in web_processes(stack).values() and len(web_processes(stack)) == 2)


async def test_a_process_told_to_stop_lets_answers_end_or_keeps_them(
    stack: Stack, tenant: Tenant, token: str, room_id: str, upstream: OpenAIUpstream, opened: ExitStack
) -> None:
    may_die(stack)
    client = await Client(stack.socket_url, token).hello()
    leaving = serving_socket(stack, client)
    kept_alive = opened.enter_context(raw_connection(stack, pid=leaving))
    room = await client.join(room_id)
    short, long = slow(text="short " * 20), slow()
    short_id, long_id = await ask(client, room, short), await ask(client, room, long)
    stream = opened.enter_context(closing(http.client.HTTPConnection("127.0.0.1", stack.port)))
    stream.sock = opened.enter_context(raw_connection(stack, pid=leaving))
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": slow()}]}
    headers = {"Authorization": f"Bearer {tenant.api_key}", "Content-Type": "application/json"}
    stream.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = stream.getresponse()
    await client.until(lambda: room.texts.get(short_id) and room.texts.get(long_id))

    end_process(stack, leaving, signal.SIGTERM)
    assert await client.closed() == 4503
    kept_alive.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    refused = kept_alive.recv(65_536).lower()
    assert b" 503 " in refused.splitlines()[0]
    assert b"connection: close" in refused

    await client.hello()
    assert serving_socket(stack, client) != leaving
    await client.until(lambda: finished_of(room, short_id) and finished_of(room, long_id))
    assert room.statuses == {short_id: "complete", long_id: "interrupted"}
    assert room.ended[short_id] == emitted(upstream, short).text
    assert emitted(upstream, long).text.startswith(room.ended[long_id])
    assert room.ended[long_id].startswith(room.streamed[long_id])
    assert len(room.ended[long_id]) > 100
    records = stack.usage(tenant.api_key, room=room_id)
    assert sorted(record["status"] for record in records) == ["complete", "interrupted"]
    assert all(record["cost_nano"] > 0 for record in records)

    *_, last = (line for line in (await asyncio.to_thread(answer.read)).decode().splitlines() if line)
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "unavailable"
    assert not room.resets
    assert_same_as_snapshot(stack, token, room)
    await client.close()
    eventually(lambda: leaving not in web_processes(stack).values() and len(web_processes(stack)) == 2)


def test_messages_posted_while_a_process_restarts_are_all_answered(stack: Stack, token: str, room_id: str) -> None:
    """A client that gets no answer may try again; one that gets an answer finds its message answered."""
    may_die(stack)
    leaving = web_processes(stack)["web.1"]
    accepted: list[str] = []
    failed = 0

    def post(number: int) -> bool:
        nonlocal failed
        try:
            with stack.client(token) as rest:
                answer = rest.post(f"/api/v1/rooms/{room_id}/messages", json={"text": f"message {number}"})
        except httpx.TransportError:
            failed += 1
            return False
        if answer.status_code == 201:
            accepted.append(answer.json()["message"]["id"])
        return answer.status_code == 201

    end_process(stack, leaving, signal.SIGTERM)
    for number in range(20):
        eventually(lambda number=number: post(number))
    eventually(lambda: leaving not in web_processes(stack).values() and len(web_processes(stack)) == 2)
    assert failed == 0
    with stack.client(token) as rest:

        def answered() -> bool:
            messages = rest.get(f"/api/v1/rooms/{room_id}/messages", params={"limit": 100}).json()["data"]
            return {one["parent"] for one in messages if one["author"]["kind"] == "model"} == set(accepted)

        eventually(answered)
