"""Server-sent events come out as they were sent, however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sse import EventTooLarge, SSEEvent, SSEParser

pytestmark = pytest.mark.no_database

line = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
event = st.tuples(
    st.lists(line, min_size=1, max_size=3),
    st.sampled_from(["message", "delta", "übergang"]),
    st.lists(line, max_size=2),
)
newline = st.sampled_from(["\n", "\r\n", "\r"])


def _wire(sent: list[tuple[list[str], str, list[str]]], end: str) -> bytes:
    lines: list[str] = []
    for data, kind, comments in sent:
        lines += [f":{comment}" for comment in comments]
        if kind != "message":
            lines.append(f"event: {kind}")
        lines += [f"data: {piece}" for piece in data]
        lines.append("")
    return "".join(text + end for text in lines).encode()


def _feed(wire: bytes, cuts: list[int]) -> list[SSEEvent]:
    parser = SSEParser()
    places = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    return [found for start, end in pairwise(places) for found in parser.feed(wire[start:end])]


@given(st.lists(event, max_size=6), newline, st.lists(st.integers(0, 10_000), max_size=30))
def test_events_survive_any_line_ends_and_any_cuts(
    sent: list[tuple[list[str], str, list[str]]], end: str, cuts: list[int]
) -> None:
    wire = _wire(sent, end)
    expected = [SSEEvent("\n".join(pieces).encode(), kind) for pieces, kind, _ in sent]
    assert _feed(wire, cuts) == expected
    assert _feed(wire, list(range(len(wire)))) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=20))
def test_any_bytes_at_all_are_read_the_same_however_they_are_cut(wire: bytes, cuts: list[int]) -> None:
    assert _feed(wire, cuts) == _feed(wire, [])


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"data:x\ndata\ndata: y\n\n", [b"x\n\ny"]),
        (b"id: 7\nretry: 10\n\ndata: x\n\n", [b"x"]),
        (b": only a comment\n\n", []),
        (b"data: x\n", []),
        (b"data:  x\n\n", [b" x"]),
    ],
    ids=["bom", "empty data line", "other fields", "comments", "unended", "one space only"],
)
def test_the_corners_of_the_format(wire: bytes, expected: list[bytes]) -> None:
    assert [event.data for event in _feed(wire, [])] == expected


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 50, b"x" * 50, b"data: x\n" * 10])
def test_an_event_that_does_not_end_is_refused_at_the_bound(piece: bytes) -> None:
    parser = SSEParser(max_event_bytes=200)
    with pytest.raises(EventTooLarge):
        all(parser.feed(piece) == [] for _ in range(100))


def test_the_bound_is_for_one_event_not_for_the_stream() -> None:
    parser = SSEParser(max_event_bytes=50)
    for _ in range(100):
        parser.feed(b": a comment\nda")
        assert parser.feed(b"ta: 0123456789012345678901234567890123456789\n\n")
