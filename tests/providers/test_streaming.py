"""How a stream is written: what comes together is sent together, and silence is filled with comments."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kernel.errors import ParleyError
from providers.adapters.fake import FakeAdapter, Script
from providers.errors import Rejected
from providers.gateway import completions
from providers.gateway.completions import _Pinging, _stream
from providers.gateway.http import Responder
from providers.gateway.openai import ChatCompletions
from providers.pipeline.pump import Pump
from providers.pipeline.pumps import Pumps
from tests.providers.conftest import Ledger, ask, candidate, job
from tests.support.patience import soon

pytestmark = pytest.mark.no_database


PING = b": ping\n\n"


class Sent:
    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.came = asyncio.Event()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])
            self.came.set()


def pump_that(waits: Callable[[], Awaitable[object]]) -> Pump:
    """A job whose provider waits for this before each piece of its answer."""

    async def pace(_: float) -> None:
        await waits()

    return Pumps().start(job=job(candidate(FakeAdapter(pace=pace))), settle=Ledger())


def pump_that_fails(when: asyncio.Event) -> Pump:
    """A job whose provider refuses it then."""

    async def wait() -> None:
        await when.wait()
        raise Rejected("this can't be answered")

    return pump_that(wait)


def streamed(sent: Sent, pump: Pump) -> "tuple[Responder, asyncio.Task[None]]":
    """A job's answer on its way to a client."""
    responder = Responder(sent, request_id=uuid.uuid4())
    writer = ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)
    return responder, asyncio.create_task(_stream(responder, pump, writer, PING, 0.0))


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
    async with soon():
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
    waiting = pump_that(asyncio.Event().wait)
    async with _Pinging(responder, PING, waiting, 0.0), soon():
        while len(sent.bodies) < 3:
            sent.came.clear()
            await sent.came.wait()
    pings = len(sent.bodies)
    await asyncio.sleep(0.06)
    assert len(sent.bodies) == pings
    assert set(sent.bodies) == {PING}
    waiting.stop()


async def test_nothing_follows_the_end_that_a_slow_client_is_still_taking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.01)
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await asyncio.sleep(0.1)

    fake = FakeAdapter({"echo": Script("ab", piece_chars=1)}, pace=_at_once)
    pump = Pumps().start(job=job(candidate(fake), request=ask()), settle=Ledger())
    writer = ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)
    await _stream(Responder(send, request_id=uuid.uuid4()), pump, writer, PING, 0.0)
    assert said[-1]["body"].endswith(b"data: [DONE]\n\n")
    assert [message.get("more_body", False) for message in said[1:]] == [True] * (len(said) - 2) + [False]


async def test_a_provider_that_lets_wait_has_the_stream_begin_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.02)
    sent, pieces = Sent(), asyncio.Event()
    _, streaming = streamed(sent, pump_that(pieces.wait))
    async with soon():
        while len(sent.bodies) < 3:
            sent.came.clear()
            await sent.came.wait()
        pieces.set()
        await streaming
    assert sent.statuses == [200]
    said = b"".join(sent.bodies).replace(PING, b"")
    assert said.count(b"data: ") > 3
    assert said.endswith(b"data: [DONE]\n\n")


async def test_what_fails_after_a_comment_ends_the_stream_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.02)
    sent, fails = Sent(), asyncio.Event()

    responder, streaming = streamed(sent, pump_that_fails(fails))
    async with soon():
        await sent.came.wait()
        fails.set()
        await streaming
    assert sent.statuses == [200]
    assert b'data: {"error":' in sent.bodies[-2]
    assert responder.finished


async def test_what_was_not_tried_yet_may_still_be_refused_with_its_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.01)
    monkeypatch.setattr(Pump, "is_tried", False)
    sent, fails = Sent(), asyncio.Event()

    responder, streaming = streamed(sent, pump_that_fails(fails))
    await asyncio.sleep(0.06)
    assert not responder.started
    fails.set()
    with pytest.raises(ParleyError):
        await streaming
    assert sent.statuses == []
