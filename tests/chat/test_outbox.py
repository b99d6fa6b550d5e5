"""What waits for a socket: bounded, and collapsed when it is too much."""

import asyncio
import uuid

import msgspec
import pytest

from chat.realtime.frames import Delta, encode
from chat.realtime.outbox import Frame, Outbox, TooSlow

pytestmark = pytest.mark.no_database
ROOM, GEN, OTHER = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()


def delta(off: int, text: str, gid: uuid.UUID = GEN) -> Frame:
    frame = Delta(room=ROOM, gid=gid, part=0, kind="text", off=off, text=text)
    return Frame(encode(frame), delta=(str(gid), 0))


def event(text: str = "{}", *, barrier: bool = False) -> Frame:
    return Frame(text.encode(), barrier=barrier)


async def sent(outbox: Outbox) -> list[tuple[int, str] | str]:
    found: list[tuple[int, str] | str] = []
    while len(outbox):
        text = (await outbox.get()).message["text"]
        if text.startswith('{"op":"delta"'):
            one = msgspec.json.decode(text, type=Delta)
            found.append((one.off, one.text))
        else:
            found.append(text)
    return found


async def test_frames_leave_in_order() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.offer(event(str(number)))
    assert await sent(outbox) == ["0", "1", "2", "3", "4"]
    assert outbox.size == 0


async def test_deltas_collapse_into_one_slice_each() -> None:
    outbox = Outbox(frames_max=4)
    outbox.offer(event("started"))
    outbox.offer(delta(0, "𝒳é"))
    outbox.offer(delta(0, "b", OTHER))
    outbox.offer(delta(2, "c"))
    outbox.offer(delta(3, "d"))
    assert await sent(outbox) == ["started", (0, "𝒳écd"), (0, "b")]


async def test_overlaps_are_dropped_and_holes_kept() -> None:
    outbox = Outbox(frames_max=3)
    for frame in (delta(0, "abc"), delta(1, "bcde"), delta(9, "x"), delta(10, "y")):
        outbox.offer(frame)
    assert await sent(outbox) == [(0, "abcde"), (9, "xy")]


async def test_deltas_stay_behind_a_reset() -> None:
    outbox = Outbox(frames_max=4)
    for frame in (delta(0, "a"), delta(1, "b"), event("reset", barrier=True), delta(2, "c"), delta(3, "d")):
        outbox.offer(frame)
    assert await sent(outbox) == [(0, "ab"), "reset", (2, "cd")]


async def test_events_alone_are_too_many() -> None:
    outbox = Outbox(frames_max=3)
    for number in range(3):
        outbox.offer(event(str(number)))
    with pytest.raises(TooSlow):
        outbox.offer(event("one more"))


async def test_bytes_are_bounded_too() -> None:
    outbox = Outbox(bytes_max=1000)
    outbox.offer(delta(0, "x" * 600))
    with pytest.raises(TooSlow):
        outbox.offer(delta(600, "x" * 600))


async def test_put_waits_for_room() -> None:
    outbox = Outbox(frames_max=1)
    await outbox.put(event("1"))
    waiting = asyncio.create_task(outbox.put(event("2")))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (await outbox.get()).message["text"] == "1"
    await waiting
    assert await sent(outbox) == ["2"]
