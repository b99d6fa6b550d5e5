"""Text: counted in code points, made whole, appended in Redis at its end alone."""

import itertools
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.bounds import ANSWER_CHARS_MAX, ANSWER_PARTS_MAX
from chat.events import room_event
from chat.generations.text import GrowingAnswer, GrowingText
from chat.parts import Kind, joined, layout, split, text_only
from chat.realtime import texts
from chat.realtime.envelopes import delta_payload, event_payload, open_payload
from kernel.redis import async_redis

TENANT, ROOM, GEN = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()


def at(offset: int) -> texts.Place:
    """A place in an answer that is text alone."""
    return texts.Place(part=0, kind="text", offset=offset, before=offset)


NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.no_database
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))), st.data())
def test_pieces_add_up_however_they_are_taken(pieces: list[str], data: st.DataObject) -> None:
    text = GrowingText()
    for piece in pieces:
        text.add(piece)
        if data.draw(st.booleans()):
            text.take(data.draw(st.integers(0, len(text.peek()))))
    text.finish()
    assert text.whole() == "".join(pieces)
    assert text.taken_length == len(text.taken())


@pytest.mark.no_database
def test_a_pair_cut_in_two_becomes_one_character() -> None:
    text = GrowingText()
    text.add("a\ud83d")
    assert text.whole() == "a"
    text.add("\ude00b")
    text.add("c\ude00\x00")
    text.add("\ud83d")
    text.finish()
    assert text.whole() == "a😀bc\ufffd\ufffd\ufffd"


@pytest.mark.no_database
def test_an_answer_has_an_end() -> None:
    text = GrowingText()
    text.add("x" * (ANSWER_CHARS_MAX + 5))
    assert text.full
    assert len(text.whole()) == ANSWER_CHARS_MAX


@pytest.mark.no_database
def test_envelopes_open_as_they_were_closed() -> None:
    delta = open_payload(delta_payload(ROOM, gid=GEN, offset=7, text="𝒳\n𝒳"))
    assert (delta.kind, delta.gid, delta.offset, delta.end) == ("delta", str(GEN), 7, 10)
    event = room_event(seq=3, type_="generation.started", at=NOW, content={"generation": None}, subject=GEN)
    opened = open_payload(event_payload(ROOM, epoch=2, event=event))
    assert (opened.seq, opened.epoch, opened.type, opened.subject) == (3, "2", "generation.started", GEN)
    assert b'"at":"2026-11-21T00:00:00Z"' in opened.frame
    with pytest.raises(ValueError, match="no payload"):
        open_payload(b"nonsense")


@pytest.mark.no_database
async def test_a_piece_is_taken_at_the_end_alone() -> None:
    await async_redis().flushdb()
    taken = [
        await texts.append_piece(TENANT, ROOM, GEN, place=at(offset), piece=piece)
        for offset, piece in ((0, "𝒳é"), (2, "c"), (2, "again"), (9, "later"))
    ]
    assert [(one.accepted, one.held) for one in taken] == [(True, 2), (True, 3), (False, 3), (False, 3)]
    assert await texts.read_parts(TENANT, ROOM, [GEN, uuid.uuid4()]) == {GEN: text_only("𝒳éc")}


@pytest.mark.no_database
@pytest.mark.parametrize("part", ["meta", "pieces"])
async def test_a_text_that_was_evicted_is_put_back(part: str) -> None:
    await async_redis().flushdb()
    await texts.append_piece(TENANT, ROOM, GEN, place=at(0), piece="ab")
    await async_redis().delete(f"parley:{{{TENANT}}}:room:{ROOM}:gen:{GEN}:{part}")
    assert not (await texts.append_piece(TENANT, ROOM, GEN, place=at(2), piece="c")).accepted
    await texts.put_parts(TENANT, ROOM, GEN, text_only("ab"))
    assert (await texts.append_piece(TENANT, ROOM, GEN, place=at(2), piece="c")).held == 3
    assert await texts.read_parts(TENANT, ROOM, [GEN]) == {GEN: text_only("abc")}


@pytest.mark.no_database
@given(st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), st.text(st.sampled_from("aé𝒳\ud83d\ude00")))))
def test_parts_are_split_as_they_were_joined(pieces: list[tuple[Kind, str]]) -> None:
    answer = GrowingAnswer()
    for kind, piece in pieces:
        answer.add(kind, piece)
    answer.finish()
    parts = answer.whole()
    assert split(joined(parts), layout(parts)) == parts
    assert all(one.kind != other.kind for one, other in itertools.pairwise(parts))
    while (pending := answer.pending) is not None:
        pending[2].take(1)
    assert answer.taken() == parts


@pytest.mark.no_database
def test_an_answer_has_so_many_parts_and_the_last_is_text() -> None:
    answer = GrowingAnswer()
    for _ in range(ANSWER_PARTS_MAX):
        answer.add("reasoning", "r")
        answer.add("text", "t")
    parts = answer.whole()
    assert (len(parts), parts[-1].kind) == (ANSWER_PARTS_MAX, "text")
    assert sum(len(part.text) for part in parts if part.kind == "text") == ANSWER_PARTS_MAX
