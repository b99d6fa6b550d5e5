"""How a stream is written: what comes together is sent together, and silence is filled with comments."""

import asyncio
import uuid
from typing import Any

import pytest

from providers.adapters.fake import FakeAdapter, Script
from providers.gateway import completions
from providers.gateway.completions import _Pinging, _stream
from providers.gateway.http import Responder
from providers.gateway.openai import ChatCompletions
from providers.pipeline.pumps import Pumps
from tests.providers.conftest import Ledger, ask, candidate, job

pytestmark = pytest.mark.no_database


class Sent:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.came = asyncio.Event()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])
            self.came.set()


async def _at_once(_: float) -> None:
    return


async def test_events_that_come_together_are_sent_together_and_all_of_them() -> None:
    pumps, sent, text = Pumps(), Sent(), "0123456789" * 10
    request = ask()
    fake = FakeAdapter({"echo": Script(text, piece_chars=1)}, pace=_at_once)
    pump = pumps.start(job=job(candidate(fake), request=request), settle=Ledger())
    responder = Responder(sent, request_id=uuid.uuid4())
    writer = ChatCompletions().writer(request, request_id=uuid.uuid4(), created=1)
    await _stream(responder, pump, writer, b": ping\n\n", 0.0)
    said = b"".join(sent.bodies)
    assert said.count(b"data: ") == len(text) + 3  # a first frame with the role, and two last ones
    assert said.endswith(b"data: [DONE]\n\n")
    assert len(sent.bodies) < len(text) // 2
    assert all(said.count(b'"content":"%d"' % digit) == 10 for digit in range(10))


async def test_an_event_is_not_kept_back_for_the_next() -> None:
    sent, pieces = Sent(), asyncio.Semaphore(0)

    async def wait(_: float) -> None:
        await pieces.acquire()

    request = ask()
    fake = FakeAdapter({"echo": Script("ab", piece_chars=1)}, pace=wait)
    pump = Pumps().start(job=job(candidate(fake), request=request), settle=Ledger())
    writer = ChatCompletions().writer(request, request_id=uuid.uuid4(), created=1)
    streaming = asyncio.create_task(_stream(Responder(sent, request_id=uuid.uuid4()), pump, writer, b"", 0.0))
    async with asyncio.timeout(5):
        while not any(b'"a"' in body for body in sent.bodies):
            pieces.release()
            await sent.came.wait()
            sent.came.clear()
        assert not streaming.done()
        for _ in range(10):
            pieces.release()
        await streaming
    assert b'"b"' in b"".join(sent.bodies)


async def test_silence_is_filled_with_comments_and_ends_with_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.02)
    sent = Sent()
    responder = Responder(sent, request_id=uuid.uuid4())
    await responder.begin_stream(headers={})
    async with _Pinging(responder, b": ping\n\n"), asyncio.timeout(5):
        while len(sent.bodies) < 3:
            sent.came.clear()
            await sent.came.wait()
    pings = len(sent.bodies)
    await asyncio.sleep(0.06)
    assert len(sent.bodies) == pings
    assert set(sent.bodies) == {b": ping\n\n"}
