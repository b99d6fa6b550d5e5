"""What waits to be sent to one socket: bounded in frames and bytes.

Over the bound, the deltas of each answer collapse into one slice. A delta never moves across a barrier (a reset), nor
before an event that was queued ahead of its answer's first delta, so a client can't tell the difference but by the number
of frames. Still over, and the socket is too slow.
"""

import asyncio
from collections import deque

import msgspec

from chat.bounds import OUTBOX_BYTES_MAX, OUTBOX_FRAMES_MAX
from chat.realtime.envelopes import Envelope
from chat.realtime.frames import Delta, encode


class Frame:
    """A frame on its way out, encoded once, shared by all sockets that get it."""

    __slots__ = ("barrier", "delta", "mark", "message", "op", "size")

    def __init__(
        self,
        data: bytes,
        *,
        op: str = "",
        mark: str = "",
        delta: tuple[str, int] | None = None,
        barrier: bool = False,
    ) -> None:
        self.size = len(data)
        self.message = {"type": "websocket.send", "text": data.decode()}
        self.op = op
        self.mark = mark
        """Where a client is that has this: `<epoch>:<seq>` of an event, `<part>:<end>` of a delta."""
        self.delta = delta
        self.barrier = barrier

    @classmethod
    def saying(cls, frame: msgspec.Struct, *, barrier: bool = False) -> "Frame":
        """A frame for one socket alone."""
        return cls(encode(frame), op=str(frame.__struct_config__.tag), barrier=barrier)

    @classmethod
    def of_delta(cls, delta: Delta) -> "Frame":
        """A delta for one socket alone."""
        mark = f"{delta.part}:{delta.off + len(delta.text)}"
        return cls(encode(delta), op="delta", mark=mark, delta=(str(delta.gid), delta.part))

    @classmethod
    def of(cls, envelope: Envelope) -> "Frame":
        """The frame of an envelope."""
        match envelope.kind:
            case "event":
                return cls(envelope.frame, op="ev", mark=f"{envelope.epoch}:{envelope.seq}")
            case "delta":
                mark = f"{envelope.part}:{envelope.end}"
                return cls(envelope.frame, op="delta", mark=mark, delta=(envelope.gid, envelope.part))
            case "gone":
                return cls(envelope.frame, op="reset", barrier=True)
            case _:
                return cls(envelope.frame, op=envelope.kind)


class TooSlow(Exception):
    """The socket doesn't take its frames as fast as they come."""


class Outbox:
    """A bounded queue with one reader."""

    def __init__(self, *, frames_max: int = OUTBOX_FRAMES_MAX, bytes_max: int = OUTBOX_BYTES_MAX) -> None:
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    @property
    def half_full(self) -> bool:
        """Whether what isn't needed should stay out."""
        return 2 * len(self._frames) > self._frames_max or 2 * self._bytes > self._bytes_max

    def offer(self, frame: Frame) -> None:
        """Queue a frame. Raises `TooSlow` when it doesn't fit, not even after the deltas have collapsed."""
        if self._fits(frame):
            self._add(frame)
            return
        self._collapse(frame)
        if len(self._frames) > self._frames_max or self._bytes > self._bytes_max:
            raise TooSlow

    async def put(self, frame: Frame) -> None:
        """Queue a frame when there is room: for what is sent on demand, such as a replay."""
        while self._frames and not self._fits(frame):
            self._writable.clear()
            await self._writable.wait()
        self._add(frame)

    async def get(self) -> Frame:
        """The next frame."""
        while not self._frames:
            self._readable.clear()
            await self._readable.wait()
        frame = self._frames.popleft()
        self._bytes -= frame.size
        self._writable.set()
        return frame

    def clear(self) -> None:
        """Drop all that waits."""
        self._frames.clear()
        self._bytes = 0
        self._writable.set()

    def _fits(self, frame: Frame) -> bool:
        return len(self._frames) < self._frames_max and self._bytes + frame.size <= self._bytes_max

    def _add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += frame.size
        self._readable.set()

    def _collapse(self, newest: Frame) -> None:
        collapsed: list[Frame | list[Delta]] = []
        open_: dict[tuple[str, int], list[Delta]] = {}
        for frame in (*self._frames, newest):
            if frame.barrier:
                open_.clear()
            if frame.delta is None:
                collapsed.append(frame)
                continue
            delta = msgspec.json.decode(frame.message["text"], type=Delta)
            run = open_.get(frame.delta)
            if run is None or delta.off > run[-1].off + len(run[-1].text):
                run = open_[frame.delta] = []
                collapsed.append(run)
            run.append(delta)
        self._frames = deque(item if isinstance(item, Frame) else _slice(item) for item in collapsed)
        self._bytes = sum(frame.size for frame in self._frames)
        self._readable.set()


def _slice(deltas: list[Delta]) -> Frame:
    """One delta that says what all of them say. They follow one another, or overlap."""
    first = deltas[0]
    pieces, end = [first.text], first.off + len(first.text)
    for delta in deltas[1:]:
        pieces.append(delta.text[max(0, end - delta.off) :])
        end = max(end, delta.off + len(delta.text))
    whole = msgspec.structs.replace(first, text="".join(pieces))
    return Frame.of_delta(whole)
