"""A pump always ends in settle, once, whatever happens to its consumer, its upstream or its process."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import InternalError, ParleyError, Unavailable, UpstreamFailed
from providers.adapters.fake import FakeAdapter, Script
from providers.adapters.openai.adapter import OpenAICompatible
from providers.base import Target, Timeouts
from providers.errors import Transient
from providers.pipeline import pump as pump_module
from providers.pipeline.pump import MAX_QUEUED_EVENTS, Pump
from providers.pipeline.pumps import SETTLE_RESERVE_S, Pumps
from providers.types import ChatRequest, Finished, StreamEvent, TextDelta, Usage
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import SHORT, Ledger, ask, candidate, job, until
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

PATIENT = Timeouts(first_token_s=30, between_tokens_s=30, total_s=60)


@pytest.fixture
async def pumps() -> AsyncIterator[Pumps]:
    pumps = Pumps()
    yield pumps
    await pumps.drain(timeout_s=0)
    assert len(pumps) == 0


def _text(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def _first_text(pump: Pump) -> AsyncIterator[StreamEvent]:
    """The pump's events, left at the first text."""
    events = pump.events()
    async for event in events:
        if isinstance(event, TextDelta):
            break
    return events


async def test_an_answer_is_settled_before_its_end_is_seen(pumps: Pumps) -> None:
    gate = asyncio.Event()
    ledger = Ledger(gate=gate.wait())
    pump = pumps.start(job=job(candidate(FakeAdapter({"echo": Script("Hello")}))), settle=ledger)
    events = pump.events()
    assert [type(await anext(events)).__name__ for _ in range(3)] == [
        "Started",
        "TextDelta",
        "ChoiceFinished",
    ]
    end = asyncio.ensure_future(anext(events))
    await asyncio.wait({end}, timeout=0.05)
    assert not end.done()
    assert ledger.results == []
    gate.set()
    assert await end == Finished("stop", ledger.only.attempts[0].usage)
    assert [event async for event in events] == []
    assert ledger.only.status == "complete"
    assert ledger.only.answer.text == "Hello"


async def test_a_plain_answer_is_whole_and_settled(pumps: Pumps) -> None:
    ledger = Ledger()
    usage = Usage(3, 1, 0, 4, 0)
    fake = FakeAdapter({"echo": Script("Hello", usage=usage)})
    pump = pumps.start(job=job(candidate(fake), request=ask(stream=False)), settle=ledger)
    answer = await pump.answer()
    assert answer == ledger.only.answer
    assert (answer.text, answer.usage) == ("Hello", usage)


async def test_usage_that_was_not_reported_is_estimated_and_says_so(pumps: Pumps) -> None:
    ledger = Ledger()
    fake = FakeAdapter({"echo": Script("12345678", reasoning="abcd", reports_usage=False)})
    answer = await pumps.start(job=job(candidate(fake)), settle=ledger).answer()
    (attempt,) = ledger.only.attempts
    assert attempt.estimated
    assert attempt.usage == answer.usage
    assert (answer.usage.output, answer.usage.reasoning) == (3, 1)


async def test_stop_ends_the_upstreams_work_and_keeps_what_there_is(
    pumps: Pumps, adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(text="0123456789", chunk=5, fault="hang", fault_after=1)
    ledger = Ledger()
    pump = pumps.start(job=job(candidate(adapter, target=target), timeouts=PATIENT), settle=ledger)
    events = await _first_text(pump)
    pump.stop()
    pump.interrupt()  # it is over already: the first word counts
    assert [type(event).__name__ async for event in events] == ["Finished"]
    await until(lambda: upstream.records[0].outcome == "disconnected" and upstream.in_flight == 0)
    assert ledger.only.status == "stopped"
    assert ledger.only.answer.text == "01234" == upstream.records[0].text
    assert ledger.only.attempts[0].estimated
    pump.interrupt()
    assert len(ledger.results) == 1


async def test_a_caller_that_leaves_ends_the_answer(
    pumps: Pumps, adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(fault="hang_before_headers")
    others = upstream.open_connections
    ledger = Ledger()
    pump = pumps.start(job=job(candidate(adapter, target=target), timeouts=PATIENT), settle=ledger)
    reading = asyncio.create_task(pump.answer())
    await until(lambda: upstream.in_flight == 1)
    reading.cancel()
    pump.disconnect()
    await pump.wait()
    assert ledger.only.status == "stopped"
    await until(lambda: upstream.in_flight == 0 and upstream.open_connections <= others)


async def test_a_room_that_nobody_watches_gets_its_whole_answer(pumps: Pumps) -> None:
    ledger = Ledger()
    text = "x" * (MAX_QUEUED_EVENTS * 3)
    fake = FakeAdapter({"echo": Script(text, piece_chars=1)})
    pump = pumps.start(job=job(candidate(fake)), settle=ledger, on_disconnect="continue")
    await _first_text(pump)
    pump.disconnect()
    await pump.wait()
    assert ledger.only.status == "complete"
    assert ledger.only.answer.text == text


async def test_a_slow_consumer_slows_the_upstream_down(pumps: Pumps) -> None:
    pieces = 0

    async def count(_: float) -> None:
        nonlocal pieces
        pieces += 1

    ledger = Ledger()
    text = "x" * (MAX_QUEUED_EVENTS * 3)
    fake = FakeAdapter({"echo": Script(text, piece_chars=1)}, pace=count)
    pump = pumps.start(job=job(candidate(fake), timeouts=PATIENT), settle=ledger)
    events = await _first_text(pump)
    await until(lambda: pieces >= MAX_QUEUED_EVENTS)
    assert pieces <= MAX_QUEUED_EVENTS + 2
    rest = [event async for event in events]
    assert _text(rest) == text[1:]
    assert ledger.only.status == "complete"


@pytest.mark.parametrize(("policy", "status"), [("stop", "stopped"), ("continue", "complete")])
async def test_a_consumer_that_takes_nothing_for_too_long_counts_as_gone(
    pumps: Pumps, policy: pump_module.OnDisconnect, status: str
) -> None:
    ledger = Ledger()
    fake = FakeAdapter({"echo": Script("x" * (MAX_QUEUED_EVENTS * 2), piece_chars=1)})
    pump = pumps.start(job=job(candidate(fake), timeouts=SHORT), settle=ledger, on_disconnect=policy)
    async with soon():
        await pump.wait()
    assert ledger.only.status == status


async def test_a_failure_is_settled_and_then_told(pumps: Pumps) -> None:
    ledger = Ledger()
    fake = FakeAdapter({"echo": Script("Hello", piece_chars=2, fault=Transient(cause="cut"), fault_after=1)})
    pump = pumps.start(job=job(candidate(fake)), settle=ledger)
    events = await _first_text(pump)
    with pytest.raises(UpstreamFailed) as failed:
        await anext(events)
    assert ledger.only.status == "failed"
    assert ledger.only.error is failed.value
    assert ledger.only.answer.text == "He"


async def test_a_mistake_of_our_own_is_settled_too(pumps: Pumps, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeAdapter):
        async def complete(self, *_: object) -> None:  # type: ignore[override]
            raise KeyError("a bug")

    ledger = Ledger()
    pump = pumps.start(job=job(candidate(Broken()), request=ask(stream=False)), settle=ledger)
    with pytest.raises(InternalError):
        await pump.answer()
    assert ledger.only.status == "failed"
    assert "a bug" in caplog.text


async def test_an_answer_that_cannot_be_recorded_is_not_ended_as_if_it_were(
    pumps: Pumps, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(failure=OSError("the database is away"))
    pump = pumps.start(job=job(candidate(FakeAdapter())), settle=ledger)
    with pytest.raises(Unavailable):
        await pump.answer()
    assert len(ledger.results) == 1
    assert "could not be settled" in caplog.text


async def test_a_settle_that_hangs_is_given_up(pumps: Pumps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "SETTLE_S", 0.05)
    ledger = Ledger(gate=asyncio.get_running_loop().create_future())
    pump = pumps.start(job=job(candidate(FakeAdapter())), settle=ledger)
    async with soon():
        with pytest.raises(Unavailable):
            await pump.answer()


async def test_stop_before_anything_happened(pumps: Pumps) -> None:
    ledger = Ledger()
    fake = FakeAdapter()
    pump = pumps.start(job=job(candidate(fake)), settle=ledger)
    pump.stop()
    assert [event async for event in pump.events()] == [Finished("stop", Usage(reported=False))]
    assert ledger.only.status == "stopped"
    assert ledger.only.attempts == ()
    assert fake.calls == []


async def test_stop_after_the_end_changes_nothing(pumps: Pumps) -> None:
    ledger = Ledger()
    pump = pumps.start(job=job(candidate(FakeAdapter())), settle=ledger)
    await pump.answer()
    pump.stop()
    pump.disconnect()
    await pump.wait()
    assert ledger.only.status == "complete"


async def test_a_stop_while_settling_comes_too_late(pumps: Pumps) -> None:
    gate = asyncio.Event()
    ledger = Ledger(gate=gate.wait())
    pump = pumps.start(job=job(candidate(FakeAdapter({"echo": Script("x")}))), settle=ledger)
    events = [event async for _, event in _zip(range(3), pump.events())]
    assert len(events) == 3
    await asyncio.sleep(0)
    pump.stop()
    pump.task.cancel()  # not even the loop's own end takes the record back
    await asyncio.sleep(0)
    gate.set()
    await pump.wait()
    assert ledger.only.status == "complete"


async def _zip(numbers: range, events: AsyncIterator[StreamEvent]) -> AsyncIterator[tuple[int, StreamEvent]]:
    for number in numbers:
        yield number, await anext(events)


async def test_drain_lets_answers_end_and_interrupts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    pumps = Pumps()
    quick, slow = Ledger(), Ledger()
    release = asyncio.Event()

    async def wait_for_release(_: float) -> None:
        await release.wait()

    ending = FakeAdapter({"echo": Script("Hello")}, pace=wait_for_release)
    hanging = FakeAdapter({"echo": Script("Hello", piece_chars=2, hang=True, fault_after=1)})
    first = pumps.start(job=job(candidate(ending), timeouts=PATIENT), settle=quick)
    second = pumps.start(job=job(candidate(hanging), timeouts=PATIENT), settle=slow)
    events = await _first_text(second)
    draining = asyncio.create_task(pumps.drain(SETTLE_RESERVE_S + 0.2))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        pumps.start(job=job(candidate(ending)), settle=quick)
    release.set()
    assert (await first.answer()).text == "Hello"
    with pytest.raises(Unavailable):
        await anext(events)
    await draining
    assert quick.only.status == "complete"
    assert slow.only.status == "interrupted"
    assert slow.only.answer.text == "He"
    assert len(pumps) == 0
    assert caplog.text == ""


def test_a_loop_that_ends_settles_what_it_cuts_off() -> None:
    ledger = Ledger()

    async def main() -> None:
        hanging = FakeAdapter({"echo": Script("Hello", piece_chars=2, hang=True, fault_after=1)})
        pump = Pumps().start(job=job(candidate(hanging), timeouts=PATIENT), settle=ledger)
        await _first_text(pump)

    asyncio.run(main())
    assert ledger.only.status == "interrupted"
    assert ledger.only.answer.text == "He"


# --- any order of things


class Shuffled:
    """Gives way to the event loop a random number of times, so that everything can happen between any two steps."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def __call__(self, _: float = 0.0) -> None:
        for _turn in range(self._random.randrange(4)):
            await asyncio.sleep(0)


SCRIPTS = [
    Script("0123456789", piece_chars=2),
    Script("0123456789", piece_chars=2, fault=Transient(cause="cut"), fault_after=3),
    Script("0123456789", piece_chars=2, fault=Transient(cause="server"), fault_after=0),
    Script("0123456789", piece_chars=2, hang=True, fault_after=2),
    Script("", reports_usage=False),
]


@settings(max_examples=100, deadline=None)
@given(
    script=st.sampled_from(SCRIPTS),
    fallback=st.booleans(),
    stream=st.booleans(),
    policy=st.sampled_from(["stop", "continue"]),
    actions=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["stop", "disconnect", "interrupt", "cancel", "read"])),
        max_size=6,
    ),
    seed=st.integers(0, 10_000),
)
def test_settle_happens_exactly_once_in_any_order_of_things(
    *,
    script: Script,
    fallback: bool,
    stream: bool,
    policy: pump_module.OnDisconnect,
    actions: list[tuple[int, str]],
    seed: int,
) -> None:
    async def main() -> None:
        fake = FakeAdapter({"first": script, "second": Script("fine")}, pace=Shuffled(seed))
        names = ["first", "second"] if fallback else ["first"]
        request: ChatRequest = ask(stream=stream)
        work = job(*(candidate(fake, name=one, model=one) for one in names), request=request, timeouts=PATIENT)
        ledger = Ledger(gate=Shuffled(seed + 1)())
        pumps = Pumps()
        pump = pumps.start(job=work, settle=ledger, on_disconnect=policy)
        seen: list[StreamEvent] = []
        ends: list[ParleyError] = []

        async def consume() -> None:
            try:
                async for event in pump.events():
                    assert not (isinstance(event, Finished) and not ledger.results)
                    seen.append(event)
            except ParleyError as error:
                assert ledger.results
                ends.append(error)

        readers = [asyncio.create_task(consume())]
        for turns, action in actions:
            for _ in range(turns):
                await asyncio.sleep(0)
            if action == "cancel":
                readers[0].cancel()
                pump.disconnect()
            elif action != "read":
                getattr(pump, action)()
        await asyncio.sleep(0)
        if script.hang or not actions:
            await asyncio.wait({pump.task}, timeout=0.01)
        await pumps.drain(SETTLE_RESERVE_S + (0.01 if script.hang else 5))
        await asyncio.gather(*readers, return_exceptions=True)

        result = ledger.only
        assert fake.open_streams == 0
        assert len(pumps) == 0
        assert result.answer.text.startswith(_text(seen))
        assert len(ends) + sum(isinstance(event, Finished) for event in seen) <= 1
        if result.status == "complete":
            assert result.attempts[-1].usage.prompt > 0
            assert result.attempts[-1].status == "complete"
        assert [attempt.number for attempt in result.attempts] == list(range(1, len(result.attempts) + 1))

    asyncio.run(main())
