"""What comes of an answer is written in the turn of the pump that has it; who reads slowly gets all of it all the same."""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from providers.adapters.fake import FakeAdapter, Script
from providers.base import Timeouts
from providers.cache import flights
from providers.gateway import completions, stalls
from providers.gateway.completions import TOGETHER_S, _NoticingDisconnect, _stream
from providers.gateway.http import ClientGone, Request, Responder
from providers.gateway.openai import ChatCompletions
from providers.gateway.surface import FrameWriter
from providers.pipeline import pump as pump_module
from providers.pipeline.answering import Answering
from providers.pipeline.pump import Pump
from providers.pipeline.pumps import Pumps
from providers.types import StreamEvent, TextDelta
from tests.providers.conftest import Ledger, ask, candidate, job
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

APART_S = 5 * TOGETHER_S
PATIENT = Timeouts(first_token_s=30, between_tokens_s=30, total_s=60)


class Client:
    """Takes what a server sends. `waits` is waited for before each message is taken."""

    def __init__(self, waits: Callable[[], Awaitable[object]] | None = None) -> None:
        self._waits = waits
        self.statuses: list[int] = []
        self.bodies: list[bytes] = []
        self.writers: list[str] = []
        """The task in which each piece came."""
        self.ended = False

    async def send(self, message: dict[str, Any]) -> None:
        """As ASGI has it."""
        if self._waits is not None:
            await self._waits()
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
            return
        assert not self.ended
        self.bodies.append(message["body"])
        self.ended = not message.get("more_body", False)
        task = asyncio.current_task()
        self.writers.append(task.get_name().partition(" ")[0] if task else "")

    @property
    def text(self) -> str:
        """What was said."""
        lines = b"".join(self.bodies).decode().splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def pump_of(text: str, pace: Callable[[float], Awaitable[None]], ledger: Ledger | None = None) -> Pump:
    """A job whose provider says this, a character at a time."""
    fake = FakeAdapter({"echo": Script(text, piece_chars=1)}, pace=pace)
    return Pumps().start(job=job(candidate(fake), request=ask(), timeouts=PATIENT), settle=ledger or Ledger())


async def streamed(answering: Answering, client: Client, writer: FrameWriter | None = None) -> None:
    """Its answer, sent to the client to its end."""
    writer = writer or ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)
    async with soon():
        await _stream(Responder(client.send, request_id=uuid.uuid4()), answering, writer, b": ping\n\n", 0.0)


async def apart(_: float) -> None:
    await asyncio.sleep(APART_S)


async def together(_: float) -> None:
    return


async def test_the_first_words_and_each_that_comes_alone_are_written_by_the_pump() -> None:
    client = Client()
    await streamed(pump_of("abcdefgh", apart), client)
    assert client.statuses == [200]
    assert (client.text, client.ended) == ("abcdefgh", True)
    assert client.writers[:6] == ["pump"] * 6
    assert client.writers[-1] != "pump"  # the end is seen once it is settled, and no sooner
    assert b'"role":"assistant"' in client.bodies[0]
    assert b'"content":"a"' in client.bodies[0]


async def test_words_that_come_together_leave_the_pump_alone() -> None:
    client = Client()
    await streamed(pump_of("abcdefgh" * 20, together), client)
    assert client.text == "abcdefgh" * 20
    assert client.writers.count("pump") == 1
    assert len(client.bodies) < 80


@pytest.mark.parametrize("seed", range(20))
async def test_however_slowly_it_is_taken_all_of_it_comes_in_its_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.003)
    chances = random.Random(seed)

    async def sometimes(_: float = 0.0) -> None:
        if chances.random() < 0.5:
            await asyncio.sleep(chances.choice((0, 0.0002, 0.002, 0.004)))

    text = "".join(chances.choice("abcdefghij") for _ in range(60))
    ledger, client = Ledger(), Client(sometimes)
    pump = pump_of(text, sometimes, ledger)
    await streamed(pump, client)
    assert (client.text, client.ended, client.statuses) == (text, True, [200])
    assert [result.status for result in ledger.results] == ["complete"]


@pytest.mark.parametrize("seed", range(12))
async def test_who_shares_an_answer_gets_all_of_it_each_at_their_own_pace(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listeners of one flight: some are slow, come late, or leave."""
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.003)
    monkeypatch.setattr(flights, "record_result", Ledger())
    for aside in ("remember", "acknowledge", "sold_nano"):
        monkeypatch.setattr(flights, aside, lambda *_, **__: None)
    monkeypatch.setattr(flights, "stats", lambda: SimpleNamespace(hit=lambda *_, **__: None))
    if seed % 3 == 0:
        monkeypatch.setattr(flights, "MAX_LOG_CHARS", 20)
    chances = random.Random(seed)
    text = "".join(chances.choice("abcdefghij") for _ in range(60))

    async def pace(_: float) -> None:
        if chances.random() < 0.6:
            await asyncio.sleep(chances.choice((0, 0.0002, 0.0015, 0.003, 0.012)))

    only = candidate(FakeAdapter({"echo": Script(text, piece_chars=1)}, pace=pace))
    place: Any = SimpleNamespace(key=b"k", tenant_id=uuid.uuid4())
    flight = flights.Flight(job(only, request=ask(), timeouts=PATIENT), place, "stop", remembers=(), outward=None)

    async def listen(listener: flights.Listener, slow: float, leaves_after_s: float | None) -> None:
        async def waits() -> None:
            if chances.random() < slow:
                await asyncio.sleep(chances.choice((0, 0.0002, 0.002, 0.006)))

        client = Client(waits)
        try:
            async with asyncio.timeout(leaves_after_s):
                await streamed(listener, client)
        except TimeoutError:
            assert text.startswith(client.text)
        else:
            assert (client.text, client.ended, client.statuses) == (text, True, [200])
        listener.disconnect()

    listening = [asyncio.create_task(listen(flight.listeners[0], 0.3 * (seed % 2), None))]
    for _ in range(4):
        await asyncio.sleep(chances.choice((0, 0.001, 0.01)))
        if flight.takes_followers:
            late = flight.join(job(only, request=ask()), "stop")
            leaves_after_s = chances.choice((None, None, 0.02, 0.05))
            listening.append(asyncio.create_task(listen(late, chances.choice((0.0, 0.2, 0.7)), leaves_after_s)))
    await asyncio.gather(*listening)
    async with soon():
        await flight.pump.wait()


async def test_while_one_piece_waits_for_the_client_the_others_wait_behind_it() -> None:
    takes, came = asyncio.Event(), 0

    async def when_it_takes() -> None:
        nonlocal came
        came += 1
        if came == 4:
            await takes.wait()

    client = Client(when_it_takes)
    streaming = asyncio.create_task(streamed(pump_of("abcdefgh", apart), client))
    async with soon():
        while came < 4:
            await asyncio.sleep(0.001)
    await asyncio.sleep(20 * APART_S)
    assert (came, client.text) == (4, "ab")
    takes.set()
    await streaming
    assert (client.text, client.ended) == ("abcdefgh", True)


async def test_who_takes_nothing_is_given_up_though_no_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request's own task waits for words that don't come: it has to hear of it."""
    monkeypatch.setattr(stalls, "WRITE_MAX_S", 0.05)
    monkeypatch.setattr(stalls, "LOOK_EVERY_S", 0.02)
    said = 0

    async def one_word(_: float) -> None:
        nonlocal said
        said += 1
        if said > 1:
            await asyncio.Event().wait()

    async def never() -> None:
        if client.statuses:
            await asyncio.Event().wait()

    ledger, client = Ledger(), Client(never)
    pump = pump_of("ab", one_word, ledger)
    with pytest.raises(ClientGone):
        await streamed(pump, client)
    assert [result.status for result in ledger.results] == ["stopped"]


async def test_what_a_server_raises_ends_the_request_and_the_job() -> None:
    async def fails() -> None:
        if client.bodies:
            raise OSError("the connection is gone")

    ledger, client = Ledger(), Client(fails)
    pump = pump_of("abcdefgh", apart, ledger)
    with pytest.raises(OSError, match="the connection is gone"):
        await streamed(pump, client)
    pump.disconnect()
    async with soon():
        await pump.wait()
    assert [result.status for result in ledger.results] == ["stopped"]
    assert client.text == "a"


async def test_a_writer_that_fails_fails_its_request_and_not_the_job() -> None:
    class Fails:
        def write(self, event: StreamEvent) -> bytes:
            if isinstance(event, TextDelta) and event.text == "c":
                raise ZeroDivisionError
            return writer.write(event)

        def error(self, _: object) -> bytes:
            return b""

    writer = ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)
    ledger, client = Ledger(), Client()
    pump = pump_of("abcdefgh", apart, ledger)
    with pytest.raises(ZeroDivisionError):
        await streamed(pump, client, Fails())
    async with soon():
        await pump.wait()
    assert [result.status for result in ledger.results] == ["complete"]


async def test_a_request_that_is_cancelled_leaves_no_send_behind() -> None:
    async def never() -> None:
        if client.bodies:
            await asyncio.Event().wait()

    client = Client(never)
    pump = pump_of("abcdefgh", apart)
    streaming = asyncio.create_task(streamed(pump, client))
    async with soon():
        while len(client.bodies) < 1:
            await asyncio.sleep(0.001)
    await asyncio.sleep(3 * APART_S)
    before = asyncio.all_tasks()
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await streaming
    pump.disconnect()
    async with soon():
        await pump.wait()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left & before


async def test_what_waits_behind_a_comment_is_not_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comment begins the stream. It ends in the turn in which the next word comes."""
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.02)
    turns = {number: asyncio.Event() for number in range(1, 5)}
    asked, commenting, comment = 0, asyncio.Event(), asyncio.Event()

    async def pace(_: float) -> None:
        nonlocal asked
        asked += 1
        await turns[asked].wait()

    async def waits() -> None:
        commenting.set()
        await comment.wait()

    client = Client(waits)
    streaming = asyncio.create_task(streamed(pump_of("abcd", pace), client))
    async with soon():
        await commenting.wait()
    turns[1].set()
    await asyncio.sleep(3 * APART_S)
    comment.set()
    for turn in (2, 3, 4):
        turns[turn].set()
        await asyncio.sleep(0)
    await streaming
    assert (client.text, client.ended, client.statuses) == ("abcd", True, [200])
    assert client.bodies[0] == b": ping\n\n"


async def test_a_comment_that_was_given_up_costs_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PING_AFTER_S", 0.02)
    monkeypatch.setattr(stalls, "WRITE_MAX_S", 0.05)
    monkeypatch.setattr(stalls, "LOOK_EVERY_S", 0.02)
    asked, tried = 0, 0

    async def pace(_: float) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.3 if asked == 2 else APART_S)

    async def waits() -> None:
        nonlocal tried
        tried += 1
        if tried == 3:  # after the head and the first word
            await asyncio.Event().wait()

    client = Client(waits)
    await streamed(pump_of("abcdef", pace), client)
    assert tried > 3
    assert (client.text, client.ended) == ("abcdef", True)


async def test_an_answer_that_has_ended_is_settled_though_nobody_has_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words fill the queue."""
    monkeypatch.setattr(pump_module, "MAX_QUEUED_EVENTS", 3)

    async def never() -> None:
        if client.bodies:
            await asyncio.Event().wait()

    ledger, client = Ledger(), Client(never)
    pump = pump_of("abcd", lambda _: asyncio.sleep(0), ledger)
    streaming = asyncio.create_task(streamed(pump, client))
    async with soon():
        await pump.wait()
    assert [result.status for result in ledger.results] == ["complete"]
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await streaming


async def test_who_left_while_a_piece_was_on_its_way_to_them_is_a_client_that_is_gone() -> None:
    """Of a server whose send goes on waiting though it has said that the client left."""
    left, asked = asyncio.Event(), 0

    async def pace(_: float) -> None:
        nonlocal asked
        asked += 1
        await (asyncio.Event().wait() if asked > 2 else asyncio.sleep(APART_S))

    async def never() -> None:
        if client.bodies:
            await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    ledger, client = Ledger(), Client(never)
    pump = pump_of("abcd", pace, ledger)
    responder = Responder(client.send, request_id=uuid.uuid4())
    request = Request(method="POST", path="/", headers={}, address="", receive=receive)
    writer = ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)

    async def answer() -> None:
        async with _NoticingDisconnect(request, responder, pump):
            await _stream(responder, pump, writer, b": ping\n\n", 0.0)

    answering = asyncio.create_task(answer())
    async with soon():
        while responder.rest is None:
            await asyncio.sleep(0.001)
        left.set()
        with pytest.raises(ClientGone):
            await answering
    assert [result.status for result in ledger.results] == ["stopped"]
