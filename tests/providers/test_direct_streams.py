"""What comes of an answer is written in the turn of the pump that has it; who reads slowly gets all of it all the same."""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from providers.adapters.fake import FakeAdapter, Script
from providers.gateway import stalls
from providers.gateway.completions import TOGETHER_S, _stream
from providers.gateway.http import ClientGone, Responder
from providers.gateway.openai import ChatCompletions
from providers.gateway.surface import FrameWriter
from providers.pipeline.pump import Pump
from providers.pipeline.pumps import Pumps
from providers.types import StreamEvent, TextDelta
from tests.providers.conftest import Ledger, ask, candidate, job
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

APART_S = 5 * TOGETHER_S


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
    return Pumps().start(job=job(candidate(fake), request=ask()), settle=ledger or Ledger())


async def streamed(pump: Pump, client: Client, writer: FrameWriter | None = None) -> None:
    """Its answer, sent to the client to its end."""
    writer = writer or ChatCompletions().writer(ask(), request_id=uuid.uuid4(), created=1)
    async with soon():
        await _stream(Responder(client.send, request_id=uuid.uuid4()), pump, writer, b": ping\n\n", 0.0)


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
async def test_however_slowly_it_is_taken_all_of_it_comes_in_its_order(seed: int) -> None:
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
