"""A first conversation, the same under every server that Parley is said to run on.

uvicorn   as `up` runs it, with the PostgreSQL and Valkey that come with it
daphne    the same platform, served by daphne
debian    `up` with Debian's PostgreSQL and Redis, which it finds empty
"""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tests import conformance
from tests.e2e.conftest import MODEL, PATIENCE
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.debian import debian_servers
from tests.support.servers import SECRETS
from tests.support.stack import ROOT, SOON_S, Stack, Tenant, eventually
from tests.support.ws_client import Client

pytestmark = pytest.mark.no_database

TEXT = "naïve 🎈 e\u0301 👩‍👩‍👧 " * 8


@dataclass(frozen=True)
class Front:
    """A running platform with two tenants: Alice's, and Mallory's."""

    stack: Stack
    tenant: Tenant
    token: str
    mallory: Tenant
    mallory_token: str
    upstream: OpenAIUpstream

    def open_room(self) -> str:
        with self.stack.client(self.token) as rest:
            made = rest.post("/api/v1/rooms", json={"title": "First", "kind": "private", "model": MODEL})
        assert made.status_code == 201, made.text
        room: str = made.json()["id"]
        return room

    def openai(self, key: str = "") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.stack.url}/v1", api_key=key or self.tenant.api_key, max_retries=0, timeout=20
        )


@pytest.fixture(scope="module", params=["uvicorn", "daphne", "debian"])
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: OpenAIUpstream
) -> Iterator[Front]:
    with _running(request, tmp_path_factory.mktemp("front"), upstream) as stack:
        alices, mallorys = stack.create_tenant(), stack.create_tenant()
        tokens = [stack.sign_in(one.owner, one.password)["access"] for one in (alices, mallorys)]
        yield Front(stack, alices, tokens[0], mallorys, tokens[1], upstream)


@contextmanager
def _running(request: pytest.FixtureRequest, folder: Path, upstream: OpenAIUpstream) -> Iterator[Stack]:
    if request.param == "debian":
        with debian_servers() as (database_url, redis_url):
            servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
            stack = Stack(folder, "--no-local-model", environment={**servers, **SECRETS, **PATIENCE}).start()
            try:
                stack.add_model(MODEL, upstream.base_url, upstream="fake-model")
                yield stack
            finally:
                stack.stop()
        return
    stack = request.getfixturevalue("stack")
    if request.param == "uvicorn":
        yield stack
        return
    with _daphne(stack, folder / "daphne.log") as url:
        served = stack.served_at(url)
        yield served
        served.http.close()


@contextmanager
def _daphne(stack: Stack, log: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "config.asgi:application"]
    environment = stack.environment | {"PYTHONPATH": str(ROOT / "platform")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(ready, within_s=60, failing=log.read_text)
        yield url
        said = log.read_text()
        assert "/v1/chat/completions" in said, said
        assert "Traceback" not in said, said
        assert "took too long to shut down" not in said, said
    finally:
        process.terminate()
        process.wait(15)


async def test_the_protocol_holds_line_by_line(front: Front) -> None:
    """All of docs/websocket.md, from outside."""
    bob = front.stack.add_member(front.tenant, f"bob-{secrets.token_hex(3)}")
    target = conformance.Target(
        url=front.stack.url,
        token=front.token,
        other=front.stack.sign_in(bob.email, bob.password)["access"],
        other_membership=bob.membership,
        stranger=front.mallory_token,
        model=MODEL,
        script=True,
    )
    assert await conformance.run(target) == {}


def script(**fields: Any) -> str:
    return "!script " + json.dumps({"text": f"{secrets.token_hex(4)} {TEXT}"} | fields)


async def test_a_question_in_a_room_is_answered_in_a_stream(front: Front) -> None:
    client = await Client(front.stack.socket_url, front.token).hello()
    room = await client.join(front.open_room())
    prompt = script(delay_ms=5)
    sent = await client.command("message.send", room.id, text=prompt)
    await client.until(lambda: room.ended)
    ((generation, text),) = room.ended.items()
    (emitted,) = [record.text for record in front.upstream.records if record.prompt == prompt]
    assert room.streamed[generation] == text == emitted
    assert sum(frame["op"] == "delta" for frame in client.frames) >= 3
    assert not room.gaps
    with front.stack.client(front.token) as rest:
        snapshot = rest.get(f"/api/v1/rooms/{room.id}/snapshot").json()
    assert [message["text"] for message in snapshot["messages"]] == [prompt, text]
    assert snapshot["messages"][0]["id"] == sent["id"]
    assert (snapshot["seq"], snapshot["generations"]) == (room.seq, [])
    (record,) = front.stack.usage(front.token, room=room.id)
    assert (record["status"], record["estimated"], record["member"]) == ("complete", False, _membership(front))
    await client.close()


async def test_a_client_that_was_cut_off_goes_on_where_it_was_until_it_stops_the_answer(front: Front) -> None:
    client = await Client(front.stack.socket_url, front.token).hello()
    room = await client.join(front.open_room())
    prompt = script(text=f"{secrets.token_hex(4)} {TEXT * 4}", delay_ms=30)
    await client.command("message.send", room.id, text=prompt)
    await client.until(lambda: any(len(text) > 20 for text in room.texts.values()))
    await client.cut()
    ((generation, held),) = room.texts.items()
    await client.hello()
    await client.until(lambda: len(room.texts[generation]) > len(held) + 20)
    assert room.texts[generation].startswith(held)
    assert (await client.command("generation.stop", gid=generation))["op"] == "ack"
    await client.until(lambda: room.ended)
    (emitted,) = [record.text for record in front.upstream.records if record.prompt == prompt]
    assert room.statuses[generation] == "stopped"
    assert room.streamed[generation] == room.ended[generation]
    assert emitted.startswith(room.ended[generation])
    assert (room.gaps, room.resets) == ([], [])
    (record,) = front.stack.usage(front.token, room=room.id)
    assert (record["status"], record["estimated"]) == ("stopped", True)
    assert record["cost_nano"] > 0
    await client.close()


async def test_sockets_are_refused_with_a_code(front: Front) -> None:
    url = front.stack.socket_url
    wrong = await Client(url, "nonsense").open()
    await wrong.send({"op": "hello", "v": 1, "token": "nonsense", "resume": [], "notes": 0})
    assert await wrong.closed() == 4401
    garbage = await Client(url, front.token).hello()
    await garbage.send("{not json")
    assert await garbage.closed() == 4400
    binary = await Client(url, front.token).hello()
    await binary.send(b"\x00")
    assert await binary.closed() == 4400
    foreign = await Client(url, front.token).open(origin="https://evil.example")
    assert await foreign.closed() == 4403


def test_a_program_lists_models_chats_and_streams(front: Front) -> None:
    with front.openai() as client:
        assert MODEL in [model.id for model in client.models.list()]
        messages: Any = [{"role": "user", "content": TEXT}]
        plain = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
        assert plain.parse().choices[0].message.content == f"You said: {TEXT}"
        assert plain.headers["x-parley-model"] == "fake-model"
        stream = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, stream=True)
        chunks = list(stream.parse())
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"You said: {TEXT}"
    for answer in (plain, stream):
        (record,) = front.stack.usage(front.tenant.api_key, request_id=answer.headers["x-request-id"])
        assert (record["status"], record["estimated"]) == ("complete", False)
        tokens = record["tokens"]
        assert record["cost_nano"] == 1_000 * tokens["input"] + 2_000 * tokens["output"] > 0


def test_a_program_gets_the_errors_of_the_format(front: Front) -> None:
    messages: Any = [{"role": "user", "content": "x"}]
    with front.openai("sk-parley-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with front.openai() as client:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="no-such-model", messages=messages)
        with pytest.raises(openai.BadRequestError):
            client.post("/chat/completions", body={"model": MODEL, "messages": "x"}, cast_to=object)
        failing: Any = [{"role": "user", "content": script(fault="error_frame")}]
        with pytest.raises(openai.APIError, match="No provider could answer"):
            list(client.chat.completions.create(model=MODEL, messages=failing, stream=True))


def test_a_program_that_leaves_ends_its_answer(front: Front) -> None:
    prompt = script(delay_ms=40)
    with front.openai() as client:
        messages: Any = [{"role": "user", "content": prompt}]
        stream = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, stream=True)
        request_id = stream.headers["x-request-id"]
        for chunk in (chunks := stream.parse()):
            if chunk.choices[0].delta.content:
                break
        chunks.close()
    (record,) = [record for record in front.upstream.records if record.prompt == prompt]
    eventually(lambda: record.outcome == "disconnected", within_s=SOON_S)
    (used,) = eventually(lambda: front.stack.usage(front.token, request_id=request_id))
    assert used["status"] == "stopped"


async def test_a_stranger_sees_nothing_of_it(front: Front) -> None:
    room_id = front.open_room()
    with front.stack.client(front.token) as rest:
        sent = rest.post(f"/api/v1/rooms/{room_id}/messages", json={"text": script(delay_ms=20)}).json()
    generation = sent["generation"]["id"]
    mallory = await Client(front.stack.socket_url, front.mallory_token).hello()
    refused = await mallory.command("room.join", room_id)
    assert (refused["op"], refused["code"]) == ("err", "not_found")
    paths = [f"rooms/{room_id}", f"rooms/{room_id}/snapshot", f"rooms/{room_id}/messages", f"generations/{generation}"]
    with front.stack.client(front.mallory_token) as rest:
        assert [rest.get(f"/api/v1/{path}").status_code for path in paths] == [404] * len(paths)
        assert rest.get("/api/v1/rooms").json()["data"] == []
    assert front.stack.usage(front.mallory_token) == []
    with front.stack.client(front.token) as rest:
        assert [rest.get(f"/api/v1/{path}").status_code for path in paths] == [200] * len(paths)
        eventually(lambda: rest.get(f"/api/v1/generations/{generation}").json()["status"] == "complete")
    assert [frame for frame in mallory.frames if frame["op"] in ("ev", "delta")] == []
    await mallory.close()


def _membership(front: Front) -> str:
    with front.stack.client(front.token) as rest:
        membership: str = rest.get("/api/v1/me").json()["membership"]["id"]
        return membership
