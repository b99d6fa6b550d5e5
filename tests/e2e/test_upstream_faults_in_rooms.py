"""Whatever the upstream does, the room says so, and stays usable.

One member asks in a room per fault, all at once, over one socket; then asks again. Each fault has a model of its own, so
that what it makes Parley think of a deployment is nothing to the others.
"""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from providers.vocabularies import UNKNOWN, count_tokens
from tests.e2e.conftest import BETWEEN_TOKENS_S, FIRST_TOKEN_S, MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant
from tests.support.ws_client import Client, Frame, RoomState

pytestmark = pytest.mark.no_database

BEFORE = {
    "401": "upstream_failed",
    "404": "upstream_failed",
    "429": "rate_limited",
    "quota": "upstream_failed",
    "400": "rejected_by_provider",
    "too_long": "context_length_exceeded",
    "500": "upstream_failed",
    "503": "upstream_failed",
    "error_body": "upstream_failed",
    "garbage_body": "upstream_failed",
    "cut_before_headers": "upstream_failed",
    "hang_before_headers": "upstream_timeout",
    "hang_before_first_token": "upstream_timeout",
}
MIDWAY = {
    "hang": "upstream_timeout",
    "cut": "upstream_failed",
    "end": "upstream_failed",
    "garbage": "upstream_failed",
    "error_frame": "upstream_failed",
}
SLACK_S = 5.0


@dataclass
class Asked:
    """A question in a room, and the event that ended its answer."""

    room: RoomState
    prompt: str
    finished: Frame
    took_s: float
    next_finished: Frame

    @property
    def generation(self) -> dict[str, Any]:
        generation: dict[str, Any] = self.finished["body"]["generation"]
        return generation


@pytest.fixture(scope="module")
def asked(stack: Stack, tenant: Tenant, upstream: OpenAIUpstream) -> dict[str, Asked]:
    stack.add_models([_model(fault) for fault in BEFORE | MIDWAY], upstream.base_url, name="faults-in-rooms")
    session = stack.sign_in(tenant.owner, tenant.password)
    with stack.client(session["access"]) as rest:
        rooms = {
            fault: rest.post("/api/v1/rooms", json={"title": fault, "kind": "shared", "model": MODEL}).json()["id"]
            for fault in BEFORE | MIDWAY
        }
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _ask_in_all(stack, session["access"], rooms)).result()


def _model(fault: str) -> str:
    return f"room-fault-{fault}"


async def _ask_in_all(stack: Stack, token: str, rooms: dict[str, str]) -> dict[str, Asked]:
    client = await Client(stack.socket_url, token).hello()
    try:
        asked = await asyncio.gather(*(_ask(client, fault, room) for fault, room in rooms.items()))
    finally:
        await client.close()
    return dict(zip(rooms, asked, strict=True))


async def _ask(client: Client, fault: str, room_id: str) -> Asked:
    room = await client.join(room_id)
    script = {"fault": fault, "text": f"{room_id} naïve 🎈 and so on", "retry_after": 9}
    prompt = "!script " + json.dumps(script)
    began = asyncio.get_running_loop().time()
    finished = await _answer(client, room_id, prompt, _model(fault))
    took_s = asyncio.get_running_loop().time() - began
    return Asked(room, prompt, finished, took_s, await _answer(client, room_id, "Are you there?", MODEL))


async def _answer(client: Client, room_id: str, text: str, model: str) -> Frame:
    ack = await client.command("message.send", room_id, text=text, model=model)
    assert ack["op"] == "ack", ack
    return await client.frame(
        lambda frame: frame.get("type") == "generation.finished" and frame["body"]["generation"]["prompt"] == ack["id"]
    )


@pytest.mark.parametrize("fault", BEFORE | MIDWAY)
def test_the_room_says_what_went_wrong_and_answers_the_next_question(asked: dict[str, Asked], fault: str) -> None:
    one = asked[fault]
    assert one.generation["status"] == "failed"
    assert one.generation["error"]["code"] == (BEFORE | MIDWAY)[fault]
    assert len(one.generation["error"]["message"]) > 10
    assert "sk-" not in json.dumps(one.finished)
    assert one.took_s <= max(FIRST_TOKEN_S, BETWEEN_TOKENS_S) + SLACK_S
    following = one.next_finished["body"]
    assert (following["generation"]["status"], following["message"]["text"]) == ("complete", "You said: Are you there?")
    assert not one.room.gaps
    assert not one.room.resets


@pytest.mark.parametrize("fault", BEFORE)
def test_an_answer_that_never_began_leaves_no_message(asked: dict[str, Asked], fault: str) -> None:
    assert asked[fault].finished["body"]["message"] is None


@pytest.mark.parametrize("fault", MIDWAY)
def test_what_came_before_the_fault_is_kept(asked: dict[str, Asked], upstream: OpenAIUpstream, fault: str) -> None:
    one = asked[fault]
    (emitted,) = [record.text for record in upstream.records if record.prompt == one.prompt]
    assert one.finished["body"]["message"]["text"] == one.room.streamed[one.generation["id"]] == emitted != ""


@pytest.mark.parametrize("fault", BEFORE | MIDWAY)
def test_the_bill_and_the_room_agree(
    stack: Stack, tenant: Tenant, asked: dict[str, Asked], upstream: OpenAIUpstream, fault: str
) -> None:
    one = asked[fault]
    following = one.next_finished["body"]["generation"]
    sent = [record for record in upstream.records if record.prompt == one.prompt]
    served, *failed = stack.usage(tenant.api_key, room=one.room.id)
    assert (served["status"], served["tokens"], served["cost_nano"]) == (
        "complete",
        following["usage"],
        following["cost_nano"],
    )
    assert [record["status"] for record in failed] == ["failed"] * len(sent)
    used = {meter: sum(record["tokens"][meter] for record in failed) for meter in one.generation["usage"]}
    assert used == one.generation["usage"]
    assert used["output"] == sum(count_tokens([record.text], UNKNOWN) for record in sent)
    price = 1_000 * used["input"] + 2_000 * used["output"]
    # What nobody saw anything of is not charged.
    assert one.generation["cost_nano"] == (price if fault in MIDWAY else 0)
    assert sum(record["cost_nano"] for record in failed) == one.generation["cost_nano"]
    assert sum(record["cost_nano"] + record["uncharged_nano"] for record in failed) == price
