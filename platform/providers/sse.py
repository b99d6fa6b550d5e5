"""Server-sent events, read incrementally (WHATWG HTML, "Interpreting an event stream").

Bytes may arrive split anywhere, also inside a UTF-8 character or between CR and LF; no event is lost, doubled
or changed by it. `id` and `retry` have no use here and are skipped like comments."""

from typing import NamedTuple

MAX_EVENT_BYTES = 4 * 1024 * 1024


class EventTooLarge(ValueError):
    """An event grew past the parser's bound before it ended."""


class SSEEvent(NamedTuple):
    """`data` is the joined data lines, still UTF-8; `event` the type, "message" unless the stream says
    otherwise."""

    data: bytes
    event: str = "message"


class SSEParser:
    """Feed it bytes as they come; it hands back the events that are complete. What is left at the end is no
    event."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._partial: list[bytes] = []  # pieces of the line that has not ended
        self._data: list[bytes] = []
        self._event = "message"
        self._partial_bytes = 0
        self._data_bytes = 0
        self._after_cr = False
        self._first_line = True

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """The events that this chunk completes. Raises EventTooLarge; the parser is of no use after that."""
        if self._is_between and _is_one_event(chunk) and len(chunk) <= self._max:
            return [SSEEvent(chunk[6:-2])]
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        tail = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        events: list[SSEEvent] = []
        for line in lines:
            if self._partial:
                self._partial.append(line)
                line = b"".join(self._partial)  # noqa: PLW2901
                self._partial.clear()
                self._partial_bytes = 0
            self._line(line, events)
        if tail:
            self._partial.append(tail)
            self._partial_bytes += len(tail)
            self._check()
        return events

    @property
    def _is_between(self) -> bool:
        """Whether nothing of an event, nor of a line, is waiting to be completed."""
        return not (self._partial or self._data or self._after_cr or self._first_line or self._event != "message")

    def _line(self, line: bytes, events: list[SSEEvent]) -> None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append(SSEEvent(b"\n".join(self._data), self._event))
            self._data = []
            self._event = "message"
            self._data_bytes = 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            self._check()
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")

    def _check(self) -> None:
        if self._partial_bytes + self._data_bytes > self._max:
            raise EventTooLarge(f"an event of more than {self._max} bytes")


def _is_one_event(chunk: bytes) -> bool:
    """Whether this is one whole event of one line of data: what nearly every chunk of an answer is."""
    return (
        chunk.startswith(b"data: ") and chunk.find(b"\n") == len(chunk) - 2 and chunk[-1] == 10 and b"\r" not in chunk
    )
